"""Row 42: the newer likelihoods at the edges of their support, and what they refuse."""

from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from likelihood_laws import derivatives
from scipy.special import expit

from padchol import likelihoods

ETA, INF, NAN = 0.3, np.inf, np.nan
MEAN, P = np.exp(ETA), expit(ETA)
NONE = (0.0, 0.0, 0.0)  # a term that adds nothing: value, first and second derivative
NEVER = (-INF, 0.0, 0.0)  # data that cannot occur
FIRST = np.log(expit(1 - ETA)), -expit(ETA - 1), -expit(ETA - 1) * expit(1 - ETA)

# name: how the likelihood is made; value, first and second derivative of each of its terms
EDGES = {
    "negative binomial": (
        lambda: likelihoods.negative_binomial(
            [0, 3, -1, 0, 2, 0], [2.0, 2.0, 2.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0, 1.0, 0.0]
        ),
        [NONE, NEVER, NEVER, NONE, NEVER, NONE],
    ),
    "zero-inflated poisson": (
        lambda: likelihoods.zero_inflated_poisson(
            [0, 3, -1, 0, 0], [0.3, 0.3, 0.3, 0.0, 0.0], [0.0, 0.0, 1.0, 2.0, 0.0]
        ),
        [NONE, NEVER, NEVER, (-2 * MEAN, -2 * MEAN, -2 * MEAN), NONE],
    ),
    "zero-inflated binomial": (
        lambda: likelihoods.zero_inflated_binomial(
            [0, 4, 0, 1], [0.3, 0.3, 0.0, 0.0], [0, 3, 1, 1]
        ),
        [NONE, NEVER, (np.log(1 - P), -P, -P * (1 - P)), (np.log(P), 1 - P, -P * (1 - P))],
    ),
    "beta": (
        lambda: likelihoods.beta([0.0, 1.0, -0.2, 1.3, 0.4, NAN], [3.0, 3.0, 3.0, 3.0, 0.0, 0.0]),
        [NEVER, NEVER, NEVER, NEVER, NONE, NONE],
    ),
    "inverse gaussian": (
        lambda: likelihoods.inverse_gaussian(
            [0.0, -1.0, INF, MEAN, 1.0, NAN, NAN], [2.0, 2.0, 2.0, 2.0, 0.0, 0.0, 2.0]
        ),
        [NEVER, NEVER, NEVER, (-np.log(np.pi) / 2 - 1.5 * ETA, 0.0, -2 / MEAN), NONE, NONE,
         (NAN, NAN, NAN)],
    ),
    "student t": (
        lambda: likelihoods.student_t([2.0, NAN, ETA], [0.0, 0.0, 1.0], 1.0),
        [NONE, NONE, (-np.log(np.pi), 0.0, -2.0)],
    ),
    "stochastic volatility": (
        lambda: likelihoods.stochastic_volatility([0.0]),
        [(-(np.log(2 * np.pi) + ETA) / 2, -0.5, 0.0)],
    ),
    "cox": (
        lambda: likelihoods.cox([0, 1, 0, 2], [2.0, 0.0, 0.0, 1.0]),
        [(-2 * MEAN,) * 3, (ETA, 1.0, 0.0), NONE, (2 * ETA - MEAN, 2 - MEAN, -MEAN)],
    ),
    "ordinal": (
        lambda: likelihoods.ordinal([-1, 0, 1, 0.5, 3, NAN], [1.0, 1.0]),
        [NEVER, FIRST, NEVER, NEVER, NEVER, (NAN, NAN, NAN)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", EDGES)
def test_edges_of_the_support(name):
    make, expected = EDGES[name]
    term, n = make(), len(expected)
    assert term.length == n

    @jax.jit
    def everything(eta):
        reverse = jax.grad(lambda eta: jnp.sum(term(eta)))(eta)
        return (*derivatives(term, eta, 2), reverse, term.cdf(eta), term.mean(eta))

    *found, reverse, below, mean = np.array(everything(jnp.full(n, ETA)))
    known = ~np.isnan([value for value, _, _ in expected])
    np.testing.assert_allclose(
        found[0], [value for value, _, _ in expected], rtol=1e-12, atol=1e-15
    )
    for k in (1, 2):
        wanted = np.array([each[k] for each in expected])
        np.testing.assert_allclose(found[k][known], wanted[known], rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(reverse[known], found[1][known], rtol=1e-12, atol=1e-15)
    fine = ~np.isnan(below)
    assert ((below[fine] >= 0) & (below[fine] <= 1)).all()
    assert name in ("student t",) or np.isfinite(mean).all()


def test_distribution_functions_at_the_edges():
    """0 below the support, 1 above it; not defined of a term without weight."""
    eta = jnp.full(4, ETA)
    for terms, expected in (
        (likelihoods.gaussian([1.0, -INF, INF, ETA], [0.0, 1.0, 1.0, 1.0]), [NAN, 0, 1, 0.5]),
        (likelihoods.student_t([1.0, -INF, 1e9, ETA], [0.0, 1.0, 1.0, 1.0], 3.0), [NAN, 0, 1, 0.5]),
        (likelihoods.poisson([-1, 0, 3, 1e6], [1.0, 0.0, 0.0, 1.0]), [0, 1, 1, 1]),
        (likelihoods.binomial([-1, 0, 3, 4], [3, 0, 3, 3]), [0, 1, 1, 1]),
        (likelihoods.gamma([0.0, -1.0, 1.0, INF], [1.0, 1.0, 0.0, 1.0]), [0, 0, NAN, 1]),
        (likelihoods.inverse_gaussian([0.0, -1.0, 1.0, INF], [1, 1, 0, 1]), [0, 0, NAN, 1]),
        (likelihoods.negative_binomial([-1, 0, 3, 0], [1, 0, 0, 1], [1, 1, 1, 0]), [0, 1, 1, 1]),
        (likelihoods.zero_inflated_poisson([-1, 0, 3, 1e6], 0.3, [1.0, 0, 0, 1]), [0, 1, 1, 1]),
        (likelihoods.beta([0.0, 1.0, -0.1, 0.5], [1.0, 1.0, 1.0, 0.0]), [0, 1, 0, NAN]),
        (likelihoods.ordinal([-1, 2, 3, NAN], [0.0, 1.0]), [0, 1, 1, NAN]),
    ):  # fmt: skip
        np.testing.assert_allclose(jax.jit(terms.cdf)(eta), expected, rtol=1e-12, atol=1e-8)


def test_derivatives_in_parameters_at_the_edges():
    """At zero inflation 0: d/dzero log(zero + (1 - zero) p) = 1 / p - 1, and that of the slope; at
    no exposure, where only y = 0 is possible."""
    eta = jnp.asarray([ETA, 3.0])
    inflated = lambda zero: likelihoods.zero_inflated_poisson(np.zeros(2), zero)
    of_eta = lambda zero: jnp.stack(derivatives(inflated(zero), eta, 1))
    exposed = lambda e: likelihoods.negative_binomial(np.zeros(2), 2.0, e)(eta).sum()
    of_zero, of_exposure = jax.jit(lambda z: (jax.jacfwd(of_eta)(z), jax.grad(exposed)(z)))(0.0)
    mean = np.exp(eta)
    np.testing.assert_allclose(of_zero[0], np.expm1(mean), rtol=1e-12)
    np.testing.assert_allclose(of_zero[1], mean * np.exp(mean), rtol=1e-12)
    np.testing.assert_allclose(of_exposure, -mean.sum(), rtol=1e-12)


REFUSED = {
    "negative size": (lambda x: likelihoods.negative_binomial([1], x), -1.0, "size >= 0; got -1.0"),
    "negative exposure": (
        lambda x: likelihoods.negative_binomial([1], 2.0, x), -1.0, "exposure >= 0; got -1.0"
    ),
    "zero is one": (
        lambda x: likelihoods.zero_inflated_poisson([1], x), 1.0, r"zero in \[0, 1\); got 1.0"
    ),
    "negative zero": (
        lambda x: likelihoods.zero_inflated_binomial([0], x, 2), -0.1, r"zero in \[0, 1\); got -0.1"
    ),
    "negative precision of a beta": (
        lambda x: likelihoods.beta([0.3], x), -2.0, "precision >= 0; got -2.0"
    ),
    "negative shape of an inverse gaussian": (
        lambda x: likelihoods.inverse_gaussian([1.0], x), -1.0, "shape >= 0; got -1.0"
    ),
    "no degrees": (lambda x: likelihoods.student_t([1.0], 1.0, x), 0.0, "degrees > 0; got 0.0"),
    "negative precision of a t": (
        lambda x: likelihoods.student_t([1.0], x, 3.0), -1.0, "precision >= 0; got -1.0"
    ),
    "negative weights": (lambda x: likelihoods.cox([1], x), -1.0, "weights >= 0; got -1.0"),
    "decreasing cuts": (
        lambda x: likelihoods.ordinal([1], jnp.stack([0.0, x, 1.0])), -0.5,
        r"differences of cuts >= 0 \(they increase\); got -0.5 in entry 0",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_parameter_is_an_error_and_no_number_where_it_is_traced(name):
    make, x, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        make(x)
    found = jax.jit(lambda x: (make(x)(jnp.zeros(1)), make(x).mean(jnp.zeros(1))))(x)
    assert np.isnan(found).all()


def test_cuts_have_a_shape():
    with pytest.raises(ValueError, match=r"cuts of shape \(K - 1,\), K >= 2; got shape \(0,\)"):
        likelihoods.ordinal([0], np.zeros(0))
    with pytest.raises(ValueError, match=r"got shape \(\)"):
        likelihoods.ordinal([0], 1.0)


def test_only_counts_are_inflated():
    with pytest.raises(TypeError, match=r"poisson, binomial or negative_binomial .*; got Beta"):
        likelihoods.zero_inflated(cast(Any, likelihoods.beta([0.3], 2.0)), 0.1)


def test_increasing_cuts():
    theta = jnp.array([-0.7, 0.2, -30.0, 1.0])
    cuts, jacobian = jax.jit(
        lambda t: (likelihoods.increasing_cuts(t), jax.jacfwd(likelihoods.increasing_cuts)(t))
    )(theta)
    np.testing.assert_allclose(cuts, np.cumsum([-0.7, *np.exp(theta[1:])]), rtol=1e-12)
    np.testing.assert_allclose(np.linalg.slogdet(jacobian)[1], theta[1:].sum(), rtol=1e-12)
    np.testing.assert_array_equal(likelihoods.increasing_cuts(theta[:1]), theta[:1])


INFINITE = {
    "poisson": lambda y: likelihoods.poisson(y),
    "truncated poisson": lambda y: likelihoods.truncated_poisson(y),
    "zero-inflated poisson": lambda y: likelihoods.zero_inflated_poisson(y, 0.3),
    "negative binomial": lambda y: likelihoods.negative_binomial(y, 2.0),
    "gamma": lambda y: likelihoods.gamma(y, 2.0),
    "weibull": lambda y: likelihoods.weibull(y, [1.0], 2.0),
    "censored weibull": lambda y: likelihoods.weibull(y, [0.0], 2.0),
    "tweedie": lambda y: likelihoods.tweedie(y, 1.0, 1.5),
    "cox": lambda y: likelihoods.cox(y, 1.0),
    "inverse gaussian": lambda y: likelihoods.inverse_gaussian(y, 1.0),
}


@pytest.mark.parametrize("name", INFINITE)
def test_infinite_data_cannot_occur(name):
    law = INFINITE[name]([INF])
    assert [float(x[0]) for x in derivatives(law, jnp.array([ETA]), 2)] == list(NEVER)
