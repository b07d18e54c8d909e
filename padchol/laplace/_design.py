"""The design: eta = B x, its adjoint, and the tables of B^T W B."""

from __future__ import annotations

from typing import Any

import equinox as eqx
from jaxtyping import Array, Float

from padchol import assembly
from padchol.methods import WithMethods
from padchol.numeric.values import real_array
from padchol.plan import Plan


class Design(WithMethods):
    """The sparse map eta = B x, and the tables of B^T W B, on one plan; made by `design`."""

    plan: Plan
    gram: assembly.Gram

    def __call__(self, x: Any) -> Float[Array, " m"]:
        """B x, for x (n,)."""
        return self.gram.times(x)

    def t(self, v: Any) -> Float[Array, " n"]:
        """B^T v, for v (m,)."""
        return self.gram.t_times(v)

    def with_entries(self, data: Any) -> Design:
        """The same with other entries of B, in the order in which they were stored: B(theta)."""
        data = real_array(data, "entries of B")
        if data.shape != self.gram.rows.shape:
            raise ValueError(f"expected entries of shape {self.gram.rows.shape}; got {data.shape}")
        return eqx.tree_at(lambda d: d.gram.data, self, data)


def design(plan: Plan, B: Any) -> Design:
    """The design matrix B (m, n), scipy sparse or JAX BCOO or BCSR, on a plan that holds B^T B and
    Q: `padchol.analyze([Q, padchol.assembly.gram_pattern(B)])`. `ValueError` where it does not."""
    return Design(plan, assembly.gram(plan, B))
