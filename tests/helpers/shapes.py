"""The checker of shapes that `PADCHOL_SHAPES=1` puts on every function of padchol, see conftest.

Only hints that carry a shape are checked, when arguments come and when a function returns: all
others are pyright's, and what padchol refuses itself, in words of its own, would be pre-empted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

from beartype import BeartypeConf, beartype
from jaxtyping import AbstractArray

CONF = BeartypeConf(is_pep484_tower=True)  # an int is a float where a type checker says so


def shaped(hint: Any) -> bool:
    """Whether a shape is in the hint."""
    if isinstance(hint, list | tuple):  # the arguments of a Callable
        return any(map(shaped, hint))
    return (isinstance(hint, type) and issubclass(hint, AbstractArray)) or shaped(get_args(hint))


def checked(function: Callable) -> Callable:
    """The function, which then checks its shaped arguments and results."""
    hints = function.__annotations__
    function.__annotations__ = {name: hint for name, hint in hints.items() if shaped(hint)}
    return beartype(conf=CONF)(function) if function.__annotations__ else function
