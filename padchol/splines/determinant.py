"""Determinants of penalties, in units that no choice of coordinates changes.

The restricted likelihood of smoothing parameters has log|S|_+ - log|H|, S = sum_l lambda_l S_l, of
which the first is the product of the eigenvalues that are not zero. In other coordinates, beta = T
gamma, H becomes T^T H T and log|H| grows by 2 log|T|; but |S|_+ does not grow alike, because it
leaves out the directions of no penalty, span(N). It does when it is measured by a metric G = P^T P
of beta, which becomes T^T G T as well:

    log |det K(S)|,   K(S) = [S, G N; N^T G, 0],   N^T G N = I

K grows by 2 log|T| like H, so that log|det K| - log|H| is the same in all coordinates, and equals
mgcv's log|S|_+ - log|H| where |P beta| is the length of its coefficients: those of the B-splines,
or the values at knots. Constraints that are absorbed (beta = Z gamma, see `centring`) are such a
change of coordinates. K is as sparse as S, but for as many rows as N has columns.

For several penalties of one tensor product, S_1 (x) G_2 and G_1 (x) S_2, with the generalised
eigenvalues mu of (S_1, G_1) and nu of (S_2, G_2)

    log |det K| = sum_ij log(lambda_1 mu_i + lambda_2 nu_j) + constant,  over mu_i + nu_j > 0

(Wood 2017, Generalized Additive Models, 2nd ed., section 5.6), as simultaneous diagonalisation
shows, and the constant is found from K at lambda = 1.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from jaxtyping import Float

from padchol.splines.bases import Basis


def log_determinant(S: Any, N: Float[np.ndarray, "k q"], G: Any) -> float:
    """log |det K(S)|; N any basis of the null space of S. One sparse factorisation."""
    border = sp.csc_array(G @ orthonormal(N, G))
    K = sp.block_array([[sp.csc_array(S), border], [border.T, None]], format="csc")
    if not N.shape[1]:
        K = sp.csc_array(S)
    U = sp.linalg.splu(K).U
    return float(np.sum(np.log(np.abs(U.diagonal()))))


def orthonormal(N: Float[np.ndarray, "k q"], G: Any) -> Float[np.ndarray, "k q"]:
    """N in another basis, with N^T G N = I."""
    if not N.shape[1]:
        return N
    Q = np.linalg.qr(N)[0]
    chol = np.linalg.cholesky(Q.T @ (G @ Q))
    return scipy.linalg.solve_triangular(chol, Q.T, lower=True).T


def eigenvalues(basis: Basis, P: Any) -> Float[np.ndarray, " k"]:
    """Of the penalty of a margin in the metric G = P^T P, those of its null space exactly zero.
    Dense: O(k^3), for margins of tens or hundreds of functions."""
    D = basis.root().toarray()
    found = scipy.linalg.eigh(D.T @ D, (P.T @ P).toarray(), eigvals_only=True)
    found[: basis.null().shape[1]] = 0
    return np.maximum(found, 0)


def sums(margins: list[np.ndarray]) -> Float[np.ndarray, "rows margins"]:
    """The eigenvalues of all margins, in every combination in which one of them is not zero."""
    table = np.array(list(itertools.product(*margins)))
    return table[table.any(1)]
