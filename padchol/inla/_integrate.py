"""Integrated nested Laplace approximations: the pipeline."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.special import logsumexp

from padchol.inla import _points
from padchol.inla._evaluation import (
    Approximation,
    AtTheta,
    Evaluated,
    Evaluator,
    LogPrior,
    devices_for,
)
from padchol.inla._hyper import Weighted, marginals
from padchol.inla._marginals import checked
from padchol.inla._mode import Mode, find_mode
from padchol.inla._points import Axes, Points
from padchol.inla._posterior import Posterior

FEW = 2  # dimensions up to which a lattice is about as cheap as a design
LOST = 1e-2  # weight of points where nothing was found, above which the integration has failed
RULES = {"grid": _points.lattice, "ccd": _points.composite, "eb": _points.at_the_mode}


def integrate(
    approximation: Approximation,
    log_prior: LogPrior,
    start: Any,
    *,
    strategy: str = "ccd",
    corrected: str = "gaussian",
    correct: Any = None,
) -> Posterior:
    """The posterior of theta and x given y, by integrated nested Laplace approximations.

    approximation: theta (p,) to `padchol.laplace.laplace` of the model given theta, a JAX function.
    log_prior: theta to the log density of its prior, in theta as it is: with the Jacobian where
    theta is the logarithm of what the prior is about. start: (p,), where the search of the mode
    begins.

    strategy: how theta is integrated out. "ccd": a central composite design; for one or two
    parameters, where it would save nothing, the lattice. "grid": a lattice. "eb": theta at its
    mode (empirical Bayes). corrected: "gaussian" marginals given theta, or "simplified", that is
    skew-normal ones. correct: the entries of x along whose covariances means are corrected, by
    default all; R-INLA's are those of fixed effects, and () is for none.

    log_evidence counts every constant of the model given theta, those of intrinsic priors on their
    plane included, which R-INLA leaves out.

    Steps: the mode of theta by a quasi-Newton search; its curvature; at each integration point the
    Laplace approximation, whose means are corrected. All by one compiled program, kept for the next
    call with the same two functions. Where there are several devices they share the points. Cost:
    about a dozen evaluations with gradient for the search and 4 p for the curvature and the
    skewness, and the points of the strategy: some 50 for a lattice in two dimensions, 200 in three;
    15, 25 and 27 for a design in three to five.

    Rue, Martino & Chopin (2009), JRSS B 71, 319-392. Raises `ValueError` and `TypeError` for what
    does not fit. Where the mode is not found, or approximations fail, `converged` is false,
    `message` says why, and results are NaN.
    """
    if strategy not in RULES:
        raise ValueError(f"expected a strategy of {', '.join(RULES)}; got {strategy!r}")
    checked(corrected)
    start = _start(start)
    devices = devices_for(approximation, start.size)
    at_theta = AtTheta(approximation, log_prior, _entries(correct))
    evaluate = Remembered(Evaluator(at_theta, devices), start)
    mode = find_mode(evaluate, start)
    made = (approximation, devices, corrected)
    if mode.message:
        return _failed(made, evaluate, mode, mode.message)
    along = _points.axes(evaluate, mode)
    if strategy == "ccd" and start.size <= FEW:
        strategy = "grid"
    if not start.size:
        strategy = "eb"
    points, lost = _sound(along, RULES[strategy](evaluate, along))
    if lost > LOST:
        message = f"approximations failed at points of theta that hold {lost:.0%} of the weight"
        return _failed(made, evaluate, mode, message)
    log_weight = points.log_weight + points.found.log_density
    log_evidence = np.asarray(logsumexp(log_weight))
    return Posterior(
        *made,
        found=points.found,
        mode=mode.theta,
        mode_covariance=np.linalg.inv(mode.precision),
        points=along.theta(points.z),
        weights=np.exp(log_weight - log_evidence),
        log_evidence=float(log_evidence),
        converged=True,
        message=points.note,
        hyper=marginals(strategy, along, points),
    )


class Remembered:
    """An evaluator that knows where it was: theta (k, p) to `Evaluated`, each point once."""

    def __init__(self, evaluate: Evaluator, start: np.ndarray):
        self._evaluate, self.dtype, self._known = evaluate, start.dtype, {}

    def __call__(self, theta: Float[np.ndarray, "k p"]) -> Evaluated:
        theta = np.ascontiguousarray(theta, self.dtype)
        keys = [row.tobytes() for row in theta]
        new = [i for i, key in enumerate(keys) if key not in self._known]
        if new:
            found = self._evaluate(theta[new])
            for at, i in enumerate(new):
                self._known[keys[i]] = Evaluated(*(x[at] for x in found))
        return Evaluated(*map(np.stack, zip(*(self._known[key] for key in keys), strict=True)))


def _start(start: Any) -> np.ndarray:
    start = np.asarray(start, np.dtype(jnp.result_type(float)))
    if start.ndim != 1:
        raise ValueError(f"expected a start of shape (p,); got {start.shape}")
    if not np.isfinite(start).all():
        raise ValueError(f"expected a finite start; got {start}")
    return start


def _entries(correct: Any) -> tuple[int, ...] | None:
    if correct is None:
        return None
    entries = np.asarray(correct)
    if entries.ndim != 1 or (entries.size and not np.issubdtype(entries.dtype, np.integer)):
        raise ValueError(f"expected indices of entries of x to correct along; got {correct!r}")
    return tuple(map(int, entries))


def _sound(along: Axes, points: Points) -> tuple[Points, float]:
    """The points where something was found, and the share of the weight of the others, as far as
    the axes say."""
    fine = np.asarray(points.found.converged, bool) & np.isfinite(points.found.log_density)
    weight = np.exp(points.log_weight + along.split_normal(points.z))
    found = Evaluated(*(x[fine] for x in points.found))
    kept = Points(points.z[fine], points.log_weight[fine], found, points.note)
    return kept, float(weight[~fine].sum() / weight.sum())


def _failed(
    made: tuple[Approximation, int, str], evaluate: Remembered, mode: Mode, message: str
) -> Posterior:
    """A posterior of NaN, with what went wrong."""
    p = mode.theta.size
    nothing = Evaluated(*(np.full(x.shape, np.nan) for x in evaluate(mode.theta[None])))
    nan, one = np.full((1, p), np.nan), np.full(1, np.nan)
    return Posterior(
        *made,
        found=nothing,
        mode=mode.theta,
        mode_covariance=np.full((p, p), np.nan),
        points=nan,
        weights=one,
        log_evidence=np.nan,
        converged=False,
        message=message,
        hyper=Weighted(nan, one, False),
    )
