"""A precision: a pattern, and a map from parameters to values on it.

    plan = padchol.analyze(Q.pattern)              # or the union with others: [Q.pattern, B_gram]
    values = Q.on(plan)                            # a pytree: pass it to jitted functions
    a = values(tau)                                # (nnz,) canonical values, differentiable
    field = values.field(tau)                      # GMRF, or IntrinsicGMRF where Q has a null space

Values of sums are sums of values on one plan: `P.on(plan)(s) + Q.on(plan)(t)`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jaxtyping import Array, Float, Int

from padchol.assembly import Blocks, blocks
from padchol.gmrf import GMRF, IntrinsicGMRF, pins
from padchol.methods import WithMethods
from padchol.plan import Plan
from padchol.precisions.domain import Domain, Interval, within


class Precision(WithMethods):
    """Q(parameters), symmetric, of order n, with stored entries (rows, cols) of both triangles.

    entries: the parameters to the stored values. null: the parameters to a basis (n, k) of the null
    space, which is that of every Q in the family. constraints (k, n): what ties the null space
    down, where a law without constraints does not exist.
    """

    rows: Int[np.ndarray, " entries"]
    cols: Int[np.ndarray, " entries"]
    constraints: Float[np.ndarray, "k n"]
    pins: Int[np.ndarray, " k"]  # see `padchol.gmrf.IntrinsicGMRF`
    entries: Callable[..., Float[Array, " entries"]]
    null: Callable[..., Float[Array | np.ndarray, "n k"]]
    names: tuple[str, ...] = eqx.field(static=True)  # of the parameters

    def __init__(self, rows, cols, constraints, entries, null, names):
        self.rows, self.cols, self.constraints = rows, cols, constraints
        self.pins = pins(constraints) if constraints.size else np.zeros(0, np.int32)
        self.entries, self.null, self.names = entries, null, tuple(names)

    @property
    def n(self) -> int:
        """Order of the matrix."""
        return self.constraints.shape[1]

    @property
    def rank_deficiency(self) -> int:
        """The dimension of its null space."""
        return self.constraints.shape[0]

    @property
    def pattern(self) -> tuple[np.ndarray, np.ndarray, int]:
        """(rows, cols, n), for `padchol.analyze`, alone or in a list."""
        return self.rows, self.cols, self.n

    def on(self, plan: Plan) -> Values:
        """The map to values of a plan that holds the pattern; `ValueError` where it does not."""
        return Values(plan, self, blocks(plan, [[self.pattern]]))

    def matrix(self, *parameters: Any) -> sp.csc_array:
        """Q(parameters) as a scipy matrix, on the host."""
        data = np.asarray(self.entries(*self._checked(parameters)))
        return sp.csc_array((data, (self.rows, self.cols)), shape=(self.n, self.n))

    def _checked(self, parameters: Sequence[Any]) -> Sequence[Any]:
        if len(parameters) != len(self.names):
            raise TypeError(f"expected the parameters {self.names}; got {len(parameters)} of them")
        return parameters


class Values(WithMethods):
    """A precision on a plan: parameters to canonical values (nnz,). A pytree; made by `on`.

    Where a parameter is a PyTensor variable, so are the values (`padchol.interop.builders`).
    """

    plan: Plan
    precision: Precision
    place: Blocks

    def __call__(self, *parameters: Any) -> Float[Array, " nnz"]:
        graphs = sys.modules.get("pytensor")  # where it is not imported there are no variables
        if graphs and any(isinstance(x, graphs.Variable) for x in jax.tree.leaves(parameters)):
            from padchol.interop.builders import precision_values

            variable: Any = precision_values(self, *parameters)
            return variable
        return self.place(self.precision.entries(*self.precision._checked(parameters)))

    def field(self, *parameters: Any, loc: Any = 0.0) -> GMRF | IntrinsicGMRF:
        """N(loc, Q^-1); where Q has a null space, the intrinsic field."""
        a, Q = self(*parameters), self.precision
        if not Q.rank_deficiency:
            return GMRF(self.plan, a, loc)
        null = Q.null(*parameters)
        return IntrinsicGMRF(self.plan, a, null, loc, constraints=Q.constraints, pins=Q.pins)


class Combination(eqx.Module):
    """The entries of sum_k f_k Q_k: f (K,) from the parameters, times a table (K, entries)."""

    table: Float[np.ndarray, "K entries"]
    weights: Callable[..., Sequence[Any]] = eqx.field(static=True)
    names: tuple[str, ...] = eqx.field(static=True)
    domain: tuple[tuple[str, Interval], ...] = eqx.field(static=True)

    def __call__(self, *parameters: Any) -> Float[Array, " entries"]:
        theta = within(dict(self.domain), self.names, parameters)
        dtype = jnp.result_type(*theta) if theta else float
        f = jnp.stack([jnp.asarray(x, dtype) for x in self.weights(*theta)])
        # A TPU rounds factors to bfloat16 otherwise, and Q null is no longer zero.
        return jnp.matmul(f, jnp.asarray(self.table, f.dtype), precision="highest")


class Fixed(eqx.Module):
    """A null space that does not depend on the parameters."""

    basis: Float[np.ndarray, "n k"]

    def __call__(self, *parameters: Any) -> np.ndarray:
        del parameters
        return self.basis


def combination(
    parts: Sequence[Any],
    weights: Callable[..., Sequence[Any]],
    names: Sequence[str],
    null: np.ndarray | None = None,
    domain: Domain | None = None,
) -> Precision:
    """Q(theta) = sum_k f_k(theta) Q_k, for your own models.

    parts: symmetric scipy matrices Q_k of one order. weights: theta, one argument for each name, to
    the numbers f_k. null: (n, k), a basis of the null space that all Q(theta) share, if they do.
    domain: an `Interval` for each parameter that has one, {"tau": Interval(0, inf)}: outside of it
    values are NaN where theta is traced, and a `ValueError` where it is known.
    """
    tables: list[Any] = [sp.coo_array(part) for part in parts]
    n = tables[0].shape[0]
    keys = [t.row.astype(np.int64) * n + t.col for t in tables]
    every = np.unique(np.concatenate(keys))
    table = np.zeros((len(parts), every.size))
    for out, key, t in zip(table, keys, tables, strict=True):
        np.add.at(out, np.searchsorted(every, key), t.data)
    basis = np.zeros((n, 0)) if null is None else np.linalg.qr(null)[0]
    rows, cols, names = every // n, every % n, tuple(names)
    entries = Combination(table, weights, names, tuple((domain or {}).items()))
    return Precision(rows, cols, basis.T, entries, Fixed(basis), names)


def proper(rows: Any, cols: Any, n: int, entries: Callable, names: Sequence[str]) -> Precision:
    """A precision of full rank, of its stored entries of both triangles and the map to them."""
    none = np.zeros((n, 0))
    return Precision(rows, cols, none.T, entries, Fixed(none), names)
