"""A function to be minimised: its best point so far, and its shape there."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

# Decrease of the deviance still to be expected that counts as none: 0.001 standard errors.
ENOUGH = 1e-6
DIGITS = 30  # units of rounding of the deviance below which no decrease can be told
AIM = 1e-9  # the decrease at which the search itself stops, where the digits allow it
COARSEST = 0.1  # a deviance whose digits are fewer is not minimised
FLAT = 1e-6  # curvature, relative to its neighbours', that is taken for rounding
LEAST = 1e-3  # curvature in standard units that scales are made for where there is less


class Point(NamedTuple):
    x: np.ndarray
    value: float
    gradient: np.ndarray


class NotFinite(Exception):
    """A value or a gradient that is not a number, or infinite."""


class Objective:
    """Counts evaluations and keeps the best point. Values that are not finite are +inf."""

    def __init__(
        self,
        value_and_grad: Callable[[Any], tuple[Any, Any]],
        value: Callable[[Any], Any] | None = None,
    ):
        self.value_and_grad, self.value = value_and_grad, value
        self.count = self.steps = 0
        self.best: Any = None
        self.last: Any = None
        self.eps = float(np.finfo(float).eps)
        self.shape: Any = None  # the last one computed

    def at(self, x: np.ndarray) -> Point:
        if self.last is not None and np.array_equal(x, self.last.x):
            return self.last
        self.count += 1
        found, slope = self.value_and_grad(jnp.asarray(x))
        self.eps = float(jnp.finfo(jnp.result_type(found, jnp.float32)).eps)
        value, gradient = float(found), np.asarray(slope, float)
        if not (np.isfinite(value) and np.isfinite(gradient).all()):
            value, gradient = np.inf, np.full(np.shape(x), np.nan)
        self.last = Point(np.array(x, float), value, gradient)
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

    @property
    def aim(self) -> float:
        return min(self.enough, max(AIM, DIGITS * self.eps * abs(self.best.value)))

    def improves(self, candidates: Iterable[np.ndarray]) -> bool:
        """Whether one of them is better than the best; the first that is becomes the best."""
        limit = self.best.value - self.enough
        return any(self._below(limit, x) and self(x)[0] < limit for x in candidates)

    def _below(self, limit: float, x: np.ndarray) -> bool:
        """Whether the value alone says so, where it can be had for less than with its gradient."""
        if self.value is None:
            return True
        self.count += 1
        return float(self.value(jnp.asarray(x))) < limit

    def scaled(self, origin: np.ndarray, scale: np.ndarray, throw: bool) -> Callable:
        """The function of z, x = origin + z / scale."""

        def function(z: np.ndarray) -> tuple[float, np.ndarray]:
            value, gradient = self(origin + z / scale)
            if throw and not np.isfinite(value):
                raise NotFinite
            return value, gradient / scale

        return function


class Shape(NamedTuple):
    """The Hessian at a point: H = D C D, C = V diag(values) V^T with a diagonal of about one."""

    x: np.ndarray
    H: np.ndarray
    scale: np.ndarray  # the diagonal of D
    values: np.ndarray
    vectors: np.ndarray
    left: float  # what Newton's method expects to gain

    @staticmethod
    def at(objective: Objective) -> Shape:
        """That at the best point."""
        at = objective.best
        if objective.shape is not None and objective.shape.x is at.x:
            return objective.shape
        H = hessian(objective, at)
        if np.isfinite(H).all():
            scale, values, vectors = standardised(H)
            shape = Shape(at.x, H, scale, values, vectors, np.inf).moved(at)
        else:
            ones = np.ones(at.x.size)
            shape = Shape(at.x, H, ones, ones, np.eye(at.x.size), np.inf)
        objective.shape = shape
        return shape

    def moved(self, to: Point) -> Shape:
        """The same Hessian at another point."""
        slope = self._turned(to.gradient)
        left = float(np.sum(slope**2 / np.maximum(np.abs(self.values), FLAT)) / 2)
        return self._replace(x=to.x, left=left)

    def newton_step(self, gradient: np.ndarray) -> np.ndarray:
        """-H^-1 g, for a Hessian without negative curvature."""
        slope = self._turned(gradient)
        return -(self.vectors @ (slope / np.maximum(self.values, FLAT))) / self.scale

    def _turned(self, gradient: np.ndarray) -> np.ndarray:
        """V^T D^-1 g"""
        return self.vectors.T @ (gradient / self.scale)

    def inverse(self) -> np.ndarray:
        """Of C with its eigenvalues made positive: where BFGS begins."""
        return positive_inverse(self.values, self.vectors)


def standardised(H: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(diagonal of D, values, vectors) of H = D C D, C = V diag(values) V^T."""
    scale = np.sqrt(np.maximum(np.abs(np.diagonal(H)), LEAST))
    values, vectors = np.linalg.eigh(H / scale[:, None] / scale)
    return scale, values, vectors


def positive_inverse(values: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Of C with its eigenvalues made positive."""
    half = vectors / np.sqrt(np.maximum(np.abs(values), 1e-2))
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


def hessian(objective: Objective, at: Point) -> np.ndarray:
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
