"""Triangular solves and solves with A.

    L y = b      up sweep:    y1 = L11^-1 b1,  and hand up  -L21 y1
    L^T x = y    down sweep:  x1 = L11^-T (y1 - L21^T x2),  x2 read below

Pivots are solved by substitution: an inverse would cost backward error in proportion to the
condition of L11 (Higham 2002, Accuracy and Stability, sec. 14.2).
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.interpreters import ad
from jaxtyping import Array, Float

from padchol.numeric.adjoint import outer, pulled_back
from padchol.numeric.call import Call, Computation, call, over_axes
from padchol.numeric.factorise import Panels, factored
from padchol.numeric.forms import VALUES, Form, partial
from padchol.numeric.sweep import Routine, apply
from padchol.numeric.values import from_panels, multiply, poisoned, to_pivots
from padchol.numeric.vectors import swept
from padchol.numeric.verbs import Verbs
from padchol.plan import Plan


def forward(v: Verbs) -> None:
    """b becomes y = L11^-1 b, and -L21 y is handed up."""
    L = v.factor(1)
    v.solve(L)
    v.hand_up_product(L)


def backward(v: Verbs) -> None:
    """y becomes x = L11^-T (y - L21^T x2), x2 read below."""
    v.solve_t(v.factor(1), v.read_below_rows())


FORWARD = Routine(forward, True, "pivots", ("panel",))
BACKWARD = Routine(backward, False, "pivots", ("panel",), rooms=("rows below",))


def _bilinear(plan: Plan, a: Array, panels: Panels | None, vectors: Sequence, out: int) -> Array:
    """Of c^T L^-1 b, vectors (b, c) in the plan's order, summed over columns: y, z, or -z y^T."""
    panels = factored(plan, a) if panels is None else panels
    if out != VALUES:
        routine, v = (BACKWARD, vectors[1]) if out == 0 else (FORWARD, vectors[0])
        return swept(plan, (routine,), v, panels, jnp.ones((), panels.dtype))
    solved = [
        apply(routine, plan, to_pivots(plan, v), panels)
        for routine, v in zip((FORWARD, BACKWARD), vectors, strict=True)
    ]
    return from_panels(plan, pulled_back(plan, panels, outer(plan, *solved)))


BILINEAR = Form("c^T L^-1 b", _bilinear, 2)


@functools.partial(jax.jit, static_argnums=1)
def solve_half(plan: Plan, up: bool, a: Array, panels: Panels, b: Float[Array, "n k"]) -> Array:
    """y with L y = b (up) or x with L^T x = b, both in plan order, in the type of b."""
    known = b.astype(a.dtype)
    vectors, out = ((known, None), 1) if up else ((None, known), 0)
    return partial(BILINEAR, plan, a, panels, vectors, out).astype(b.dtype)


class Solve(Computation):
    """x = A^-1 b from values, panels, a factor that is 1, or NaN for results that are not to be
    had, and b: linear and symmetric in b."""

    takes = (1,)

    def compute(
        self, plan: Plan, a: Array, panels: Array, factor: Array, b: Array
    ) -> Sequence[Array]:
        del a
        known = b.astype(panels.dtype)
        return [swept(plan, (FORWARD, BACKWARD), known, panels, factor, users=True).astype(b.dtype)]

    def shapes(self, plan: Plan, a: Any, panels: Any, factor: Any, b: Any) -> Sequence[Any]:
        del plan, a, panels, factor
        return [b]

    def vectors(self, count: int) -> tuple[bool, ...]:
        del count
        return (False, False, False, True)

    def jvp(self, call: Call, plan: Plan, primals: Sequence, tangents: Sequence):
        """dx = A^-1 (db - dA x)"""
        (x,) = call.bind(plan, *primals)
        a_dot, _, _, b_dot = tangents
        terms = []
        if type(a_dot) is not ad.Zero:

            def moved(a_dot, x):
                return -multiply(plan, a_dot.astype(x.dtype), x)

            has = [(mask[0], True) for mask in call.has]
            terms.append(over_axes(moved, has, False)(a_dot, x))
        if type(b_dot) is not ad.Zero:
            terms.append(call.led(b_dot, 3))
        return [x], self._of(call, plan, primals, functools.reduce(operator.add, terms))

    def transpose(self, call: Call, plan: Plan, cotangents: Sequence, arrays: Sequence):
        """A^-1 is symmetric: the cotangent of b is the solution for that of x."""
        assert ad.is_undefined_primal(arrays[3])
        (pulled,) = self._of(call, plan, arrays, ad.instantiate_zeros(cotangents[0]))
        repeated = [axis for axis, mask in enumerate(call.has) if not mask[3]]
        return [None, None, None, jnp.sum(pulled, repeated) if repeated else pulled]

    def _of(self, call: Call, plan: Plan, arrays: Sequence, b: Array):
        """The solution for a right-hand side with all batch axes."""
        has = tuple((*mask[:3], True) for mask in call.has)
        return replace(call, has=has).bind(plan, *arrays[:3], b)


SOLVE = Solve()


@jax.jit
def solve_system(
    plan: Plan, a: Array, panels: Panels, b: Float[Array, "n k"], sound: Any = True
) -> Float[Array, "n k"]:
    """x = A^-1 b, user's order, in the type of b; NaN, and its derivatives too, where not `sound`.

    The tangent is another solve, dx = A^-1 (db - dA x), and so is the adjoint: b_bar = A^-1 x_bar,
    a_bar from -b_bar x^T: to every order, and the sweeps are only a way of solving.
    """
    factor = poisoned(jnp.ones((), a.dtype), jnp.asarray(sound))
    return call(SOLVE, plan, a, lax.stop_gradient(panels), factor, b)[0]


@jax.custom_jvp
def known_solution(plan: Plan, a: Array, panels: Panels, b: Array, x: Float[Array, "n k"]):
    """x = A^-1 b, found before: the same numbers, with derivatives with respect to `a` and b."""
    del plan, a, panels, b
    return x


@known_solution.defjvp
def _known_solution_jvp(primals, tangents):
    """dx = A^-1 (db - dA x)"""
    plan, a, panels, b, x = primals
    x = known_solution(plan, a, panels, b, lax.stop_gradient(x))
    return x, solve_system(plan, a, panels, tangents[3] - multiply(plan, tangents[1], x))
