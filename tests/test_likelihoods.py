"""The ready likelihoods at the edges of their support, and as pytrees."""

from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from padchol import likelihoods

pytestmark = pytest.mark.shapes

ETA = 0.3
MEAN = np.exp(ETA)
P = 1 / (1 + np.exp(-ETA))
NONE = (0.0, 0.0, 0.0)  # a term that adds nothing: value, first and second derivative
WEIBULL = MEAN * 2.0**1.7

# name: how the term is made; value, first derivative, second derivative
EDGES = {
    "no count": (lambda: likelihoods.poisson([0], [2.0]), (-2 * MEAN, -2 * MEAN, -2 * MEAN)),
    "no count, no exposure": (lambda: likelihoods.poisson([0], [0.0]), NONE),
    "a count without exposure": (lambda: likelihoods.poisson([3], [0.0]), (-np.inf, 0.0, 0.0)),
    "a negative count": (lambda: likelihoods.poisson([-1]), (-np.inf, 0.0, 0.0)),
    "no success": (
        lambda: likelihoods.binomial([0], [3]),
        (3 * np.log(1 - P), -3 * P, -3 * P * (1 - P)),
    ),
    "all successes": (
        lambda: likelihoods.binomial([3], [3]),
        (3 * np.log(P), 3 * (1 - P), -3 * P * (1 - P)),
    ),
    "no trials": (lambda: likelihoods.binomial([0], [0]), NONE),
    "successes without trials": (lambda: likelihoods.binomial([2], [0]), (-np.inf, 0.0, 0.0)),
    "no precision": (lambda: likelihoods.gaussian([2.0], [0.0]), NONE),
    "missing, no precision": (lambda: likelihoods.gaussian([np.nan], [0.0]), NONE),
    "no shape": (lambda: likelihoods.gamma([2.0], [0.0]), NONE),
    "nothing, exponential": (lambda: likelihoods.gamma([0.0], [1.0]), (-ETA, -1.0, 0.0)),
    "nothing, gamma": (lambda: likelihoods.gamma([0.0], [2.0]), (-np.inf, -2.0, 0.0)),
    "a negative value": (lambda: likelihoods.gamma([-1.0], [2.0]), (-np.inf, 0.0, 0.0)),
    "at once, exponential": (lambda: likelihoods.weibull([0.0], [1], 1.0), (ETA, 1.0, 0.0)),
    "censored at once": (lambda: likelihoods.weibull([0.0], [0], 1.7), NONE),
    "censored": (lambda: likelihoods.weibull([2.0], [False], 1.7), (-WEIBULL, -WEIBULL, -WEIBULL)),
    "a negative time": (lambda: likelihoods.weibull([-2.0], [0], 1.7), (-np.inf, 0.0, 0.0)),
}


@pytest.mark.parametrize("name", EDGES)
def test_edges_of_the_support(name):
    make, expected = EDGES[name]
    term = make()
    slope = jax.grad(lambda eta: jnp.sum(term(eta)))
    eta = jnp.array([ETA])
    first, second = jax.jvp(slope, (eta,), (jnp.ones(1),))
    found = [float(x[0]) for x in (term(eta), first, second)]
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-15)


def test_far_from_the_data_nothing_cancels():
    term = likelihoods.binomial(np.array([0.0, 3.0, 3.0, 0.0]), 3)
    eta = jnp.array([-40.0, 40.0, -800.0, 800.0])
    tail = 3 * np.exp(-40.0)
    np.testing.assert_allclose(term(eta), [-tail, -tail, -2400, -2400], rtol=1e-12)
    slope = jax.grad(lambda eta: jnp.sum(term(eta)))(eta)
    np.testing.assert_allclose(slope, [-tail, tail, 3, -3], rtol=1e-12)


def test_derivatives_in_parameters_at_the_edges():
    eta = jnp.full(2, ETA)
    exposure = jax.grad(lambda e: likelihoods.poisson(np.zeros(2), e)(eta).sum())(jnp.zeros(2))
    np.testing.assert_allclose(exposure, -MEAN, rtol=1e-12)
    shape = jax.grad(lambda k: likelihoods.weibull(np.array([0.0, 2.0]), [0, 1], k)(eta).sum())(1.7)
    h = 1e-6
    law = [stats.weibull_min(k, scale=np.exp(-ETA / k)).logpdf(2.0) for k in (1.7 - h, 1.7 + h)]
    np.testing.assert_allclose(shape, (law[1] - law[0]) / (2 * h), rtol=1e-7)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: likelihoods.poisson([1, 2], [1.0, -1.0]), "exposure >= 0; got -1.0 in entry 1"),
        (lambda: likelihoods.binomial([1], [-3]), "trials >= 0; got -3.0 in entry 0"),
        (lambda: likelihoods.gaussian([1.0], -2.0), "precision >= 0; got -2.0"),
        (lambda: likelihoods.weibull([1.0], [2], 1.0), r"0 \(censored\) or 1 .*; got 2.0"),
    ],
)
def test_what_is_no_weight_is_an_error(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_what_is_no_weight_is_no_number_where_it_is_traced():
    found = jax.jit(lambda e: likelihoods.poisson(np.ones(2), e)(jnp.zeros(2)))(np.array([1, -1.0]))
    np.testing.assert_array_equal(np.isnan(found), [False, True])


def test_likelihoods_are_pytrees_of_their_data():
    count = 0

    @jax.jit
    def total(terms, eta):
        nonlocal count
        count += 1
        return jnp.sum(terms(eta))

    for y in (np.arange(3.0), np.ones(3)):
        total(likelihoods.poisson(y), jnp.zeros(3))
    assert count == 1
    term = likelihoods.poisson(np.ones(3))  # and functions like others
    np.testing.assert_allclose(jax.jit(term)(jnp.zeros(3)), -1.0, rtol=1e-12)


def test_complex_numbers_and_half_precision_are_refused():
    """Their imaginary part would be lost in silence."""
    for bad in (np.ones(3, complex), np.ones(3, np.float16)):
        with pytest.raises(TypeError, match="numbers for a likelihood"):
            likelihoods.poisson(bad)
        with pytest.raises(TypeError, match="numbers for a likelihood"):
            likelihoods.gaussian(np.ones(3), bad)


def test_weighted_is_of_a_likelihood():
    with pytest.raises(TypeError, match="expected likelihoods as"):
        likelihoods.weighted(cast(Any, None), 2.0)
