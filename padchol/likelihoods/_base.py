"""What all likelihoods have, and how their data and parameters are checked."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from padchol.errors import check_type
from padchol.methods import WithMethods
from padchol.numeric.values import real_array

Terms = Callable[[Float[Array, " m"]], Float[Array, " m"]]
"""eta (m,) to the terms log p(y_i | eta_i) (m,)."""


class Likelihood(WithMethods):
    """eta (m,) to the terms log p(y_i | eta_i) (m,), normalised. The base of all of them.

    Compared by identity as well as hashed by it, as functions are: `jax.jit` and the like ask for
    both.
    """

    __hash__ = WithMethods.__hash__

    def __eq__(self, other: Any) -> bool:
        return self is other

    @abc.abstractmethod
    def __call__(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        """log p(y_i | eta_i)"""

    @abc.abstractmethod
    def cdf(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        """P(Y_i <= y_i | eta_i), NaN where it is not defined."""

    @abc.abstractmethod
    def mean(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        """E[Y_i | eta_i], NaN where there is none."""

    @property
    def length(self) -> int:
        """m, the number of terms: the shape of the data and parameters, broadcast together."""
        shape = np.broadcast_shapes(*self._shapes())
        if len(shape) != 1:
            raise ValueError(
                "expected data of shape (m,), which say how many terms there are; got shape "
                f"{shape} in {type(self).__name__}"
            )
        return shape[0]

    def sampled(self, key: Array, eta: Float[Array, " m"]) -> Any:
        """The same likelihood of data drawn from it at eta, for a JAX key."""
        return eqx.tree_at(lambda likelihood: likelihood.y, self, self._drawn(key, eta))

    def _drawn(self, key: Array, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        del key, eta
        raise NotImplementedError(
            "expected one of padchol.likelihoods, which data can be drawn from; got "
            f"{type(self).__name__}"
        )

    def _shapes(self) -> list[tuple[int, ...]]:
        """Of what has one entry for each term, or one for all."""
        return [jnp.shape(leaf) for leaf in jax.tree.leaves(self)]


def check_kind(likelihood: Any) -> None:
    """Raise `TypeError` for what is not a likelihood."""
    check_type(likelihood, Likelihood, "likelihoods as padchol.likelihoods makes them")


def occurs(y: Array) -> Array:
    """Where data that are not negative can be: not infinite either. NaN stays NaN."""
    return ~(y < 0) & (y != jnp.inf)


def where_possible(possible: Array, value: Array, defined: Array) -> Array:
    """The value; -inf where the data cannot occur, NaN where the law is not defined."""
    return where_defined(defined, jnp.where(possible, value, -jnp.inf))


def where_defined(defined: Array, value: Array) -> Array:
    """The value, NaN where the law is not defined."""
    return jnp.where(defined, value, jnp.nan)


def log(x: Array) -> Array:
    """log(x), NaN and without a warning where x is negative; finite derivatives at zero."""
    fine = x > 0
    return jnp.where(fine, jnp.log(jnp.where(fine, x, 1.0)), jnp.where(x == 0, -jnp.inf, jnp.nan))


def log_power(k: Array, x: Array) -> Array:
    """log(x^k), 0 for k = 0 also at x = 0, where log(x) has no number."""
    return k * log(jnp.where((k == 0) & (x == 0), 1.0, x))


def times_exp(weight: Array, eta: Array) -> Array:
    """weight exp(eta), 0 where the weight is 0 also where exp(eta) overflows."""
    largest = 0.9 * np.log(jnp.finfo(eta.dtype).max)
    return weight * jnp.exp(jnp.where(weight == 0, jnp.minimum(eta, largest), eta))


def real(x: Any) -> Array:
    """Data or parameters as floats; `TypeError` for complex numbers and for half precision."""
    return real_array(x, "numbers for a likelihood")


def weight(x: Any, name: str) -> Array:
    """Not negative."""
    x = real(x)
    check(x, ~(x < 0), f"{name} >= 0")
    return x


def positive(x: Any, name: str) -> Array:
    x = real(x)
    check(x, ~(x <= 0), f"{name} > 0")
    return x


def check(x: Array, fine: Array, expected: str) -> None:
    """Raise `ValueError` for the first entry that is not fine, unless it is traced."""
    if isinstance(fine, jax.core.Tracer) or bool(jnp.all(fine)):
        return
    k = int(np.argmin(np.atleast_1d(fine).ravel()))
    raise ValueError(f"expected {expected}; got {np.atleast_1d(x).ravel()[k]} in entry {k}")
