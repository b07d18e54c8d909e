"""Factor and Plan as pytrees: taken apart, donated, on disk, in an Equinox model."""

from __future__ import annotations

import io

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import support

import padchol


@pytest.fixture(scope="module")
def case():
    """(plan, values, a vector)"""
    A = support.scattered(12, 20)
    plan = support.unmerged(A)
    return plan, plan.values(A), support.right_hand_side(plan, columns=1)[:, 0]


def same(F, G) -> None:
    """Equal structure, and equal leaves to the bit."""
    assert jax.tree.structure(F) == jax.tree.structure(G)
    for x, y in zip(jax.tree.leaves(F), jax.tree.leaves(G), strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)


# ---- as pytrees -------------------------------------------------------------------------------


def test_tree_functions(case):
    """Row 24: taken apart and put together, partitioned, mapped over: the Factor that it was."""
    plan, a, b = case
    F = padchol.cholesky(plan, jnp.asarray(a))
    x = F.solve(b)
    leaves, structure = jax.tree.flatten(F)
    floats, rest = eqx.partition(F, eqx.is_inexact_array)
    assert {leaf.shape for leaf in jax.tree.leaves(floats)} == {
        F.values.shape,
        F.panels.shape,
        F.pivots.shape,
    }
    copies = (
        jax.tree.unflatten(structure, leaves),
        jax.tree.map(lambda leaf: leaf, F),
        eqx.combine(floats, rest),
        jax.device_put(F),
        jax.device_get(F),
    )
    for copy in copies:
        np.testing.assert_array_equal(copy.solve(b), x)
        assert copy.plan.fingerprint == plan.fingerprint
    assert eqx.tree_equal(F, copies[0])
    shapes = eqx.filter_eval_shape(padchol.cholesky, plan, a)
    assert shapes.panels.shape == F.panels.shape
    names = {jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(F)}
    assert {".values", ".panels", ".info", ".plan.table"} <= names


def test_tree_at(case):
    """Row 24: a Factor inside a larger tree is replaced; a plan may be put on the device."""
    plan, a, b = case
    tree = {"F": padchol.cholesky(plan, a), "b": b}
    other = eqx.tree_at(lambda t: t["F"], tree, padchol.cholesky(plan, 2 * a))
    x = tree["F"].solve(b)
    assert support.relative(other["F"].solve(other["b"]), x / 2) < 1e-12
    moved = eqx.tree_at(lambda p: p.table, plan, jnp.asarray(plan.table))
    np.testing.assert_array_equal(padchol.cholesky(moved, a).solve(b), x)


def test_leaves_on_disk(case):
    """Row 33: a Factor written by Equinox is read back into the shape of another."""
    plan, a, b = case
    F = padchol.cholesky(plan, jnp.asarray(a))
    file = io.BytesIO()
    eqx.tree_serialise_leaves(file, F)
    file.seek(0)
    G = eqx.tree_deserialise_leaves(file, padchol.cholesky(plan, jnp.asarray(2 * a)))
    same(F, G)
    np.testing.assert_array_equal(G.solve(b), F.solve(b))


def test_donation(case):
    """Row 24: values and whole Factors may be donated; answers are those without."""
    plan, a, b = case
    expected = padchol.cholesky(plan, jnp.asarray(a))
    made = jax.jit(lambda a: padchol.cholesky(plan, a), donate_argnums=0)
    given = jnp.array(a)
    F = made(given)
    assert given.is_deleted()
    same(F, expected)
    again = jax.jit(lambda F: padchol.cholesky(F.plan, F.values), donate_argnums=0)(F)
    assert F.values.is_deleted()
    np.testing.assert_array_equal(again.panels, expected.panels)
    step = jax.jit(lambda a: a - 0.1 * jax.grad(log_determinant, 1)(plan, a), donate_argnums=0)
    plain = jax.jit(lambda a: a - 0.1 * jax.grad(log_determinant, 1)(plan, a))
    given = jnp.array(a)
    np.testing.assert_array_equal(step(given), plain(a))
    assert given.is_deleted()
    np.testing.assert_array_equal(expected.solve(b), padchol.cholesky(plan, a).solve(b))


def log_determinant(plan, a):
    return padchol.cholesky(plan, a).logdet()


# ---- a model ----------------------------------------------------------------------------------


class Field(eqx.Module):
    """y = x + e, x ~ N(0, Q^-1), Q = tau (kappa I + G), e ~ N(0, I / eta): three log precisions.

    G is the Laplacian of a graph, with the canonical values g; y (n, m) are m draws.
    """

    log_tau: jax.Array
    log_kappa: jax.Array
    log_eta: jax.Array
    plan: padchol.Plan
    g: np.ndarray = eqx.field(converter=lambda g: np.asarray(g, np.int32))

    def loss(self, y):
        """- log p(y) per entry of y, up to log(2 pi) / 2."""
        tau, kappa, eta = jnp.exp(self.log_tau), jnp.exp(self.log_kappa), jnp.exp(self.log_eta)
        n, m = y.shape
        eye = jnp.asarray(self.plan.rows == self.plan.cols, y.dtype)
        prior = padchol.cholesky(self.plan, tau * (kappa * eye + self.g))
        posterior = padchol.cholesky(self.plan, prior.values + eta * eye)
        quadratic = jnp.sum(y * y) - eta * jnp.vdot(y, posterior.solve(y))
        logdet = prior.logdet() - posterior.logdet() + n * self.log_eta
        return (eta * quadratic / m - logdet) / (2 * n)


@pytest.fixture(scope="module")
def field():
    """(model at a first guess, y (n, m), eigenvalues of G, variances of y along eigenvectors)"""
    G = support.graph_laplacian(support.grid(4, 4))
    plan = padchol.analyze(G)
    eigenvalues, vectors = np.linalg.eigh(G.toarray())
    variances = 1 / (2.0 * (0.5 + eigenvalues)) + 1 / 4.0
    z = np.random.default_rng(0).normal(size=(plan.n, 200))
    y = vectors @ (np.sqrt(variances)[:, None] * z)
    with jax.enable_x64(True):
        model = Field(jnp.zeros(()), jnp.zeros(()), jnp.zeros(()), plan, plan.values(G))
    return model, y, eigenvalues, np.mean((vectors.T @ y) ** 2, 1)


def dense_loss(parameters, eigenvalues, variances) -> float:
    """`Field.loss` in the eigenvectors of G, where y has independent entries."""
    tau, kappa, eta = np.exp(parameters)
    v = 1 / (tau * (kappa + eigenvalues)) + 1 / eta
    return float(np.mean(variances / v + np.log(v)) / 2)


@pytest.mark.slow
def test_equinox_transformations(field):
    """Row 24: filter_jit, filter_grad and filter_vmap of a model that holds a plan: its index
    tables are neither differentiated nor mapped."""
    model, y, eigenvalues, variances = field
    loss = eqx.filter_jit(Field.loss)
    expected = dense_loss(np.zeros(3), eigenvalues, variances)
    np.testing.assert_allclose(loss(model, y), expected, rtol=1e-12)
    gradient = eqx.filter_jit(eqx.filter_grad(Field.loss))(model, y)
    assert len(jax.tree.leaves(gradient)) == 3
    found = [gradient.log_tau, gradient.log_kappa, gradient.log_eta]
    differences = scipy.optimize.approx_fprime(
        np.zeros(3), dense_loss, 1e-6, eigenvalues, variances
    )
    np.testing.assert_allclose(found, differences, atol=1e-5)
    batch = eqx.tree_at(lambda m: m.log_tau, model, jnp.asarray([0.0, 1.0]))
    axes = jax.tree.map(lambda _: None, model)
    axes = eqx.tree_at(lambda m: m.log_tau, axes, 0, is_leaf=lambda leaf: leaf is None)
    found = eqx.filter_vmap(Field.loss, in_axes=(axes, None))(batch, y)
    second = dense_loss(np.array([1.0, 0, 0]), eigenvalues, variances)
    np.testing.assert_allclose(found, [expected, second], rtol=1e-12)


@pytest.mark.slow
def test_training(field):
    """A model trained by optax reaches the least loss that dense eigenvectors know, within 1e-6,
    at the same three precisions."""
    optax = pytest.importorskip("optax")
    model, y, eigenvalues, variances = field
    best = scipy.optimize.minimize(
        dense_loss, np.zeros(3), (eigenvalues, variances), method="BFGS", options={"gtol": 1e-8}
    )
    steps = 400
    optimiser = optax.adam(optax.cosine_decay_schedule(0.1, steps))

    @eqx.filter_jit
    def train(model):
        parameters, rest = eqx.partition(model, eqx.is_inexact_array)

        def step(carry, _):
            parameters, state = carry
            of = lambda parameters: eqx.combine(parameters, rest).loss(y)
            loss, gradient = jax.value_and_grad(of)(parameters)
            updates, state = optimiser.update(gradient, state)
            return (eqx.apply_updates(parameters, updates), state), loss

        carry = (parameters, optimiser.init(parameters))
        (parameters, _), losses = jax.lax.scan(step, carry, length=steps)
        return eqx.combine(parameters, rest), losses

    trained, losses = train(model)
    assert losses[0] > best.fun + 0.01
    assert abs(float(trained.loss(y)) - best.fun) < 1e-6
    found = [trained.log_tau, trained.log_kappa, trained.log_eta]
    np.testing.assert_allclose(found, best.x, atol=1e-2)
    same(trained.plan, model.plan)


@pytest.mark.slow
def test_a_large_plan_closed_over_sets_off_no_alarm(capfd):
    """XLA folds constants, and says so where it takes long; the tables of a plan are left alone."""
    plan = padchol.analyze(support.grid(400, 400), progress=False)
    a = jnp.asarray(plan.values(support.grid(400, 400)))
    density = jax.value_and_grad(lambda a: padchol.cholesky(plan, a).logdet())
    jax.jit(density).lower(a).compile()
    said = capfd.readouterr().err.lower()
    assert "constant fold" not in said
    assert "slow" not in said
