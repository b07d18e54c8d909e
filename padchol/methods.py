"""Methods that JAX can hash: `jax.jit(model.deviance)`.

The bound methods of an `equinox.Module` are pytrees and hash like their leaves, which arrays do
not; `jax.jit` asks its function for a hash.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx


class BoundMethod(eqx.Module):
    """A function with its first argument, a pytree; two are equal if they are of one object."""

    __self__: Any
    function: Callable = eqx.field(static=True)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(self.__self__, *args, **kwargs)

    @property
    def __wrapped__(self) -> Callable:
        return functools.partial(self.function, self.__self__)

    @property
    def __doc__(self) -> str | None:
        return self.function.__doc__

    @property
    def __name__(self) -> str:
        return self.function.__name__

    def __eq__(self, other: Any) -> bool:
        same = isinstance(other, BoundMethod) and self.function is other.function
        return same and self.__self__ is other.__self__

    def __hash__(self) -> int:
        return hash((self.function, id(self.__self__)))


class hashable_method:
    """Decorator of a method of an `equinox.Module`: bound to an object it can be hashed."""

    def __init__(self, function: Callable):
        self.function = function
        self.__doc__ = function.__doc__

    def __get__(self, owner: Any, kind: type | None = None) -> Any:
        return self.function if owner is None else BoundMethod(owner, self.function)
