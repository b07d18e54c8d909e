"""Plan: the analysis of one sparsity pattern, made once by `analyze` and used for any values."""

from __future__ import annotations

import hashlib
from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int, Real

from padchol.errors import check_type
from padchol.facts import Facts
from padchol.methods import WithMethods
from padchol.report import report
from padchol.symbolic import pattern as patterns
from padchol.symbolic.exact import exact_supernodes, full_pattern
from padchol.symbolic.layout import Layout
from padchol.symbolic.pattern import Pattern

FORMAT = 9  # of the fingerprint and of saved files: raised when tables change their meaning


class Plan(WithMethods):
    """The analysis of one pattern: index tables (arrays, traced) and shape facts (static).

    With p = perm: L L^T = A[p][:, p]. Entry k of the canonical values is A[rows[k], cols[k]] *and*
    its mirror image: one parameter per symmetric pair, rows >= cols, sorted by column, then row,
    the diagonal always present. A gradient with respect to an off-diagonal value therefore counts
    both entries.

    Equal patterns analysed with equal options give equal plans. Pass a plan to a jitted function as
    an argument (it is a pytree) rather than closing over it where compile time matters: closed-over
    tables become constants of the program, while as an argument other patterns may use the compiled
    program as well: those of as many rows and entries whose tables have the same (rounded) sizes.
    """

    perm: Int[np.ndarray, " n"]
    rows: Int[np.ndarray, " nnz"]
    cols: Int[np.ndarray, " nnz"]
    table: Int[np.ndarray, "*shards table"]
    copy_places: Int[np.ndarray, " nnz"]
    facts: Facts
    layout: Layout = eqx.field(static=True)
    nnz: int = eqx.field(static=True)  # canonical values: one a symmetric pair, and the diagonal
    mesh: Any = eqx.field(static=True, default=None)  # of devices, one for each shard

    def __hash__(self) -> int:  # equal plans are equal, and so have equal hashes
        return hash(self.layout)

    @property
    def n(self) -> int:
        """Order of the matrix."""
        return self.layout.n

    @property
    def stats(self) -> dict[str, Any]:
        """Counted facts: nnz_L, flops, padded flops, levels, bins, bytes, ordering, seconds."""
        return self.facts.items

    @property
    def nnz_L(self) -> int:
        """Entries of L, its diagonal included, relaxation zeros not."""
        return self.facts.items["nnz_L"]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the plan's contents: see `fingerprint`."""
        return self.facts.fingerprint

    @property
    def pattern(self) -> Pattern:
        """The canonical pattern, on the host."""
        return Pattern(self.n, np.asarray(self.rows, np.int64), np.asarray(self.cols, np.int64))

    def values(self, A: Any) -> Float[Array | np.ndarray, " nnz"]:
        """Canonical values of A, whose pattern must be contained in the plan's.

        Duplicates are summed; where A has no entry the value is 0. For scipy matrices (full
        symmetric, checked, or one triangle) the result is a numpy array of A's float dtype. JAX
        BCOO and BCSR matrices work under jit and are differentiable, the lower triangle counting
        for both; they are checked alike, and what is traced gives NaN where it would be refused.
        """
        if hasattr(A, "sum_duplicates") and type(A).__module__.startswith("jax."):
            from padchol.numeric.sparse_values import sparse_values

            return sparse_values(self, A)
        return patterns.values(self.pattern, A)

    def add_diagonal(
        self, a: Real[ArrayLike, " nnz"], d: Real[ArrayLike, "*n"]
    ) -> Float[Array, " nnz"]:
        """Canonical values of A + diag(d) from those of A; d is a number or (n,), user's order."""
        from padchol.numeric.values import add_diagonal

        return add_diagonal(self, a, d)

    def placed(self, mesh: Any = None) -> Plan:
        """The plan with its tables on devices: do it once where a compiled function gets the plan
        as an argument, or else JAX copies the tables in every call. The plan of a Factor is there.

        Of k shards on k devices, by default the first of the default backend, each its own tables;
        of one on JAX's default device.

        mesh: a `jax.sharding.Mesh` of one axis. Raises `ValueError` where it does not fit.
        """
        from padchol.numeric.resident import resident
        from padchol.numeric.shards import placed

        return resident(placed(self, mesh))

    def factor_pattern(self) -> tuple[np.ndarray, np.ndarray]:
        """(indices, indptr): exact CSC pattern of L in the plan's order, no relaxation zeros.

        Computed anew at each call, on the host; memory and time in proportion to nnz(L).
        """
        exact, post = exact_supernodes(self.pattern, np.asarray(self.perm, np.int64))
        return full_pattern(exact, post)

    def save(self, path: Any) -> None:
        """Write the plan to an .npz file (no pickle inside); read it with `padchol.load`."""
        from padchol.storage import save

        save(self, path)

    def __str__(self) -> str:
        return report(self)

    def __repr__(self) -> str:
        return f"Plan(n={self.n}, nnz={self.nnz}, nnz_L={self.nnz_L}, {self.fingerprint[:12]})"


def check_plan(plan: Any) -> None:
    """Raise `TypeError` for what is not a plan."""
    check_type(plan, Plan, "a Plan, as made by padchol.analyze")


def fingerprint(arrays: dict[str, np.ndarray], layout: Layout, nnz_L: int) -> str:
    """SHA-256 of a plan's contents: equal plans, and only they, have equal fingerprints."""
    digest = hashlib.sha256(f"padchol plan {FORMAT} {nnz_L} {layout.contents}".encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
