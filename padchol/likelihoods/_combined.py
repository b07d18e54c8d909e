"""Likelihoods made of others: several at once, and with an offset."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from padchol.likelihoods._base import Likelihood, check_kind, real


def stacked(*likelihoods: Likelihood) -> Stacked:
    """Several likelihoods at once: eta is split into parts, one after another, each by `length`

    The length of a part is that of its data: of shape (m,), not a number for all. Parts may be
    stacked themselves. Raises `ValueError` where a length is not known and, when it is called, for
    eta of another length; `TypeError` for what is not a `Likelihood`.
    """
    if not likelihoods:
        raise ValueError("expected one or more likelihoods; got none")
    for each in likelihoods:
        check_kind(each)
        _ = each.length  # raises where it is not known
    return Stacked(likelihoods)


def with_offset(likelihood: Likelihood, offset: Any) -> WithOffset:
    """The likelihood at eta + offset, the offset a number or (m,)

    Raises `TypeError` for what is not a `Likelihood`.
    """
    check_kind(likelihood)
    return WithOffset(likelihood, real(offset))


class Stacked(Likelihood):
    """The terms of each part at its part of eta, one after another"""

    parts: tuple[Likelihood, ...]

    @property
    def y(self) -> Array:
        """The data of all parts, one after the other."""
        return jnp.concatenate([jnp.broadcast_to(each.y, (each.length,)) for each in self.parts])

    def __call__(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        return jnp.concatenate([part(eta) for part, eta in self._split(eta)])

    def cdf(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        """P(Y_i <= y_i | eta_i) by the part that has the term"""
        return jnp.concatenate([part.cdf(eta) for part, eta in self._split(eta)])

    def mean(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        """E[Y_i | eta_i] by the part that has the term"""
        return jnp.concatenate([part.mean(eta) for part, eta in self._split(eta)])

    def sampled(self, key: Array, eta: Float[Array, " m"]) -> Stacked:
        """The same likelihoods of data drawn from each at its part of eta."""
        keys = jax.random.split(key, len(self.parts))
        pairs = zip(keys, self._split(eta), strict=True)
        return Stacked(tuple(part.sampled(key, eta) for key, (part, eta) in pairs))

    def _split(self, eta: Array) -> list[tuple[Likelihood, Array]]:
        ends = np.cumsum([0, *(each.length for each in self.parts)])
        if eta.shape != (ends[-1],):
            raise ValueError(
                f"expected eta of shape ({ends[-1]},), as the stacked likelihoods have "
                f"{[each.length for each in self.parts]} terms; got shape {eta.shape}"
            )
        slices = (eta[begin:end] for begin, end in pairwise(ends))
        return list(zip(self.parts, slices, strict=True))

    def _shapes(self) -> list[tuple[int, ...]]:
        return [(sum(each.length for each in self.parts),)]


class WithOffset(Likelihood):
    """The terms of the likelihood at eta + offset"""

    likelihood: Likelihood
    offset: Array

    @property
    def y(self) -> Array:
        """The data."""
        return self.likelihood.y

    def __call__(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        return self.likelihood(eta + self.offset)

    def cdf(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        """P(Y_i <= y_i | eta_i + offset_i)"""
        return self.likelihood.cdf(eta + self.offset)

    def mean(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        """E[Y_i | eta_i + offset_i]"""
        return self.likelihood.mean(eta + self.offset)

    def sampled(self, key: Array, eta: Float[Array, " m"]) -> WithOffset:
        """The same likelihood of data drawn from it at eta + offset."""
        return WithOffset(self.likelihood.sampled(key, eta + self.offset), self.offset)

    def _shapes(self) -> list[tuple[int, ...]]:
        return [self.offset.shape, *self.likelihood._shapes()]
