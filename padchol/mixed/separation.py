"""Fits that have no end: estimates that run to infinity while the deviance stays as it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from padchol.mixed import basis
from padchol.mixed.optimise import Minimum

WEAK = 2.0  # curvature of the deviance in standard units: a standard error of one
ERRORS = 3.0  # standard errors to go along a weak direction; a parabola rises by their square
LITTLE = 0.05  # part of that rise that counts as none
NONE = 1e-3  # a rise towards a limit of the likelihood that counts as none
FAR = 100.0  # units of eta that are far beyond all data
LARGE = 10.0  # multiple of a standard deviation that a likelihood ought to see


def endless(
    model: Any, found: Minimum, value_and_grad: Callable[[Any], tuple[Any, Any]], units: np.ndarray
) -> str:
    """What has no end, in words; "" where all is well.

    Separation (Albert & Anderson 1984, Biometrika 71, 1-10): along a direction of beta the
    likelihood only gets better, and the search ends where it is flat. From such an end the part of
    beta in directions of little curvature is made larger, by three standard errors: at a minimum
    the deviance rises by 9, here it does not. Likewise standard deviations that are large already,
    and the logarithms and logits of a likelihood's own parameters. Of those the likelihood has a
    limit, the law without them, to which the deviance rises from a minimum, be it by little.
    """
    if found.curvature is None or not np.isfinite(found.value):
        return ""
    k, sizes = model.effects.n_theta, np.cumsum(model.sizes)
    little = LITTLE * ERRORS**2
    columns = _separated(found, value_and_grad, slice(k, sizes[1]), units, model.Q, little)
    names = _named(columns, model.names, model.U, model.X)
    if names:
        return (
            f"separation: the data do not bound the coefficients of {', '.join(names)}, whose "
            "estimates run to infinity (some level or combination of the covariates has only "
            "zeros, or only successes, say); leave these columns out, or join levels"
        )
    for part, begin, end in zip(model.parts, sizes[1:], sizes[2:], strict=False):
        outward = _separated(found, value_and_grad, slice(begin, end), units, part.Q, NONE)
        names = _named(outward, part.names, part.U, part.Q @ part.U)
        if names:
            return (
                f"{part.title}: the data do not bound the coefficients of {', '.join(names)}, "
                "whose estimates run to infinity (the parameter itself to an end of its range: no "
                "inflation, or no dispersion beyond the law without it, say); leave them out, or "
                "choose the simpler family"
            )
    terms = _unbounded(model, found, value_and_grad)
    if terms:
        return (
            f"the standard deviation of {', '.join(terms)} runs to infinity: the data do not bound "
            "it (every group has only zeros or only successes, say)"
        )
    return ""


def _separated(
    found: Minimum,
    value_and_grad: Callable,
    where: slice,
    units: np.ndarray,
    Q: np.ndarray,
    little: float,
) -> np.ndarray | None:
    """The direction, of coefficients of Q, along which the deviance rises by less than `little`;
    None where there is none."""
    unit, gamma = units[where], found.x[where]
    H = np.asarray(found.curvature)[where, where]
    if not gamma.size or not np.isfinite(H).all():
        return None
    values, vectors = np.linalg.eigh(H / unit[:, None] / unit)  # in units of eta
    weak = vectors[:, values < WEAK]
    outward = weak @ (weak.T @ gamma)
    reach = np.max(np.abs(Q @ (unit * outward)))
    if reach < 1.0:
        return None
    predicted = max(float(outward @ H @ outward) / 2, 1e-12)
    times = min(ERRORS / np.sqrt(predicted), max(1.0, FAR / reach))
    moved = found.x.copy()
    moved[where] += times * outward
    rise = float(value_and_grad(jnp.asarray(moved))[0]) - found.value
    return outward if rise < little else None


def _named(
    outward: np.ndarray | None, names: tuple[str, ...], U: np.ndarray, X: np.ndarray
) -> list[str]:
    """The columns of X = Q U that make most of a direction."""
    if outward is None:
        return []
    sizes = np.abs(np.linalg.solve(U, outward)) * np.sqrt(np.mean(X**2, axis=0))
    return [name for name, size in zip(names, sizes, strict=True) if size > 0.1 * sizes.max()]


def _unbounded(model: Any, found: Minimum, value_and_grad: Callable) -> list[str]:
    names = []
    for term, T in zip(model.effects.terms, basis.factors(model.effects, found.x), strict=True):
        if np.linalg.norm(T) < LARGE:
            continue
        moved = found.x.copy()
        moved[term.theta_start : term.theta_start + term.p * (term.p + 1) // 2] *= LARGE
        rise = float(value_and_grad(jnp.asarray(moved))[0]) - found.value
        if rise < LITTLE:
            names.append(term.name)
    return names
