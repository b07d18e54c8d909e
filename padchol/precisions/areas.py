"""Precisions of areas: ICAR (Besag), BYM2, proper CAR and Leroux, from an adjacency matrix.

W (n, n) symmetric and sparse, W_ij >= 0 the weight of the border between areas i and j, zero on the
diagonal; D = diag(W 1). D - W has one dimension of null space for each connected component.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jaxtyping import Float
from scipy.sparse import csgraph

from padchol.precisions.domain import CORRELATION, POSITIVE, PROPORTION
from padchol.precisions.graphs import adjacency, indicators, laplacian
from padchol.precisions.precision import Precision, combination
from padchol.precisions.scaling import intrinsic, scaled_laplacian


def icar(W: Any, *, scaled: bool = False) -> Precision:
    """Q = tau (D - W) (Besag, York & Mollie 1991, Ann. Inst. Stat. Math. 43, 1-59). Parameter tau.

    Null space: constants on each connected component; the rank deficiency is their number. An area
    without neighbours is a component by itself, about which the prior says nothing.

    scaled: tau times the `scaled_laplacian`, so that tau is the precision of a typical area in each
    component, and of the areas without neighbours, which are N(0, 1 / tau).
    """
    W = adjacency(W)
    if scaled:
        Q, null = scaled_laplacian(W)
    else:
        Q, null = laplacian(W), indicators(csgraph.connected_components(W, directed=False)[1])
    return intrinsic(Q, null, scaled=False)


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
    parts = [sp.eye_array(W.shape[0]), laplacian(W)]
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
