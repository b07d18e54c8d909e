"""The NumPyro distribution against the dense multivariate normal, alone and in a model."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.stats as stats
import support

numpyro = pytest.importorskip("numpyro")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpyro.distributions as dist  # noqa: E402
from numpyro.distributions.batch_util import promote_batch_shape, vmap_over  # noqa: E402

import padchol  # noqa: E402
from padchol.interop.numpyro import GMRF  # noqa: E402

pytestmark = pytest.mark.oldest

n = 20
Q = sp.csc_array(support.graph_laplacian(support.grid(4, 5)) + 0.5 * sp.eye_array(n))
PLAN = padchol.analyze(Q)
SIGMA = np.linalg.inv(Q.toarray())
LOC = np.linspace(-1, 2, n)
SCALES = np.array([1.0, 2.0, 0.5])


@pytest.fixture
def a():
    return jnp.asarray(PLAN.values(Q))


def dense(loc=LOC, scale=1.0):
    return stats.multivariate_normal(loc, SIGMA / scale)


@jax.jit
def density(field, x):
    return field.log_prob(x)


@jax.jit
def moments(field):
    return field.mean, field.variance, field.entropy()


def points(*shape):
    return np.random.default_rng(0).normal(size=(*shape, n))


# ---- against the dense distribution -----------------------------------------------------------


@support.both_precisions
def test_log_density(precision):
    values, loc, x = PLAN.values(Q).astype(precision), LOC.astype(precision), points(3, 2)
    x = x.astype(precision)
    found = density(GMRF(PLAN, values, loc), x)
    assert found.dtype == precision
    tolerance = support.VALUE_TOLERANCE[precision.name]
    assert support.relative(found, dense().logpdf(x)) < tolerance
    assert GMRF(PLAN, values).loc.dtype == precision
    assert GMRF(PLAN, values, 1).loc.dtype == precision


def test_moments(a):
    field = GMRF(PLAN, a, LOC)
    assert (field.batch_shape, field.event_shape, field.event_dim) == ((), (n,), 1)
    mean, variance, entropy = moments(field)
    np.testing.assert_array_equal(mean, LOC)
    np.testing.assert_allclose(variance, np.diag(SIGMA), rtol=1e-12)
    np.testing.assert_allclose(entropy, dense().entropy(), rtol=1e-12)


def test_draws(a):
    draws = jax.jit(lambda key: GMRF(PLAN, a, LOC).sample(key, (200, 100)))(jax.random.key(0))
    assert draws.shape == (200, 100, n)
    flat = np.asarray(draws).reshape(-1, n)
    np.testing.assert_allclose(flat.mean(0), LOC, atol=5 * np.sqrt(SIGMA.max() / len(flat)))
    np.testing.assert_allclose(np.cov(flat.T), SIGMA, atol=7 * SIGMA.max() / np.sqrt(len(flat)))


@pytest.mark.slow
def test_derivatives(a):
    x = points()
    M = support.symmetric(PLAN, a)

    def found(t):
        return GMRF(PLAN, a * jnp.exp(t[0]), t[1] * LOC).log_prob(x)

    def expected(t):
        apart = x - t[1] * LOC
        square = jnp.exp(t[0]) * apart @ M @ apart
        logdet = n * t[0] + jnp.linalg.slogdet(M)[1]
        return (logdet - n * jnp.log(2 * jnp.pi) - square) / 2

    t = jnp.array([0.3, -0.2])
    both = lambda f: jax.jit(lambda t: (jax.grad(f)(t), jax.hessian(f)(t)))(t)
    for ours, theirs in zip(both(found), both(expected), strict=True):
        assert support.relative(ours, theirs) < 1e-11


def test_draws_are_differentiable(a):
    """x = loc + s^-1/2 P^T L^-T z, so that dx/ds = -(x - loc) / 2s."""
    assert GMRF(PLAN, a).has_rsample
    draw = lambda s: GMRF(PLAN, s * a, LOC).sample(jax.random.key(1))
    x, slope = jax.jit(lambda s: jax.jvp(draw, (s,), (1.0,)))(4.0)
    assert support.relative(slope, -(x - LOC) / 8) < 1e-11


# ---- batches ----------------------------------------------------------------------------------


def batched(a):
    """Batch shape (2, 3): means by row, precisions by column."""
    return GMRF(PLAN, SCALES[:, None] * a, np.stack([LOC, -LOC])[:, None])


@pytest.mark.slow
def test_batches(a):
    field, x = batched(a), points(4, 2, 3)
    assert (field.batch_shape, field.event_shape) == ((2, 3), (n,))
    expected = [
        [[dense(m, s).logpdf(x[k, i, j]) for j, s in enumerate(SCALES)] for i, m in enumerate(ms)]
        for k, ms in enumerate([(LOC, -LOC)] * 4)
    ]
    np.testing.assert_allclose(density(field, x), expected, rtol=1e-11)
    one = [[dense(m, s).logpdf(x[0, 0, 0]) for s in SCALES] for m in (LOC, -LOC)]
    np.testing.assert_allclose(density(field, x[0, 0, 0]), one, rtol=1e-11)
    mean, variance, entropy = moments(field)
    np.testing.assert_array_equal(mean, np.broadcast_to(field.loc, (2, 3, n)))
    wanted = np.broadcast_to(np.diag(SIGMA) / SCALES[:, None], (2, 3, n))
    np.testing.assert_allclose(variance, wanted, rtol=1e-12)
    wanted = np.broadcast_to([dense(LOC, s).entropy() for s in SCALES], (2, 3))
    np.testing.assert_allclose(entropy, wanted, rtol=1e-12)


@pytest.mark.slow
def test_batches_of_draws(a):
    field = batched(a)
    draws = jax.jit(lambda f: f.sample(jax.random.key(2), (4000,)))(field)
    assert draws.shape == (4000, 2, 3, n) == field.shape((4000,))
    error = np.sqrt(np.diag(SIGMA).max() / SCALES.min() / 4000)
    np.testing.assert_allclose(
        draws.mean(0), np.broadcast_to(field.mean, (2, 3, n)), atol=5 * error
    )
    ratio = draws.var(0) / field.variance
    np.testing.assert_allclose(ratio, np.ones((2, 3, n)), atol=5 * np.sqrt(2 / 4000))


def test_expanded(a):
    field, x = GMRF(PLAN, a, LOC).expand((3,)), points(2, 3)
    assert (field.batch_shape, field.event_shape) == ((3,), (n,))
    np.testing.assert_allclose(field.log_prob(x), dense().logpdf(x), rtol=1e-11)
    assert field.sample(jax.random.key(0), (5,)).shape == (5, 3, n)
    whole = field.to_event(1)
    np.testing.assert_allclose(whole.log_prob(x), dense().logpdf(x).sum(-1), rtol=1e-11)


def test_vmap_over(a):
    values, x = SCALES[:, None] * a, points()
    field = GMRF(PLAN, values, LOC)
    axes = vmap_over(field, a=0)
    assert (axes.a, axes.loc) == (0, None)
    expected = [dense(LOC, s).logpdf(x) for s in SCALES]
    mapped = jax.vmap(lambda f: f.log_prob(x), in_axes=(axes,))
    np.testing.assert_allclose(mapped(field), expected, rtol=1e-11)
    made = jax.vmap(lambda a: GMRF(PLAN, a, LOC), out_axes=vmap_over(GMRF(PLAN, a, LOC), a=0))
    made = promote_batch_shape(made(values))
    assert made.batch_shape == (3,)
    assert made.loc.shape == (n,)
    np.testing.assert_allclose(density(made, x), expected, rtol=1e-11)


def test_infer_shapes():
    assert GMRF.infer_shapes(PLAN, (3, PLAN.nnz), (2, 1, n)) == ((2, 3), (n,))
    assert GMRF.infer_shapes(PLAN, (PLAN.nnz,)) == ((), (n,))


# ---- as a pytree ------------------------------------------------------------------------------


def test_pytree(a):
    """Parameters are leaves, the plan is not; equal plans share what is compiled."""
    field, again = GMRF(PLAN, a, LOC), GMRF(padchol.analyze(Q), a, LOC)
    leaves, tree = jax.tree.flatten(field)
    assert sorted(leaf.shape for leaf in leaves) == [(n,), (PLAN.nnz,)]
    assert tree == jax.tree.structure(again)
    copy = jax.tree.unflatten(tree, leaves)
    assert (copy.batch_shape, copy.event_shape, copy.plan) == ((), (n,), PLAN)
    before, x = density._cache_size(), points(7)
    np.testing.assert_array_equal(density(field, x), density(again, x))
    assert density._cache_size() <= before + 1
    gradient = jax.jit(jax.grad(lambda f: f.log_prob(x).sum()))(field)
    assert support.relative(gradient.loc, (Q @ (x - LOC).T).sum(1)) < 1e-11


def test_scan_and_a_traced_plan(a):
    x = points()

    def step(field, s):
        return GMRF(field.plan, s * field.a, field.loc), field.log_prob(x)

    @jax.jit
    def run(plan, a):
        return jax.lax.scan(step, GMRF(plan, a, LOC), jnp.array([2.0, 0.25, 1.0]))

    field, found = run(PLAN, a)
    np.testing.assert_allclose(found, [dense(LOC, s).logpdf(x) for s in (1, 2, 0.5)], rtol=1e-11)
    np.testing.assert_allclose(field.a, a / 2)
    assert field.plan.fingerprint == PLAN.fingerprint


# ---- in a model -------------------------------------------------------------------------------

NOISE = 4.0  # precision of the observations
Y = LOC + np.random.default_rng(3).normal(size=n) / np.sqrt(NOISE)


def model(a):
    """y = x + e, x ~ N(0, (tau Q)^-1), tau ~ Gamma(3, 3)"""
    tau = numpyro.sample("tau", dist.Gamma(3.0, 3.0))
    x = numpyro.sample("x", GMRF(PLAN, tau * a))
    numpyro.sample("y", dist.Normal(x, 1 / np.sqrt(NOISE)).to_event(1), obs=Y)


def exact():
    """Posterior means of tau and x: x integrated out in closed form, tau by quadrature."""
    taus = np.linspace(0.01, 8, 4000)
    values, vectors = np.linalg.eigh(Q.toarray())
    variance = 1 / np.multiply.outer(taus, values) + 1 / NOISE
    z = vectors.T @ Y
    log = -0.5 * (np.log(variance) + z**2 / variance).sum(1) + stats.gamma(3, scale=1 / 3).logpdf(
        taus
    )
    weight = np.exp(log - log.max())
    weight /= weight.sum()
    shrunk = NOISE / (np.multiply.outer(taus, values) + NOISE) * z
    return weight @ taus, vectors @ (weight @ shrunk)


@pytest.mark.slow
def test_nuts(a):
    kernel = numpyro.infer.NUTS(model, init_strategy=numpyro.infer.init_to_median(num_samples=5))
    mcmc = numpyro.infer.MCMC(kernel, num_warmup=200, num_samples=600, progress_bar=False)
    mcmc.run(jax.random.key(0), a)
    draws = mcmc.get_samples()
    tau, x = exact()
    assert draws["x"].shape == (600, n)
    assert abs(draws["tau"].mean() - tau) < 0.15
    spread = np.asarray(draws["x"]).std(0)
    np.testing.assert_allclose(
        np.asarray(draws["x"]).mean(0), x, atol=5 * spread.max() / np.sqrt(300)
    )
    assert int(mcmc.get_extra_fields()["diverging"].sum()) == 0


def test_prior_and_plate(a):
    def fields():
        with numpyro.plate("replicates", 3):
            numpyro.sample("x", GMRF(PLAN, a))

    draws = numpyro.infer.Predictive(fields, num_samples=4)(jax.random.key(0))
    assert draws["x"].shape == (4, 3, n)
    trace = numpyro.handlers.trace(numpyro.handlers.seed(fields, 0)).get_trace()
    x = trace["x"]["value"]
    found = trace["x"]["fn"].log_prob(x)
    np.testing.assert_allclose(found, dense(0 * LOC).logpdf(x), rtol=1e-11)


# ---- failures and errors ----------------------------------------------------------------------


def test_failure_is_never_a_number(a):
    broken = GMRF(PLAN, -a, LOC)
    assert np.isnan(density(broken, points(7))).all()
    assert np.isnan(moments(broken)[1]).all()
    assert np.isnan(moments(broken)[2])
    assert np.isnan(broken.sample(jax.random.key(0))).all()
    mixed = GMRF(PLAN, jnp.stack([a, -a, a]), np.stack([LOC, LOC])[:, None])
    np.testing.assert_array_equal(np.isnan(density(mixed, points(4, 2, 3)))[0, 0], [0, 1, 0])


def test_validation(a):
    with pytest.raises(padchol.NotPositiveDefiniteError, match="got pivot -"):
        GMRF(PLAN, -a, validate_args=True)
    with pytest.raises(ValueError, match="invalid a parameter"):
        GMRF(PLAN, a.at[0].set(jnp.nan), validate_args=True)
    with pytest.raises(ValueError, match="invalid loc parameter"):
        GMRF(PLAN, a, jnp.inf, validate_args=True)
    jax.eval_shape(lambda a: GMRF(PLAN, a, validate_args=True).log_prob(LOC), a)
    field = GMRF(PLAN, a, validate_args=True)
    with pytest.warns(UserWarning, match="Out-of-support"):
        assert field.log_prob(np.where(np.arange(n) == 2, np.nan, LOC)) == -np.inf


def test_what_does_not_fit_is_named(a):
    with pytest.raises(TypeError, match="expected a Plan, as made by padchol"):
        GMRF(Q, a)  # pyright: ignore
    with pytest.raises(
        ValueError, match=rf"values of shape \(\.\.\., {PLAN.nnz}\).*got shape \(3,"
    ):
        GMRF(PLAN, a[:3])
    with pytest.raises(
        ValueError, match=r"loc a number or of shape \(\.\.\., 20\); got shape \(3,"
    ):
        GMRF(PLAN, a, np.ones(3))
    with pytest.raises(ValueError, match="batch axes of values and loc that broadcast; got shapes"):
        GMRF(PLAN, jnp.stack([a, a]), np.ones((3, n)))
    with pytest.raises(ValueError, match=r"a value of shape \(\.\.\., 20\); got shape \(3,\)"):
        GMRF(PLAN, a).log_prob(np.ones(3))
    with pytest.raises(TypeError, match="complex is not supported"):
        GMRF(PLAN, 1j * a)
