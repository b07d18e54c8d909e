"""The design: eta = B x, its adjoint, and the tables of B^T W B."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from padchol import assembly
from padchol.numeric.values import real_array
from padchol.plan import Plan
from padchol.symbolic.pattern import entries


class Design(eqx.Module):
    """The sparse map eta = B x, and the tables of B^T W B, on one plan; made by `design`."""

    plan: Plan
    gram: assembly.Gram
    rows: Int[Array, " entries"]
    cols: Int[Array, " entries"]
    m: int = eqx.field(static=True)

    def __call__(self, x: Float[Array, " n"]) -> Float[Array, " m"]:
        """B x"""
        data = jnp.asarray(self.gram.data)
        return jnp.zeros(self.m, x.dtype).at[self.rows].add(data * x[self.cols])

    def t(self, v: Float[Array, " m"]) -> Float[Array, " n"]:
        """B^T v"""
        data = jnp.asarray(self.gram.data)
        return jnp.zeros(self.plan.n, v.dtype).at[self.cols].add(data * v[self.rows])

    def with_entries(self, data: Float[Array, " entries"]) -> Design:
        """The same with other entries of B, in the order in which they were stored: B(theta)."""
        data = real_array(data, "entries of B")
        if data.shape != self.rows.shape:
            raise ValueError(f"expected entries of shape {self.rows.shape}; got {data.shape}")
        return eqx.tree_at(lambda d: d.gram.data, self, data)


def design(plan: Plan, B: Any) -> Design:
    """The design matrix B (m, n), scipy sparse or JAX BCOO or BCSR, on a plan that holds B^T B and
    Q: `padchol.analyze([Q, padchol.assembly.gram_pattern(B)])`. `ValueError` where it does not."""
    t = entries(B)
    product = assembly.gram(plan, B)
    rows, cols = jnp.asarray(t.rows, jnp.int32), jnp.asarray(t.cols, jnp.int32)
    return Design(plan, product, rows, cols, t.shape[0])
