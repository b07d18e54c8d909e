"""Refits: nothing is compiled again for new data; batches of refits are the fits one by one."""

from __future__ import annotations

import contextlib
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
import support

import padchol
from padchol import laplace, likelihoods, mixed

ROWS, GROUPS = 60, 8
rng = np.random.default_rng(0)
CODE = rng.integers(0, GROUPS, ROWS)
X = np.column_stack([np.ones(ROWS), rng.normal(size=ROWS)])
SLOPES = [mixed.Random(X, CODE, "g")]
LEVELS = [mixed.Random(X[:, :1], CODE, "g")]


def linear(seed: int) -> mixed.LinearMixedModel:
    rng = np.random.default_rng(seed)
    u = rng.normal(size=(GROUPS, 2)) * [1.0, 0.5]
    y = X @ [1.0, 2.0] + np.sum(X * u[CODE], 1) + 0.7 * rng.normal(size=ROWS)
    return mixed.LinearMixedModel(y, X, SLOPES)


def counts(seed: int) -> mixed.GeneralizedLinearMixedModel:
    rng = np.random.default_rng(seed)
    eta = X @ [0.5, 0.3] + 0.6 * rng.normal(size=GROUPS)[CODE]
    terms = likelihoods.poisson(rng.poisson(np.exp(eta)))
    return mixed.GeneralizedLinearMixedModel(terms, X, LEVELS)


@contextlib.contextmanager
def compilations():
    """The programs that XLA compiles meanwhile."""
    found, listening = [], True

    def listen(event: str, duration_secs: float, **kwargs: Any):
        if listening and event.endswith("backend_compile_duration"):
            found.append(kwargs.get("fun_name"))

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield found
    listening = False


@pytest.mark.parametrize("model", [linear, counts])
def test_a_refit_compiles_nothing(model):
    """Another response of the same shape, estimates, standard errors and all."""
    first = model(1).fit()
    with compilations() as found:
        second = model(2).fit()
    assert first.converged
    assert second.converged
    assert first.deviance != second.deviance
    assert not found


def test_laplace_of_other_data_compiles_nothing():
    A = sp.csc_array(support.laplacian(4) + sp.eye_array(16))
    plan = padchol.analyze([A, sp.eye_array(16)])
    design, a = laplace.design(plan, sp.eye_array(16, format="csr")), jnp.asarray(plan.values(A))

    @jax.jit
    @jax.value_and_grad
    def evidence(scale, terms):
        return laplace.laplace(design, terms, scale * a).log_marginal

    first, _ = evidence(1.0, likelihoods.poisson(np.arange(16)))
    with compilations() as found:
        second, _ = evidence(1.0, likelihoods.poisson(np.arange(16)[::-1]))
    assert np.isfinite([first, second]).all()
    assert not found


@pytest.mark.parametrize("model", [linear, counts])
@pytest.mark.slow
def test_a_bootstrap_is_the_fits_one_by_one(model):
    fit = model(1).fit()
    key = jax.random.key(3)
    batch, responses = fit.bootstrap(key, 40), fit.simulate(key, 40)
    assert batch.converged.all()
    assert responses.shape == (40, ROWS)
    for k in range(4):
        if model is linear:
            alone = mixed.LinearMixedModel(responses[k], X, SLOPES).fit()
            np.testing.assert_allclose(batch.sigma[k], cast(Any, alone.sigma), rtol=1e-4)
        else:
            terms = likelihoods.poisson(responses[k])
            alone = mixed.GeneralizedLinearMixedModel(terms, X, LEVELS).fit()
        assert abs(batch.deviance[k] - alone.deviance) < 1e-5
        np.testing.assert_allclose(batch.beta[k], alone.beta, rtol=0, atol=2e-3)
    error = np.std(batch.beta, 0) / np.sqrt(40)
    assert (np.abs(batch.beta.mean(0) - fit.beta) < 5 * error).all()
    with compilations() as found:
        again = fit.bootstrap(jax.random.key(4), 40)
    assert not found
    assert (again.deviance != batch.deviance).all()


@pytest.mark.parametrize("model", [linear, counts])
def test_a_refit_is_a_fit(model):
    fit, other = model(1).fit(), model(2)
    found, expected = fit.refit(other.observed), other.fit()
    assert found.converged
    np.testing.assert_allclose(found.deviance, expected.deviance, rtol=1e-8)
    np.testing.assert_allclose(found.beta, expected.beta, atol=1e-5)
    np.testing.assert_allclose(found.residuals(), expected.residuals(), atol=1e-4)
    with pytest.raises(ValueError, match=r"expected a response \(60,\), finite; got shape \(3,\)"):
        fit.refit(np.ones(3))


def test_simulated_responses_have_the_moments_of_the_model():
    fit = linear(1).fit()
    y = fit.simulate(jax.random.key(0), 4000)
    V = fit.random_covariance("g")
    same = CODE[:, None] == CODE
    wanted = same * (X @ V @ X.T) + fit.sigma**2 * np.eye(ROWS)
    error = np.sqrt((np.outer(np.diag(wanted), np.diag(wanted)) + wanted**2) / 4000)
    np.testing.assert_array_less(np.abs(np.cov(y.T) - wanted), 5.5 * error)
    np.testing.assert_allclose(y.mean(0), X @ fit.beta, atol=5.5 * np.sqrt(wanted.max() / 4000))


def test_responses_that_nobody_can_draw():
    """A plain function says nothing of how its data come about."""
    y = np.random.default_rng(0).poisson(1.5, ROWS)
    terms = lambda eta: y * eta - jnp.exp(eta)
    fit = mixed.GeneralizedLinearMixedModel(terms, X, LEVELS).fit()
    with pytest.raises(NotImplementedError, match=r"padchol\.likelihoods"):
        fit.simulate(jax.random.key(0), 3)
