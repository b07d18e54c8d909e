"""A + s U U^T for a few columns U and s = 1 or -1, from the factor of A.

Woodbury (1950), Inverting modified matrices, Princeton; Hager (1989), Updating the inverse of a
matrix, SIAM Review 31(2), 221-239. With L L^T = P A P^T

    V = L^-1 P U     (n, k)
    W = A^-1 U       (n, k)
    K = I + s V^T V = C C^T   (k, k)   the capacitance matrix; U^T A^-1 U = V^T V

    (A + s U U^T)^-1 b   = x - s W K^-1 U^T x,  x = A^-1 b          (Woodbury)
    log |A + s U U^T|    = log |A| + log |K|                        (the determinant lemma)
    (A + s U U^T)^-1     = A^-1 - s Y^T Y,  Y = C^-1 W^T  (k, n)

For s = 1, C is not computed from K: C^T is R of a QR factorisation of I on top of V, with twice the
digits where columns of U nearly depend on each other. For s = -1 there is the Cholesky factor of
I - V^T V, which exists just where A - U U^T is positive definite.

CHOLMOD changes L itself, column by column along paths of the elimination tree (Davis and Hager
1999, 2001, 2005; SIAM J. Matrix Anal. Appl. 20(3), 22(4), 26(3)). For one sparse column that is the
faster way on a CPU, a third to a half of a solve (experiment 41). Not taken: U U^T has to fit into
the pattern of L, the inverses kept beside L would have to follow, each column waits for the one
before it, which an accelerator has no use for, and what is saved is less than one solve.
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
from padchol.numeric.values import as_shape, permute, poisoned, real_array, unpermute

if TYPE_CHECKING:
    from padchol.factor import Factor

# Entries in one QR factorisation on a CPU. With more, LAPACK shares the work among threads, and may
# take a hundred times longer where other programs are busy (experiment 41).
SMALL = 8_192
SPENT = 10  # roundings: what may be left of a pivot of I - V^T V that should be zero


class LowRank(WithMethods):
    """A + s U U^T, by the factor of A and the Woodbury identity; made by `Factor.update`.

    A pytree. Every method is differentiable with respect to the values of A and to U, in every
    mode, to any order. Where A or A + s U U^T is not positive definite, `positive` is False and
    every output is NaN. One that `vmap` has given holds a batch: call its methods inside a vmap.

    Accuracy, measured beside dense (tests/bench/NOTES.md, experiment 41). Where s = 1, results have
    the digits that A's condition leaves them, however large U is: more than a refactorisation has
    where U U^T makes A + U U^T worse conditioned than A, fewer where it makes it better. Errors
    are relative to A^-1 b and diag(A^-1), of which little may be left, as where b is near U.
    Where s = -1 and K is nearly singular, I - V^T V cancels, and results lose as many digits as the
    smallest eigenvalue of K has zeros: about what a refactorisation loses. A pivot of K
    that is nothing but rounding counts as zero.
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

    def solve(self, b: Any) -> Array:
        """x with (A + s U U^T) x = b, for b (n,) or (n, k) in the user's order.

        Where s = 1, z with K z = U^T A^-1 b should be U^T x: what it misses that by goes through
        K^-1 once more, so that x misses the equation by rounding alone. Cost: a solve with A, and
        two products with (n, k), or four.
        """
        self._check_one()
        x, z = self.factor.solve(b), 0
        for _ in range(2 if self.sign > 0 else 1):
            moved = cho_solve((self.root, True), self.U.T @ x - z)
            x, z = x - self.sign * self.W @ moved, z + moved
        return x

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
    C = _of_sum(V, plan.layout.in_levels) if sign > 0 else jnp.linalg.cholesky(one - V.T @ V)
    C = known_root(one + sign * U.T @ W, C)
    left = jnp.diagonal(lax.stop_gradient(C)) ** 2
    sound = (factor.info == 0) & jnp.all(left > SPENT * jnp.finfo(C.dtype).eps)
    return LowRank(factor, U, W, poisoned(C, sound), sign)


def _of_sum(V: Float[Array, "n k"], whole: bool) -> Float[Array, "k k"]:
    """C lower, of positive diagonal, with C C^T = I + V^T V: C^T is R of [I; V], where some rows of
    V are taken at a time (Demmel et al. 2012, SIAM J. Sci. Comput. 34(1), A206-A239), or all."""
    n, k = V.shape
    height = max(1, n if whole else max(k, SMALL // max(1, k) - k))
    count = -(-n // height)
    blocks = jnp.pad(V, ((0, count * height - n), (0, 0))).reshape(count, height, k)

    def step(R, block):
        return jnp.linalg.qr(jnp.concatenate([R, block]), mode="r"), None

    R, _ = lax.scan(step, jnp.eye(k, dtype=V.dtype), blocks)
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
