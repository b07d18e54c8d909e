"""Where searches of modes begin, told from outside of the model.

A model is a function of its hyperparameters, and has no argument for a start. A caller that
evaluates it at many of them knows one: the mode at those before. `begun_at` hands it to the
`laplace` calls inside, which take it where they are given no start of their own.

The start is a traced value. A function that is jitted inside is traced anew for each start, because
the number of the start is a context of JAX's caches: otherwise a program kept from one trace would
hold a value of it in all others.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Iterator

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_number = jax.make_user_context(default_value=0)
_numbers = itertools.count(1)
_now = threading.local()


@contextlib.contextmanager
def begun_at(x: Float[Array, " n"]) -> Iterator[None]:
    """Searches for the mode of n unknowns begin at x, unless x is not finite or they are given a
    start. For what is traced inside."""
    before, _now.start = getattr(_now, "start", None), x
    try:
        with _number(next(_numbers)):
            yield
    finally:
        _now.start = before


def beginning(loc: Float[Array, " n"]) -> Float[Array, " n"]:
    """The start that was told, or loc."""
    told = getattr(_now, "start", None)
    if told is None or told.shape != loc.shape:
        return loc
    return jnp.where(jnp.all(jnp.isfinite(told)), told.astype(loc.dtype), loc)
