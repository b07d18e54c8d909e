"""Derivatives with respect to A, to every order and in both modes, from symmetry.

A form is a number psi(A; v_1, ..., v_r), linear in each of its vectors: log |A|, or c^T L^-1 b.
What users ask for are its partial derivatives, and derivatives of those: each is

    D^k psi [d_1, ..., d_k; v_1, ..., v_r]      directions d_i of A, one argument left out

With the argument `out` left out it is an array, the gradient with respect to it. Linear in every
other argument, and symmetric in the directions: so the tangent of such an array is a sum of more of
them (a direction more; or one of its arguments replaced), and the transpose is the one with another
argument left out. Nothing but these facts is needed: the arrays themselves are forward derivatives
of `Form.partial`, the one thing a form defines.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
from jax.core import ShapedArray
from jax.interpreters import ad

from padchol.numeric.call import Call, Computation, call
from padchol.plan import Plan

VALUES = -1  # `out`: the gradient with respect to the values of A


@dataclass(frozen=True)
class Form:
    """partial(plan, a, panels, vectors, out): the gradient of the form with respect to argument
    `out`, the values of A (VALUES) or one of its vectors, which is then None.

    panels: L of `a`, or None where it must be made, and differentiated, from `a`.
    """

    name: str
    partial: Callable[..., jax.Array]
    vectors: int = 0


def partial(form: Form, plan: Plan, a, panels, vectors: Sequence = (), out: int = VALUES):
    """The gradient of the form, for values `a` whose factor is `panels`; differentiable in `a` and
    the vectors, in both modes, to every order."""
    given = [v for i, v in enumerate(vectors) if i != out]
    return call(Partial(form, out), plan, jax.lax.stop_gradient(panels), a, *given)[0]


@dataclass(frozen=True)
class Partial(Computation):
    """D^k of a form with one argument left out. Its arrays are L, `a`, the directions, and the
    vectors but for `out`; directions and vectors have all batch axes."""

    takes = (0,)

    form: Form
    out: int = VALUES
    directions: int = 0

    def split(self, arrays: Sequence) -> tuple[Any, Any, list, list]:
        """(L, a, directions, all vectors)"""
        panels, a, *rest = arrays
        vectors = list(rest[self.directions :])
        if self.out != VALUES:
            vectors.insert(self.out, None)
        return panels, a, list(rest[: self.directions]), vectors

    def of(self, call: Call, plan: Plan, panels, a, directions, vectors) -> jax.Array:
        """The inverse of `split`, and the array."""
        arrays = (*directions, *(v for i, v in enumerate(vectors) if i != self.out))
        has = tuple((*mask[:2], *[True] * len(arrays)) for mask in call.has)
        more = replace(self, directions=len(directions))
        return replace(call, computation=more, has=has).bind(plan, panels, a, *arrays)[0]

    def compute(self, plan: Plan, *arrays: jax.Array) -> Sequence[jax.Array]:
        panels, a, directions, vectors = self.split(arrays)
        if not directions:
            return [self.form.partial(plan, a, panels, vectors, self.out)]

        def f(a):
            return self.form.partial(plan, a, None, vectors, self.out)

        return [functools.reduce(_derivative, directions, f)(a)]

    def shapes(self, plan: Plan, *arrays: Any) -> Sequence[Any]:
        del plan
        _, a, _, vectors = self.split(arrays)
        given = (v for v in vectors if v is not None)
        return [ShapedArray((a if self.out == VALUES else next(given)).shape, arrays[0].dtype)]

    def vectors(self, count: int) -> tuple[bool, ...]:
        known = 2 + self.directions
        return (*[False] * known, *[self.out != VALUES] * (count - known))

    def together(self, mask: tuple[bool, ...]) -> tuple[bool, ...]:
        own = any(mask[:2])  # L and `a`, together or not at all
        return (own, own, *[True] * (len(mask) - 2))

    def jvp(self, call: Call, plan: Plan, primals: Sequence, tangents: Sequence):
        panels, a, directions, vectors = self.split(primals)
        _, a_dot, direction_dots, vector_dots = self.split(tangents)
        of = functools.partial(self.of, call, plan, panels, a)
        moving = []
        if type(a_dot) is not ad.Zero:
            moving.append(of([*directions, call.led(a_dot, 1)], vectors))
        for i, dot in enumerate(direction_dots):
            if type(dot) is not ad.Zero:
                moving.append(of([*directions[:i], dot, *directions[i + 1 :]], vectors))
        for i, dot in enumerate(vector_dots):
            if dot is not None and type(dot) is not ad.Zero:
                moving.append(of(directions, [*vectors[:i], dot, *vectors[i + 1 :]]))
        return call.bind(plan, *primals), [functools.reduce(operator.add, moving)]

    def transpose(self, call: Call, plan: Plan, cotangents: Sequence, arrays: Sequence):
        """The one argument that is not known is left out, and the cotangent takes the place of what
        was left out before."""
        panels, a, directions, vectors = self.split(arrays)
        missing = next(i for i, x in enumerate(arrays) if ad.is_undefined_primal(x))
        (cotangent,) = map(ad.instantiate_zeros, cotangents)
        unknown = [v is not None and ad.is_undefined_primal(v) for v in vectors]
        out = unknown.index(True) if any(unknown) else VALUES
        directions = [d for d in directions if not ad.is_undefined_primal(d)]
        if self.out == VALUES:
            directions.append(cotangent)
        else:
            vectors[self.out] = cotangent
        pulled = replace(self, out=out).of(call, plan, panels, a, directions, vectors)
        return [pulled if i == missing else None for i in range(len(arrays))]


def _derivative(f: Callable, direction) -> Callable:
    return lambda a: jax.jvp(f, (a,), (direction,))[1]
