"""Null spaces of intrinsic fields, the constraints that tie them down, and the rows to pin.

Notation as in `padchol.gmrf.intrinsic`: N (n, k), C (k, n), S the k pinned rows. Bases are taken
apart and checked on the host (numpy) where they are known.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jax import lax
from jaxtyping import Int

from padchol.gmrf.constraint import DEPENDENT, dense, orthonormal
from padchol.plan import Plan


def null_space(plan: Plan, null: Any, constraints: Any) -> tuple[Any, Any]:
    """N (n, k) and C (k, n), by default N^T, bases of what was given: orthonormal (numpy) where it
    is known, of columns and rows of length one where traced.

    Raises `ValueError` for other shapes, and, where they are known, for bases that are not of full
    rank and constraints that do not tie the null space down.
    """
    null = dense(null, "null space")
    null = null[:, None] if null.ndim == 1 else null
    C = null.T if constraints is None else dense(constraints, "constraints")
    C = C[None] if C.ndim == 1 else C
    if np.ndim(null) != 2 or np.shape(C) != np.shape(null)[::-1] or not np.size(C):
        raise ValueError(
            f"expected a null space of shape ({plan.n}, k) and constraints of shape "
            f"(k, {plan.n}), k > 0; got {np.shape(null)} and {np.shape(C)}"
        )
    if null.shape[0] != plan.n:
        raise ValueError(
            f"expected a null space of shape ({plan.n}, k), a null space of {plan.n} rows; "
            f"got shape {null.shape}"
        )
    C = _basis(C, "constraints")
    N = C.T if constraints is None else _basis(null.T, "a null space").T
    if not (traced(N) or traced(C) or tie_down(N, C)):
        raise ValueError("expected constraints that tie down every direction of the null space")
    return N, C


def _basis(rows: Any, what: str) -> Any:
    """An orthonormal basis of what the rows span; rows of length one where they are traced."""
    if traced(rows):
        largest = lax.stop_gradient(jnp.max(jnp.abs(rows), 1, keepdims=True))
        unit = rows / largest
        return unit / lax.stop_gradient(jnp.linalg.norm(unit, axis=1, keepdims=True))
    k, eps = len(rows), float(jnp.finfo(rows.dtype).eps)
    with np.errstate(all="ignore"):
        Q, _, _, sound = orthonormal(rows, eps) if k <= rows.shape[1] else (rows, 0, 0, False)
    if not sound:
        raise ValueError(f"expected {what} of full rank {k}; got a matrix of less")
    return Q


def pins(C: Any) -> Int[np.ndarray, " k"]:
    """k columns of C (k, n) that are as independent as may be: QR with column pivoting, from the
    middle outwards where it makes no difference.

    Raises `ValueError` for values that are traced, or not of full rank.
    """
    if traced(C):
        raise ValueError(
            "expected pins, or constraints that are known when the field is traced (numpy arrays)"
        )
    C = _basis(np.asarray(C, float), "constraints")
    n = C.shape[1]
    outwards = np.argsort(abs(np.arange(n) - n // 2), kind="stable")
    factored: Any = scipy.linalg.qr(C[:, outwards], mode="r", pivoting=True)
    return outwards[factored[1][: len(C)]].astype(np.int32)


def traced(x: Any) -> bool:
    return isinstance(x, jax.core.Tracer)


def _array_module(*arrays: Any) -> Any:
    """numpy, in double precision, where all are known on the host."""
    return np if all(isinstance(x, np.ndarray) for x in arrays) else jnp


def tied(N: Any, C: Any, pins: Any) -> Any:
    """log (|C N|^2 / (|C C^T| |N_S|^2))"""
    xp = _array_module(N, C, pins)
    size = lambda M: xp.linalg.slogdet(M)[1]
    return 2 * size(C @ N) - size(C @ C.T) - 2 * size(N[pins])


def tie_down(N: Any, C: Any) -> Any:
    """Whether C N is invertible: by its singular values, or a bound of them where it is traced."""
    held, eps = C @ N, jnp.finfo(N.dtype).eps
    if _array_module(N, C) is np:
        size = np.linalg.svd(held, compute_uv=False)
        return size[-1] > eps**DEPENDENT * size[0]
    held = lax.stop_gradient(held)
    return jnp.linalg.norm(held) * jnp.linalg.norm(jnp.linalg.inv(held)) < eps**-DEPENDENT
