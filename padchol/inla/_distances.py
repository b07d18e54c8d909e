"""Distances from base models, for penalised complexity priors: x to (d(x), log|d'(x)|).

d = sqrt(2 KLD), see `padchol.inla.priors`, where the sources are.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
import scipy.sparse as sp
from jaxtyping import Array, Float
from scipy.sparse import csgraph

from padchol.precisions.scaling import scaled_laplacian

SERIES = 1 / np.arange(3.0, 21.0, 2)  # 1/3 + y/5 + y^2/7 + ...: to rounding of float64 at y = 1/64


def of_precision(tau: Array) -> tuple[Array, Array]:
    return tau**-0.5, -1.5 * jnp.log(tau) - math.log(2)


def of_range(range: Array) -> tuple[Array, Array]:
    return 1 / range, -2 * jnp.log(range)


def of_deviation(sd: Array) -> tuple[Array, Array]:
    return sd, jnp.zeros_like(sd)


def from_one(rho: Array) -> tuple[Array, Array]:
    return jnp.sqrt(1 - rho), -jnp.log(1 - rho) / 2 - math.log(2)


def from_zero(rho: Array) -> tuple[Array, Array]:
    """d^2 = rho^2 m. Half of the law is on either side, hence log(2)."""
    square, rest = rho**2, (1 - rho) * (1 + rho)
    m = 1 + square * _log_remainder(-square, rest)
    return jnp.sign(rho) * rho * jnp.sqrt(m), -jnp.log(m) / 2 - jnp.log(rest) - math.log(2)


def of_phi(g: Array, phi: Array) -> tuple[Array, Array]:
    """With g the eigenvalues of Q^- and x = phi (g - 1), a sum of terms that are not negative:

        d^2 = sum(x - log(1 + x)) = phi^2 sum((g - 1)^2 k(x)),   k(x) = (x - log(1 + x))/x^2
        d d' = phi/2 sum((g - 1)^2/(1 + x))

    so that nothing cancels near phi = 0, and 1 + x = (1 - phi) + phi g does not near 1.
    """
    g, phi = jnp.asarray(g, phi.dtype), phi[..., None]
    square, one_x = (g - 1) ** 2, (1 - phi) + phi * g
    s = jnp.sqrt(jnp.sum(square * _log_remainder(phi * (g - 1), one_x), -1))
    return phi[..., 0] * s, jnp.log(jnp.sum(square / one_x, -1) / (2 * s))


@jax.jit
def _log_remainder(x: Array, one_x: Array) -> Array:
    """(x - log(1 + x))/x^2 for x > -1, given 1 + x as well; 1/2 at zero.

    Near zero by log(1 + x) = 2 (s + s^3/3 + s^5/5 + ...), s = x/(2 + x).
    """
    w = 1 / (2 + x)
    s = x * w
    near = jnp.abs(s) < 1 / 8
    series = w - 2 * w**2 * s * jnp.polyval(jnp.asarray(SERIES[::-1], x.dtype), s**2)
    x, one_x = jnp.where(near, 1, x), jnp.where(near, 2, one_x)
    return jnp.where(near, series, (x - jnp.log(one_x)) / x**2)


def covariance_eigenvalues(W: Any) -> Float[np.ndarray, " n"]:
    """Those of Q^-, zeros first: as many as the null space has dimensions, the others inverted.

    `scaled_laplacian` refuses weights of which double precision cannot tell them apart.
    """
    Q, null = scaled_laplacian(W)
    Q, (n, zeros) = sp.csr_array(Q), null.shape
    if not zeros:
        raise ValueError(f"expected areas with neighbours; got {n} without any")
    order = csgraph.reverse_cuthill_mckee(Q, symmetric_mode=True)
    row, col = Q[order][:, order].nonzero()
    lower = row >= col
    row, col = row[lower], col[lower]
    band = np.zeros((np.max(row - col) + 1, n))
    band[row - col, col] = Q[order[row], order[col]]
    values = np.asarray(scipy.linalg.eigvals_banded(band, lower=True, overwrite_a_band=True))
    return np.concatenate([np.zeros(zeros), 1 / values[zeros:]])
