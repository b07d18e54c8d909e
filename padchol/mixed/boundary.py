"""Fits on the boundary: covariance matrices of random effects without full rank."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from padchol.mixed import basis
from padchol.mixed.objective import ENOUGH
from padchol.mixed.optimise import Minimum
from padchol.mixed.terms import Effects

EDGE = 6.0  # artanh(0.99999), of a correlation that is taken for one
ZERO = 1e-4  # a standard deviation, in the standard basis, that is taken for none; as in lme4


def settled(
    effects: Effects, found: Minimum, value_and_grad: Callable[[Any], tuple[Any, Any]]
) -> Minimum:
    """The minimum with diagonals that are not negative, and with standard deviations of zero where
    they are about zero and the deviance is none the worse for it."""
    if not np.isfinite(found.value) or not effects.n_cov:
        return found
    theta, rest = found.x[: effects.n_cov], found.x[effects.n_cov :]
    lower, lowered = [], []
    for T in basis.factors(effects, theta):
        U, s, V = np.linalg.svd(T)
        lower.append(basis.lower(T))
        lowered.append(
            basis.lower(U * np.where(s <= ZERO, 0.0, s) @ V) if s.min() <= ZERO else lower[-1]
        )
    for matrices in (lowered, lower):
        x = np.concatenate([_clean(basis.triangles(matrices)), rest])
        if np.array_equal(x, found.x):
            return found
        value, gradient = value_and_grad(jnp.asarray(x))
        if float(value) <= found.value + ENOUGH:
            return found._replace(x=x, value=float(value), gradient=np.asarray(gradient, float))
    return found


def _clean(theta: np.ndarray) -> np.ndarray:
    """Zeros where there is rounding of zero."""
    return np.where(np.abs(theta) < 1e-14 * np.max(np.abs(theta), initial=0.0), 0.0, theta)


def singular(effects: Effects, theta: np.ndarray) -> tuple[str, ...]:
    """The terms whose covariance matrix has not full rank, theta in the standard basis."""
    pairs = zip(effects.terms, basis.factors(effects, theta), strict=True)
    at_edge = edges(effects, theta)
    return tuple(
        term.name
        for term, T in pairs
        if (np.isfinite(T).all() and np.linalg.svd(T, compute_uv=False).min() <= ZERO)
        or term.name in at_edge
    )


def edges(effects: Effects, theta: np.ndarray) -> tuple[str, ...]:
    """The terms with a correlation of their structure beyond EDGE."""
    found, at = [], effects.n_cov
    for term in effects.terms:
        rho = theta[at : at + len(term.rho)]
        at += len(term.rho)
        if any(
            kind == "correlation" and abs(z) > EDGE for kind, z in zip(term.kinds, rho, strict=True)
        ):
            found.append(term.name)
    return tuple(found)


def explained(effects: Effects, found: Minimum) -> Minimum:
    """With a word on correlations that ran to their boundary, where a search did not converge."""
    names = edges(effects, found.x)
    if found.converged or not names:
        return found
    return found._replace(
        message=f"the correlation in {', '.join(names)} went to its boundary, one or the least "
        f"that its structure allows: fit the model without it ({found.message})"
    )
