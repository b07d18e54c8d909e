"""The rows of a linear model, for other responses than its own."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from padchol.mixed.terms import Effects


class Data(eqx.Module):
    """Q of X = Q U, and x~ and the codes of each term: X and Z in the standard basis."""

    effects: Effects
    Q: Float[np.ndarray, "n p"]
    rows: tuple[Float[np.ndarray, "n p_i"], ...]
    codes: tuple[Int[np.ndarray, " n"], ...]

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
