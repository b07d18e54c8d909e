"""Conditioning a Gaussian field on linear constraints C x = e, by kriging.

Rue & Held (2005), Gaussian Markov Random Fields, section 2.3.3.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import cho_solve, solve_triangular
from jaxtyping import Array, Bool, Float

from padchol.factor import Factor
from padchol.methods import WithMethods
from padchol.numeric.values import poisoned

ON_PLANE = 1e3  # roundings by which C x may miss e, relative to the terms of the sum
SPENT = 10  # roundings: what is left of a pivot of C A^-1 C^T, of diagonal one, that should be zero


class Plane(WithMethods):
    """The points with C x = e, the rows of C orthonormal; made by `plane`.

    On the host (numpy) where C was known there, so that what is added to it can be checked.
    """

    C: Float[Array | np.ndarray, "c n"]
    e: Float[Array, " c"]

    def nearest(self, x: Float[Array, " n"]) -> Float[Array, " n"]:
        """The point of the plane that is nearest to x."""
        return x - self.C.T @ (self.C @ x - self.e)

    def under(self, factor: Factor) -> Constraint:
        """The plane as a constraint on N(., A^-1), from the factor of A. Cost: c solves."""
        return self.with_covariances(factor.solve(jnp.asarray(self.C).T))

    def with_covariances(self, W: Float[Array, "n c"]) -> Constraint:
        """The same, from W = A^-1 C^T."""
        S = self.C @ W
        scale = jnp.sqrt(jnp.diagonal(S))
        chol = jnp.linalg.cholesky(S / scale[:, None] / scale)
        eps = jnp.finfo(S.dtype).eps
        sound = jnp.all(jnp.diagonal(chol) ** 2 > SPENT * eps)
        return Constraint(self, W, poisoned(scale[:, None] * chol, sound))


class Constraint(WithMethods):
    """C x = e with what kriging needs: W = A^-1 C^T and the Cholesky factor of C W."""

    plane: Plane
    W: Float[Array, "n c"]
    chol: Float[Array, "c c"]

    @property
    def C(self) -> Float[Array | np.ndarray, "c n"]:
        """The constraints, a row each."""
        return self.plane.C

    @property
    def e(self) -> Float[Array, " c"]:
        """What C x is."""
        return self.plane.e

    def log_determinant(self) -> Float[Array, ""]:
        """log |C A^-1 C^T|: what is added to log |A| on the plane."""
        return 2 * jnp.sum(jnp.log(jnp.diagonal(self.chol)))

    def moved(self, x: Float[Array, "*batch n"]) -> Float[Array, "*batch n"]:
        """x - A^-1 C^T (C A^-1 C^T)^-1 (C x - e), twice: the second time takes what rounding left,
        so that C x misses e by the rounding of that sum and no more."""
        C = jnp.asarray(self.C)
        for _ in range(2):
            gap = (x @ C.T - self.e).reshape(-1, self.e.size).T
            x = x - (self.W @ cho_solve((self.chol, True), gap)).T.reshape(x.shape)
        return x

    def white(self, x: Float[Array, " n"]) -> Float[Array, " c"]:
        """How far x is from the plane in standard deviations: its square is (e - C x)^T (C A^-1
        C^T)^-1 (e - C x)."""
        return solve_triangular(self.chol, self.e - self.C @ x, lower=True)

    def lost_variances(self) -> Float[Array, " n"]:
        """The diagonal of W (C W)^-1 W^T: what the variances lose by the constraint (2.29)."""
        return jnp.sum(self.root() ** 2, 0)

    def root(self) -> Float[Array, "c n"]:
        """R with R^T R = W (C W)^-1 W^T."""
        return solve_triangular(self.chol, self.W.T, lower=True)

    def holds(self, x: Float[Array, "*batch n"], loc: Array, eps: Any) -> Bool[Array, "*batch"]:
        """Whether C x is e up to the rounding of sums of such terms as |C| |x|, |C| |loc|, |e| and
        the standard deviation of C x."""
        deviation = jnp.sqrt(jnp.sum(self.chol**2, 1))
        size = (jnp.abs(x) + jnp.abs(loc)) @ jnp.abs(self.C).T + jnp.abs(self.e) + deviation
        return is_rounding(x @ self.C.T - self.e, size, eps)


def is_rounding(miss: Float[Array, "*batch c"], size: Float[Array, "*batch c"], eps: Any) -> Array:
    """Whether what C x misses e by is no more than rounding of terms of that size."""
    return jnp.all(jnp.abs(miss) <= ON_PLANE * eps * size, axis=-1)
