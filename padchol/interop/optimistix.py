"""padchol in optimistix: sparse Gauss-Newton, Levenberg-Marquardt and Newton steps.

optimistix knows a Jacobian by its products only, so that its linear solver must know the pattern:

    minimise |r(y)|^2    optx.least_squares(r, optx.LevenbergMarquardt(rtol, atol,
                             linear_solver=SparseLeastSquares(J)), y0, adjoint=adjoint)
    g(y) = 0, g = f'     optx.root_find(g, optx.Newton(rtol, atol,
                             linear_solver=SparseCholesky(plan)), y0, adjoint=adjoint, tags=tags)

    adjoint = optx.ImplicitAdjoint(linear_solver=SparseCholesky(plan))
    tags = frozenset({lineax.symmetric_tag})

J (m, n) is any sparse matrix with the pattern of the Jacobian of r, and plan one that holds the
Hessian: `SparseLeastSquares(J).plan` for a sum of squares. The adjoint solves with it once for each
derivative of the solution, by the implicit function theorem; no derivative passes through the
steps.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import scipy.sparse as sp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from padchol import assembly
from padchol.analysis import analyze
from padchol.factor import Factor, cholesky
from padchol.interop.held import Held, digest
from padchol.interop.probes import Probes
from padchol.numeric.values import add_diagonal
from padchol.plan import Plan
from padchol.symbolic.triplets import entries


class _Tables:
    """What the host finds out about the pattern of J, once."""

    def __init__(self, J: Any, **options: Any):
        t = entries(J)
        once = sp.coo_array(sp.csr_array((np.ones(t.rows.size), (t.rows, t.cols)), shape=t.shape))
        self.plan = analyze(assembly.gram_pattern(once), **options)
        self.gram = assembly.gram(self.plan, once)
        self.probes = Probes(once.coords[0], once.coords[1], t.shape)
        self.m, self.n = t.shape


class Normal(eqx.Module):
    """What `SparseLeastSquares` keeps of J or [J; D]: entries, and the factor of J^T J + D^2.

    info: that of the factor, or -1 where the pattern does not hold all of J.
    """

    data: Float[Array, " entries"]
    damping: Float[Array, " n"] | None  # the diagonal of D
    values: Float[Array, " nnz"]
    panels: Float[Array, " panels"]
    info: Int[Array, ""]
    pivots: Float[Array, " n"]
    structures: tuple = eqx.field(static=True)  # flattened: of what J takes, of what it gives
    transposed: bool = eqx.field(static=True)


class SparseLeastSquares(lx.AbstractLinearSolver[Normal]):
    """min |J x - b| for a sparse J (m, n) of full column rank, by the normal equations.

    J: a scipy matrix (or JAX BCOO or BCSR) with the pattern of the operators to come; its values
    are not used, nor its columns weighed. options: those of `padchol.analyze` for J^T J. Operators
    are (m, n), or (m + n, n) with a diagonal below, [J; D], as Levenberg-Marquardt makes them: any
    lineax operator, of pytrees that flatten to that. Their entries are found from products with
    one vector for each colour of the columns (`padchol.interop.probes`).

    x = (J^T J)^-1 J^T b is corrected once by the residual, x += (J^T J)^-1 J^T (b - J x), which
    makes it about as accurate as by QR as long as cond(J)^2 eps < 1 (Bjorck 1987, Linear Algebra
    Appl. 88/89, 31-48). A transposed operator gets its solution of least norm, x = J (J^T J)^-1 b.

    Where J^T J is not positive definite, or an operator has entries outside the pattern:
    `RESULTS.singular`, and NaN with `throw=False`. Raises `ValueError` for another shape. Cost: a
    product a colour, one factorisation, two solves.
    """

    held: Held[_Tables] = eqx.field(static=True)

    def __init__(self, J: Any, **options: Any):
        tables = _Tables(J, **options)
        probes = tables.probes
        name = digest(probes.rows, probes.cols, probes.shape) + tables.plan.fingerprint
        self.held = Held(tables, name)

    @property
    def plan(self) -> Plan:
        """The plan of J^T J."""
        return self.held.value.plan

    def init(self, operator: lx.AbstractLinearOperator, options: dict[str, Any]) -> Normal:
        del options
        tables, operator = self.held.value, lx.linearise(operator)
        m, n, probes = tables.m, tables.n, tables.probes
        size = (operator.out_size(), operator.in_size())
        if size not in ((m, n), (m + n, n)):
            raise ValueError(
                f"expected an operator of shape ({m}, {n}), or ({m + n}, {n}) with a diagonal "
                f"below; got {size}"
            )
        taken, given = operator.in_structure(), operator.out_structure()

        def mv(x: Array) -> Array:
            return ravel_pytree(operator.mv(_unravel(taken, x)))[0]

        dtype = jnp.result_type(*jax.tree.leaves((taken, given)))
        products, seen = probes.products(mv, dtype)
        data, damping = probes.entries(products[:m]), None
        witness = jnp.asarray(probes.witness, dtype)
        known = probes.times(data, witness)
        a = tables.gram(jnp.ones(m, dtype), data)
        if size[0] != m:
            damping = products[m + np.arange(n), probes.colour]
            known = jnp.concatenate([known, damping * witness])
            a = add_diagonal(tables.plan, a, damping**2)
        F = cholesky(tables.plan, a)
        info = jnp.where(probes.complete(seen, known), F.info, -1)
        structures = (_flat(taken), _flat(given))
        return Normal(data, damping, F.values, F.panels, info, F.pivots, structures, False)

    def compute(self, state: Normal, vector: Any, options: dict[str, Any]):
        del options
        tables = self.held.value
        F = Factor(tables.plan, state.values, state.panels, state.info, state.pivots)
        b = ravel_pytree(vector)[0]
        if state.transposed:
            x = self._times(state, F.solve(b))
            x = x + self._times(state, F.solve(b - self._t_times(state, x)))
        else:
            x = F.solve(self._t_times(state, b))
            x = x + F.solve(self._t_times(state, b - self._times(state, x)))
        kinds = lx.RESULTS
        result = kinds.where(state.info == 0, kinds.successful, kinds.singular)
        return _unravel(_tree(state.structures[int(state.transposed)]), x), result, {}

    def _times(self, state: Normal, x: Array) -> Array:
        """J x, or [J x; D x]"""
        found = self.held.value.probes.times(state.data, x)
        return found if state.damping is None else jnp.concatenate([found, state.damping * x])

    def _t_times(self, state: Normal, y: Array) -> Array:
        """J^T y, or J^T y1 + D y2"""
        m = self.held.value.m
        found = self.held.value.probes.t_times(state.data, y[:m])
        return found if state.damping is None else found + state.damping * y[m:]

    def transpose(self, state: Normal, options: dict[str, Any]):
        return dataclasses.replace(state, transposed=not state.transposed), options

    def conj(self, state: Normal, options: dict[str, Any]):
        return state, options

    def assume_full_rank(self) -> bool:
        return True


def _flat(structure: Any) -> tuple:
    leaves, tree = jax.tree.flatten(structure)
    return tuple(leaves), tree


def _tree(flat: tuple) -> Any:
    return jax.tree.unflatten(flat[1], flat[0])


def _unravel(structure: Any, x: Array) -> Any:
    """A vector as the pytree of a structure."""
    return eqx.filter_eval_shape(ravel_pytree, structure)[1](x)
