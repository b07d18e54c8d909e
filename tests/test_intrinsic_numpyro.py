"""Intrinsic fields in NumPyro: the density on a plane, the map onto it, draws, and NUTS."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
import scipy.sparse as sp
import support

numpyro = pytest.importorskip("numpyro")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpyro.distributions as dist  # noqa: E402
from numpyro.distributions import biject_to  # noqa: E402
from numpyro.distributions.batch_util import vmap_over  # noqa: E402

import padchol  # noqa: E402
from padchol import gmrf  # noqa: E402
from padchol.interop.numpyro import IntrinsicGMRF  # noqa: E402

n = 12
Q = sp.csc_array(support.graph_laplacian(support.grid(3, 4)))
PLAN = padchol.analyze(Q)
LOC = np.linspace(-1, 2, n)
ONES = np.ones(n)
WEIGHTS = np.linspace(0.5, 2, n)  # another way to hold the level
# Two components: a null space of two dimensions.
PAIR = sp.csc_array(sp.block_diag([Q, 3 * Q]))
PAIR_PLAN = padchol.analyze(PAIR)
TWO = np.kron(np.eye(2), ONES[:, None])


def values(plan=PLAN, matrix=Q):
    return jnp.asarray(plan.values(matrix))


def held(C):
    """The covariance of the field on the plane C x = 0, and the rank of its precision."""
    C = np.atleast_2d(C)
    Z = np.linalg.svd(C)[2][len(C) :].T
    return Z @ np.linalg.inv(Z.T @ Q.toarray() @ Z) @ Z.T


@jax.jit
def density(field, x):
    return field.log_prob(x)


def on_plane(field, *shape):
    z = np.random.default_rng(0).normal(size=(*shape, field.event_shape[0] - len(field.C)))
    return biject_to(field.support)(jnp.asarray(z))


@pytest.mark.parametrize("C", [None, WEIGHTS], ids=["sum to zero", "weighted"])
@support.both_precisions
def test_density_on_the_plane(C, precision):
    a = values().astype(precision)
    field = IntrinsicGMRF(PLAN, a, ONES, LOC.astype(precision), constraints=C)
    x = on_plane(field, 5).astype(precision)
    found = density(field, x)
    assert found.dtype == precision
    S = held(ONES if C is None else C)
    d, V = np.linalg.eigh(S)
    d, V = d[1:], V[:, 1:]
    apart = (np.asarray(x, float) - LOC) @ V
    expected = -0.5 * np.sum(apart**2 / d + np.log(2 * np.pi * d), 1)
    assert support.relative(found, expected) < 10 * support.VALUE_TOLERANCE[precision.name]


@pytest.mark.parametrize(
    ("plan", "matrix", "null", "C"),
    [(PLAN, Q, ONES, None), (PLAN, Q, ONES, WEIGHTS), (PAIR_PLAN, PAIR, TWO, None)],
    ids=["sum to zero", "weighted", "two components"],
)
def test_the_map_onto_the_plane_is_an_isometry(plan, matrix, null, C):
    field = IntrinsicGMRF(plan, values(plan, matrix), null, 0.5, constraints=C)
    onto = biject_to(field.support)
    k = np.atleast_2d(null.T).shape[0]
    z = np.random.default_rng(1).normal(size=(2, 3, plan.n - k))
    x = onto(z)
    assert onto.forward_shape(z.shape) == x.shape
    assert onto.inverse_shape(x.shape) == z.shape
    np.testing.assert_allclose(onto._inverse(x), z, atol=1e-13)
    np.testing.assert_allclose((x - 0.5) @ field.C.T, 0, atol=1e-12)
    assert cast(Any, field.support)(x).all()
    assert not cast(Any, field.support)(x + 0.01).any()
    J = jax.jacfwd(onto)(z[0, 0])
    np.testing.assert_allclose(J.T @ J, np.eye(plan.n - k), atol=1e-13)
    np.testing.assert_array_equal(onto.log_abs_det_jacobian(z, x), np.zeros((2, 3)))
    start = field.support.feasible_like(jnp.zeros((4, plan.n)))
    assert start.shape == (4, plan.n)
    assert cast(Any, field.support)(start).all()


def test_planes_and_the_maps_onto_them_are_equal_by_what_they_hold():
    """NumPyro compares constraints and transforms, and takes them through JAX."""
    planes = [IntrinsicGMRF(PLAN, values(), ONES, LOC).support for _ in range(2)]
    moved = IntrinsicGMRF(PLAN, values(), ONES, LOC + 1).support
    pair = IntrinsicGMRF(PAIR_PLAN, values(PAIR_PLAN, PAIR), TWO, 0.0).support
    for static in (False, True):
        assert planes[0].eq(planes[1], static)
        assert not planes[0].eq(moved, static)
        assert not planes[0].eq(pair, static)
        assert not planes[0].eq(dist.constraints.real, static)
    maps = [biject_to(each) for each in (*planes, moved)]
    assert maps[0].codomain is planes[0]
    assert maps[0].eq(maps[1])
    assert not maps[0].eq(maps[2])
    assert not maps[0].eq(planes[0])
    leaves, tree = jax.tree.flatten(maps[0])
    assert jax.tree.unflatten(tree, leaves).eq(maps[0])


@pytest.mark.slow
def test_draws_and_variances():
    field = IntrinsicGMRF(PLAN, values(), ONES, LOC, constraints=WEIGHTS)
    draws = field.sample(jax.random.key(0), (40_000,))
    assert cast(Any, field.support)(draws).all()
    S = held(WEIGHTS)
    np.testing.assert_allclose(field.variance, np.diag(S), rtol=1e-10)
    np.testing.assert_allclose(draws.mean(0), LOC, atol=5 * np.sqrt(S.max() / 40_000))
    np.testing.assert_allclose(np.cov(draws.T), S, atol=0.05 * S.max())


@pytest.mark.slow
def test_batches_and_derivatives():
    a = values()
    scales = jnp.array([0.5, 1.0, 3.0])
    x = on_plane(IntrinsicGMRF(PLAN, a, ONES), 3)
    fields = IntrinsicGMRF(PLAN, scales[:, None] * a, ONES)
    assert (fields.batch_shape, fields.event_shape) == ((3,), (n,))
    expected = [
        gmrf.IntrinsicGMRF(PLAN, s * a, ONES).log_prob(y) for s, y in zip(scales, x, strict=True)
    ]
    np.testing.assert_allclose(density(fields, x), expected, rtol=1e-12)
    one = IntrinsicGMRF(PLAN, a, ONES)
    made = jax.vmap(lambda s: IntrinsicGMRF(PLAN, s * a, ONES), out_axes=vmap_over(one, a=0))
    mapped = jax.vmap(lambda d, y: d.log_prob(y), in_axes=(vmap_over(one, a=0), 0))
    np.testing.assert_allclose(mapped(made(scales), x), expected, rtol=1e-12)
    assert fields.sample(jax.random.key(0), (2,)).shape == (2, 3, n)

    def f(log_scale):
        return IntrinsicGMRF(PLAN, jnp.exp(log_scale) * a, ONES).log_prob(x[0])

    square = float(x[0] @ Q @ x[0])  # (n - 1) t / 2 - e^t square / 2 + constant
    t = 0.3
    np.testing.assert_allclose(jax.grad(f)(t), (n - 1 - np.exp(t) * square) / 2, rtol=1e-10)
    np.testing.assert_allclose(jax.hessian(f)(t), -np.exp(t) * square / 2, rtol=1e-9)


@pytest.mark.slow
def test_nuts_on_the_plane():
    """Observed with noise, the field has a Gaussian posterior: that of the dense formulas."""
    y, noise = np.random.default_rng(2).normal(size=n), 0.5

    def model():
        u = numpyro.sample("u", IntrinsicGMRF(PLAN, values(), ONES))
        numpyro.sample("y", dist.Normal(u, noise).to_event(1), obs=y)

    sampler = numpyro.infer.MCMC(
        numpyro.infer.NUTS(model), num_warmup=200, num_samples=1500, progress_bar=False
    )
    sampler.run(jax.random.key(0))
    u = np.asarray(sampler.get_samples()["u"])
    np.testing.assert_allclose(u.sum(1), 0, atol=1e-10)
    S = held(ONES)
    d, V = np.linalg.eigh(S)
    d, V = d[1:], V[:, 1:]
    posterior = V @ np.diag(1 / (1 / d + 1 / noise**2)) @ V.T
    deviation = np.sqrt(np.diag(posterior))
    np.testing.assert_allclose(u.mean(0), posterior @ y / noise**2, atol=5 * deviation.max() / 20)
    np.testing.assert_allclose(u.std(0), deviation, rtol=0.15)


def test_failures():
    x = np.zeros(n)
    assert np.isnan(IntrinsicGMRF(PLAN, -values(), ONES).log_prob(x))
    proper = sp.csc_array(Q + sp.eye_array(n))
    assert np.isnan(IntrinsicGMRF(PLAN, values(PLAN, proper), ONES).log_prob(x))
    with pytest.raises(ValueError, match=rf"null space of shape \({n}, k\)"):
        IntrinsicGMRF(PLAN, values(), np.ones(n + 1))
    with pytest.raises(ValueError, match=r"constraints of shape \(k, 12\)"):
        IntrinsicGMRF(PLAN, values(), ONES, constraints=np.ones((2, n)))
    with pytest.raises(ValueError, match="constraints of full rank 1"):
        IntrinsicGMRF(PLAN, values(), ONES, constraints=np.zeros(n))
    with pytest.raises(ValueError, match="known when the model is traced"):
        jax.jit(lambda N: IntrinsicGMRF(PLAN, values(), N).log_prob(x))(ONES)
    field = IntrinsicGMRF(PLAN, values(), ONES, validate_args=True)
    with pytest.warns(UserWarning, match="Out-of-support"):
        assert field.log_prob(x + 1) == -np.inf
