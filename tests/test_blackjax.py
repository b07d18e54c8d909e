"""BlackJAX over a hyperparameter of a Laplace marginal, against quadrature of the same marginal."""

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

n = 16
Q = sp.csc_array(support.laplacian(4) + 0.3 * sp.eye_array(n))
PLAN = padchol.analyze(Q)
DESIGN = design(PLAN, sp.eye_array(n))
PRIOR = PLAN.values(Q)
COUNTS = np.array([2, 5, 9, 4, 0, 3, 7, 6, 1, 1, 2, 8, 0, 0, 1, 3])
GRID = np.linspace(-4.0, 5.0, 91)


def log_posterior(theta):
    """theta ~ N(0, 1), x ~ N(0, (exp(theta) Q)^-1), counts ~ Poisson(3 exp(x)), without x."""
    terms = likelihoods.poisson(COUNTS, 3.0)
    return laplace(DESIGN, terms, jnp.exp(theta) * PRIOR).log_marginal - theta**2 / 2


def sampled(kernel, start, key, count):
    """Positions and acceptance rates of a chain."""

    def one(state, key):
        state, info = kernel.step(key, state)
        return state, (state.position, info.acceptance_rate)

    return jax.lax.scan(one, kernel.init(start), jax.random.split(key, count))[1]


@pytest.mark.slow
def test_hmc_over_a_hyperparameter():
    kernel = blackjax.hmc(log_posterior, 0.6, jnp.array([0.3]), num_integration_steps=4)
    run = lambda grid, key: (jax.lax.map(log_posterior, grid), sampled(kernel, 0.0, key, 1500))
    density, (theta, accepted) = map(np.asarray, jax.jit(run)(GRID, jax.random.key(0)))
    weight = np.exp(density - density.max())
    weight /= weight.sum()
    assert max(weight[0], weight[-1]) < 1e-6  # the grid holds all of it
    mean = weight @ GRID
    deviation = np.sqrt(weight @ (GRID - mean) ** 2)
    assert accepted.mean() > 0.8
    # 1500 draws, nearly independent: the error of the mean is about deviation / 35
    assert abs(theta.mean() - mean) < 0.12 * deviation
    assert abs(theta.std() / deviation - 1) < 0.1


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
