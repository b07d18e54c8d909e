"""Random effects without order: independent values, and k correlated ones in each of n groups.

The covariance of a group's k effects is S R S, S = diag(tau_j^-1/2) and R their correlations. R =
L L^T is made of partial correlations rho_ji, i < j, that of effects j and i given the first i - 1:
any numbers between -1 and 1 give a correlation matrix, and every regular one comes of exactly one
choice (Lewandowski, Kurowicka & Joe 2009, J. Multivariate Anal. 100, 1989-2001, section 2: the
C-vine). Row by row, with rho_jj = 1,

    L_ji = rho_ji (1 - rho_j1^2)^1/2 ... (1 - rho_j,i-1^2)^1/2,    i <= j,

and with two effects rho_21 is their correlation. The first column of R is always that of rho.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jaxtyping import Array, Float

from padchol.precisions.domain import CORRELATION, POSITIVE, within
from padchol.precisions.joint import replicated
from padchol.precisions.precision import Precision, combination, proper


def iid(n: int) -> Precision:
    """Q = tau I: n independent values. Parameter tau, the precision of each."""
    if operator.index(n) < 1:
        raise ValueError(f"expected n >= 1; got {n}")
    return combination([sp.eye_array(n)], lambda tau: (tau,), ("tau",), domain={"tau": POSITIVE})


def correlated(n: int, k: int = 2) -> Precision:
    """Q = I_n (x) (S R S)^-1: k correlated effects in each of n groups, as intercepts and slopes.

    x is group by group, `x.reshape(n, k)`. Parameters tau1, ..., tauk, the precisions of the
    effects, then the partial correlations rho21, rho31, rho32, ... row by row (see the head of this
    file): `values(tau1, tau2, rho)` for k = 2. `correlation_matrix` gives R of them. With n = 1 and
    `kronecker`, fields correlated with each other.
    """
    if n < 1 or k < 1:
        raise ValueError(f"expected n >= 1 groups of k >= 1 effects; got n = {n}, k = {k}")
    rows, cols = (each.reshape(-1) for each in np.indices((k, k)))
    return replicated(proper(rows, cols, k, _Group(k), _names(k)), n)


def correlation_matrix(*partial: Any) -> Float[Array, "k k"]:
    """R (k, k) of the k (k - 1) / 2 partial correlations of `correlated`, in their order.

    `TypeError` for a number of them that is none of 0, 1, 3, 6, ...; `ValueError` for what is known
    and outside of -1 < rho < 1, NaN for what is traced.
    """
    k = (1 + math.isqrt(1 + 8 * len(partial))) // 2
    if k * (k - 1) // 2 != len(partial):
        raise TypeError(f"expected k (k - 1) / 2 partial correlations; got {len(partial)} of them")
    names = _names(k)[k:]
    theta = within(dict.fromkeys(names, CORRELATION), names, partial)
    L = _cholesky(k, theta, jnp.result_type(*theta) if theta else float)
    return jnp.matmul(L, L.T, precision="highest")


def _names(k: int) -> tuple[str, ...]:
    taus = [f"tau{j}" for j in range(1, k + 1)]
    return *taus, *(f"rho{j}{i}" for j in range(1, k + 1) for i in range(1, j))


def _cholesky(k: int, partial: Sequence[Array], dtype: Any) -> Float[Array, "k k"]:
    """L, see the head of this file."""
    rows, given = [], iter(partial)
    for j in range(k):
        row, left = jnp.zeros(k, dtype), jnp.ones((), dtype)
        for i in range(j):
            rho = next(given)
            row, left = row.at[i].set(rho * jnp.sqrt(left)), left * (1 - rho**2)
        rows.append(row.at[j].set(jnp.sqrt(left)))
    return jnp.stack(rows)


class _Group(eqx.Module):
    """(S R S)^-1 = M^T M with M = L^-1 S^-1, by substitution: k is small."""

    k: int = eqx.field(static=True)

    def __call__(self, *parameters: Any) -> Float[Array, " entries"]:
        k, names = self.k, _names(self.k)
        domain = dict.fromkeys(names[:k], POSITIVE) | dict.fromkeys(names[k:], CORRELATION)
        theta = within(domain, names, parameters)
        roots = jnp.sqrt(jnp.stack(theta[:k]))
        L, rows = _cholesky(k, theta[k:], jnp.result_type(*theta)), []
        for j, row in enumerate(jnp.diag(roots)):
            rows.append((row - sum(L[j, i] * rows[i] for i in range(j))) / L[j, j])
        M = jnp.stack(rows)
        return jnp.matmul(M.T, M, precision="highest").reshape(-1)
