"""What the primitives share: batching rules, and calls outside of jit."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import batching


def front_axis(x: jax.Array, d: int | None, size: int) -> jax.Array:
    """x with its batch axis in front, repeated along it where it has none."""
    return jnp.broadcast_to(x, (size, *x.shape)) if d is None else jnp.moveaxis(x, d, 0)


def as_columns(x: jax.Array, d: int | None, size: int) -> jax.Array:
    """A batch of (rows, k) as (rows, size * k): routines treat columns alike."""
    x = jnp.moveaxis(front_axis(x, d, size), 0, 1)
    return x.reshape(x.shape[0], -1)


def from_columns(x: jax.Array, size: int, k: int) -> jax.Array:
    """The inverse, with the batch axis behind the rows."""
    return x.reshape(x.shape[0], size, k)


def over_axes(f: Callable, has: Sequence[Sequence[bool]], one_by_one: bool) -> Callable:
    """f over batch axes, outermost first: has of each, which of its arguments have it in front."""
    for mask in reversed(has):
        if one_by_one:
            f = functools.partial(_one_by_one, f, mask)
        else:
            f = jax.vmap(f, in_axes=[0 if own else None for own in mask])
    return f


def _one_by_one(f: Callable, mask: Sequence[bool], *arrays):
    def member(batched):
        batched = iter(batched)
        return f(*(next(batched) if own else x for x, own in zip(arrays, mask, strict=True)))

    return lax.map(member, [x for x, own in zip(arrays, mask, strict=True) if own])


def compile_eager_calls(primitive: Primitive) -> None:
    """Outside of jit, a primitive is compiled once for each of its parameters `what`.

    Under `jax.disable_jit` and `jax.debug_nans` as well, which would run it operation by operation:
    a primitive is one program, and binding it anew would not end.
    """

    @functools.lru_cache(maxsize=256)
    def compiled(what):
        return jax.jit(functools.partial(primitive.bind, what=what))

    def implementation(*operands, what):
        with jax.disable_jit(False), jax.debug_nans(False), jax.debug_infs(False):
            return compiled(what)(*operands)

    primitive.def_impl(implementation)


def _failed(x: jax.Array) -> Any:
    """What says that a result is none: NaN, or an `info` that is not zero."""
    return jnp.nan if jnp.issubdtype(x.dtype, jnp.floating) else jnp.ones((), x.dtype)


def register_batch(primitive: Primitive, rule: Callable, tables: Callable[..., int]) -> None:
    """Let `rule` batch a primitive of several results, whose first operands are a plan's tables:
    `tables` of its parameters.

    A vmap may repeat a plan along its axis: one copy is used, and different ones give NaN.
    """

    def batched(operands, dims, **parameters):
        operands, dims, same = list(operands), list(dims), []
        for i in range(tables(**parameters)):
            if dims[i] is not None:
                copies = jnp.moveaxis(operands[i], dims[i], 0)
                same.append(jnp.all(copies == copies[:1]))
                operands[i], dims[i] = copies[0], None
        if all(d is None for d in dims):
            out, axes = primitive.bind(*operands, **parameters), None
        else:
            out, axes = rule(operands, dims, **parameters)
        if same:
            out = [jnp.where(jnp.all(jnp.stack(same)), x, _failed(x)) for x in out]
        return out, [None] * len(out) if axes is None else axes

    batching.primitive_batchers[primitive] = batched
