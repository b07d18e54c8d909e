"""Any map as a pytree whose leaves are arrays, so that programs take its data as arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from padchol.likelihoods import Terms
from padchol.mixed.families.family import Observed


class Held(eqx.Module):
    """eta (m,) to the terms of a log-likelihood (m,): arrays apart from what is compiled in."""

    arrays: list[Any]
    rest: tuple[Any, ...] = eqx.field(static=True)  # functions and other leaves, None for arrays
    structure: Any = eqx.field(static=True)

    def __call__(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        return self.whole()(eta)

    def at(self, predictors: Sequence[Array]) -> Terms:
        """The terms; of a map from predictors to terms, those at these predictors."""
        whole = self.whole()
        return whole(*predictors) if predictors or isinstance(whole, Observed) else self

    def whole(self) -> Any:
        """The map that was held, with these arrays."""
        arrays = iter(self.arrays)
        leaves = [next(arrays) if leaf is None else leaf for leaf in self.rest]
        return jax.tree.unflatten(self.structure, leaves)


def hold(terms: Any) -> Held:
    """A pytree's arrays and numbers become leaves; a plain function is one program with its data,
    compiled again for every other function."""
    if isinstance(terms, Held):
        return terms
    leaves, structure = jax.tree.flatten(terms)
    number = [eqx.is_array_like(leaf) for leaf in leaves]
    arrays = [
        jnp.asarray(leaf) for leaf, is_number in zip(leaves, number, strict=True) if is_number
    ]
    rest = tuple(
        None if is_number else leaf for leaf, is_number in zip(leaves, number, strict=True)
    )
    return Held(arrays, rest, structure)
