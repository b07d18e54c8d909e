"""The standard basis, in which models are held and fits are sought.

The columns x (n, p) of a term, and those of X, are replaced by columns that are orthogonal and of
unit mean square:

    x = x~ R,    x~^T x~ = n I,    R (p, p) upper triangular,    x T = x~ (R T)

so that the coefficients of x~ have the factor M = R T. The likelihood depends on M M^T only. A
search over lower triangular T~ with M = T~ does not see how the covariates were shifted and scaled:
T of theta is the lower triangular factor of R^-1 T~, which an orthogonal matrix takes to it.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Array, Float

from padchol.mixed.terms import Effects

Matrix = Float[np.ndarray, "p p"]


def standard(x: Float[np.ndarray, "n p"]) -> tuple[Float[np.ndarray, "n p"], Matrix]:
    """x~ and R of x = x~ R. A column that depends on those before it has zeros in x~."""
    n, p = x.shape
    scale = np.max(np.abs(x), axis=0, initial=0.0)
    scale = np.where(scale > 0, scale, 1.0)
    Q = np.zeros((n, p))
    R = np.eye(p)
    for k in range(p):
        column = x[:, k] / scale[k]
        size = np.linalg.norm(column)
        for _ in range(2):  # once more, for what cancels (Giraud et al. 2005, Comput. Math. Appl.)
            part = Q[:, :k].T @ column
            column = column - Q[:, :k] @ part
            R[:k, k] += part
        left = np.linalg.norm(column)
        if left > max(n, 1) * np.finfo(float).eps * size:
            Q[:, k], R[k, k] = column / left, left
        else:
            R[k, k] = np.sqrt(max(n, 1))
    return Q * np.sqrt(n), R * scale / np.sqrt(max(n, 1))


def standard_terms(
    rows: Sequence[np.ndarray],
) -> tuple[list[np.ndarray], tuple[Matrix, ...], np.ndarray]:
    """x~ and R of each term, and theta~ of the identity (zero where a column has no part)."""
    pairs = [standard(x) for x in rows]
    first = triangles([np.diag(x.any(axis=0).astype(float)) for x, _ in pairs])
    return [x for x, _ in pairs], tuple(R for _, R in pairs), first


def identities(bases: Sequence[Matrix]) -> tuple[Matrix, ...]:
    return tuple(np.eye(len(R)) for R in bases)


def lower(M: Matrix) -> Matrix:
    """L of M = L O, O orthogonal; its diagonal is not negative."""
    L = np.linalg.qr(M.T, mode="r").T
    return L * np.where(np.diagonal(L) < 0, -1.0, 1.0) + 0.0  # no -0


def triangles(matrices: Sequence[Matrix]) -> Float[np.ndarray, " theta"]:
    """theta of lower triangular matrices, one a term."""
    parts = [M.T[np.triu_indices(len(M))] for M in matrices]
    return np.concatenate([np.zeros(0), *parts])


def factors(effects: Effects, theta: Float[np.ndarray, " theta"]) -> list[Matrix]:
    """T of each term, in NumPy."""
    found = []
    for term in effects.terms:
        T = np.zeros((term.p, term.p))
        cols, rows = np.triu_indices(term.p)
        T[rows, cols] = theta[term.theta_start : term.theta_start + rows.size]
        found.append(T)
    return found


def to_standard(effects: Effects, bases: Sequence[Matrix], theta: np.ndarray) -> np.ndarray:
    """theta~ of theta."""
    pairs = zip(bases, factors(effects, theta), strict=True)
    return np.concatenate([triangles([lower(R @ T) for R, T in pairs]), effects.rho(theta)])


def to_user(effects: Effects, bases: Sequence[Matrix], theta: np.ndarray) -> np.ndarray:
    """theta of theta~."""
    pairs = zip(bases, factors(effects, theta), strict=True)
    solve = scipy.linalg.solve_triangular
    found = triangles([lower(solve(R, T, check_finite=False)) for R, T in pairs])
    return np.concatenate([found, effects.rho(theta)])


def user_jacobian(
    effects: Effects, bases: Sequence[Matrix], theta: np.ndarray, slope: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Of the map from theta~ to theta at `theta` (of the standard basis): its Jacobian J, and its
    Hessian in the direction J^-T slope, the gradient in theta of what has `slope` in theta~."""

    def mapped(theta):
        parts = [jnp.zeros(0, theta.dtype)]
        for term, R in zip(effects.terms, bases, strict=True):
            M = jax.scipy.linalg.solve_triangular(jnp.asarray(R), term.factor(theta))
            L = jnp.linalg.qr(M.T, mode="r").T
            L = L * jnp.where(jnp.diagonal(L) < 0, -1.0, 1.0)
            cols, rows = np.triu_indices(term.p)
            parts.append(L[rows, cols])
        return jnp.concatenate([*parts, effects.rho(theta)])

    at: Array = jnp.asarray(theta)
    J = np.asarray(jax.jit(jax.jacfwd(mapped))(at))
    outside = jnp.asarray(np.linalg.solve(J.T, slope))
    bend = jax.jit(jax.hessian(lambda theta: outside @ mapped(theta)))(at)
    return J, np.asarray(bend)


def neighbours(effects: Effects, theta: np.ndarray, sizes: Sequence[float]) -> list[np.ndarray]:
    """theta with the matrix of one term multiplied by one of the sizes, or with its correlations
    removed, in turn: where another minimum may be."""
    found = []
    for term, T in zip(effects.terms, factors(effects, theta), strict=True):
        where = slice(term.theta_start, term.theta_start + term.p * (term.p + 1) // 2)
        apart = np.diag(np.linalg.norm(T, axis=1))
        for other in (apart, *(size * T for size in sizes)):
            moved = theta.copy()
            moved[where] = triangles([other])
            if not np.array_equal(moved, theta):
                found.append(moved)
    return found
