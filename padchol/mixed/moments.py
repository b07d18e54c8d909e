"""Variance components from sums of squares, where the search for those of a linear model begins.

With r = M y, M = I - Q Q^T, and Z_s the columns of Z of one component s,

    E |Z_t^T r|^2 = sum_s v_s |Z_t^T M Z_s|_F^2 + v tr(Z_t^T M Z_t)
    E |r|^2       = sum_s v_s tr(Z_s^T M Z_s)   + v (n - p)

which are as many equations as variances v_s and v: MINQUE(0) (Rao 1971, J. Multivariate Anal. 1,
257-275; Hartley, Rao & LaMotte 1978, Biometrics 34, 233-242). Solved with v_s >= 0, they are as a
rule within a third of the maximum likelihood estimates. O(nnz(Z^T Z) p).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.optimize
import scipy.sparse as sp
from jaxtyping import Float

from padchol.mixed.terms import Effects

LEAST, MOST = 0.1, 30.0  # standard deviations over sigma to begin with; zero would be stationary


def relative_deviations(
    effects: Effects, ZtZ: Any, ZtXy: Float[np.ndarray, "q p+1"], n: int
) -> Float[np.ndarray, " components"]:
    """sqrt(v_s / v) of every column of every term, in their order; ones where the equations have no
    solution with v > 0. ZtXy: Z^T [Q r], r of mean square one."""
    component = np.concatenate(
        [np.zeros(0, int), *(np.tile(np.arange(t.p), t.levels) for t in effects.terms)]
    )
    first = np.cumsum([0, *(t.p for t in effects.terms)])
    for k, term in enumerate(effects.terms):
        component[term.where] += first[k]
    count, A, p = int(first[-1]), ZtXy[:, :-1], ZtXy.shape[1] - 1
    G = sp.coo_array(ZtZ)
    i, j = component[G.row], component[G.col]
    inner = np.einsum("ek,ek->e", A[G.row], A[G.col])
    squares = np.zeros((count, count))
    np.add.at(squares, (i, j), G.data**2 - 2 * G.data * inner)
    within = np.zeros((count, p, p))
    np.add.at(within, component, A[:, :, None] * A[:, None, :])
    squares += np.einsum("skl,tkl->st", within, within)
    diagonal = G.row == G.col
    traces = np.bincount(i[diagonal], G.data[diagonal], count)
    traces = traces - np.einsum("skk->s", within)
    left = np.block([[squares, traces[:, None]], [traces[None], np.full((1, 1), n - p)]])
    right = np.append(np.bincount(component, ZtXy[:, -1] ** 2, count), n)
    scale = np.sqrt(np.maximum(np.diagonal(left), np.finfo(float).tiny))
    found, _ = scipy.optimize.nnls(left / scale[:, None] / scale, right / scale)
    v = found / scale
    if not (np.isfinite(v).all() and v[-1] > 0):
        return np.ones(count)
    return np.clip(np.sqrt(v[:-1] / v[-1]), LEAST, MOST)
