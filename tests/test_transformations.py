"""Compositions of transformations, on patterns drawn at random, against dense numpy.

A composition maps, differentiates or loops over one output of a Factor; what it must give is put
together from values and first derivatives of single matrices (`dense_oracle`).
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import symbolic_oracle as oracle
from dense_oracle import OUTPUTS, Dense, output
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import padchol

TOLERANCE = 1e-8
BATCH = 3

# ---- problems ---------------------------------------------------------------------------------


def scattered(n: int, rng: np.random.Generator) -> np.ndarray:
    return oracle.edges(n, rng.integers(n, size=(2 * n, 2)))


def grid(n: int, rng: np.random.Generator) -> np.ndarray:
    rows = int(rng.integers(2, 4))
    return oracle.grid(rows, n // rows)


def arrow(n: int, rng: np.random.Generator) -> np.ndarray:
    return oracle.arrow(n, int(rng.choice([0, n - 1])))


def path(n: int, rng: np.random.Generator) -> np.ndarray:
    return oracle.path(n)


def forest(n: int, rng: np.random.Generator) -> np.ndarray:
    """Each node hangs under a later one; one in n of them, about, under none."""
    return oracle.edges(n, [(j, rng.integers(j, n)) for j in range(n)])


def dense_rows(n: int, rng: np.random.Generator) -> np.ndarray:
    S = oracle.edges(n, rng.integers(n, size=(n // 2, 2)))
    for at in rng.integers(n, size=2):
        S = S | oracle.arrow(n, at)
    return S


FAMILIES = (scattered, dense_rows, grid, forest, arrow, path)


@dataclass
class Problem:
    """values (B, nnz) of B matrices, vectors (B, n), directions of both, weights of the output."""

    plan: padchol.Plan
    name: str
    values: np.ndarray
    vectors: np.ndarray
    da: np.ndarray
    db: np.ndarray
    w: np.ndarray

    def f(self, a, b):
        return output(padchol.cholesky(self.plan, a), self.name, b)

    def scalar(self, a, b):
        return jnp.vdot(self.w, self.f(a, b))

    def at(self, i: int, j: int) -> Dense:
        return Dense(self.plan, self.name, self.values[i], self.vectors[j])

    def each(self, of) -> list:
        """of(dense output) for each matrix with its vector."""
        return stacked([of(self.at(i, i)) for i in range(BATCH)])


@st.composite
def problems(draw, turn: int = 0):
    """turn: where the lists of families and outputs begin, as the first example takes the first."""
    turned = lambda names: st.sampled_from([*names[turn % len(names) :], *names])
    n = 12 - draw(st.integers(0, 7))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    S = draw(turned(FAMILIES))(n, rng)
    if draw(st.booleans()):
        S = oracle.shuffled(S, 1)
    name = draw(turned(OUTPUTS))
    order = draw(st.sampled_from(["auto", "natural"]))
    plan = padchol.analyze(oracle.spd(S), order=order)
    values = np.stack([plan.values(oracle.spd(S, seed)) for seed in range(BATCH)])
    vectors = rng.normal(size=(BATCH, plan.n))
    w = rng.normal(size=Dense(plan, name, values[0], vectors[0]).value.shape)
    da, db = rng.normal(size=values.shape), rng.normal(size=vectors.shape)
    return Problem(plan, name, values, vectors, da, db, w)


# ---- compositions: (what padchol gives, what it should) ---------------------------------------


def stacked(rows):
    return jax.tree.map(lambda *xs: np.stack(xs), *rows)


def jit(p):
    return jax.jit(p.f)(p.values[0], p.vectors[0]), p.at(0, 0).value


def grad(p):
    found = jax.jit(jax.grad(p.scalar, (0, 1)))(p.values[0], p.vectors[0])
    return found, p.at(0, 0).gradient(p.w)


def jvp(p):
    f = jax.jit(lambda x, dx: jax.jvp(p.f, x, dx))
    found = f((p.values[0], p.vectors[0]), (p.da[0], p.db[0]))
    return found, (p.at(0, 0).value, p.at(0, 0).tangent(p.da[0], p.db[0]))


def vmap_values(p):
    found = jax.jit(jax.vmap(p.f, (0, None)))(p.values, p.vectors[0])
    return found, stacked([p.at(i, 0).value for i in range(BATCH)])


def vmap_vectors(p):
    found = jax.jit(jax.vmap(p.f, (None, 1), axis_size=BATCH))(p.values[0], p.vectors.T)
    return found, stacked([p.at(0, j).value for j in range(BATCH)])


def vmap_both(p):
    return jax.jit(jax.vmap(p.f))(p.values, p.vectors), p.each(lambda d: d.value)


def table_of_values(p):
    return stacked(
        [stacked([p.at(i, j).value for j in range(BATCH)]) for i in range(BATCH)],
    )


def nested_vmap(p):
    inner = jax.vmap(p.f, (None, 0), axis_size=BATCH)
    return jax.jit(jax.vmap(inner, (0, None)))(p.values, p.vectors), table_of_values(p)


def nested_vmap_values_inside(p):
    inner = jax.vmap(p.f, (0, None))
    found = jax.jit(jax.vmap(inner, (None, 0), axis_size=BATCH))(p.values, p.vectors)
    return jnp.swapaxes(found, 0, 1), table_of_values(p)


def vmap_of_grad(p):
    found = jax.jit(jax.vmap(jax.grad(p.scalar, (0, 1))))(p.values, p.vectors)
    return found, p.each(lambda d: d.gradient(p.w))


def grad_of_vmap(p):
    total = lambda a, b: jnp.sum(jax.vmap(p.scalar)(a, b))
    found = jax.jit(jax.grad(total, (0, 1)))(p.values, p.vectors)
    return found, p.each(lambda d: d.gradient(p.w))


def grad_of_vmap_over_values(p):
    total = lambda a, b: jnp.sum(jax.vmap(p.scalar, (0, None))(a, b))
    found = jax.jit(jax.grad(total, (0, 1)))(p.values, p.vectors[0])
    one = stacked([p.at(i, 0).gradient(p.w) for i in range(BATCH)])
    return found, (one[0], one[1].sum(0))


def jvp_of_vmap(p):
    f = jax.jit(lambda x, dx: jax.jvp(jax.vmap(p.f), x, dx)[1])
    found = f((p.values, p.vectors), (p.da, p.db))
    return found, stacked([p.at(i, i).tangent(p.da[i], p.db[i]) for i in range(BATCH)])


def vmap_of_jvp(p):
    """Directions mapped, the point not: what a forward Jacobian does."""
    at = (p.values[0], p.vectors[0])
    along = lambda da, db: jax.jvp(p.f, at, (da, db))[1]
    found = jax.jit(jax.vmap(along))(p.da, p.db)
    return found, stacked([p.at(0, 0).tangent(*d) for d in zip(p.da, p.db, strict=True)])


def scan(p):
    """A Factor is carried; what it gives is read one step later."""

    @jax.jit
    def f(values, vectors):
        first = padchol.cholesky(p.plan, values[0])
        step = lambda F, x: (padchol.cholesky(F.plan, x[0]), output(F, p.name, x[1]))
        last, outs = jax.lax.scan(step, first, (values[1:], vectors[:-1]))
        return jnp.concatenate([outs, output(last, p.name, vectors[-1])[None]])

    return f(p.values, p.vectors), p.each(lambda d: d.value)


def grad_of_scan(p):
    def total(values, vectors):
        step = lambda sum, x: (sum + p.scalar(*x), None)
        return jax.lax.scan(step, jnp.zeros(()), (values, vectors))[0]

    found = jax.jit(jax.grad(total, (0, 1)))(p.values, p.vectors)
    return found, p.each(lambda d: d.gradient(p.w))


def grad_of_remat(p):
    found = jax.jit(jax.grad(jax.checkpoint(p.scalar), (0, 1)))(p.values[0], p.vectors[0])
    return found, p.at(0, 0).gradient(p.w)


def grad_of_cond(p):
    """The branch taken is factored; the other has no part in the derivative."""

    def chosen(flag, values, vectors):
        F = jax.lax.cond(
            flag, *(lambda a, k=k: padchol.cholesky(p.plan, a[k]) for k in (0, 1)), values
        )
        return jnp.vdot(p.w, output(F, p.name, vectors[0]))

    found = jax.jit(jax.grad(chosen, (1, 2)))(False, p.values, p.vectors)
    to_a, to_b = p.at(1, 0).gradient(p.w)
    spread = lambda x, k: np.eye(BATCH)[k][:, None] * x
    return found, (spread(to_a, 1), spread(to_b, 0))


def jvp_of_while(p):
    """A Factor is carried and made anew until its values are 4 times what they were."""

    def f(a, b):
        going = lambda carry: carry[1] < 2
        body = lambda carry: (padchol.cholesky(p.plan, 2 * carry[0].values), carry[1] + 1)
        F, _ = jax.lax.while_loop(going, body, (padchol.cholesky(p.plan, a), 0))
        return output(F, p.name, b)

    at, along = (p.values[0], p.vectors[0]), (p.da[0], p.db[0])
    found = jax.jit(lambda x, dx: jax.jvp(f, x, dx))(at, along)
    end = Dense(p.plan, p.name, 4 * p.values[0], p.vectors[0])
    return found, (end.value, end.tangent(4 * p.da[0], p.db[0]))


FORWARD = (jit, vmap_values, vmap_vectors, vmap_both, nested_vmap, nested_vmap_values_inside, scan)
TANGENT = (jvp, jvp_of_vmap, vmap_of_jvp, jvp_of_while)
REVERSE = (grad, vmap_of_grad, grad_of_vmap, grad_of_vmap_over_values)
REVERSE += (grad_of_scan, grad_of_remat, grad_of_cond)
COMPOSITIONS = (*FORWARD, *TANGENT, *REVERSE)

# ---- the tests --------------------------------------------------------------------------------


def check(p: Problem, composition) -> None:
    found, expected = composition(p)
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert x.shape == np.shape(y)
        np.testing.assert_allclose(x, y, rtol=0, atol=TOLERANCE * max(np.abs(y).max(), 1e-300))


def drawn(examples: int) -> settings:
    """No shrinking: an example compiles for a second, and none has more than 12 unknowns."""
    return settings(
        deadline=None,
        max_examples=examples,
        phases=(Phase.explicit, Phase.reuse, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )


@pytest.mark.parametrize("k", range(len(COMPOSITIONS)), ids=[c.__name__ for c in COMPOSITIONS])
def test_against_dense(k):
    """Row 24: on patterns of every family, an output under a composition equals dense numpy."""
    run = drawn(2)(given(problems(turn=k))(lambda p: check(p, COMPOSITIONS[k])))
    run()


@pytest.mark.slow
@pytest.mark.parametrize("k", range(len(COMPOSITIONS)), ids=[c.__name__ for c in COMPOSITIONS])
def test_against_dense_at_length(k):
    """Row 24: the same, with more patterns and outputs for each composition."""
    run = drawn(6)(given(problems(turn=k + 3))(lambda p: check(p, COMPOSITIONS[k])))
    run()


@pytest.mark.parametrize("name", OUTPUTS)
def test_the_oracle_by_differences(name):
    """The formulas of `dense_oracle` agree with central differences of its values."""
    plan = padchol.analyze(oracle.spd(scattered(8, np.random.default_rng(0))))
    rng = np.random.default_rng(1)
    a, b = (
        plan.values(oracle.spd(oracle.edges(8, zip(plan.rows, plan.cols, strict=True)))),
        rng.normal(size=8),
    )
    da, db = rng.normal(size=a.shape), rng.normal(size=8)
    at = lambda t: Dense(plan, name, a + t * da, b + t * db).value
    expected = (at(1e-5) - at(-1e-5)) / 2e-5
    tangent = Dense(plan, name, a, b).tangent(da, db)
    np.testing.assert_allclose(tangent, expected, rtol=0, atol=1e-7 * np.abs(expected).max())
