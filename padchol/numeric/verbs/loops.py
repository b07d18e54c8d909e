"""Loops that XLA compiles to machine code as they stand, and the few operations on tiles in them.

On CPU a `while` loop costs a microsecond a trip and operation: XLA interprets it. Inside a call
marked `xla_cpu_small_call` the whole callee is compiled as one function, loops and all, and a trip
costs four nanoseconds (tests/bench/NOTES.md, experiment 19). Elsewhere the mark means nothing.

What such a function may hold: loops, slices, elementwise operations and sums. Scatter, sort, LAPACK
calls and large products are refused by XLA, a concatenation is ten times slower than writing its
parts one by one, every parameter must be used, and what JAX itself compiles apart (`jnp.where`,
`//`) stays apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental.xla_metadata import set_xla_metadata


def one_function(f: Callable) -> Callable:
    """f, compiled as one function on CPU."""
    called = jax.jit(f)

    def call(*args):
        with set_xla_metadata(xla_cpu_small_call="true", inlineable="false"):
            return called(*args)

    return call


def loop(start: Any, stop: Any, body: Callable, state: Any) -> Any:
    """for i in range(start, stop): state = body(i, state)"""
    first, last = jnp.asarray(start, np.int32), jnp.asarray(stop, np.int32)

    def more(carry):
        return carry[0] < last

    def trip(carry):
        i, state = carry
        return i + 1, body(i, state)

    return lax.while_loop(more, trip, (first, state))[1]


def get(x: jax.Array, at: Sequence[Any], size: Sequence[int]) -> jax.Array:
    """x[at : at + size]"""
    at = [jnp.asarray(i, np.int32) for i in at]
    return lax.dynamic_slice(x, at, size, allow_negative_indices=False)


def put(x: jax.Array, value: jax.Array, at: Sequence[Any]) -> jax.Array:
    """x with `value` at `at`, in place. What `value` is made of must not read other places of x:
    carry it through a loop first, or x is copied. It must not overlap what it reads of x either,
    but for the same place: XLA then reads what it has written (openxla/xla#49176)."""
    at = [jnp.asarray(i, np.int32) for i in at]
    return lax.dynamic_update_slice(x, value, at, allow_negative_indices=False)


def whole(count: Any, size: int) -> jax.Array:
    """How many pieces of this size hold so many."""
    return lax.div(count + (size - 1), jnp.asarray(size, np.int32))


def below_diagonal(a: jax.Array, b: jax.Array) -> jax.Array:
    """The lower triangle of a, and what is above it of b."""
    return lax.select(jnp.asarray(np.tri(a.shape[0], dtype=bool)), a, b)


def t_product(a: jax.Array, b: jax.Array) -> jax.Array:
    """a^T b for few rows: a sum, because a product would be handed to a library."""
    return jnp.sum(a[:, :, None] * b[:, None, :], 0)
