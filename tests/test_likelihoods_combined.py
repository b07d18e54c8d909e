"""Likelihoods stacked and with offsets, and every one of them inside the Laplace approximation."""

import pickle
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
import scipy.stats
from likelihood_laws import COUNTS, ETA, EXPOSURE, LAWS, POSITIVE, REAL, M
from scipy import stats

import padchol
from padchol import likelihoods
from padchol.laplace import design, laplace


def both():
    """Gaussian and Poisson, the second with an offset, and a stack inside of a stack."""
    counts = likelihoods.with_offset(likelihoods.poisson(COUNTS), np.log(EXPOSURE))
    inner = likelihoods.stacked(counts, likelihoods.weibull(POSITIVE, np.ones(M), 1.7))
    return likelihoods.stacked(likelihoods.gaussian(REAL, 1.7), inner)


def test_stacked_and_with_offset_are_their_parts():
    eta = jnp.concatenate([ETA, ETA + 0.1, ETA - 0.2])
    whole = both()
    assert whole.length == 3 * M
    laws = [
        stats.norm(ETA, 1.7**-0.5), stats.poisson(EXPOSURE * np.exp(ETA + 0.1)),
        stats.weibull_min(1.7, scale=np.exp(-(ETA - 0.2) / 1.7)),
    ]  # fmt: skip
    data = [REAL, COUNTS, POSITIVE]
    terms, below, mean = jax.jit(lambda l, eta: (l(eta), l.cdf(eta), l.mean(eta)))(whole, eta)
    densities = [laws[0].logpdf, laws[1].logpmf, laws[2].logpdf]
    values = [density(y) for density, y in zip(densities, data, strict=True)]
    np.testing.assert_allclose(terms, np.concatenate(values), rtol=1e-12)
    cdf = [law.cdf(y) for law, y in zip(laws, data, strict=True)]
    np.testing.assert_allclose(below, np.concatenate(cdf), rtol=1e-12)
    np.testing.assert_allclose(mean, np.concatenate([law.mean() for law in laws]), rtol=1e-12)


def test_data_drawn_from_the_parts():
    n = 3000
    counts = likelihoods.with_offset(likelihoods.poisson(np.zeros(n)), np.log(2.0))
    whole = likelihoods.stacked(likelihoods.gaussian(np.zeros(n), 4.0), counts)
    drawn = jax.jit(whole.sampled)(jax.random.key(0), jnp.full(2 * n, 0.5))
    assert type(drawn) is likelihoods.Stacked
    assert drawn.y.shape == (2 * n,)
    y = np.asarray(drawn.y).reshape(2, n)
    mean, sd = np.array([0.5, 2 * np.exp(0.5)]), np.array([0.5, np.sqrt(2 * np.exp(0.5))])
    np.testing.assert_array_less(np.abs(y.mean(1) - mean), 4 * sd / np.sqrt(n))
    assert abs(np.corrcoef(y)[0, 1]) < 4 / np.sqrt(n)
    np.testing.assert_array_equal(drawn.parts[1].offset, np.log(2.0))


def test_points_drawn_from_a_cox_process_lie_at_the_nodes():
    n = 3000
    weights = np.where(np.arange(n) % 3 == 0, 0.0, 2.0)
    start = likelihoods.cox(np.where(weights == 0, 1.0, 0.0), weights)
    eta = jnp.full(n, 0.5)
    drawn = start.sampled(jax.random.key(0), eta)
    assert not np.asarray(drawn.points)[::3].any()
    expected = 2 * np.exp(0.5)
    assert abs(drawn.points.sum() / (2 * n / 3) - expected) < 4 * np.sqrt(expected / (2 * n / 3))
    np.testing.assert_allclose(drawn.mean(eta), weights * np.exp(0.5), rtol=1e-12)
    assert np.isnan(drawn.cdf(eta)).all()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: likelihoods.stacked(), ValueError, "one or more likelihoods; got none"),
        (lambda: likelihoods.stacked(cast(Any, jnp.exp)), TypeError, "got PjitFunction"),
        (lambda: likelihoods.with_offset(cast(Any, 3.0), 1.0), TypeError, "makes them; got float"),
        (lambda: likelihoods.stacked(likelihoods.poisson(1)), ValueError, r"\(m,\).* shape \(\)"),
        (lambda: both()(jnp.zeros(7)), ValueError, r"\(18,\).*\[6, 12\].* got shape \(7,\)"),
    ],
)  # fmt: skip
def test_what_cannot_be_combined_is_an_error(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_weights_leave_the_law_of_a_datum_alone():
    counts = likelihoods.poisson(np.arange(5.0))
    weighted = likelihoods.weighted(counts, np.array([0.0, 1, 2, 0.5, 1]))
    eta = jnp.linspace(-1, 1, 5)
    np.testing.assert_array_equal(weighted.y, counts.y)
    np.testing.assert_allclose(weighted(eta), weighted.weights * counts(eta))
    np.testing.assert_array_equal(weighted.cdf(eta), counts.cdf(eta))
    np.testing.assert_array_equal(weighted.mean(eta), counts.mean(eta))
    drawn = weighted.sampled(jax.random.key(0), eta)
    np.testing.assert_array_equal(drawn.y, counts.sampled(jax.random.key(0), eta).y)
    np.testing.assert_array_equal(drawn.weights, weighted.weights)
    assert weighted.length == 5


def test_counts_from_one_on():
    """Given that they are not 0: a Poisson law over 1 - exp(-mean)."""
    y, eta = np.arange(1.0, 6), np.linspace(-1, 1, 5)
    found = likelihoods.truncated_poisson(y, 2.0)(jnp.asarray(eta))
    law = scipy.stats.poisson(2 * np.exp(eta))
    np.testing.assert_allclose(found, law.logpmf(y) - np.log1p(-law.pmf(0)), rtol=1e-12)


def test_means_and_draws_of_what_has_a_dispersion():
    """Counts of variance (1 + dispersion) mean, and the mean of a compound law."""
    n, mean, dispersion = 4000, np.exp(1.3), 0.7
    eta = jnp.full(n, 1.3)
    counts = likelihoods.linear_negative_binomial(np.ones(n), dispersion)
    drawn = np.asarray(counts.sampled(jax.random.key(0), eta).y)
    variance = (1 + dispersion) * mean
    assert abs(drawn.mean() - mean) < 4 * np.sqrt(variance / n)
    assert abs(drawn.var() / variance - 1) < 0.1
    assert (drawn == np.round(drawn)).all()
    np.testing.assert_allclose(likelihoods.tweedie(np.ones(n), 0.7, 1.5).mean(eta), mean)


def test_lengths_are_those_of_the_data():
    assert likelihoods.ordinal(np.zeros(5), [0.0, 1.0]).length == 5
    assert likelihoods.student_t(np.zeros(5), np.ones(5), 3.0).length == 5
    assert likelihoods.zero_inflated_poisson(np.zeros(5), 0.1).length == 5
    assert likelihoods.with_offset(likelihoods.poisson(2), np.zeros(5)).length == 5


def test_likelihoods_pickle_and_keep_their_identity():
    whole = both()
    again = pickle.loads(pickle.dumps(whole))
    eta = jnp.zeros(3 * M)
    np.testing.assert_array_equal(again(eta), whole(eta))
    assert whole == whole
    assert whole != again
    each: list[Any] = [whole, again, whole]
    assert len(set(each)) == 2


PRECISION = sp.csc_array(sp.diags_array([-1.0, 2.3, -1.0], offsets=[-1, 0, 1], shape=(M, M)))
PLAN = padchol.analyze(PRECISION)
DESIGN = design(PLAN, sp.eye_array(M, format="csr"))
MODELS = {
    **{name: (law.make, law.y, np.array(law.p or (1.0,))) for name, law in LAWS.items()},
    "cox": (
        lambda y, area: likelihoods.cox(1 - y, area * y), np.array([0, 1, 1, 0, 1, 1]),
        np.array([0.7]),
    ),
    "stacked": (
        lambda y, size, tau, offset: likelihoods.stacked(
            likelihoods.negative_binomial(y[:2], size),
            likelihoods.with_offset(likelihoods.gaussian(y[2:], tau), offset),
        ),
        REAL.round().clip(0), np.array([2.0, 1.5, 0.3]),
    ),
}  # fmt: skip
QUICK, SLOW = ("student t",), ("zero-inflated poisson", "ordinal", "stacked")

LONG = [pytest.mark.slow, pytest.mark.release]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in QUICK else LONG[: 1 + (name not in SLOW)])
        for name in MODELS
    ],
)
def test_inside_the_laplace_approximation(name):
    """It converges, and the gradient in the likelihood's own parameters is that of differences."""
    make, y, p = MODELS[name]
    bare = name in ("binomial", "stochastic volatility")  # no parameter: one of the offset

    @jax.jit
    @jax.vmap
    def fit(p):
        def value(p):
            terms = likelihoods.with_offset(make(y), p[0]) if bare else make(y, *p)
            found = laplace(DESIGN, terms, jnp.asarray(PLAN.values(PRECISION)))
            return found.log_marginal, found.converged

        return jax.value_and_grad(value, has_aux=True)(p)

    h = 1e-5
    steps = np.concatenate([np.zeros((1, p.size)), h * np.eye(p.size), -h * np.eye(p.size)])
    (value, converged), gradient = fit(p + steps)
    assert converged.all()
    up, down = value[1 : p.size + 1], value[p.size + 1 :]
    np.testing.assert_allclose(gradient[0], (up - down) / (2 * h), rtol=1e-6, atol=1e-8)
