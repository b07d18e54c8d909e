"""padchol in lineax: an operator with a sparse pattern, and a solver that factors it.

    lx.linear_solve(SparseOperator(plan, a), b, solver=SparseCholesky())

a (nnz,) are canonical values, one a symmetric pair: a gradient with respect to an off-diagonal one
counts both entries. lineax differentiates the solve by its own rule, as of every solver of full
rank: in both modes, to any order, one more solve with the same factor each time. It has no
determinants yet: log det A of a `SparseOperator` A is `padchol.cholesky(A.plan, A.a).logdet()`.
"""

from __future__ import annotations

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from padchol.factor import Factor, cholesky
from padchol.interop.held import Held, hold
from padchol.interop.probes import Probes
from padchol.interop.sparse_operator import SparseOperator, combined, sign_of
from padchol.plan import Plan

__all__ = ["Factored", "SparseCholesky", "SparseOperator", "symmetric_probes"]


class Factored(eqx.Module):
    """What `SparseCholesky` keeps of an operator A: the factor of sign A.

    info: that of the factor, or -1 where the plan does not hold all of A.
    """

    operator: SparseOperator  # sign A
    panels: Float[Array, " panels"]
    info: Int[Array, ""]
    pivots: Float[Array, " n"]
    sign: Float[Array, ""]

    def solve(self, b: Float[Array, " n"]) -> Float[Array, " n"]:
        """A^-1 b"""
        op = self.operator
        return self.sign * Factor(op.plan, op.a, self.panels, self.info, self.pivots).solve(b)


class SparseCholesky(lx.AbstractLinearSolver[Factored]):
    """Solve with a positive or negative definite operator by sparse Cholesky factorisation.

    It takes a `SparseOperator`, and whatever lineax builds of several on one plan by sums,
    multiples, tags and diagonal operators: `A + t * lx.IdentityLinearOperator(...)`. What is tagged
    negative semidefinite is factored as -A; without a tag the first diagonal entry decides.

    plan: with it, any other symmetric operator of that order as well, a Jacobian or a function: its
    entries are found from as many products as there are colours of the pattern
    (`padchol.interop.probes`), and one more shows whether the plan holds them all, and A is
    symmetric. This is how optimistix's solvers, which know a Hessian by its products, are used.
    Such an operator may be one of pytrees; row i of the plan is entry i of the flattened tree.

    Where A is not definite, or not held by the plan: `RESULTS.singular`, and with `throw=False`
    NaN. (lineax lets a derivative of such a solve raise even then.) Raises `TypeError` or
    `ValueError` for operators it does not take. Cost: one factorisation, two sweeps a solve. A
    solver of equal plan compiles nothing anew.
    """

    patterned: Held[tuple[Plan, Probes]] | None = eqx.field(static=True)

    def __init__(self, plan: Plan | None = None):
        self.patterned = None
        if plan is not None:
            if hold(plan)[1] is None:
                raise TypeError("expected a plan that is not traced: make the solver outside jit")
            self.patterned = Held((plan, symmetric_probes(plan)), plan.fingerprint)

    def init(self, operator: lx.AbstractLinearOperator, options: dict[str, Any]) -> Factored:
        del options
        found = combined(operator)
        complete: Any = True
        if found is None:
            found, complete = self._probed(lx.linearise(operator))
        sign = sign_of(operator, found.a)
        found = eqx.tree_at(lambda op: op.a, found, sign * found.a)
        F = cholesky(found.plan, found.a)
        return Factored(found, F.panels, jnp.where(complete, F.info, -1), F.pivots, sign)

    def _probed(self, operator: lx.AbstractLinearOperator) -> tuple[SparseOperator, Array]:
        """The operator from its products, and whether its entries lie in the pattern."""
        if self.patterned is None:
            raise TypeError(
                "expected a padchol SparseOperator, or sums and multiples of such; got "
                f"{type(operator).__name__}. SparseCholesky(plan) takes other operators whose "
                "pattern is the plan's"
            )
        plan, probes = self.patterned.value
        taken, given = operator.in_structure(), operator.out_structure()
        for found in (taken, given):
            if sum(leaf.size for leaf in jax.tree.leaves(found)) != plan.n:
                raise ValueError(
                    f"expected an operator on arrays of shape {(plan.n,)}; got {found}, which does "
                    "not flatten to that"
                )
        if _leaves(taken) != _leaves(given):
            raise ValueError(
                f"expected an operator that gives what it takes; got {given} of {taken}"
            )
        unravel = eqx.filter_eval_shape(ravel_pytree, taken)[1]

        def mv(x: Array) -> Array:
            return ravel_pytree(operator.mv(unravel(x)))[0]

        products, seen = probes.products(mv, jnp.result_type(*jax.tree.leaves(taken)))
        found = SparseOperator(plan, probes.entries(products)[: plan.nnz])
        return found, probes.complete(seen, found.mv(jnp.asarray(probes.witness, seen.dtype)))

    def compute(self, state: Factored, vector: Any, options: dict[str, Any]):
        del options
        b, unravel = ravel_pytree(vector)
        solution = unravel(state.solve(b))
        kinds = lx.RESULTS
        return solution, kinds.where(state.info == 0, kinds.successful, kinds.singular), {}

    def transpose(self, state: Factored, options: dict[str, Any]):
        return state, options

    def conj(self, state: Factored, options: dict[str, Any]):
        return state, options

    def assume_full_rank(self) -> bool:
        return True


def _leaves(structure: Any) -> tuple:
    leaves, tree = jax.tree.flatten(structure)
    return tree, [(leaf.shape, leaf.dtype) for leaf in leaves]


@functools.lru_cache(maxsize=16)
def _symmetric_probes(held: Held[Plan]) -> Probes:
    rows, cols = np.asarray(held.value.rows), np.asarray(held.value.cols)
    off = rows != cols
    both = np.concatenate([rows, cols[off]]), np.concatenate([cols, rows[off]])
    return Probes(*both, (held.value.n, held.value.n))


def symmetric_probes(plan: Plan) -> Probes:
    """Probes of the whole pattern of a plan: canonical entries first. Remembered by fingerprint."""
    return _symmetric_probes(Held(plan, plan.fingerprint))
