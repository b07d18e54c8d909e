"""Linear constraints C x = e: what they need to be, and conditioning on them by kriging.

After Rue & Held (2005), section 2.3.3. The rows given are replaced by an orthonormal basis of what
they span, C = T C_given with e = T e_given, which leaves the plane as it is. With W = A^-1 C^T

    x - W (C W)^-1 (C x - e)       is x given C x = e, if x ~ N(loc, A^-1)          (2.30)
    log |Z^T A Z| = log |A| + log |C W|,  Z an orthonormal basis of the plane's directions
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jax import lax
from jax.scipy.linalg import solve_triangular

from padchol.gmrf.kriging import Plane
from padchol.numeric.values import poisoned, real_array

# Rows of length one count as dependent if their smallest singular value, over the largest, is below
# eps to this power: 4e-11 in float64, 2e-5 in float32. Combinations of rows come out at some eps;
# 1, t, t^2, t^3 for years t from 1990 to 2021 at 1e-8 (tests/test_constraint.py).
DEPENDENT = 2 / 3


def plane(C: Any, e: Any, n: int, dtype: Any, before: Plane | None = None) -> Plane:
    """The plane C x = e, within the one `before`: C (c, n) or (n,), dense or sparse; e a number or
    (c,).

    Raises `ValueError` for shapes that do not fit, and, where C is known, for numbers that are not
    finite and rows that depend on each other or on those before, contradictory or not. Where C is
    traced, such rows make the plane NaN.
    """
    C, e = dense(C, "constraints"), real_array(e, "constraint values")
    C = C[None] if C.ndim == 1 else C
    if C.ndim != 2 or C.shape[1] != n:
        raise ValueError(f"expected C of shape (c, {n}) or ({n},); got {C.shape}")
    if e.shape not in ((), C.shape[:1]):
        raise ValueError(f"expected e a number or of shape ({C.shape[0]},); got {e.shape}")
    if not isinstance(e, jax.core.Tracer) and not np.isfinite(np.asarray(e)).all():
        raise ValueError(f"expected constraint values that are finite; got {np.asarray(e)}")
    e = jnp.broadcast_to(e, C.shape[:1])
    if not len(C):
        return Plane(np.zeros((0, n), dtype), e.astype(dtype)) if before is None else before
    eps: Any = max(jnp.finfo(C.dtype).eps, jnp.finfo(dtype).eps)
    held = 0
    if before is not None:
        known = isinstance(C, np.ndarray) and isinstance(before.C, np.ndarray)
        C = (np if known else jnp).concatenate([before.C, C])
        e, held = jnp.concatenate([before.e, e]), before.e.size
    if C.shape[0] > n:
        raise ValueError(f"expected at most {n} constraints in all, as many as x has; got {len(C)}")
    if isinstance(C, np.ndarray):
        with np.errstate(all="ignore"):
            Q, R, scale, sound = orthonormal(C, eps)
        if not sound:
            raise ValueError(_dependent(C, e, eps, held))
    else:
        Q, R, scale, sound = orthonormal(C.astype(jnp.promote_types(C.dtype, dtype)), eps)
        Q = poisoned(Q, sound)
    e = solve_triangular(jnp.asarray(R), e / jnp.asarray(scale), trans=1)
    return Plane(Q.astype(dtype), e.astype(dtype))


def orthonormal(C: Any, eps: float) -> tuple[Any, Any, Any, Any]:
    """(Q, R, scale, sound): C = diag(scale) R^T Q, the rows of Q orthonormal, scale the lengths of
    the rows of C; and whether C is of full row rank. On the host for a numpy array, else in JAX."""
    on_host = isinstance(C, np.ndarray)
    xp: Any = np if on_host else jnp
    largest = xp.max(xp.abs(C), 1, keepdims=True)
    unit = C / largest
    length = xp.sqrt(xp.sum(unit**2, 1, keepdims=True))
    unit, scale = unit / length, (largest * length)[:, 0]
    if on_host and not np.isfinite(unit).all():  # a row of zeros
        return C, None, scale, False
    Q, R = xp.linalg.qr(unit.T)
    size = xp.linalg.svd(R if on_host else lax.stop_gradient(R), compute_uv=False)
    return Q.T, R, scale, size[-1] > eps**DEPENDENT * size[0]


def _dependent(C: np.ndarray, e: Any, eps: float, held: int) -> str:
    """What to say of rows that depend on each other: the first that does on those before it."""
    with np.errstate(all="ignore"):
        first = next(i for i in range(len(C)) if not orthonormal(C[: i + 1], eps)[-1])
    what = "is zero" if not C[first].any() else "is a combination of those before it"
    if held:
        what += f", of which {held} were there already"
    message = f"expected constraints C x = e with linearly independent rows; row {first} {what}"
    if isinstance(e, jax.core.Tracer):
        return message
    e = np.asarray(e, float)[: first + 1]
    found = C[: first + 1] @ np.linalg.lstsq(C[: first + 1], e, rcond=None)[0]
    agrees = np.allclose(found, e, rtol=1e-6, atol=1e-6 * abs(e).max())
    return f"{message}: {'leave it out' if agrees else 'and no x satisfies them all'}"


def dense(x: Any, what: str) -> Any:
    """x as an array of floats: scipy or JAX sparse, or anything that is a numpy array; on the host
    (numpy) unless it is traced. `ValueError` for numbers that are known and not finite."""
    if sp.issparse(x):
        x = x.toarray()
    traced = any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(x))
    if traced:
        return real_array(x.todense() if hasattr(x, "todense") else x, what)
    if hasattr(x, "todense"):
        with jax.ensure_compile_time_eval():
            x = x.todense()
    x = np.asarray(x)
    if np.iscomplexobj(x):
        raise TypeError(f"expected real {what}; got dtype {x.dtype} (complex is not supported)")
    if x.dtype not in (np.float32, np.float64):
        x = x.astype(float)
    if not np.isfinite(x).all():
        raise ValueError(f"expected {what} that are finite; got NaN or infinity")
    return x
