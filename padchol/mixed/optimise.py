"""Minimisation of a deviance; honest about its end.

The parameters have no bounds. A deviance depends on the factor T of a covariance through T T^T, so
it is smooth, and even in the sign of each column: a standard deviation of zero is a stationary
point like any other, a minimum or a saddle.

The search is the BFGS method (Nocedal & Wright 2006, Numerical Optimization, section 6.1), begun
with the Hessian at its start, and Newton's method in trust regions (their section 4.3) from where
that stops, both of SciPy. Hessians are differences of gradients. The best point seen is kept
whatever happens; a value that is not a number ends BFGS and shortens the steps of Newton's method.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import scipy.optimize

ENOUGH = (
    1e-6  # decrease of the deviance still to be expected that counts as none: 0.001 std. errors
)
DIGITS = 30  # units of rounding of the deviance below which no decrease can be told
COARSEST = 0.1  # a deviance whose digits are fewer is not minimised
NEAR, AWAY = 1e-3, (0.03, 0.3, 3.0)  # standard deviations taken for zero; those tried instead
SADDLE = 1e-3  # negative curvature, relative to its neighbours', that is not rounding
FLAT = 1e-6  # curvature, relative to its neighbours', that is taken for rounding
LEAST = 1e-3  # curvature in standard units that scales are made for where there is less
ROUNDS = 12  # of a search that finds a smaller deviance when it looks around
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
    max_steps: int = 500,
) -> Minimum:
    """Minimise a function that is even in x[even] where they are zero.

    From the end of a search smaller values are looked for: along directions of negative curvature,
    with zeros among x[even] moved away by several sizes, and at the points `others(x)`. Where one
    is found the search goes on from there.
    """
    objective = _Objective(value_and_grad)
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
        shape = _Shape.at(objective)
        going = shape.left > objective.enough and objective.best.value < before
        better = objective.steps < max_steps
        better = better and (
            going or objective.improves(_around(objective.best.x, even, shape, others))
        )
        if not better:
            break
    end, shape = objective.best, _Shape.at(objective)
    fine = shape.left <= objective.enough and not better
    return Minimum(
        end.x, end.value, end.gradient, float(np.max(np.abs(end.gradient))), bool(fine),
        objective.count, _message(objective, shape, better, max_steps), shape.left, shape.H,
    )  # fmt: skip


class _Point(NamedTuple):
    x: np.ndarray
    value: float
    gradient: np.ndarray


class _NotFinite(Exception):
    """A value or a gradient that is not a number, or infinite."""


class _Objective:
    """Counts evaluations and keeps the best point. Values that are not finite are +inf."""

    def __init__(self, value_and_grad: Callable[[Any], tuple[Any, Any]]):
        self.value_and_grad = value_and_grad
        self.count = self.steps = 0
        self.best: Any = None
        self.last: Any = None
        self.eps = float(np.finfo(float).eps)
        self.shape: Any = None  # the last one computed

    def at(self, x: np.ndarray) -> _Point:
        if self.last is not None and np.array_equal(x, self.last.x):
            return self.last
        self.count += 1
        found, slope = self.value_and_grad(jnp.asarray(x))
        self.eps = float(jnp.finfo(jnp.result_type(found, jnp.float32)).eps)
        value, gradient = float(found), np.asarray(slope, float)
        if not (np.isfinite(value) and np.isfinite(gradient).all()):
            value, gradient = np.inf, np.full(np.shape(x), np.nan)
        self.last = _Point(np.array(x, float), value, gradient)
        return self.last

    def __call__(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """Value and gradient; the point is kept if it is the best."""
        point = self.at(x)
        if point.value < (np.inf if self.best is None else self.best.value):
            self.best = point
        return point.value, point.gradient

    @property
    def enough(self) -> float:
        return max(ENOUGH, min(COARSEST, DIGITS * self.eps * abs(self.best.value)))

    def improves(self, candidates: Iterable[np.ndarray]) -> bool:
        """Whether one of them is better than the best; the first that is becomes the best."""
        limit = self.best.value - self.enough
        return any(self(x)[0] < limit for x in candidates)

    def scaled(self, origin: np.ndarray, scale: np.ndarray, throw: bool) -> Callable:
        """The function of z, x = origin + z / scale."""

        def function(z: np.ndarray) -> tuple[float, np.ndarray]:
            value, gradient = self(origin + z / scale)
            if throw and not np.isfinite(value):
                raise _NotFinite
            return value, gradient / scale

        return function


class _Shape(NamedTuple):
    """The Hessian at a point: H = D C D, C = V diag(values) V^T with a diagonal of about one."""

    x: np.ndarray
    H: np.ndarray
    scale: np.ndarray  # the diagonal of D
    values: np.ndarray
    vectors: np.ndarray
    left: float  # what Newton's method expects to gain

    @staticmethod
    def at(objective: _Objective) -> _Shape:
        """That at the best point."""
        at = objective.best
        if objective.shape is not None and objective.shape.x is at.x:
            return objective.shape
        H = _hessian(objective, at)
        if np.isfinite(H).all():
            scale = np.sqrt(np.maximum(np.abs(np.diagonal(H)), LEAST))
            values, vectors = np.linalg.eigh(H / scale[:, None] / scale)
            slope = vectors.T @ (at.gradient / scale)
            left = float(np.sum(slope**2 / np.maximum(np.abs(values), FLAT)) / 2)
        else:
            scale = values = np.ones(at.x.size)
            vectors, left = np.eye(at.x.size), np.inf
        objective.shape = _Shape(at.x, H, scale, values, vectors, left)
        return objective.shape

    def inverse(self) -> np.ndarray:
        """Of C with its eigenvalues made positive: where BFGS begins."""
        half = self.vectors / np.sqrt(np.maximum(np.abs(self.values), 1e-2))
        inverse = half @ half.T
        return (inverse + inverse.T) / 2  # SciPy asks for exact symmetry


def curvature(value_and_grad: Callable[[Any], tuple[Any, Any]], x: np.ndarray) -> np.ndarray:
    """The Hessian by central differences of the gradient: ten digits or so of the largest entry."""
    H = np.zeros((x.size, x.size))
    for k in range(x.size):
        step = np.zeros(x.size)
        step[k] = 1e-4 * max(1.0, abs(x[k]))  # about eps^(1/4): error step^2, noise eps / step
        there, back = (np.asarray(value_and_grad(jnp.asarray(x + d))[1]) for d in (step, -step))
        H[k] = (there - back) / (2 * step[k])
    return (H + H.T) / 2


def _hessian(objective: _Objective, at: _Point) -> np.ndarray:
    """Forward differences of gradients; backward ones where there is no number."""
    H = np.full((at.x.size, at.x.size), np.nan)
    for k in range(at.x.size):
        for sign in (1.0, -1.0):
            moved = at.x.copy()
            moved[k] += sign * objective.eps ** (1 / 3) * max(1.0, abs(moved[k]))
            found = objective.at(moved)
            if np.isfinite(found.value):
                H[k] = (found.gradient - at.gradient) / (moved[k] - at.x[k])
                break
    return (H + H.T) / 2


def _descend(objective: _Objective, max_steps: int) -> None:
    """BFGS, and Newton's method from where it stops."""
    shape = _Shape.at(objective)
    if shape.left > objective.enough:
        function = objective.scaled(shape.x, shape.scale, throw=True)
        options = {
            "gtol": 1e-5, "hess_inv0": shape.inverse(), "maxiter": max_steps - objective.steps
        }  # fmt: skip
        _run(objective, function, len(shape.x), method="BFGS", options=options)
        shape = _Shape.at(objective)
    if shape.left > objective.enough and objective.steps < max_steps:
        _newton(objective, shape, min(NEWTON_STEPS, max_steps - objective.steps))


def _newton(objective: _Objective, shape: _Shape, steps: int) -> None:
    origin, scale = shape.x, shape.scale

    def hessian(z: np.ndarray) -> np.ndarray:
        H = _hessian(objective, objective.at(origin + z / scale)) / scale[:, None] / scale
        if not np.isfinite(H).all():
            raise _NotFinite
        return H

    _run(
        objective, objective.scaled(origin, scale, throw=False), len(origin),
        method="trust-exact", hess=hessian, options={"gtol": 1e-5, "maxiter": steps},
    )  # fmt: skip


def _run(objective: _Objective, function: Callable, size: int, **options: Any) -> None:
    """One of SciPy's methods from z = 0; the objective keeps what it finds."""

    def counted(intermediate_result: Any) -> None:
        del intermediate_result
        objective.steps += 1

    try:
        with np.errstate(all="ignore"):
            scipy.optimize.minimize(function, np.zeros(size), jac=True, callback=counted, **options)
    except (_NotFinite, np.linalg.LinAlgError):
        pass


def _around(
    x: np.ndarray, even: np.ndarray, shape: _Shape, others: Callable
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


def _message(objective: _Objective, shape: _Shape, better: bool, max_steps: int) -> str:
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
