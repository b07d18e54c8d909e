"""Priors against their definitions: what they integrate to, distances from dense matrices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
import support
from scipy import special, stats

from padchol.inla import priors
from padchol.precisions import scaled_laplacian

NODES, WEIGHTS = special.roots_legendre(200)
PAIR = sp.csr_array([[0.0, 1.0], [1.0, 0.0]])


def areas():
    """A grid, a path, and an area alone."""
    parts = [(support.grid(3, 3) != 0).astype(float), (support.path(4) != 0).astype(float)]
    W = sp.csr_array(sp.block_diag([*parts, sp.csr_array((1, 1))]))
    W.setdiag(0)
    W.eliminate_zeros()
    return W


def two_parameters(name):
    """pc_range_sd as a function of one of them, the other held at 1."""
    both = priors.pc_range_sd(2.0, 0.05, 1.5, 0.01)
    return (lambda x: both(x, jnp.ones_like(x))) if name == "range" else lambda x: both(1.0, x)


MADE = {
    "precision": lambda: priors.pc_precision(0.7, 0.05),
    "phi": lambda: priors.pc_bym2_phi(areas(), 0.5, 0.99),
    "ar1": lambda: priors.pc_ar1(0.4, 0.8, base=1),
    "cor0": lambda: priors.pc_ar1(0.5, 0.01),
    "gamma": lambda: priors.gamma(2.5, 0.8),
    "gaussian": lambda: priors.gaussian(-1.0, 0.3),
    "range": lambda: two_parameters("range"),
    "sd": lambda: two_parameters("sd"),
}


# ---- probabilities ----------------------------------------------------------------------------


def pieces(*ends):
    """Nodes and weights of Gauss and Legendre between each two ends: (pieces, nodes) each."""
    middle, half = (np.add(ends[1:], ends[:-1]) / 2, np.diff(ends) / 2)
    return middle[:, None] + half[:, None] * NODES, half[:, None] * WEIGHTS


def exponential(t):
    return np.exp(t), np.exp(t)


def logistic(t):
    return special.expit(t), special.expit(t) * special.expit(-t)


# name: x and dx/dt of a variable t in which the density is smooth; ends of pieces of t; the
# probability of each piece
PROBABILITIES = {
    "precision": (exponential, (-15, -2 * np.log(0.7), 60), (0.05, 0.95)),
    "phi": (logistic, (-40, 0, 28), (0.99, 0.01)),
    "ar1": (lambda t: (1 - t**2, 2 * t), (0, np.sqrt(0.6), np.sqrt(2)), (0.8, 0.2)),
    "cor0": (
        lambda t: (np.tanh(t), 1 / np.cosh(t) ** 2),
        (-9, -np.arctanh(0.5), 0, np.arctanh(0.5), 9),
        (0.005, 0.495, 0.495, 0.005),
    ),
    "gamma": (
        exponential,
        (-20, np.log(2.0), 5),
        (stats.gamma(2.5).cdf(1.6), stats.gamma(2.5).sf(1.6)),
    ),
    "gaussian": (lambda t: (t, np.ones_like(t)), (-25, -1, 23), (0.5, 0.5)),
}


@pytest.mark.parametrize("name", PROBABILITIES)
def test_integrates_to_one_and_has_its_tail(name):
    variable, ends, expected = PROBABILITIES[name]
    t, weights = pieces(*ends)
    x, slope = variable(t)
    density = np.exp(jax.jit(MADE[name]())(x))
    np.testing.assert_allclose((weights * slope * density).sum(1), expected, rtol=1e-10)


def test_range_and_deviation_have_their_tails():
    prior = priors.pc_range_sd(2.0, 0.05, 1.5, 0.01)
    t, weights = pieces(-2, np.log(2.0), 35)
    sd, by_sd = pieces(0.0, 1.5, 12.0)
    range = np.exp(t)
    density = np.exp(jax.jit(prior)(range[:, None, :, None], sd[None, :, None, :]))
    found = np.einsum("ijkl,ik,jl->ij", density, weights * range, by_sd)
    np.testing.assert_allclose(found, np.outer([0.05, 0.95], [0.99, 0.01]), rtol=1e-10)


# ---- values -----------------------------------------------------------------------------------


def dense_distance(W, phi):
    """(d, d') of phi by the definition, from dense matrices."""
    Q = scaled_laplacian(W)[0].toarray()
    n, inverse = len(Q), np.linalg.pinv(Q, rcond=1e-10)
    mixed = (1 - phi) * np.eye(n) + phi * inverse
    d = np.sqrt(phi * (np.trace(inverse) - n) - np.linalg.slogdet(mixed)[1])
    slope = np.trace(inverse) - n - np.trace(np.linalg.solve(mixed, inverse - np.eye(n)))
    return d, slope / (2 * d)


def of_phi(phi):
    rate = -np.log(0.01) / dense_distance(areas(), 0.5)[0]
    d, slope = dense_distance(areas(), phi)
    return np.log(rate) - rate * d + np.log(slope)


def of_ar1(rho):
    """Truncated exponential, at the rate by which P(rho > 0.4) = 0.8."""
    rate = priors.pc_ar1(0.4, 0.8, base=1).arguments[0]
    d = np.sqrt(1 - rho)
    return stats.truncexpon(np.sqrt(2) * rate, scale=1 / rate).logpdf(d) - np.log(2 * d)


def of_cor0(rho):
    distance = lambda rho: np.sqrt(-np.log(1 - rho**2))
    law = stats.expon(scale=-distance(0.5) / np.log(0.01))
    return law.logpdf(distance(rho)) + np.log(abs(rho) / (2 * (1 - rho**2) * distance(rho)))


IN_RANGE = stats.expon(scale=-1 / (np.log(0.05) * 2.0))  # the law of 1 / range
IN_SD = stats.expon(scale=-1.5 / np.log(0.01))
IN_PRECISION = stats.expon(scale=-0.7 / np.log(0.05))

# name: points, and the log density there
VALUES = {
    "precision": ([0.01, 1.3, 4e3], lambda x: IN_PRECISION.logpdf(x**-0.5) + np.log(x**-1.5 / 2)),
    "phi": ([0.01, 0.3, 0.7, 0.999], np.vectorize(of_phi)),
    "ar1": ([-0.99, 0.0, 0.4, 0.9995], of_ar1),
    "cor0": ([-0.99, 0.01, 0.4, 0.9995], of_cor0),
    "gamma": ([1e-3, 2.0, 30.0], stats.gamma(2.5, scale=1 / 0.8).logpdf),
    "gaussian": ([-20.0, -1.0, 3.0], stats.norm(-1.0, 0.3**-0.5).logpdf),
    "range": ([0.2, 2.0, 90.0], lambda x: IN_RANGE.logpdf(1 / x) - 2 * np.log(x) + IN_SD.logpdf(1)),
    "sd": ([0.01, 2.0, 6.0], lambda x: IN_SD.logpdf(x) + IN_RANGE.logpdf(1)),
}


@support.both_precisions
@pytest.mark.parametrize("name", VALUES)
def test_log_density(name, precision):
    x, expected = np.array(VALUES[name][0], precision), VALUES[name][1]
    both = jax.jit(lambda prior, x: (prior(x), jax.vmap(prior)(x)), static_argnums=0)
    found, one_by_one = both(MADE[name](), x)
    assert found.dtype == precision
    tolerance = 1e-11 if precision == np.float64 else 1e-4
    np.testing.assert_allclose(found, expected(x.astype(float)), rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(one_by_one, found, rtol=1e-5)


def test_a_narrow_parameter_keeps_its_precision():
    """float32 where x64 is on; arguments may be float64, or integers."""
    for prior in (priors.pc_precision(np.float64(1), 0.01), priors.gaussian(0, np.int32(2))):
        assert prior(jnp.float32(0.3)).dtype == jnp.float32


RATE = -np.log(0.1) / np.sqrt(-np.log1p(-0.36))  # of the next two


def pair(precision):
    """pc_bym2_phi of two areas, and pc_ar1: value, first and second derivative."""
    made = (priors.pc_bym2_phi(PAIR, 0.6, 0.9), priors.pc_ar1(0.6, 0.1))
    values = lambda x: jnp.stack([prior(x) for prior in made])
    slopes = jax.jacfwd(values)
    at = jax.jit(lambda x: jnp.stack([values(x), slopes(x), jax.jacfwd(slopes)(x)], 1))
    return lambda x: np.array(at(jnp.asarray(x, precision)))


def test_two_areas_are_the_correlation_between_them():
    """The eigenvalues of Q^- are then 0 and 2, and d^2 = L = -log(1 - phi^2): all is known in
    closed form, near one as well."""
    found = pair(np.float64)
    for x in (1e-9, 0.3, 0.7, 1 - 1e-10):
        phi, rho = found(x)
        np.testing.assert_allclose(phi, np.add(rho, [np.log(2), 0, 0]), rtol=1e-8)
        if x < 1e-6:  # where the formulas below cancel: log(d') = 3/4 x^2 + ...
            np.testing.assert_allclose(phi, [np.log(RATE), -RATE, 1.5], rtol=1e-8)
            continue
        rest = (1 - x) * (1 + x)
        L, dL = -np.log(rest), 2 * x / rest
        value = np.log(RATE) - RATE * np.sqrt(L) + np.log(dL / (2 * np.sqrt(L)))
        first = -RATE * dL / (2 * np.sqrt(L)) + (1 + x**2) / (x * rest) - dL / L / 2
        np.testing.assert_allclose(phi[:2], [value, first], rtol=1e-8)


@support.both_precisions
def test_at_the_base_models(precision):
    phi, rho = pair(precision)(0.0)
    np.testing.assert_allclose(phi, [np.log(RATE), -RATE, 1.5], rtol=1e-5)
    np.testing.assert_allclose(rho[:2], [np.log(RATE / 2), 0], rtol=1e-5)


# ---- derivatives, edges, errors ---------------------------------------------------------------


def test_twice_differentiable():
    """In the parameters, and in the arguments of the one whose rate has no closed form."""
    made = [make() for make in MADE.values()]
    made += [
        lambda u: priors.pc_ar1(u, 0.8, base=1)(0.3),
        lambda alpha: priors.pc_ar1(0.4, alpha, base=1)(0.3),
    ]
    x = jnp.array([2.0, 0.3, 0.4, -0.3, 1.5, 0.2, 1.2, 0.8, 0.4, 0.8])

    values = lambda x: jnp.stack([f(t) for f, t in zip(made, x, strict=True)])
    slope = jax.grad(lambda x: values(x).sum())  # each value depends on its own entry of x alone

    @jax.jit
    def derivatives(x):
        forward = jax.jvp(slope, (x,), (jnp.ones_like(x),))[1]
        return jnp.stack([values(x), slope(x), forward, jax.grad(lambda x: slope(x).sum())(x)])

    h = 1e-6
    found, step = derivatives(x), (derivatives(x + h) - derivatives(x - h)) / (2 * h)
    np.testing.assert_allclose(found[1:3], step[:2], rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(found[3], found[2], rtol=1e-12)


OUTSIDE = {"phi": [-1e-9, 1.0, 2.0], "ar1": [-1.0, 1.0, 1.5], "cor0": [-1.0, 1.0, -3.0]}
EVERYWHERE = {"gaussian": [-np.inf, np.inf]}


@pytest.mark.parametrize("name", MADE)
def test_outside_of_the_support(name):
    x = jnp.array(OUTSIDE.get(name, EVERYWHERE.get(name, [0.0, -1.0, np.inf])))
    value, slope = jax.jit(jax.vmap(jax.value_and_grad(MADE[name]())))(jnp.append(x, jnp.nan))
    assert (value[:-1] == -np.inf).all()
    assert np.isnan(value[-1])
    assert np.isnan(slope[-1])
    assert name in EVERYWHERE or (slope[:-1] == 0).all()


def test_pytrees():
    """One program for priors that differ in their numbers; equal only to themselves."""
    traces = []

    @jax.jit
    def at(prior, x):
        traces.append(prior)
        return prior(x)

    first, second = priors.pc_ar1(0.5, 0.1), priors.pc_ar1(0.5, 0.2)
    assert at(first, 0.3) != at(second, 0.3)
    assert len(traces) == 1
    assert first != second
    assert jax.jit(first)(0.3) == at(first, 0.3)


def test_arguments_that_are_traced_and_wrong_give_nan():
    made = {
        "alpha": lambda a: priors.pc_precision(1.0, a)(jnp.array([2.0, -1.0])),
        "too small": lambda a: priors.pc_ar1(0.5, a / 4, base=1)(jnp.array([0.3, -2.0])),
        "phi": lambda a: priors.pc_bym2_phi(PAIR, 0.5, a)(jnp.array([0.3, 2.0])),
        "shape": lambda a: priors.gamma(1 - a, 1.0)(jnp.array([0.3, -2.0])),
    }
    found = jax.jit(lambda a: {name: f(a) for name, f in made.items()})(1.5)
    assert all(np.isnan(x).all() for x in found.values()), found


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: priors.pc_precision(0, 0.1), "expected u > 0, finite; got 0"),
        (lambda: priors.pc_precision(1, 1.0), "expected 0 < alpha < 1; got 1.0"),
        (lambda: priors.pc_precision([1.0, 2.0], 0.1), "expected u a number; got shape"),
        (lambda: priors.pc_range_sd(-1, 0.1, 1, 0.1), "expected range0 > 0, finite; got -1"),
        (lambda: priors.pc_range_sd(1, 0.1, 1, 0.0), "expected 0 < alpha_sd < 1; got 0.0"),
        (lambda: priors.pc_bym2_phi(PAIR, 1.0, 0.1), "expected 0 < u < 1; got 1.0"),
        (lambda: priors.pc_bym2_phi(np.ones((2, 3)), 0.5, 0.1), "square adjacency matrix"),
        (lambda: priors.pc_bym2_phi(sp.csr_array((3, 3)), 0.5, 0.1), "got 3 without any"),
        (lambda: priors.pc_ar1(1.0, 0.9, base=1), "expected -1 < u < 1; got 1.0"),
        (
            lambda: priors.pc_ar1(0.5, 0.5, base=1),
            r"sqrt\(\(1 - u\)/2\) = 0.5 < alpha < 1; got 0.5",
        ),
        (lambda: priors.pc_ar1(0.5, 0.1, base=2), "expected base 0 or 1; got 2"),
        (lambda: priors.pc_ar1(-0.5, 0.1), "expected 0 < u < 1; got -0.5"),
        (lambda: priors.gamma(1.0, np.nan), "expected rate > 0, finite; got nan"),
        (lambda: priors.gaussian(np.inf, 1.0), "expected mean > -inf, finite; got inf"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_parameter_that_is_no_real_number():
    with pytest.raises(TypeError, match="expected real parameter; got dtype complex"):
        priors.pc_precision(1.0, 0.1)(1j)
