"""Modules whose bound methods may be given to JAX's transformations: `jax.jit(F.solve)`."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import equinox as eqx


class BoundMethod(eqx.Module):
    """A method of one object. A pytree like Equinox's own; equal, and hashed, by that object's
    identity, because `jax.jit` looks functions up by hash and arrays have none."""

    function: Callable = eqx.field(static=True)
    __self__: eqx.Module

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(self.__self__, *args, **kwargs)

    @property
    def __name__(self) -> str:
        return self.function.__name__

    @property
    def __doc__(self) -> str | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.function.__doc__

    @property
    def __wrapped__(self) -> Callable:
        return types.MethodType(self.function, self.__self__)

    def __hash__(self) -> int:
        return hash((self.function, id(self.__self__)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, BoundMethod):
            return False
        return self.function is other.function and self.__self__ is other.__self__


class WithMethods(eqx.Module):
    """The base of what users call, or call methods of; no fields.

    Hashed by identity: `jax.jit` asks the function for a hash, and arrays have none.
    """

    def __hash__(self) -> int:
        return id(self)

    def __getattribute__(self, name: str) -> Any:
        found = object.__getattribute__(self, name)
        own = isinstance(found, types.MethodType) and found.__self__ is self
        if own and not (name.startswith("__") and name.endswith("__")):
            return BoundMethod(found.__func__, self)
        return found
