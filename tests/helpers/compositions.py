"""Compositions of transformations: what padchol gives under each, and what it should.

A composition maps, differentiates or loops over one output of a Factor. Each function returns that
and the same put together from values and first derivatives of single matrices (`dense_oracle`).
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from dense_oracle import Dense, output

import padchol

BATCH = 3


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


# ---- all of them ------------------------------------------------------------------------------

FORWARD = (jit, vmap_values, vmap_vectors, vmap_both, nested_vmap, nested_vmap_values_inside, scan)
TANGENT = (jvp, jvp_of_vmap, vmap_of_jvp, jvp_of_while)
REVERSE = (grad, vmap_of_grad, grad_of_vmap, grad_of_vmap_over_values)
REVERSE += (grad_of_scan, grad_of_remat, grad_of_cond)
COMPOSITIONS = (*FORWARD, *TANGENT, *REVERSE)
