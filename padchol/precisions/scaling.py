"""The scale of an intrinsic CAR: one typical variance in every graph.

Sorbye & Rue (2014), Spatial Statistics 8, 39-51; Freni-Sterrantino, Ventrucci & Rue (2018), Spatial
and Spatio-temporal Epidemiology 26, 25-34.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import scipy.sparse as sp
from jaxtyping import Array, Float
from scipy.sparse import csgraph

from padchol.analysis import analyze
from padchol.gmrf import IntrinsicGMRF, pins
from padchol.plan import Plan
from padchol.precisions.graphs import adjacency, indicators, laplacian

DENSE = 1500  # areas: inverted in half a second, where the sparse way compiles for four


def scaled_laplacian(W: Any) -> tuple[sp.csc_array, np.ndarray]:
    """(Q_u, null): D - W scaled to a generalised variance of 1, and a basis of its null space.

    On each component with two areas or more, D - W is multiplied by exp(mean(log v)), v the
    variances given that the component sums to zero, so that a typical one becomes 1 (Sorbye & Rue
    2014, Spatial Statistics 8, 39-51). An area without neighbours gets N(0, 1) and has no part in
    the null space (Freni-Sterrantino, Ventrucci & Rue 2018, Spat. Spatiotemporal Epidemiol. 26,
    25-34). Double precision, on the host: one sparse factorisation, its selected inverse and a
    solve for each component.
    """
    W = adjacency(W)
    component = csgraph.connected_components(W, directed=False)[1]
    size = np.bincount(component)[component]
    shared = np.flatnonzero(size > 1)
    factor = np.ones(W.shape[0])
    null = indicators(component)[:, np.bincount(component) > 1]
    if shared.size:
        part, Q = component[shared], sp.csc_array(laplacian(W)[shared][:, shared])
        v = _variances(Q, part, null[shared])
        mean = np.bincount(part, np.log(v)) / np.maximum(np.bincount(part), 1)
        factor[shared] = np.exp(mean)[part]
    alone = sp.diags_array((size == 1).astype(float))
    return sp.csc_array(sp.diags_array(factor) @ laplacian(W) + alone), null


def _variances(Q: sp.csc_array, part: np.ndarray, null: np.ndarray) -> np.ndarray:
    """diag(Q^+): the variances given that each component, the values of `part`, sums to zero.

    Q^+ = (Q + N N^T)^-1 - N N^T, N the null space: dense where that is quicker than to compile.
    """
    if part.size > DENSE:
        with jax.enable_x64(True):
            plan = analyze(Q)
            return np.asarray(_sparse_variances(plan, plan.values(Q), null, pins(null.T)))
    v = np.zeros(part.size)
    for k in np.unique(part):
        at = np.flatnonzero(part == k)
        whole = Q[at][:, at].toarray()
        size = np.mean(np.diagonal(whole))
        v[at] = np.diagonal(np.linalg.inv(whole + size / at.size)) - 1 / (size * at.size)
    return v


@jax.jit
def _sparse_variances(plan: Plan, a: Array, null: Array, pins: Array) -> Float[Array, " n"]:
    return IntrinsicGMRF(plan, a, null, pins=pins).marginal_variances()
