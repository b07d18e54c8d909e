"""PyMC models with a sparse precision against the dense ones, and sampled through JAX."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
import support
from scipy import stats

import padchol

pytest.importorskip("pytensor", reason="needs the extra pymc")
pm = pytest.importorskip("pymc", reason="needs the extra pymc")

from pytensor.compile.mode import Mode  # noqa: E402

from padchol.interop import pytensor as ours  # noqa: E402

PLAIN = Mode("py", "fast_run")  # rewrites, and no C compiler
n = 12
A = support.grid(3, 4)
PLAN = padchol.analyze(A)
VALUES = PLAN.values(A)
EYE = PLAN.values(sp.csc_array(sp.eye_array(n)))
X = np.random.default_rng(3).normal(size=(2, n))
LOC = np.linspace(-1, 1, n)
Y = np.random.default_rng(6).normal(size=n) + LOC
NOISE = 0.5


def models():
    """The same model, with the sparse and with the dense precision."""
    dense, eye = A.toarray(), np.eye(n)
    with pm.Model() as sparse_model:
        tau, kappa = pm.Gamma("tau", 3, 2), pm.Gamma("kappa", 2, 1)
        x = ours.GMRF("x", plan=PLAN, a=tau * (VALUES + kappa * EYE), loc=0.5)
        pm.Normal("y", x, NOISE, observed=Y)
    with pm.Model() as dense_model:
        tau, kappa = pm.Gamma("tau", 3, 2), pm.Gamma("kappa", 2, 1)
        x = pm.MvNormal("x", mu=np.full(n, 0.5), tau=tau * (dense + kappa * eye))
        pm.Normal("y", x, NOISE, observed=Y)
    return sparse_model, dense_model


def test_a_model_equals_the_dense_model():
    from pymc.sampling.jax import get_jaxified_logp

    sparse_model, dense_model = models()
    ours_, theirs = (m.compile_logp(mode=PLAIN) for m in (sparse_model, dense_model))
    slopes = [m.compile_dlogp(mode=PLAIN) for m in (sparse_model, dense_model)]
    in_jax = jax.jit(get_jaxified_logp(sparse_model, negative_logp=True))
    order = [v.name for v in sparse_model.value_vars]
    start = sparse_model.initial_point()
    np.testing.assert_array_equal(start["x"], 0.5)
    for seed in range(4):
        rng = np.random.default_rng(seed)
        point = {k: v + rng.normal(size=np.shape(v)) for k, v in start.items()}
        expected = theirs(point)
        assert abs(ours_(point) - expected) < 1e-9
        assert abs(in_jax([jnp.asarray(point[k]) for k in order]) - expected) < 1e-9
        np.testing.assert_allclose(slopes[0](point), slopes[1](point), atol=1e-9)
    program = str(jax.make_jaxpr(in_jax)([jnp.asarray(start[k]) for k in order]))
    assert "callback" not in program


def test_draws_shapes_and_predictive():
    draws = pm.draw(ours.GMRF.dist(PLAN, VALUES, LOC, shape=(20000, n)), mode=PLAIN, random_seed=1)
    sigma = np.linalg.inv(A.toarray())
    np.testing.assert_allclose(draws.mean(0), LOC, atol=5 * np.sqrt(sigma.max() / 20000))
    np.testing.assert_allclose(np.cov(draws.T), sigma, atol=7 * sigma.max() / np.sqrt(20000))
    with pm.Model(coords={"two": range(2), "site": range(n)}) as model:
        loc = pm.Normal("loc")
        ours.GMRF("y", PLAN, np.stack([VALUES, 2 * VALUES]), loc, observed=X, dims=("two", "site"))
        prior = pm.sample_prior_predictive(3, random_seed=1, compile_kwargs={"mode": PLAIN})
    assert prior.prior_predictive["y"].shape == (1, 3, 2, n)
    density = model.compile_logp(mode=PLAIN)({"loc": 0.25})
    expected = stats.norm.logpdf(0.25)
    for scale, x in zip((1, 2), X, strict=True):
        expected += stats.multivariate_normal(np.full(n, 0.25), sigma / scale).logpdf(x)
    assert abs(density - expected) < 1e-11


def test_a_model_rejects_a_precision_that_is_not_positive_definite():
    from pymc.logprob.utils import ParameterValueError
    from pymc.sampling.jax import get_jaxified_logp

    with pm.Model() as model:
        kappa = pm.Normal("kappa")
        ours.GMRF("x", PLAN, VALUES + kappa * EYE, observed=LOC)
    density = model.compile_logp(mode=PLAIN)
    assert np.isfinite(density({"kappa": 1.0}))
    assert density({"kappa": -50.0}) == -np.inf
    assert np.isnan(get_jaxified_logp(model)([jnp.asarray(-50.0)]))
    with pytest.raises(ParameterValueError, match="positive definite precision"):
        pm.logp(ours.GMRF.dist(PLAN, -VALUES), LOC).eval(mode=PLAIN)


def exact_posterior():
    """Mean and standard deviation of x in `models()`, by quadrature over log tau and log kappa."""
    dense, eye = A.toarray(), np.eye(n)
    logs, means, seconds = [], [], []
    for s in np.linspace(-3, 3, 41):
        for t in np.linspace(-6, 3, 41):
            tau, kappa = np.exp(s), np.exp(t)
            Q = tau * (dense + kappa * eye)
            sigma = np.linalg.inv(Q + eye / NOISE**2)
            mean = sigma @ (Q @ np.full(n, 0.5) + Y / NOISE**2)
            marginal = np.linalg.inv(Q) + NOISE**2 * eye
            log = stats.multivariate_normal(np.full(n, 0.5), marginal).logpdf(Y)
            log += stats.gamma(3, scale=1 / 2).logpdf(tau) + stats.gamma(2).logpdf(kappa) + s + t
            logs.append(log)
            means.append(mean)
            seconds.append(mean**2 + np.diag(sigma))
    weights = np.exp(np.array(logs) - np.max(logs))
    weights /= weights.sum()
    mean = weights @ np.array(means)
    return mean, np.sqrt(weights @ np.array(seconds) - mean**2)


@pytest.mark.slow
def test_sampling_through_jax_finds_the_posterior():
    pytest.importorskip("numpyro", reason="needs the extra numpyro")
    with models()[0]:
        trace = pm.sample(
            600,
            tune=400,
            chains=1,
            nuts_sampler="numpyro",
            random_seed=1,
            progressbar=False,
            compute_convergence_checks=False,
        )
    draws = trace.posterior["x"].values[0]
    mean, deviation = exact_posterior()
    assert np.max(np.abs(draws.mean(0) - mean) / deviation) < 0.25
    assert np.max(np.abs(draws.std(0) / deviation - 1)) < 0.25
