"""Matern fields as finite elements of a stochastic partial differential equation.

    (kappa^2 - Laplace)^(alpha/2) tau x = white noise

has Matern solutions of smoothness nu = alpha - d/2 (Lindgren, Rue & Lindstrom 2011, J. R. Stat.
Soc. B 73, 423-498, section 2). On a mesh with mass matrix C, lumped, and stiffness matrix G (their
10):

    alpha = 1    Q = tau^2 (kappa^2 C + G)
    alpha = 2    Q = tau^2 (kappa^4 C + 2 kappa^2 G + G C^-1 G)
"""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jaxtyping import Array

from padchol.precisions.domain import POSITIVE, Interval, one_within
from padchol.precisions.graphs import matrix
from padchol.precisions.precision import Precision, combination


def matern(C: Any, G: Any, alpha: int = 2, *, kappa: Interval = POSITIVE) -> Precision:
    """The precision of the weights of the mesh's hat functions. Parameters kappa, tau.

    C, G (n, n): mass and stiffness, as a finite-element library assembles them; C is lumped here.
    `padchol.precisions.mesh` makes them, refuses ranges that its mesh is too coarse for, and has
    the rest that a field on a mesh takes. `matern_parameters` gives kappa and tau of a range and a
    standard deviation. Positive definite for kappa > 0 and tau > 0; elsewhere, and outside of the
    interval given for kappa, an error, or NaN where they are traced.
    """
    C, G = matrix(C, "the mass C"), matrix(G, "the stiffness G")
    if C.shape != G.shape or C.shape[0] != C.shape[1]:
        raise ValueError(f"expected square C and G of one order; got {C.shape} and {G.shape}")
    mass = np.asarray(C.sum(1)).reshape(-1)
    if not (mass > 0).all():
        raise ValueError(f"expected positive row sums of C; got {mass.min()} in {mass.argmin()}")
    if alpha == 1:
        parts = [sp.diags_array(mass), G]
        weights = lambda kappa, tau: (tau**2 * kappa**2, tau**2)
    elif alpha == 2:
        parts = [sp.diags_array(mass), G, G @ sp.diags_array(1 / mass) @ G]
        weights = lambda kappa, tau: (tau**2 * kappa**4, 2 * tau**2 * kappa**2, tau**2)
    else:
        raise ValueError(f"expected alpha 1 or 2; got {alpha}")
    domain = {"kappa": kappa, "tau": POSITIVE}
    return combination(parts, weights, ("kappa", "tau"), domain=domain)


def matern_parameters(
    reach: Any, sigma: Any, dimension: int = 2, alpha: int = 2
) -> tuple[Array, Array]:
    """(kappa, tau) of a field of range `reach` and standard deviation sigma, away from edges.

    kappa = sqrt(8 nu) / reach: the correlation at that distance is about 0.13; and sigma^2 =
    Gamma(nu) / (Gamma(alpha) (4 pi)^(d/2) kappa^(2 nu) tau^2), nu = alpha - d/2 > 0.
    """
    nu = smoothness(dimension, alpha)
    reach, sigma = one_within(POSITIVE, "reach", reach), one_within(POSITIVE, "sigma", sigma)
    kappa = math.sqrt(8 * nu) / reach
    size = math.gamma(nu) / (math.gamma(alpha) * (4 * math.pi) ** (dimension / 2))
    return kappa, jnp.sqrt(size) / (kappa**nu * sigma)


def smoothness(dimension: int, alpha: int) -> float:
    """nu = alpha - dimension / 2; `ValueError` where it is not positive: without a variance."""
    nu = alpha - dimension / 2
    if nu <= 0:
        raise ValueError(f"expected alpha > dimension / 2; got alpha {alpha} in {dimension}")
    return nu
