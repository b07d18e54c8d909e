"""The rows of a linear model: its own, and for other responses than its own."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from padchol.mixed.terms import Effects


class Data(eqx.Module):
    """Q of X = Q U, and x~ and the codes of each term: X and Z in the standard basis.

    Each row of y - offset, Q and x~ is multiplied by the square root of its weight.
    """

    effects: Effects
    y: Float[np.ndarray, " n"]
    Q: Float[np.ndarray, "n p"]
    rows: tuple[Float[np.ndarray, "n p_i"], ...]
    codes: tuple[Int[np.ndarray, " n"], ...]
    root: Float[np.ndarray, " n"]  # square roots of the weights
    offset: Float[np.ndarray, " n"]

    def weighted(self, y: Float[Array, " n"]) -> Float[Array, " n"]:
        """sqrt(w) (y - offset)"""
        return (y - jnp.asarray(self.offset)) * jnp.asarray(self.root)

    def unweighted(self, eta: Float[Array, " n"]) -> Float[Array, " n"]:
        """The y of sqrt(w) (y - offset)."""
        return jnp.asarray(self.offset) + eta / jnp.asarray(self.root)

    def times(self, b: Float[Array, " q"]) -> Float[Array, " n"]:
        """Z b"""
        parts = [
            jnp.sum(jnp.asarray(x) * b[t.where].reshape(-1, t.p)[jnp.asarray(code)], 1)
            for t, x, code in zip(self.effects.terms, self.rows, self.codes, strict=True)
        ]
        return sum(parts[1:], parts[0]) if parts else jnp.zeros((), b.dtype)

    def t_times(self, r: Float[Array, " n"]) -> Float[Array, " q"]:
        """Z^T r"""
        parts = [jnp.zeros(0, r.dtype)]
        for t, x, code in zip(self.effects.terms, self.rows, self.codes, strict=True):
            each = jnp.asarray(x) * r[:, None]
            parts.append(jnp.zeros((t.levels, t.p), r.dtype).at[jnp.asarray(code)].add(each))
        return jnp.concatenate([part.reshape(-1) for part in parts])


def weights_of(weights: object, n: int) -> Float[np.ndarray, " n"]:
    """Weights (n,), ones where none are given; `ValueError` where one is not positive."""
    if weights is None:
        return np.ones(n)
    found = np.asarray(weights, float)
    if found.shape != (n,):
        raise ValueError(f"expected weights of shape ({n},); got {found.shape}")
    if not (np.isfinite(found).all() and (found > 0).all()):
        k = int(np.argmin(np.isfinite(found) & (found > 0)))
        raise ValueError(
            f"expected weights that are positive and finite; got {found[k]} in row {k}; leave out "
            "rows that are to have no weight"
        )
    return found


def offset_of(offset: object, n: int) -> Float[np.ndarray, " n"]:
    """A known summand (n,) of the linear predictor, zeros where none is given."""
    found = np.zeros(n) if offset is None else np.asarray(offset, float)
    if found.shape != (n,) or not np.isfinite(found).all():
        raise ValueError(f"expected an offset ({n},) of finite numbers; got shape {found.shape}")
    return found
