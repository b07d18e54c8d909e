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
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad

from padchol.numeric.devices import alike, results
from padchol.numeric.members import axes_of, one_by_one, register_lowering
from padchol.numeric.primitives import (
    as_columns,
    compile_eager_calls,
    from_columns,
    front_axis,
    over_axes,
    register_batch,
)
from padchol.plan import Plan

VALUES = -1  # `out`: the gradient with respect to the values of A

form_p = Primitive("padchol_form")
form_p.multiple_results = True  # one


@dataclass(frozen=True)
class Form:
    """partial(plan, a, panels, vectors, out): the gradient of the form with respect to argument
    `out`, the values of A (VALUES) or one of its vectors, which is then None.

    panels: L of `a`, or None where it must be made, and differentiated, from `a`.
    """

    name: str
    partial: Callable[..., jax.Array]
    vectors: int = 0


@dataclass(frozen=True)
class Partial:
    """What the primitive computes; its operands are the leaves of the plan, then L, `a`, the
    directions, and the vectors but for `out`."""

    form: Form
    plan: Any  # tree structure
    out: int = VALUES
    directions: int = 0
    lead: tuple[int, ...] = ()  # batch axes, outermost first, of directions and vectors
    own: tuple[bool, ...] = ()  # whether L and `a` have each of them

    def split(self, operands: Sequence) -> tuple[list, Any, Any, list, list]:
        """(leaves of the plan, L, a, directions, all vectors)"""
        tables = list(operands[: self.plan.num_leaves])
        panels, a, *rest = operands[self.plan.num_leaves :]
        vectors = list(rest[self.directions :])
        if self.out != VALUES:
            vectors.insert(self.out, None)
        return tables, panels, a, list(rest[: self.directions]), vectors

    def bind(self, tables, panels, a, directions, vectors) -> jax.Array:
        """The inverse of `split`, and the array."""
        given = [v for i, v in enumerate(vectors) if i != self.out]
        what = replace(self, directions=len(directions))
        arrays = alike(panels, a, *directions, *given)
        return form_p.bind(*tables, *arrays, what=what)[0]

    def led(self, a: jax.Array) -> jax.Array:
        """Values with all batch axes, where `a` may have some."""
        shape = [size if has else 1 for size, has in zip(self.lead, self.own, strict=True)]
        return jnp.broadcast_to(a.reshape(*shape, a.shape[-1]), (*self.lead, a.shape[-1]))


def partial(form: Form, plan: Plan, a, panels, vectors: Sequence = (), out: int = VALUES):
    """The gradient of the form, for values `a` whose factor is `panels`; differentiable in `a` and
    the vectors, in both modes, to every order."""
    tables, tree = jax.tree.flatten(plan)
    what = Partial(form, tree, out)
    return what.bind(tables, jax.lax.stop_gradient(panels), a, (), vectors)


def _compute(*operands, what: Partial):
    tables = operands[: what.plan.num_leaves]
    plan = jax.tree.unflatten(what.plan, tables)

    def one(*arrays):
        _, panels, a, directions, vectors = what.split((*tables, *arrays))
        if not directions:
            return what.form.partial(plan, a, panels, vectors, what.out)

        def f(a):
            return what.form.partial(plan, a, None, vectors, what.out)

        return functools.reduce(_derivative, directions, f)(a)

    arrays = operands[len(tables) :]
    has = [(own, own, *[True] * (len(arrays) - 2)) for own in what.own]
    return [over_axes(one, has, one_by_one(plan))(*arrays)]


def _derivative(f: Callable, direction) -> Callable:
    return lambda a: jax.jvp(f, (a,), (direction,))[1]


def _axes(operands, what: Partial, **_):
    tables = what.plan.num_leaves
    own = [axis for axis, has in enumerate(what.own) if has]
    columns = what.out != VALUES
    taken = [axes_of((), x.ndim) for x in operands[:tables]]
    taken += [axes_of(own, x.ndim) for x in operands[tables : tables + 2]]
    every = range(len(what.lead))
    for i, x in enumerate(operands[tables + 2 :]):
        taken.append(axes_of(every, x.ndim, columns and i >= what.directions))
    return taken, [axes_of(every, len(_shape(operands, what)), columns)]


def _shape(operands, what: Partial) -> tuple[int, ...]:
    _, _, a, _, vectors = what.split(operands)
    if what.out == VALUES:
        return (*what.lead, a.shape[-1])
    return next(v for v in vectors if v is not None).shape


compile_eager_calls(form_p)
register_lowering(form_p, _compute, _axes)


@form_p.def_abstract_eval
def _abstract(*operands, what: Partial):
    found = ShapedArray(_shape(operands, what), operands[what.plan.num_leaves].dtype)
    return results(operands, [found], _axes(operands, what))


def _jvp(primals, tangents, *, what: Partial):
    tables, panels, a, directions, vectors = what.split(primals)
    _, _, a_dot, direction_dots, vector_dots = what.split(tangents)
    moving = []
    if type(a_dot) is not ad.Zero:
        moving.append(what.bind(tables, panels, a, [*directions, what.led(a_dot)], vectors))
    for i, dot in enumerate(direction_dots):
        if type(dot) is not ad.Zero:
            moved = [*directions[:i], dot, *directions[i + 1 :]]
            moving.append(what.bind(tables, panels, a, moved, vectors))
    for i, dot in enumerate(vector_dots):
        if dot is not None and type(dot) is not ad.Zero:
            moved = [*vectors[:i], dot, *vectors[i + 1 :]]
            moving.append(what.bind(tables, panels, a, directions, moved))
    out = form_p.bind(*primals, what=what)
    return out, [functools.reduce(jnp.add, moving)]


ad.primitive_jvps[form_p] = _jvp


def _transpose(cotangents, *operands, what: Partial):
    """The one argument that is not known is left out, and the cotangent takes the place of what was
    left out before."""
    tables, panels, a, directions, vectors = what.split(operands)
    missing = next(i for i, x in enumerate(operands) if ad.is_undefined_primal(x))
    (cotangent,) = map(ad.instantiate_zeros, cotangents)
    unknown = [v is not None and ad.is_undefined_primal(v) for v in vectors]
    out = unknown.index(True) if any(unknown) else VALUES
    directions = [d for d in directions if not ad.is_undefined_primal(d)]
    if what.out == VALUES:
        directions.append(cotangent)
    else:
        vectors[what.out] = cotangent
    pulled = replace(what, out=out).bind(tables, panels, a, directions, vectors)
    return [pulled if i == missing else None for i in range(len(operands))]


ad.primitive_transposes[form_p] = _transpose


def _batch(operands, dims, *, what: Partial):
    """Vectors only, and a vector left out: they become more columns."""
    tables = what.plan.num_leaves
    known = tables + 2 + what.directions
    size = next(x.shape[d] for x, d in zip(operands, dims, strict=True) if d is not None)
    if not what.lead and what.out != VALUES and all(d is None for d in dims[:known]):
        vectors = list(zip(operands[known:], dims[known:], strict=True))
        merged = [as_columns(x, d, size) for x, d in vectors]
        (out,) = form_p.bind(*operands[:known], *merged, what=what)
        return [from_columns(out, size, front_axis(*vectors[0], size).shape[-1])], [1]
    own = any(d is not None for d in dims[tables : tables + 2])  # L and `a`, together or not at all
    whole = tables if own else tables + 2
    moved = [front_axis(x, d, size) for x, d in zip(operands[whole:], dims[whole:], strict=True)]
    more = replace(what, lead=(size, *what.lead), own=(own, *what.own))
    return form_p.bind(*operands[:whole], *moved, what=more), [0]


register_batch(form_p, _batch, lambda what: what.plan.num_leaves)
