"""BlackJAX over a hyperparameter of a Laplace marginal, and over it and the latent field, against
quadrature of the same marginal."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
import support

import padchol
from padchol import likelihoods
from padchol.laplace import design, laplace

blackjax = pytest.importorskip("blackjax")

from padchol.interop import blackjax as ours  # noqa: E402

pytestmark = pytest.mark.oldest

n = 16
Q = sp.csc_array(support.laplacian(4) + 0.3 * sp.eye_array(n))
PLAN = padchol.analyze(Q)
DESIGN = design(PLAN, sp.eye_array(n))
PRIOR = PLAN.values(Q)
COUNTS = np.array([2, 5, 9, 4, 0, 3, 7, 6, 1, 1, 2, 8, 0, 0, 1, 3])
GRID = np.linspace(-4.0, 5.0, 91)


def key():
    return jax.random.key(0)


def log_posterior(theta):
    """theta ~ N(0, 1), x ~ N(0, (exp(theta) Q)^-1), counts ~ Poisson(3 exp(x)), without x."""
    terms = likelihoods.poisson(COUNTS, 3.0)
    return laplace(DESIGN, terms, jnp.exp(theta) * PRIOR).log_marginal - theta**2 / 2


def approximation(theta, start=None):
    terms = likelihoods.poisson(COUNTS, 3.0)
    return laplace(DESIGN, terms, jnp.exp(theta[0]) * PRIOR, start=start)


def log_prior(theta):
    return -(theta @ theta) / 2


def moments():
    """Mean and deviation of theta, and the mean of x, by quadrature over theta."""
    one = lambda theta: (log_posterior(theta), approximation(theta[None]).mode)
    density, modes = map(np.asarray, jax.jit(lambda grid: jax.lax.map(one, grid))(GRID))
    weight = np.exp(density - density.max())
    weight /= weight.sum()
    assert max(weight[0], weight[-1]) < 1e-6  # the grid holds all of it
    mean = weight @ GRID
    return mean, np.sqrt(weight @ (GRID - mean) ** 2), weight @ modes


def sampled(kernel, start, key, count):
    """Positions and acceptance rates of a chain."""

    def one(state, key):
        state, info = kernel.step(key, state)
        return state, (state.position, info.acceptance_rate)

    return jax.lax.scan(one, kernel.init(start), jax.random.split(key, count))[1]


@pytest.mark.slow
def test_hmc_over_a_hyperparameter():
    kernel = blackjax.hmc(log_posterior, 0.6, jnp.array([0.3]), num_integration_steps=4)
    theta, accepted = map(np.asarray, jax.jit(lambda key: sampled(kernel, 0.0, key, 1500))(key()))
    mean, deviation, _ = moments()
    assert accepted.mean() > 0.8
    # 1500 draws, nearly independent: the error of the mean is about deviation / 35
    assert abs(theta.mean() - mean) < 0.12 * deviation
    assert abs(theta.std() / deviation - 1) < 0.1


@pytest.mark.slow
@pytest.mark.parametrize(
    "how",
    [
        "at the mode",
        "marginal",
        pytest.param("at each theta", marks=pytest.mark.release),
        pytest.param("diagonal", marks=pytest.mark.release),
    ],
)
def test_nuts_over_all_and_over_a_hyperparameter(how):
    options: Any = {"draws": 2000, "warmup": 300, "chains": 2}
    if how == "marginal":
        draws = ours.marginal_nuts(key(), approximation, log_prior, [0.0], **options)
    else:
        options |= {"varying": how == "at each theta"}
        options |= {"metric": "diagonal"} if how == "diagonal" else {}
        draws = ours.nuts(key(), approximation, log_prior, [0.0], **options)
    mean, deviation, mode = moments()
    theta, x = np.asarray(draws.theta).ravel(), np.asarray(draws.x).reshape(-1, n)
    assert not np.any(draws.diverging)
    # Some 1,000 effective draws, and what the Laplace approximation is off by: it is exact for the
    # marginal sampler, whose x have the modes for their means.
    assert abs(theta.mean() - mean) < 0.15 * deviation
    assert abs(theta.std() / deviation - 1) < 0.12
    off = np.abs(x.mean(0) - mode) / x.std(0)
    assert off.max() < (0.1 if how == "marginal" else 0.35)


@pytest.mark.slow
def test_blackjax_own_kernel_with_our_marginal():
    from blackjax.mcmc import laplace_hmc

    marginal = ours.laplace_marginal(approximation, log_prior)
    (phi, grad) = jnp.zeros(1), jax.jit(jax.value_and_grad(marginal.log_marginal, has_aux=True))
    (value, mode), slope = grad(phi)
    np.testing.assert_allclose(value, log_posterior(0.0), rtol=1e-12)
    np.testing.assert_allclose(slope[0], jax.jit(jax.grad(log_posterior))(0.0), rtol=1e-9)
    state = laplace_hmc.init(phi, marginal)
    kernel = laplace_hmc.build_kernel()
    step = jax.jit(lambda key, at: kernel(key, at, marginal, 0.5, jnp.ones(1), 4))
    moved, info = step(key(), state)
    assert np.isfinite([moved.logdensity, info.acceptance_rate]).all()
    np.testing.assert_allclose(mode, approximation(phi).mode, atol=1e-9)


@pytest.mark.slow
def test_a_short_run_and_its_reproducibility():
    options: Any = {"draws": 4, "warmup": 6, "chains": 2}
    run = lambda key: ours.marginal_nuts(
        jax.random.key(key), approximation, log_prior, [0.0], **options
    )
    one, again, other = run(1), run(1), run(2)
    shapes = [each.shape for each in (one.theta, one.x, one.step_size)]
    assert shapes == [(2, 4, 1), (2, 4, n), (2,)]
    np.testing.assert_array_equal(one.x, again.x)
    assert np.all(np.asarray(one.x) != np.asarray(other.x))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"draws": 0}, "at least 1"),
        ({"metric": "round"}, "metric"),
        ({"target_acceptance": 1.0}, "target_acceptance"),
    ],
)
def test_settings_that_make_no_sense(options, match):
    with pytest.raises(ValueError, match=match):
        ours.nuts(key(), approximation, log_prior, [0.0], **options)


@pytest.mark.slow
def test_a_search_that_fails_is_rejected():
    """A Laplace marginal that is NaN, for want of Newton steps, moves no chain."""
    from blackjax.mcmc.hmc import HMCState

    def starved(theta):
        terms = likelihoods.poisson(COUNTS, 3.0)
        fit = laplace(DESIGN, terms, jnp.exp(theta) * PRIOR, start=np.full(n, 8.0), max_steps=2)
        return fit.log_marginal

    kernel = blackjax.hmc(starved, 0.3, jnp.array([0.3]), num_integration_steps=1)
    at: Any = [jnp.array(x) for x in (0.5, -10.0, 0.2)]  # position, log density, its gradient
    before = HMCState(*at)
    after, info = jax.jit(kernel.step)(jax.random.key(0), before)
    assert np.isnan(info.proposal.logdensity)
    assert not info.is_accepted
    assert after.position == 0.5
