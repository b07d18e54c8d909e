"""What a vmap makes of a sweep: folded batches, more columns; plans that a vmap repeats."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import support
from programs import calls, equations, inner_programs

import padchol
from padchol.numeric import factorise, solve
from padchol.numeric.call import Computation, call
from padchol.numeric.sweep import apply
from padchol.numeric.values import to_pivots


@support.both_engines
@pytest.mark.parametrize("name", ["band", pytest.param("forest", marks=pytest.mark.slow)])
def test_batches_of_matrices(name, device):
    """Row 24: a batch of matrices, member by member on tiles, folded into the trips of levels,
    gives what single calls give; so does a batch of batches."""
    _, plan, a = support.case(name, device=device)
    values = jnp.asarray(a * np.linspace(1.0, 1.5, 4)[:, None])
    vectors = jnp.asarray(np.random.default_rng(0).normal(size=(4, plan.n)))

    def f(a, b):
        F = padchol.cholesky(plan, a)
        return F.logdet(), F.solve(b), F.selected_inverse()

    support.check_batching(f, values, vectors, 1e-12)
    nested = jax.jit(jax.vmap(jax.vmap(f)))(
        values.reshape(2, 2, plan.nnz), vectors.reshape(2, 2, plan.n)
    )
    for x, y in zip(nested, jax.vmap(f)(values, vectors), strict=True):
        np.testing.assert_allclose(x.reshape(y.shape), y, rtol=1e-12, atol=1e-12)


def test_a_batch_in_levels_takes_the_trips_of_one_matrix():
    """Row 24: folded, and no loop over members."""
    _, plan, a = support.case("band", device="gpu")
    f = lambda a: padchol.cholesky(plan, a).logdet()
    loops = [
        sum(eqn.primitive.name in ("scan", "while") for eqn in equations(jaxpr.jaxpr))
        for jaxpr in (
            jax.make_jaxpr(f)(a),
            jax.make_jaxpr(jax.vmap(f))(np.stack([a] * 5)),
        )
    ]
    assert loops[0] == loops[1] > 0


def test_panels_that_nobody_asks_for_are_not_stored():
    """Row 34: on a CPU a batch is taken member by member, in the memory of one."""
    A = support.grid(12, 12)
    plan = padchol.analyze(A)
    values = jnp.asarray(plan.values(A)) * jnp.linspace(1.0, 1.5, 20)[:, None]

    def f(a):
        return padchol.cholesky(plan, a).logdet()

    room = jax.jit(jax.vmap(f)).lower(values).compile().memory_analysis().temp_size_in_bytes
    assert room < 5 * 8 * plan.layout.storage.panels
    nested = jax.jit(jax.vmap(jax.vmap(f)))(values.reshape(4, 5, plan.nnz))
    np.testing.assert_array_equal(nested.reshape(20), jax.jit(jax.vmap(f))(values))


class Half(Computation):
    """One sweep, of panels and a pivot storage."""

    def compute(self, plan, panels, b):
        return [apply(solve.FORWARD, plan, b, panels)]

    def shapes(self, plan, panels, b):
        return [b]

    def vectors(self, count):
        return (False, True)


HALF = Half()


@support.both_engines
def test_leaves_with_some_of_the_batch_axes(device):
    """Row 24: panels batched along one axis, vectors along the other and along both."""
    _, plan, a = support.case("scattered", device=device)
    values = jnp.asarray(a) * jnp.linspace(1.0, 1.5, 2)[:, None]
    panels = jax.vmap(lambda a: factorise.factorise(plan, a)[0])(values)
    shape = (2, 3, plan.layout.storage.pivots, 1)
    b = jnp.asarray(np.random.default_rng(0).normal(size=shape)).at[:, :, 0].set(0)

    def f(b, panels):
        return call(HALF, plan, panels, b)[0]

    for axes in ((0, 1), (1, 0)):  # of the vectors: which is the outer one
        swapped = b if axes == (0, 1) else jnp.swapaxes(b, 0, 1)
        own = (0, None) if axes == (0, 1) else (None, 0)
        mapped = jax.vmap(jax.vmap(f, (0, own[1])), (0, own[0]))
        found = jax.jit(mapped)(swapped, panels)
        lead = 1 if axes == (0, 1) else 2  # vectors alone become columns
        assert {axes for _, axes in calls(mapped, swapped, panels)} == {lead}
        for i in range(2):
            for j in range(3):
                x = found[i, j] if axes == (0, 1) else found[j, i]
                expected = f(b[i, j], panels[i])
                assert support.relative(x[1:], expected[1:]) < 1e-13


def loops_outside_calls(jaxpr):
    """Loops of the traced program that are not those of a sweep."""
    for eqn in jaxpr.eqns:
        if eqn.primitive.name in ("scan", "while"):
            yield eqn
        for inner in inner_programs(eqn):
            yield from loops_outside_calls(inner)


def check_columns(f, batch, columns: int):
    """f mapped over the first axis of `batch` runs sweeps of so many columns, neither folded nor
    in a loop, and gives what single calls give."""
    mapped = jax.vmap(f)
    specs = calls(mapped, batch)
    assert specs
    assert set(specs) == {(columns, 0)}
    assert not list(loops_outside_calls(jax.make_jaxpr(mapped)(batch).jaxpr))
    found, one = jax.jit(mapped)(batch), jax.jit(f)
    for i, b in enumerate(batch):
        for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(one(b)), strict=True):
            assert support.relative(x[i], y) < 1e-13


@pytest.mark.parametrize(
    "name", ["solve", *(pytest.param(n, marks=pytest.mark.slow) for n in ("solve_L", "solve_Lt"))]
)
def test_right_hand_sides_are_columns(name):
    """Row 24: a vmap over right-hand sides of one matrix is one solve with more columns; so are its
    tangent and its transpose, and a vmap of a vmap."""
    _, plan, a = support.case("band")
    F = padchol.cholesky(plan, jnp.asarray(a))

    def f(b):
        return getattr(F, name)(b)

    b = jnp.asarray(np.random.default_rng(0).normal(size=(3, plan.n, 2)))
    check_columns(f, b[..., 0], 3)
    check_columns(f, b, 6)
    check_columns(jax.vmap(f, 1, 1), b, 6)
    check_columns(lambda b: jax.jvp(f, (b,), (b,))[1], b, 6)
    check_columns(lambda b: jax.linear_transpose(f, b)(b)[0], b, 6)


def test_panels_of_their_own():
    """Row 24: vectors are columns as long as all share L; where panels are batched too, members
    follow one another."""
    _, plan, a = support.case("band")
    panels = factorise.factorise(plan, jnp.asarray(a))[0]
    b = jnp.asarray(np.random.default_rng(0).normal(size=(3, plan.n, 2)))
    stored = jax.vmap(lambda b: to_pivots(plan, b))(b)

    def f(b, panels):
        return call(HALF, plan, panels, b)[0]

    check_columns(lambda b: f(b, panels), stored, 6)
    factors = jnp.linspace(1.0, 1.5, 3)[:, None]
    specs = calls(jax.vmap(f), stored, panels * factors)
    assert set(specs) == {(2, 1)}
    found = jax.vmap(f)(stored, panels * factors)
    for i in range(3):
        assert support.relative(found[i], f(stored[i], panels * factors[i])) < 1e-13


def everything(F, b):
    return F.logdet(), F.solve(b), F.selected_inverse(), F.sample(jax.random.key(0))


def test_a_plan_repeated_along_a_batch():
    """Row 24: a Factor that a vmap returns carries a copy of its plan for each element, and goes
    into another vmap as it is."""
    _, plan, a = support.case("band")
    values = jnp.asarray(a * np.linspace(1.0, 1.5, 3)[:, None])
    b = jnp.asarray(np.random.default_rng(0).normal(size=plan.n))
    F = jax.vmap(lambda a: padchol.cholesky(plan, a))(values)
    assert F.plan.table.shape == (3, *plan.table.shape)
    found = jax.vmap(everything, (0, None))(F, b)
    for k, a in enumerate(values):
        expected = everything(padchol.cholesky(plan, a), b)
        for x, y in zip(found, expected, strict=True):
            np.testing.assert_allclose(x[k], y, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("axis", [None, 0], ids=["one matrix", "a matrix each"])
def test_different_plans_in_one_batch_give_nan(axis):
    """Row 24: tables that differ anywhere along the axis of a vmap are never used: all is NaN."""
    _, plan, a = support.case("band")
    a = jnp.asarray(a) if axis is None else jnp.stack([a, 2 * a])
    b = np.ones(plan.n)

    def f(table, a):
        F = padchol.cholesky(with_table(plan, table), a)
        return F.info, (F.panels, everything(F, b))

    f = jax.jit(jax.vmap(f, (0, axis)))
    other = plan.table.copy()
    other[-1] = 0 if other[-1] else 1
    info, found = f(np.stack([plan.table, other]), a)
    assert (info != 0).all()
    for x in jax.tree.leaves(found):
        assert jnp.isnan(x).all()
    info, found = f(np.stack([plan.table, plan.table]), a)
    assert (info == 0).all()
    for x in jax.tree.leaves(found):
        assert jnp.isfinite(x).all()


def with_table(plan, table):
    return eqx.tree_at(lambda p: p.table, plan, table)
