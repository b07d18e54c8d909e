"""Minimisation of a deviance; honest about its end.

The parameters have no bounds. A deviance depends on the factor T of a covariance through T T^T, so
it is smooth, and even in the sign of each column: a standard deviation of zero is a stationary
point like any other, a minimum or a saddle.

The search is the BFGS method (Nocedal & Wright 2006, Numerical Optimization, section 6.1), begun
with the Hessian at its start; then Newton steps with the Hessian where that stops, which is needed
to judge the end; and where they do not reach it, Newton's method in trust regions (their section
4.3). BFGS and trust regions are SciPy's, Hessians differences of gradients. The best point seen is
kept whatever happens; a value that is not a number ends BFGS and shortens the steps of Newton's
method.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import scipy.optimize

from padchol.mixed.objective import NotFinite, Objective, Shape, hessian

NEAR, AWAY = 1e-3, (0.03, 0.3, 3.0)  # standard deviations taken for zero; those tried instead
SADDLE = 1e-3  # negative curvature, relative to its neighbours', that is not rounding
ROUNDS = 12  # of a search that finds a smaller deviance when it looks around
ROUGH = 3e-2  # slope in standard units at which BFGS leaves the rest to Newton steps
NEWTON_STEPS = 25  # at most, between two looks around


class Minimum(NamedTuple):
    """Where the search ended. `converged`: what Newton's method expects to gain from there is
    nothing, and a smaller value was looked for around the end and not found."""

    x: np.ndarray
    value: float
    gradient: np.ndarray
    slope: float  # the largest entry of the gradient
    converged: bool
    evaluations: int
    message: str
    left: float = np.nan  # decrease still expected by Newton's method
    curvature: np.ndarray | None = None  # the Hessian, by differences of gradients


def minimise(
    value_and_grad: Callable[[Any], tuple[Any, Any]],
    start: np.ndarray,
    even: np.ndarray,
    *,
    others: Callable[[np.ndarray], Iterable[np.ndarray]] = lambda x: (),
    value_alone: Callable[[Any], Any] | None = None,
    max_steps: int = 500,
) -> Minimum:
    """Minimise a function that is even in x[even] where they are zero.

    From the end of a search smaller values are looked for: along directions of negative curvature,
    with zeros among x[even] moved away by several sizes, and at the points `others(x)`. Where one
    is found the search goes on from there. value_alone: the function without its gradient, by which
    these are judged, where it costs less.
    """
    objective = Objective(value_and_grad, value_alone)
    start = np.asarray(start, float)
    first = objective(start)
    if not start.size:
        value, gradient = first
        fine = bool(np.isfinite(value))
        return Minimum(start, value, gradient, 0.0, fine, 1, "no parameter", 0.0, np.zeros((0, 0)))
    if objective.best is None:
        message = "the deviance is not finite at the start; give another start"
        nothing = np.full(start.size, np.nan)
        return Minimum(nothing, np.nan, nothing, np.nan, False, objective.count, message)
    better = True
    for _ in range(ROUNDS):
        before = objective.best.value - objective.enough
        _descend(objective, max_steps)
        shape = Shape.at(objective)
        going = shape.left > objective.enough and objective.best.value < before
        better = objective.steps < max_steps
        better = better and (
            going or objective.improves(_around(objective.best.x, even, shape, others))
        )
        if not better:
            break
    end, shape = objective.best, Shape.at(objective)
    fine = shape.left <= objective.enough and not better
    return Minimum(
        end.x, end.value, end.gradient, float(np.max(np.abs(end.gradient))), bool(fine),
        objective.count, _message(objective, shape, better, max_steps), shape.left, shape.H,
    )  # fmt: skip


def _descend(objective: Objective, max_steps: int) -> None:
    """BFGS, Newton steps with one Hessian, and Newton's method from where they stop."""
    shape = Shape.at(objective)
    if shape.left > objective.aim:
        function = objective.scaled(shape.x, shape.scale, throw=True)
        options = {
            "gtol": ROUGH, "hess_inv0": shape.inverse(), "maxiter": max_steps - objective.steps
        }  # fmt: skip
        _run(objective, function, len(shape.x), method="BFGS", options=options)
        shape = _polished(objective, Shape.at(objective))
    if shape.left > objective.aim and objective.steps < max_steps:
        _newton(objective, shape, min(NEWTON_STEPS, max_steps - objective.steps))


def _polished(objective: Objective, shape: Shape) -> Shape:
    """Newton steps with the Hessian as it is, while each leaves less than a tenth to be gained."""
    while shape.values.min() > 0 and objective.aim < shape.left < np.inf:
        before = objective.best
        objective(before.x + shape.newton_step(before.gradient))
        objective.steps += 1
        moved = shape.moved(objective.best)
        if moved.left > shape.left / 10:
            break
        objective.shape = shape = moved
    return shape


def _newton(objective: Objective, shape: Shape, steps: int) -> None:
    origin, scale = shape.x, shape.scale

    def curved(z: np.ndarray) -> np.ndarray:
        H = hessian(objective, objective.at(origin + z / scale)) / scale[:, None] / scale
        if not np.isfinite(H).all():
            raise NotFinite
        return H

    _run(
        objective, objective.scaled(origin, scale, throw=False), len(origin),
        method="trust-exact", hess=curved, options={"gtol": 1e-5, "maxiter": steps},
    )  # fmt: skip


def _run(objective: Objective, function: Callable, size: int, **options: Any) -> None:
    """One of SciPy's methods from z = 0; the objective keeps what it finds."""

    def counted(intermediate_result: Any) -> None:
        del intermediate_result
        objective.steps += 1

    try:
        with np.errstate(all="ignore"):
            scipy.optimize.minimize(function, np.zeros(size), jac=True, callback=counted, **options)
    except (NotFinite, np.linalg.LinAlgError):
        pass


def _around(
    x: np.ndarray, even: np.ndarray, shape: Shape, others: Callable
) -> Iterator[np.ndarray]:
    """Points at which the deviance may be smaller."""
    for k in np.flatnonzero(shape.values < -SADDLE):
        for size in (*AWAY, *(-size for size in AWAY)):
            yield x + size * shape.vectors[:, k] / shape.scale
    for k in np.flatnonzero(even & (np.abs(x) < NEAR)):
        for size in AWAY:
            moved = x.copy()
            moved[k] = size
            yield moved
    yield from others(x)


def _message(objective: Objective, shape: Shape, better: bool, max_steps: int) -> str:
    if better:
        return f"a smaller deviance was found around the end of each of {ROUNDS} searches"
    if shape.left <= objective.enough:
        return "converged: no decrease is expected, and none was found around"
    if objective.steps >= max_steps:
        return (
            f"stopped after {objective.steps} steps with a decrease of {shape.left:.2g} expected; "
            "give more max_steps"
        )
    return (
        f"no step lowers the deviance, though a decrease of {shape.left:.2g} is expected: it is "
        "too rough for its precision, or falls without end"
    )
