"""A + s U U^T for a few columns U and s = 1 or -1, from the factor of A.

Woodbury (1950), Inverting modified matrices, Princeton; Hager (1989), Updating the inverse of a
matrix, SIAM Review 31(2), 221-239. With L L^T = P A P^T

    V = L^-1 P U     (n, k)
    W = A^-1 U       (n, k)
    K = I + s V^T V = C C^T   (k, k)   the capacitance matrix; U^T A^-1 U = V^T V

    (A + s U U^T)^-1 b   = x - s W K^-1 U^T x,  x = A^-1 b          (Hager, equation 2)
    log |A + s U U^T|    = log |A| + log |K|                        (the determinant lemma)
    (A + s U U^T)^-1     = A^-1 - s Y^T Y,  Y = C^-1 W^T  (k, n)

For s = 1, K is never formed: C^T is R of a QR factorisation of I on top of V, which keeps twice the
digits where columns of U nearly depend on each other. For s = -1 there is the Cholesky factor of
I - V^T V, which exists just where A - U U^T is positive definite.

The other method, after Davis and Hager (1999, 2001, 2005; SIAM J. Matrix Anal. Appl. 20(3),
22(4), 26(3)), changes L itself, column by column along paths of the elimination tree. It needs a
U U^T that fits into the pattern of L, has no parallel form for an accelerator, and saves little:
a solve is what it costs to beat (tests/bench/NOTES.md, experiment 39).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.linalg import cho_solve, solve_triangular
from jaxtyping import Array, Bool, Float

from padchol.methods import WithMethods
from padchol.numeric.solve import known_solution, solve_half
from padchol.numeric.values import as_shape, multiply, permute, poisoned, real_array, unpermute

if TYPE_CHECKING:
    from padchol.factor import Factor

SPENT = 10  # roundings: what may be left of a pivot of I - V^T V that should be zero


class LowRank(WithMethods):
    """A + s U U^T, by the factor of A and the Woodbury identity; made by `Factor.update`.

    A pytree. Every method is differentiable with respect to the values of A and to U, in every
    mode, to any order. Where A or A + s U U^T is not positive definite, `positive` is False and
    every output is NaN. One that `vmap` has given holds a batch: call its methods inside a vmap.

    Rounding is that of two steps, A and then the change. Where s = -1 and K is nearly singular,
    1 - v^T v cancels: what is left has lost as many digits as its smallest eigenvalue has leading
    zeros, and as many again as A's own condition takes. A refactorisation is then better.
    """

    factor: Factor  # of A
    U: Float[Array, "n k"]
    W: Float[Array, "n k"]  # A^-1 U
    root: Float[Array, "k k"]  # C, lower triangular
    sign: int = eqx.field(static=True)

    def _check_one(self) -> None:
        """Raise for a batch outside of its vmap."""
        if self.root.ndim != 2:
            raise ValueError(
                f"expected the change of one matrix, with U of shape (n, k); got a batch, of shape "
                f"{self.U.shape}. Call its methods inside a vmap, as in "
                "jax.vmap(lambda M: M.logdet())(M)"
            )

    @property
    def positive(self) -> Bool[Array, ""]:
        """Whether A and A + s U U^T are positive definite; else every output is NaN."""
        self._check_one()
        return (self.factor.info == 0) & jnp.all(jnp.isfinite(self.root))

    def solve(self, b: Any, *, refine: int = 0) -> Array:
        """x with (A + s U U^T) x = b, for b (n,) or (n, k) in the user's order.

        refine: steps of iterative refinement, as in `Factor.solve`. They pay where U U^T is large
        beside A, as x is then a small difference. Cost: a solve with A, and two products with
        (n, k), for each step and the first solve.
        """
        self._check_one()
        x, b = self._solved(b), real_array(b, "a right-hand side")
        for _ in range(refine):
            x = x + self._solved(b - self._times(x))
        return x

    def _solved(self, b: Any) -> Array:
        x = self.factor.solve(b)
        return x - self.sign * self.W @ cho_solve((self.root, True), self.U.T @ x)

    def _times(self, x: Array) -> Array:
        """(A + s U U^T) x"""
        product = multiply(self.factor.plan, self.factor.values, x.reshape(x.shape[0], -1))
        return product.reshape(x.shape) + self.sign * self.U @ (self.U.T @ x)

    def logdet(self) -> Float[Array, ""]:
        """log |A + s U U^T| = log |A| + 2 sum log diag(C)."""
        self._check_one()
        return self.factor.logdet() + 2 * jnp.sum(jnp.log(jnp.diagonal(self.root)))

    def quadratic(self, b: Any) -> Array:
        """b^T (A + s U U^T)^-1 b: a number for b (n,), (k,) for (n, k), of each column."""
        return jnp.sum(real_array(b, "a vector") * self.solve(b), 0)

    def marginal_variances(self) -> Float[Array, " n"]:
        """diag((A + s U U^T)^-1) = diag(A^-1) - s colsums(Y^2), in the user's order.

        A difference where s = 1: rounding is relative to diag(A^-1). Cost: the selected inverse.
        """
        self._check_one()
        return self.factor.marginal_variances() - self.sign * jnp.sum(self._spread() ** 2, 0)

    def sample(self, key: Array, shape: int | tuple[int, ...] = ()) -> Float[Array, "*shape n"]:
        """Draws of N(0, (A + s U U^T)^-1), for an explicit key.

        x ~ N(0, A^-1) and z ~ N(0, I) give x + Y^T z for s = -1, and x - Y^T C^-1 (U^T x + z) for
        s = 1, which is x conditioned on U^T x + z = 0.
        """
        self._check_one()
        shape = as_shape(shape)
        first, second = jax.random.split(key)
        x = self.factor.sample(first, shape)
        z = jax.random.normal(second, (*shape, self.root.shape[0]), self.root.dtype)
        if self.sign > 0:
            noisy = (x @ self.U + z).reshape(-1, self.root.shape[0])
            z = -solve_triangular(self.root, noisy.T, lower=True).T.reshape(z.shape)
        return x + z @ self._spread()

    def _spread(self) -> Float[Array, "k n"]:
        """Y = C^-1 W^T"""
        return solve_triangular(self.root, self.W.T, lower=True)


def low_rank(factor: Factor, U: Float[Array, "n k"], sign: int) -> LowRank:
    """A + s U U^T from the factor of A, U in the user's order. See `Factor.update`."""
    plan, k = factor.plan, U.shape[1]
    a, panels, columns = lax.stop_gradient((factor.values, factor.panels, U))
    V = solve_half(plan, True, a, panels, permute(plan, columns))
    W = unpermute(plan, solve_half(plan, False, a, panels, V))
    W = known_solution(plan, factor.values, factor.panels, U, W)
    one = jnp.eye(k, dtype=U.dtype)
    C = _of_sum(one, V) if sign > 0 else jnp.linalg.cholesky(one - V.T @ V)
    C = known_root(one + sign * U.T @ W, C)
    left = jnp.diagonal(lax.stop_gradient(C)) ** 2
    sound = (factor.info == 0) & jnp.all(left > SPENT * jnp.finfo(C.dtype).eps)
    return LowRank(factor, U, W, poisoned(C, sound), sign)


def _of_sum(one: Float[Array, "k k"], V: Float[Array, "n k"]) -> Float[Array, "k k"]:
    """C lower, of positive diagonal, with C C^T = I + V^T V."""
    R = jnp.linalg.qr(jnp.concatenate([one, V]), mode="r")
    return (R * jnp.where(jnp.diagonal(R) < 0, -1, 1)[:, None].astype(R.dtype)).T


@jax.custom_jvp
def known_root(K: Float[Array, "k k"], C: Float[Array, "k k"]) -> Float[Array, "k k"]:
    """C lower with C C^T = K, found before: the same numbers, with derivatives with respect to K.

    dC = C low(C^-1 dK C^-T), low: the lower triangle with half of the diagonal (Murray 2016).
    """
    del K
    return C


@known_root.defjvp
def _known_root_jvp(primals, tangents):
    K, C = primals
    C = known_root(K, lax.stop_gradient(C))
    half = solve_triangular(C, tangents[0], lower=True)
    moved = solve_triangular(C, half.T, lower=True)
    return C, C @ (jnp.tril(moved) - 0.5 * jnp.diag(jnp.diagonal(moved)))
