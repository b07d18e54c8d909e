"""The scale of an intrinsic precision: one typical variance whatever the graph or the length.

Sorbye & Rue (2014), Spatial Statistics 8, 39-51; Freni-Sterrantino, Ventrucci & Rue (2018), Spatial
and Spatio-temporal Epidemiology 26, 25-34.
"""

from __future__ import annotations

import contextlib
from typing import Any

import jax
import numpy as np
import scipy.linalg
import scipy.sparse as sp
from jaxtyping import Array, Float
from scipy.sparse import csgraph

from padchol.analysis import analyze
from padchol.gmrf import IntrinsicGMRF, pins
from padchol.plan import Plan
from padchol.precisions.domain import POSITIVE
from padchol.precisions.graphs import adjacency, indicators, laplacian, matrix
from padchol.precisions.precision import Precision, combination

DENSE = 1500  # order up to which inverting takes half a second; the sparse way compiles for four
NOT_NULL = 1e-9  # of the largest entries: what Q null may be
# v Q_ii eps, a variance in roundings of the diagonal, beyond which it is none: the scale is then
# wrong by about as much. 3e-7 for a second-order walk of 1500 uneven steps, 2e-4 where the longest
# is 200 times the shortest; 2e-2 or more where the null space is too small (n up to 1500).
UNTOLD = 1e-3
TINY = np.finfo(float).tiny


def scaled_precision(Q: Any, null: Any) -> sp.csc_array:
    """Q scaled to a generalised variance of 1 on each connected component of its graph.

    Q (n, n): sparse, positive semidefinite. null (n, k): a basis of its whole null space. A
    component is multiplied by exp(mean(log v)), v the variances given null^T x = 0, the diagonal of
    the generalised inverse: their geometric mean becomes 1 (Sorbye & Rue 2014, Spatial Statistics
    8, 39-51), and tau in tau Q is the precision of a typical value. Double precision on
    the host: a dense inverse up to order 1500, one sparse factorisation, its selected inverse
    and k solves beyond. `ValueError` for shapes that do not fit, and where double precision does
    not carry Q or null is not its null space.
    """
    Q, null = sp.csc_array(matrix(Q, "a precision")), np.asarray(null, float)
    if Q.shape[0] != Q.shape[1] or null.ndim != 2 or null.shape[0] != Q.shape[0]:
        raise ValueError(
            f"expected a square precision and a basis of its null space with as many rows; got "
            f"shapes {Q.shape} and {null.shape}"
        )
    component = csgraph.connected_components(Q, directed=False)[1]
    v, size = _variances(Q, null, component), Q.diagonal()
    miss = abs(Q @ null).max(initial=0) / max(abs(Q).max() * abs(null).max(initial=0), TINY)
    told = (v > 0) & (v * size < UNTOLD / np.finfo(float).eps)
    if miss > NOT_NULL or not told.all():
        raise ValueError(
            "expected a positive semidefinite precision and a basis of its whole null space, of "
            f"which double precision can tell the variances; got {np.sum(~told)} of {v.size} that "
            f"it cannot tell, and Q null up to {miss:.1e} of the largest entries"
        )
    factor = np.exp(np.bincount(component, np.log(v)) / np.bincount(component))[component]
    return sp.csc_array(sp.diags_array(factor) @ Q)


def scaled_laplacian(W: Any) -> tuple[sp.csc_array, np.ndarray]:
    """(Q_u, null): D - W as `scaled_precision` scales it, and a basis of its null space.

    An area without neighbours gets N(0, 1) and has no part in the null space (Freni-Sterrantino,
    Ventrucci & Rue 2018, Spat. Spatiotemporal Epidemiol. 26, 25-34).
    """
    W = adjacency(W)
    component = csgraph.connected_components(W, directed=False)[1]
    alone = sp.diags_array((np.bincount(component)[component] == 1).astype(float))
    null = indicators(component)[:, np.bincount(component) > 1]
    return scaled_precision(laplacian(W) + alone, null), null


def intrinsic(Q: Any, null: np.ndarray, scaled: bool) -> Precision:
    """tau Q, of parameter tau, null a basis of its null space; scaled or as it is."""
    Q = scaled_precision(Q, null) if scaled else Q
    return combination([Q], lambda tau: (tau,), ("tau",), null, {"tau": POSITIVE})


def _variances(Q: sp.csc_array, null: np.ndarray, component: np.ndarray) -> np.ndarray:
    """diag(Q^+), the variances given null^T x = 0, component by component.

    Q^+ = (Q + s N N^T)^-1 - N N^T / s, N an orthonormal basis of the null space and s > 0: dense
    where that is quicker than to compile.
    """
    n, k = null.shape
    if n > DENSE and k:
        with jax.enable_x64(True):
            plan = analyze(Q)
            return np.asarray(_sparse_variances(plan, plan.values(Q), null, pins(null.T)))
    v = np.full(n, np.nan)
    for each in np.unique(component):
        at = np.flatnonzero(component == each)
        whole, N = Q[at][:, at].toarray(), scipy.linalg.orth(null[at])
        s = np.mean(np.diagonal(whole))
        with contextlib.suppress(np.linalg.LinAlgError):  # not definite: its variances stay NaN
            factored = scipy.linalg.cho_factor(whole + s * N @ N.T)
            inverse = scipy.linalg.cho_solve(factored, np.eye(at.size))
            v[at] = np.diagonal(inverse) - np.sum(N**2, 1) / s
    return v


@jax.jit
def _sparse_variances(plan: Plan, a: Array, null: Array, pins: Array) -> Float[Array, " n"]:
    return IntrinsicGMRF(plan, a, null, pins=pins).marginal_variances()
