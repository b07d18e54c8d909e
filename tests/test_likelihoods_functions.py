"""The special functions of likelihoods against scipy's and against series."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special
from support import both_precisions

from padchol.likelihoods import _functions as functions
from padchol.likelihoods._incomplete import betainc, gammainc


def test_functions_without_cancellation():
    small = np.array([-1e-9, 1e-200, 1e-12, 3e-5])
    v = np.array([-0.9, -0.5, -0.3, 0.1, 0.499, 0.5, 3.0, 1e9])
    found = jax.jit(functions.log1pmx)(np.concatenate([small, v]))
    np.testing.assert_allclose(found[:4], -(small**2) / 2 + small**3 / 3 - small**4 / 4, rtol=1e-13)
    np.testing.assert_allclose(found[4:], np.log1p(v) - v, rtol=1e-13)
    gaps = np.array([1e-12, 0.1, 0.7, 3.0, 50.0])
    expected = np.log(-np.expm1(-gaps))
    expected[-1] = -np.exp(-50.0)
    np.testing.assert_allclose(jax.jit(functions.log1mexp)(gaps), expected, rtol=1e-13)
    x = np.array([-800.0, -40.0, -1.0, 0.0, 2.0, 40.0, 800.0])
    np.testing.assert_allclose(jax.jit(functions.softplus)(x), special.softplus(x), rtol=1e-15)
    np.testing.assert_allclose(jax.jit(functions.sigmoid)(x), special.expit(x), rtol=1e-15)


def test_stirlings_remainder_and_rising_factorials():
    z = np.array([1e-3, 0.5, 1.0, 3.3, 7.99, 8.0, 20.0, 1e3])
    expected = special.gammaln(z) - ((z - 0.5) * np.log(z) - z + np.log(2 * np.pi) / 2)
    found = jax.jit(functions.stirling_remainder)(z, np.log(z))
    np.testing.assert_allclose(found[:7], expected[:7], rtol=0, atol=2e-14)
    np.testing.assert_allclose(found[7], 1 / 12e3 - 1 / 360e9, rtol=1e-12)  # scipy's has lost it
    y, r = np.meshgrid([0.0, 0.5, 1.0, 7.0, 1000.0], [1e-3, 0.7, 5.0, 9.0, 300.0])
    rising = lambda r: functions.log_rising(jnp.asarray(y), r)
    found, slope = jax.jit(lambda r: jax.jvp(rising, (r,), (jnp.ones_like(r),)))(r)
    expected = special.gammaln(r + y) - special.gammaln(r) - y * np.log(r)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    expected = special.digamma(r + y) - special.digamma(r) - y / r
    np.testing.assert_allclose(slope, expected, rtol=1e-10, atol=1e-12)


@both_precisions
def test_incomplete_functions(precision):
    """At parameters from 1e-2 to 1e6, near their means and in the tails."""
    rng, n = np.random.default_rng(0), 200
    a, b = 10 ** rng.uniform(-2, 6, (2, n)).astype(precision)
    p = a / (a + b)
    x = np.clip(p + 2 * rng.normal(size=n) * np.sqrt(p * (1 - p) / (a + b)), 1e-3, 0.999)
    x, rest = x.astype(precision), (1 - x.astype(precision)).astype(precision)
    z = np.maximum(a + 2 * rng.normal(size=n) * np.sqrt(a), 0).astype(precision)
    found, (lower, upper) = jax.jit(lambda: (betainc(a, b, x, rest), gammainc(a, z)))()
    assert {found.dtype, lower.dtype, upper.dtype} == {precision}
    a, b, x, z = (v.astype(float) for v in (a, b, x, z))
    # What rounding of x and z alone does, in units of the standard deviation.
    eps = float(np.finfo(precision).eps)
    error = eps * np.sqrt(np.maximum(a, b)) * 2 + 50 * eps
    assert (np.abs(found - special.betainc(a, b, x)) < error).all()
    near = np.abs(z - a) < 4 * np.sqrt(a)  # scipy's has errors of 1e-7 further out
    for value, expected in ((lower, special.gammainc(a, z)), (upper, special.gammaincc(a, z))):
        assert (np.abs(value - expected) < error)[near].all()
    assert near.sum() > n / 2


def test_incomplete_functions_that_do_not_end_are_no_numbers():
    found = jax.jit(gammainc)(jnp.array([1e13, 2.0]), jnp.array([1e13, 1.0]))
    np.testing.assert_array_equal(np.isnan(found), [[True, False]] * 2)


def test_an_incomplete_gamma_function_in_the_tail():
    """P(a, x) by its power series, whose terms are positive, where scipy's is wrong by a tenth."""
    a = 2.2e7
    x = a - 4.6 * np.sqrt(a)
    terms = np.cumprod(x / (a + np.arange(1, 60_000)))
    v = (x - a) / a
    first = np.exp(-a * (v**2 / 2 - v**3 / 3 + v**4 / 4)) / np.sqrt(2 * np.pi * a)
    np.testing.assert_allclose(jax.jit(gammainc)(a, x)[0], first * (1 + terms.sum()), rtol=1e-8)
