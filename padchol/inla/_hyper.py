"""Posterior marginals of theta, and of functions of it.

The log density of theta is known at the integration points. In between it is that of the split
normal along the axes (`_points`) plus what the points show it to miss, interpolated: by cubic
splines on a lattice, by a low polynomial on a composite design. Its marginals are those of a fine
set of weighted points, on which any function of theta can be taken.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Float
from scipy import interpolate, stats

from padchol.inla._points import Axes, Points, log_densities

FINE = {1: 4001, 2: 161, 3: 41}  # points along each axis, where the lattice of a grid is refined
DRAWS = 15  # a power of two: points of a sequence of low discrepancy, for other designs
KNOTS = 81  # of the distribution function of a density
SMALLEST = 1e-12  # weight of a point, relative to the largest


class Weighted:
    """The law of a vector (p,) or a number, as points with weights."""

    def __init__(
        self, values: Float[np.ndarray, "N p"], weights: Float[np.ndarray, " N"], scalar: bool
    ):
        self._values, self._weights, self._scalar = values, weights, scalar

    def __repr__(self) -> str:
        return f"{type(self).__name__}(mean={self.mean}, sd={self.sd})"

    @property
    def mean(self) -> Any:
        """(p,), or a number"""
        return self._shaped(self._weights @ self._values)

    @property
    def sd(self) -> Any:
        """(p,), or a number: standard deviations"""
        apart = self._values - self._weights @ self._values
        return self._shaped(np.sqrt(self._weights @ apart**2))

    @property
    def covariance(self) -> Float[np.ndarray, "p p"]:
        """The posterior covariance matrix."""
        apart = self._values - self._weights @ self._values
        return (self._weights[:, None] * apart).T @ apart

    def quantile(self, q: Any) -> Any:
        """(*q.shape, p), without the last axis for a number."""
        levels = probabilities(q)
        found = [np.interp(levels, share, x) for x, share in map(self._distribution, self._entries)]
        return self._shaped(np.stack(found, -1))

    def cdf(self, j: int = 0) -> Callable[[Any], Any]:
        """t to P(entry j <= t)"""
        x, share = self._distribution(self._checked(j))
        return lambda t: np.interp(t, x, share, left=0.0, right=1.0)

    def density(self, j: int = 0) -> Callable[[Any], Any]:
        """t to the marginal density of entry j: the slope of its distribution function."""
        x, share = self._distribution(self._checked(j))
        low, high = np.interp([1e-5, 1 - 1e-5], share, x)
        knots = np.linspace(low, high, KNOTS)
        if not knots[-1] > knots[0]:
            raise ValueError(f"expected an entry that is not a constant; got {knots[0]} throughout")
        slope = interpolate.PchipInterpolator(knots, np.interp(knots, x, share)).derivative()
        return lambda t: np.where(
            (np.asarray(t) >= knots[0]) & (np.asarray(t) <= knots[-1]), slope(t), 0.0
        )

    @property
    def _entries(self) -> range:
        return range(self._values.shape[1])

    def _checked(self, j: int) -> int:
        if j not in self._entries:
            raise IndexError(f"expected an entry below {len(self._entries)}; got {j}")
        return j

    def _distribution(self, j: int) -> tuple[np.ndarray, np.ndarray]:
        """Sorted values and the share of the weight up to the middle of each."""
        order = np.argsort(self._values[:, j], kind="stable")
        w = self._weights[order]
        return self._values[order, j], np.cumsum(w) - w / 2

    def _shaped(self, x: np.ndarray) -> Any:
        return x[..., 0] if self._scalar else x


def probabilities(q: Any) -> np.ndarray:
    q = np.asarray(q, float)
    if not ((q >= 0) & (q <= 1)).all():
        raise ValueError(f"expected probabilities from 0 to 1; got {q}")
    return q


def function_of(law: Weighted, f: Callable) -> Weighted:
    """The law of f(theta), f a JAX function of theta (p,) to a number or a vector."""
    values = np.asarray(jax.jit(jax.vmap(f))(law._values))
    if values.ndim > 2:
        raise ValueError(f"expected a number or a vector; got shape {values.shape[1:]}")
    scalar = values.ndim == 1
    values = values.reshape(len(law._values), -1).astype(float)
    if not np.isfinite(values).all():
        raise ValueError("expected a function that is finite where theta has weight; it is not")
    return Weighted(values, law._weights, scalar)


def marginals(strategy: str, along: Axes, points: Points) -> Weighted:
    """The law of theta, from what was found at the points."""
    if strategy == "grid":
        z, log_weight = _refined(along, points)
    else:
        z, log_weight = _drawn(strategy, along, points)
    weight = np.exp(log_weight - log_weight.max(initial=-np.inf))
    kept = weight > SMALLEST
    z, weight = z[kept], weight[kept]
    return Weighted(along.theta(z), weight / weight.sum(), False)


def _refined(along: Axes, points: Points) -> tuple[np.ndarray, np.ndarray]:
    """A fine lattice over that of the points, with the log density there."""
    p = along.mode.size
    sides = [np.unique(points.z[:, j]) for j in range(p)]
    missed = log_densities(points.found) - along.log_density + np.sum(points.z**2, 1) / 2
    at = [np.searchsorted(side, points.z[:, j]) for j, side in enumerate(sides)]
    table = np.full([len(s) for s in sides], np.nan)
    table[tuple(at)] = np.where(np.isfinite(missed), missed, np.nan)
    table = _filled(table)
    fine = [np.linspace(s[0], s[-1], FINE.get(p, 21)) if len(s) > 1 else s for s in sides]
    for j, (s, x) in enumerate(zip(sides, fine, strict=True)):
        if len(s) > 1:
            table = interpolate.make_interp_spline(s, table, k=min(3, len(s) - 1), axis=j)(x)
    z = np.stack(np.meshgrid(*fine, indexing="ij"), -1).reshape(-1, p)
    return z, table.reshape(-1) - np.sum(z**2, 1) / 2


def _filled(table: np.ndarray) -> np.ndarray:
    """The table with its holes filled, corners where the density is negligible: by the nearest
    value along each axis in turn, which keeps splines from swinging."""
    for axis in range(table.ndim):
        rows = np.moveaxis(table, axis, -1)
        flat = rows.reshape(-1, rows.shape[-1])
        for row in flat:
            known = np.flatnonzero(np.isfinite(row))
            if 0 < known.size < row.size:
                row[:] = np.interp(np.arange(row.size), known, row[known])
        table = np.moveaxis(flat.reshape(rows.shape), -1, axis)
    return np.nan_to_num(table)


def _drawn(strategy: str, along: Axes, points: Points) -> tuple[np.ndarray, np.ndarray]:
    """Points of the split normal, with the log density relative to it as their weights."""
    p = along.mode.size
    if not p:
        return np.zeros((1, 0)), np.zeros(1)
    uniform = stats.qmc.Sobol(p, rng=np.random.default_rng(0)).random_base2(DRAWS)
    below = along.stretch[0] / along.stretch.sum(0)
    # On each side half of a normal: the share of a side is that of its standard deviation.
    inside = np.where(uniform < below, uniform / below, (1 - uniform) / (1 - below))
    u = stats.norm.ppf(np.clip(inside, 1e-12, 1) / 2) * np.where(uniform < below, 1, -1)
    z = along.stretched(u)
    return z, np.zeros(len(z)) if strategy == "eb" else _missed(along, points)(u)


def _missed(along: Axes, points: Points) -> Callable[[np.ndarray], np.ndarray]:
    """u to what the split normal misses of the log density: the cubic polynomial that is nearest to
    the values and gradients at the points of a design. Beyond their sphere what it is there."""
    p = along.mode.size
    u = along.standardised(points.z)
    values = log_densities(points.found) - along.log_density + np.sum(u**2, 1) / 2
    stretch = np.where(u < 0, along.stretch[0], along.stretch[1])
    slopes = stretch * (points.found.gradient @ along.vectors) + u
    powers = np.array([e for e in itertools.product(range(4), repeat=p) if 0 < sum(e) <= 3])
    rows = [_monomials(u, powers)]
    for j in range(p):
        lower = np.maximum(powers - np.eye(p, dtype=int)[j], 0)
        rows.append(powers[:, j] * _monomials(u, lower))
    known = np.concatenate([values, slopes.T.reshape(-1)])
    fit = np.linalg.lstsq(np.concatenate(rows), known, rcond=None)[0]
    radius = np.sqrt(np.sum(u**2, 1).max())

    def missed(u):
        length = np.sqrt(np.sum(u**2, 1, keepdims=True))
        return _monomials(u * np.minimum(1, radius / np.maximum(length, 1e-300)), powers) @ fit

    return missed


def _monomials(u: np.ndarray, powers: np.ndarray) -> np.ndarray:
    return np.prod(u[:, None] ** powers, 2)
