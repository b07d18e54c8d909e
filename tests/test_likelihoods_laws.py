"""Likelihoods against scipy's laws: values, derivatives, distribution functions, means, draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from likelihood_laws import DISCRETE, ETA, LAWS, M, derivatives, differences, log_density
from scipy import stats
from support import both_precisions

from padchol import likelihoods

SLOW = ("zero-inflated negative binomial",)  # to compile
each = pytest.mark.parametrize("name", LAWS)


def terms(name, p):
    return LAWS[name].make(LAWS[name].y, *p)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in LAWS]
)
def test_values_and_derivatives_are_those_of_the_law(name):
    """In eta up to the third, in the parameters, and of the slope in eta in the parameters; in a
    batch over parameters."""

    @jax.jit
    @jax.vmap
    def everything(p):
        slope = lambda p: derivatives(terms(name, p), jnp.asarray(ETA), 1)[1]
        value = lambda p: terms(name, p)(jnp.asarray(ETA))
        inner = derivatives(terms(name, p), jnp.asarray(ETA))
        return inner, jax.jacrev(value)(p), jax.jacfwd(slope)(p)

    found = everything(LAWS[name].both())
    for k, p in enumerate(LAWS[name].both()):
        of_eta, of_p, mixed = jax.tree.map(lambda x, k=k: x[k], found)
        np.testing.assert_allclose(of_eta[0], log_density(name, ETA, p), rtol=1e-12, atol=1e-13)
        for order, rtol in ((1, 1e-10), (2, 1e-8), (3, 1e-6)):  # what differences of scipy's allow
            expected = differences(lambda t, p=p: log_density(name, ETA + t, p), order)
            np.testing.assert_allclose(of_eta[order], expected, rtol=rtol, atol=rtol)
        for j, unit in enumerate(np.diag(p)):
            moved = lambda t, s=0.0, p=p, unit=unit: log_density(name, ETA + s, p + t * unit)
            expected = differences(moved, 1) / p[j]
            np.testing.assert_allclose(of_p[:, j], expected, rtol=1e-8, atol=1e-9)
            slope = lambda t, moved=moved: differences(lambda s: moved(t, s), 1)
            expected = differences(slope, 1) / p[j]
            np.testing.assert_allclose(mixed[:, j], expected, rtol=1e-7, atol=1e-9)


@both_precisions
@each
def test_distribution_function_and_mean(name, precision):
    eta, p = ETA.astype(precision), np.array(LAWS[name].p, precision)
    value, cdf, mean = jax.jit(
        lambda eta, p: (terms(name, p)(eta), terms(name, p).cdf(eta), terms(name, p).mean(eta))
    )(eta, p)
    assert {value.dtype, cdf.dtype, mean.dtype} == {precision}
    eta, p = eta.astype(float), p.astype(float)
    law, rtol = LAWS[name].of(eta, *p), {"float64": 1e-12, "float32": 1e-5}[str(precision)]
    np.testing.assert_allclose(value, log_density(name, eta, p), rtol=rtol, atol=rtol)
    np.testing.assert_allclose(cdf, law.cdf(LAWS[name].y), rtol=rtol, atol=1e-40)
    np.testing.assert_allclose(mean, np.broadcast_to(law.mean(), M), rtol=rtol)


@pytest.mark.parametrize("name", DISCRETE)
def test_probabilities_sum_to_one_and_to_the_distribution_function(name):
    y = np.arange({"binomial": 8, "zero-inflated binomial": 8, "ordinal": 4}.get(name, 400))
    eta, p = jnp.full(y.size, 0.3), LAWS[name].p
    below = jax.jit(lambda y: LAWS[name].make(y, *p).cdf(eta))
    sums = np.cumsum(np.exp(jax.jit(LAWS[name].make(y, *p))(eta)))
    np.testing.assert_allclose(sums[-1], 1, rtol=1e-12)
    np.testing.assert_allclose(below(y), sums, rtol=1e-12)
    np.testing.assert_array_equal(below(-y - 1), 0)


@pytest.mark.parametrize("name", [name for name in LAWS if name != "weibull"])
@pytest.mark.slow
def test_data_drawn_have_the_moments_and_the_law(name):
    n, law = 4000, LAWS[name]
    start = law.make(np.full(n, law.y[1]), *law.p)
    eta = jnp.full(n, 0.3)
    drawn = jax.jit(start.sampled)(jax.random.key(1), eta)
    assert type(drawn) is type(start)
    y, wanted = np.asarray(drawn.y), law.of(np.full(1, 0.3), *law.p)
    mean, variance = float(np.ravel(wanted.mean())[0]), float(np.ravel(wanted.var())[0])
    assert abs(y.mean() - mean) < 4 * np.sqrt(variance / n)
    fourth = np.mean((y - y.mean()) ** 4)
    assert abs(y.var() - variance) < 5 * np.sqrt(fourth / n)
    u = np.asarray(jax.jit(drawn.cdf)(eta))
    if name not in DISCRETE:
        assert stats.kstest(u, "uniform").pvalue > 1e-3
    else:  # P(cdf(Y) <= cdf(y)) = cdf(y)
        for level in np.unique(u)[:3]:
            assert abs(np.mean(u <= level) - level) < 4 * np.sqrt(level * (1 - level) / n)


def test_censored_times_have_no_distribution_function():
    found = likelihoods.weibull(np.array([2.0, 2.0, 0.0]), [1, 0, 1], 1.7)
    eta = jnp.full(3, 0.3)
    cdf = found.cdf(eta)
    np.testing.assert_allclose(cdf[0], 1 - np.exp(-np.exp(0.3) * 2**1.7), rtol=1e-12)
    assert np.isnan(cdf[1])
    assert cdf[2] == 0
    with pytest.raises(NotImplementedError, match="drawn from; got Weibull"):
        found.sampled(jax.random.key(0), eta)
