"""Precisions of areas: ICAR (Besag), BYM2, proper CAR and Leroux, from an adjacency matrix.

W (n, n) symmetric and sparse, W_ij >= 0 the weight of the border between areas i and j, zero on the
diagonal; D = diag(W 1). D - W has one dimension of null space for each connected component.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jaxtyping import Array, Float
from scipy.sparse import csgraph

from padchol.analysis import analyze
from padchol.gmrf import IntrinsicGMRF, pins
from padchol.plan import Plan
from padchol.precisions.domain import CORRELATION, POSITIVE, PROPORTION
from padchol.precisions.precision import Precision, combination

DENSE = 1500  # areas: inverted in half a second, where the sparse way compiles for four


def icar(W: Any) -> Precision:
    """Q = tau (D - W) (Besag, York & Mollie 1991, Ann. Inst. Stat. Math. 43, 1-59). Parameter tau.

    Null space: constants on each connected component; the rank deficiency is their number. An area
    without neighbours is a component by itself, about which the prior says nothing.
    """
    W = adjacency(W)
    component = csgraph.connected_components(W, directed=False)[1]
    null = _indicators(component)
    return combination([_laplacian(W)], lambda tau: (tau,), ("tau",), null, {"tau": POSITIVE})


def proper_car(W: Any) -> Precision:
    """Q = tau (D - alpha W), positive definite for |alpha| < 1 where every area has a neighbour.

    Parameters tau, alpha (Rue & Held 2005, section 2.7; Banerjee, Carlin & Gelfand 2015, 4.3).
    `ValueError` for areas without neighbours, about which it would say nothing.
    """
    W = adjacency(W)
    alone = np.flatnonzero(W.sum(1) == 0)
    if alone.size:
        raise ValueError(
            "expected a neighbour of every area, without which it has precision zero; got none of "
            f"{alone.size} areas, {', '.join(map(str, alone[:5]))}{', ...' * (alone.size > 5)}"
        )
    parts, domain = [sp.diags_array(W.sum(1)), W], {"tau": POSITIVE, "alpha": CORRELATION}
    weights = lambda tau, alpha: (tau, -tau * alpha)
    return combination(parts, weights, ("tau", "alpha"), domain=domain)


def leroux(W: Any) -> Precision:
    """Q = tau ((1 - lam) I + lam (D - W)), positive definite for 0 <= lam < 1.

    Parameters tau, lam (Leroux, Lei & Breslow 2000, in Statistical Models in Epidemiology,
    Springer, 179-191).
    """
    W = adjacency(W)
    parts = [sp.eye_array(W.shape[0]), _laplacian(W)]
    weights, domain = lambda tau, lam: (tau * (1 - lam), tau * lam), {"lam": PROPORTION}
    return combination(parts, weights, ("tau", "lam"), domain={"tau": POSITIVE, **domain})


def bym2(W: Any) -> Precision:
    """The joint precision of (b, u), order 2 n, of the BYM2 model. Parameters tau, phi.

    b = (sqrt(1 - phi) v + sqrt(phi) u) / sqrt(tau), v ~ N(0, I), u the scaled ICAR of
    `scaled_laplacian`: tau is the precision of b, 0 <= phi < 1 the part of its variance that is
    spatial (Riebler, Sorbye, Simpson & Rue 2016, Stat. Methods Med. Res. 25, 1145-1165, section 3):

        Q = [ tau/(1-phi) I               -sqrt(phi tau)/(1-phi) I ]
            [ -sqrt(phi tau)/(1-phi) I    Q_u + phi/(1-phi) I      ]

    Null space, where u is constant on a component: (sqrt(phi/tau) u, u). It is tied down by u
    summing to zero on each component, so that log_determinant is n log(tau/(1-phi)) + log|Q_u|*.
    Under samplers b given u is narrow where phi is near 1: sample v and u, and compute b from them.
    """
    W = adjacency(W)
    n, (Q_u, null) = W.shape[0], scaled_laplacian(W)
    eye, zero = sp.eye_array(n), sp.coo_array((n, n))
    parts = [
        sp.block_array([[eye, None], [None, zero]]),
        sp.block_array([[zero, eye], [eye, zero]]),
        sp.block_array([[zero, None], [None, eye]]),
        sp.block_array([[zero, None], [None, Q_u]]),
    ]

    def weights(tau, phi):
        apart = 1 / (1 - phi)
        return tau * apart, -jnp.sqrt(phi * tau) * apart, phi * apart, 1.0

    domain = {"tau": POSITIVE, "phi": PROPORTION}
    Q = combination(parts, weights, ("tau", "phi"), domain=domain)
    k = null.shape[1]
    return Precision(
        Q.rows, Q.cols, np.concatenate([np.zeros((n, k)), null]).T, Q.entries, _Joint(null), Q.names
    )


class _Joint(eqx.Module):
    """The null space of BYM2, from that of u."""

    null: Float[np.ndarray, "n k"]

    def __call__(self, tau: Any, phi: Any) -> Any:
        return jnp.concatenate([jnp.sqrt(phi / tau) * self.null, self.null])


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
    null = _indicators(component)[:, np.bincount(component) > 1]
    if shared.size:
        part, Q = component[shared], sp.csc_array(_laplacian(W)[shared][:, shared])
        v = _variances(Q, part, null[shared])
        mean = np.bincount(part, np.log(v)) / np.maximum(np.bincount(part), 1)
        factor[shared] = np.exp(mean)[part]
    alone = sp.diags_array((size == 1).astype(float))
    return sp.csc_array(sp.diags_array(factor) @ _laplacian(W) + alone), null


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


def adjacency(W: Any) -> sp.csr_array:
    """W checked: square, symmetric, not negative, zero on the diagonal; `ValueError` otherwise."""
    W = sp.csr_array(W, dtype=float)
    W.sum_duplicates()
    W.eliminate_zeros()
    if W.ndim != 2 or W.shape[0] != W.shape[1] or not W.shape[0]:
        raise ValueError(f"expected a square adjacency matrix; got shape {W.shape}")
    for wrong, what in (
        (abs(W - W.T).tocoo().data > 0, "symmetric weights"),
        (W.data < 0, "weights that are not negative"),
        (W.diagonal() != 0, "no area next to itself"),
    ):
        if wrong.any():
            raise ValueError(f"expected an adjacency matrix with {what}; got {wrong.sum()} others")
    if not np.isfinite(W.data).all():
        raise ValueError("expected finite weights; got NaN or infinity")
    return W


def _laplacian(W: sp.csr_array) -> sp.csr_array:
    return sp.csr_array(sp.diags_array(W.sum(1)) - W)


def _indicators(component: np.ndarray) -> np.ndarray:
    """A column for each component, constant on it, of norm one."""
    at = component[:, None] == np.arange(component.max(initial=-1) + 1)
    return at / np.sqrt(np.maximum(at.sum(0), 1))
