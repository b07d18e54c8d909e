"""PyMC models with a named latent vector: Laplace approximations and draws, against the models'
own densities and dense quadrature."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
import support

import padchol
from padchol import likelihoods
from padchol.laplace import design, laplace

pytest.importorskip("pytensor", reason="needs the extra pymc")
pm = pytest.importorskip("pymc", reason="needs the extra pymc")
pytest.importorskip("blackjax", reason="needs the extra blackjax")

from padchol.interop import pytensor as ours  # noqa: E402
from padchol.interop.pymc import LatentModel, no_prior, sample  # noqa: E402

n = 9
A = sp.csc_array(support.laplacian(3) + 0.3 * sp.eye_array(n))
B = sp.csr_array(sp.eye_array(n) + sp.eye_array(n, k=4))
COUNTS = np.array([2, 5, 9, 4, 0, 3, 7, 6, 1])
PLAN = padchol.analyze([A, padchol.assembly.gram_pattern(B)])


@functools.cache
def model():
    """counts ~ Poisson(exp(mu + B x)), x ~ N(0, (tau A)^-1)"""
    with pm.Model(coords={"site": range(n)}) as found:
        tau, mu = pm.Gamma("tau", 3, 2), pm.Normal("mu")
        x = ours.GMRF("x", PLAN, tau * PLAN.values(A), 0.0, dims="site")
        pm.Deterministic("double", 2 * tau)
        pm.Poisson("y", pm.math.exp(mu + pm.math.dot(B.toarray(), x)), observed=COUNTS)
    return found


@functools.cache
def latent():
    return LatentModel(model(), "x", PLAN)


def by_hand(theta):
    """log p(y, theta) of the same model: theta = (log tau, mu), with the Jacobian of the first."""
    tau = jnp.exp(theta[0])
    terms = lambda eta: likelihoods.poisson(COUNTS)(theta[1] + eta)
    fit = laplace(design(PLAN, B), terms, tau * PLAN.values(A))
    gamma = 3 * jnp.log(2.0) - jnp.log(2.0) + 3 * theta[0] - 2 * tau
    normal = -(theta[1] ** 2 + jnp.log(2 * jnp.pi)) / 2
    return fit.log_marginal + gamma + normal, fit.mode


@pytest.mark.slow
def test_the_approximation_equals_that_by_hand():
    theta = np.array([0.4, 0.7])
    at = latent()

    def ours_(theta):
        fit = at(theta)
        return fit.log_marginal, (fit.mode, fit.converged)

    found, slope = jax.jit(jax.value_and_grad(ours_, has_aux=True))(theta)
    expected, wanted = jax.jit(jax.value_and_grad(by_hand, has_aux=True))(theta)
    assert found[1][1]
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-9)
    np.testing.assert_allclose(found[1][0], expected[1], atol=1e-8)
    np.testing.assert_allclose(slope, wanted, rtol=1e-7)
    x = np.linspace(-1, 1, n)
    point = {"tau_log__": theta[0], "mu": theta[1], "x": x}
    expected = model().compile_logp()(point)
    np.testing.assert_allclose(
        at.log_joint(jnp.asarray(theta), jnp.asarray(x)), expected, rtol=1e-10
    )


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="free variable of the model"):
        LatentModel(model(), "z", PLAN)
    with pytest.raises(ValueError, match="order"):
        LatentModel(model(), "x", padchol.analyze(support.grid(2, 2)))
    with pytest.raises(ValueError, match="lacks entries"):
        LatentModel(model(), "x", padchol.analyze(A))
    with pm.Model() as alone:
        ours.GMRF("x", PLAN, PLAN.values(A))
    with pytest.raises(ValueError, match="beside the latent"):
        LatentModel(alone, "x", PLAN)
    with pm.Model() as discrete:
        pm.Bernoulli("k", 0.5)
        ours.GMRF("x", PLAN, PLAN.values(A))
    with pytest.raises(ValueError, match="continuous"):
        LatentModel(discrete, "x", PLAN)


def moments():
    """Mean and deviation of (log tau, mu), by quadrature of the Laplace marginal."""
    axes = np.linspace(-2, 4, 61), np.linspace(-2, 3, 61)
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
    value = np.asarray(jax.jit(lambda g: jax.lax.map(lambda t: by_hand(t)[0], g))(grid))
    weight = np.exp(value - value.max())
    weight /= weight.sum()
    mean = weight @ grid
    return mean, np.sqrt(weight @ (grid - mean) ** 2)


@pytest.mark.slow
@pytest.mark.parametrize("marginal", [False, pytest.param(True, marks=pytest.mark.release)])
def test_draws(marginal):
    options = {"draws": 1500, "tune": 300, "chains": 2, "random_seed": 1}
    trace = sample(model(), "x", PLAN, marginal=marginal, **options).posterior
    assert trace["x"].dims == ("chain", "draw", "site")
    assert trace["tau"].shape == (2, 1500)
    np.testing.assert_allclose(trace["double"], 2 * trace["tau"])
    mean, deviation = moments()
    found = np.stack([np.log(trace["tau"]), trace["mu"]], -1).reshape(-1, 2)
    # At least 500 effective draws, and the Laplace approximation of a small model beside.
    assert np.all(np.abs(found.mean(0) - mean) < 0.2 * deviation)
    np.testing.assert_allclose(found.std(0), deviation, rtol=0.15)


@pytest.mark.slow
def test_shapes_of_a_short_run():
    trace = sample(model(), "x", PLAN, draws=3, tune=3, chains=2, random_seed=1)
    assert trace.posterior["x"].shape == (2, 3, n)
    assert trace.sample_stats["n_steps"].shape == (2, 3)
    assert no_prior(jnp.zeros(2)) == 0.0
