"""Where the posterior of theta is evaluated, and with which weights: integration over theta.

In the scaled eigenvectors of the covariance S at the mode, theta = theta* + V z, V V^T = S, the
posterior is about a standard normal. Its skewness is taken out first: along each half axis z_j is
stretched by the factor at which the log density is one lower at |z_j| = sqrt(2) (Rue, Martino &
Chopin 2009, JRSS B 71, section 6.5 and figure 1; Martins, Simpson, Lindgren & Rue 2013, Comput.
Stat. Data Anal. 67, section 3.2).

    "eb"      the mode alone
    "grid"    a lattice, out to where the density is negligible
    "ccd"     a central composite design: the mode, and points on a sphere of radius f0 sqrt(p)
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from padchol.inla._evaluation import Evaluated
from padchol.inla._mode import Mode

# Of the lattice, in standard deviations, those of both half axes on average. The trapezoidal rule
# errs by exp(-2 pi^2 / h^2) for a normal density: 3e-9 for 1. In one dimension points cost little.
STEP = {1: 0.5}
COARSE = 1.0
DROP = 7.0  # of the log density where the lattice ends: what lies beyond has weight 1e-3
CORNER = 1.25  # parts of it, where the sum along the axes leaves a point out
HEAVY = 3.0  # standard deviations beyond which a tail that falls too slowly is cut
FARTHEST = 12.0  # standard deviations a lattice goes at most
MOST = 20_000  # points of a lattice
F0 = 1.1  # of the design: Rue, Martino & Chopin 2009, section 6.5
STRETCH = (0.25, 4.0)  # what skewness may make of a standard deviation


class Axes(NamedTuple):
    """theta = mode + vectors (stretch * z)"""

    mode: Float[np.ndarray, " p"]
    log_density: float  # at the mode
    vectors: Float[np.ndarray, "p p"]  # V, scaled eigenvectors of S
    stretch: Float[np.ndarray, "2 p"]  # of the negative and the positive half axes

    def theta(self, z: Float[np.ndarray, "k p"]) -> Float[np.ndarray, "k p"]:
        return self.mode + z @ self.vectors.T

    def stretched(self, u: Float[np.ndarray, "k p"]) -> Float[np.ndarray, "k p"]:
        """z of standardised u."""
        return np.where(u < 0, self.stretch[0], self.stretch[1]) * u

    def standardised(self, z: Float[np.ndarray, "k p"]) -> Float[np.ndarray, "k p"]:
        """u of z."""
        return z / np.where(z < 0, self.stretch[0], self.stretch[1])

    def split_normal(self, z: Float[np.ndarray, "k p"]) -> Float[np.ndarray, " k"]:
        """The log density that the stretched axes stand for, less that at the mode."""
        return -np.sum(self.standardised(z) ** 2, 1) / 2

    def log_volume(self) -> float:
        """log |V|"""
        return np.linalg.slogdet(self.vectors)[1]


class Points(NamedTuple):
    """Points with what was found there; log_weight is that of the rule, without the density."""

    z: Float[np.ndarray, "k p"]
    log_weight: Float[np.ndarray, " k"]
    found: Evaluated
    note: str = ""


Evaluate = Callable[[np.ndarray], Evaluated]


def axes(evaluate: Evaluate, mode: Mode) -> Axes:
    """The axes at the mode, with their skewness: 2 p evaluations."""
    p = mode.theta.size
    if not p:
        return Axes(mode.theta, mode.log_density, np.zeros((0, 0)), np.ones((2, 0)))
    size, vectors = np.linalg.eigh(mode.precision)
    # Signs and order of eigenvectors are arbitrary: the largest entry is positive.
    vectors = vectors / np.sqrt(size)
    largest = np.take_along_axis(vectors, abs(vectors).argmax(0)[None], 0)
    vectors = vectors * np.sign(largest)
    plain = Axes(mode.theta, mode.log_density, vectors, np.ones((2, p)))
    z = math.sqrt(2) * np.concatenate([-np.eye(p), np.eye(p)])
    drop = mode.log_density - log_densities(evaluate(plain.theta(z)))
    low, high = STRETCH
    stretch = np.clip(1 / np.sqrt(np.clip(drop, high**-2, low**-2)), low, high)
    return plain._replace(stretch=stretch.reshape(2, p))


def log_densities(found: Evaluated) -> Float[np.ndarray, " k"]:
    """-inf where nothing was found."""
    return np.where(found.converged, found.log_density, -np.inf)


def at_the_mode(evaluate: Evaluate, along: Axes) -> Points:
    """The mode, weighted by the integral of the normal density there."""
    p = along.mode.size
    volume = p / 2 * math.log(2 * math.pi) + along.log_volume()
    return Points(np.zeros((1, p)), np.array([volume]), evaluate(along.mode[None]))


def composite(evaluate: Evaluate, along: Axes) -> Points:
    """The central composite design.

    Points on the sphere |u| = f0 sqrt(p) have one weight, the mode another, so that 1 and u^T u are
    integrated exactly for the split normal: with K points on the sphere,

        D = exp(p f0^2 / 2) / (K f0^2),     D_0 = 1 - 1 / f0^2

    times the integral of the split normal (Rue, Martino & Chopin 2009, section 6.5).
    """
    p = along.mode.size
    corners = factorial(p)
    sphere = np.concatenate([corners / math.sqrt(p), np.eye(p), -np.eye(p)]) * F0 * math.sqrt(p)
    u = np.concatenate([np.zeros((1, p)), sphere])
    z = along.stretched(u)
    volume = p / 2 * math.log(2 * math.pi) + np.sum(np.log(along.stretch.mean(0)))
    weight = np.full(len(u), p * F0**2 / 2 - math.log(len(sphere) * F0**2))
    weight[0] = math.log(1 - F0**-2)
    return Points(z, weight + volume + along.log_volume(), evaluate(along.theta(z)))


def factorial(p: int) -> Int[np.ndarray, "K p"]:
    """A two-level fractional factorial of resolution V: signs, with no product of four columns or
    fewer constant.

    Columns are Walsh functions (Sanchez & Sanchez 2005, ACM Trans. Model. Comput. Simul. 15,
    362-377): (-1)^(bits common to row and index), each index the least one that is no exclusive or
    of three or fewer before it.
    """
    indices: list[int] = []
    candidate = 1
    while len(indices) < p:
        reach = {a ^ b ^ c for a, b, c in itertools.combinations_with_replacement([0, *indices], 3)}
        if candidate not in reach:
            indices.append(candidate)
        candidate += 1
    rows = np.arange(2 ** max(indices, default=0).bit_length())
    common = np.bitwise_count(rows[:, None] & np.asarray(indices, int))
    return 1 - 2 * (common.astype(int) % 2)


def lattice(evaluate: Evaluate, along: Axes) -> Points:
    """All points of a lattice in z where the density is not negligible.

    First along each half axis until the log density is DROP lower. Elsewhere it is about the sum of
    what it is along the axes, which says which points are left out.
    """
    p = along.mode.size
    h = STEP.get(p, COARSE) * along.stretch.mean(0)
    steps, drops, note = _half_axes(evaluate, along, h)
    sides = [np.arange(-low, high + 1) for low, high in steps]
    count = math.prod(map(len, sides))
    if count > MOST:
        raise ValueError(
            f'expected at most {MOST} points of a lattice; got {count} in {p} dimensions: "ccd" '
            "takes fewer"
        )
    at = np.stack(np.meshgrid(*sides, indexing="ij"), -1).reshape(-1, p)
    predicted = sum((drops[j][at[:, j] + steps[j][0]] for j in range(p)), np.zeros(len(at)))
    z = h * at[predicted <= CORNER * DROP]
    weight = np.full(len(z), np.sum(np.log(h)) + along.log_volume())
    return Points(z, weight, evaluate(along.theta(z)), note)


def _half_axes(
    evaluate: Evaluate, along: Axes, h: Float[np.ndarray, " p"]
) -> tuple[list[tuple[int, int]], list[np.ndarray], str]:
    """How many steps each axis goes down and up, the drop of the log density along it, and a note
    where a heavy tail was cut: at HEAVY stretched standard deviations, if it falls there by less
    than a quarter of what a normal one does."""
    p = along.mode.size
    directions = np.concatenate([-np.eye(p), np.eye(p)])
    h, stretch = np.tile(h, 2), along.stretch.reshape(-1)
    reach = np.maximum(np.rint(stretch * math.sqrt(2 * DROP) / h), 1).astype(int)
    found = [np.zeros(1) for _ in directions]
    going, note = np.ones(2 * p, bool), ""
    while going.any():
        which = np.repeat(np.flatnonzero(going), reach[going])
        step = np.concatenate([len(found[d]) + np.arange(reach[d]) for d in np.flatnonzero(going)])
        z = (h[which] * step)[:, None] * directions[which]
        drop = along.log_density - log_densities(evaluate(along.theta(z)))
        for d in np.flatnonzero(going):
            found[d] = np.concatenate([found[d], drop[which == d]])
            u = h[d] * np.arange(len(found[d])) / stretch[d]
            slow = (u >= HEAVY) & (found[d] < u**2 / 8)
            beyond = np.flatnonzero((found[d] > DROP) | slow)
            if beyond.size:
                cut = slow[beyond[0]]
                found[d] = found[d][: beyond[0] + (not cut)]
                note = _heavy(directions[d] @ along.vectors.T, found[d][-1]) if cut else note
            going[d] = not beyond.size and h[d] * len(found[d]) < FARTHEST
        reach = np.full(2 * p, 2)
    steps = [(len(found[j]) - 1, len(found[p + j]) - 1) for j in range(p)]
    drops = [np.concatenate([found[j][:0:-1], found[p + j]]) for j in range(p)]
    return steps, drops, note


def _heavy(direction: np.ndarray, drop: float) -> str:
    return (
        f"the density of theta has a heavy tail in direction {np.round(direction, 3).tolist()}, "
        f"where it was cut at {np.exp(-drop):.2g} of its maximum"
    )
