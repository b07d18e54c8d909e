"""Dense correlations within the levels of a group: compound symmetry, and Matern's over points."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
import scipy.spatial
from jaxtyping import Array

from padchol.analysis import analyze
from padchol.mixed.levels import Levels
from padchol.mixed.structures.structure import Levelled, Structure, within


class Cs(NamedTuple):
    """Labels f (n,)."""

    f: Any

    def over(self, group: Levels, name: str) -> Levelled:
        """The structure over the levels of the grouping factor of a term."""
        inner = Levels.of(self.f, name)
        if inner.labels.size < 2:
            raise ValueError(f"expected two levels or more of cs in {name}; got one")
        k = inner.labels.size
        make = (np.ones((k, k)), np.eye(k), np.asarray(1.0 / (k - 1)))
        levels = within(group, inner.codes, inner.texts())
        return _blocks(levels, k, make, _exchangeable, ("rho",), ("correlation",), np.zeros(1))


class Matern(NamedTuple):
    """Coordinates (n, d), nu of 0.5, 1.5, 2.5."""

    at: Any
    nu: float = 1.5

    def over(self, group: Levels, name: str) -> Levelled:
        """The structure over the levels of the grouping factor of a term."""
        if self.nu not in MATERN:
            raise ValueError(f"expected nu of matern among {tuple(MATERN)}; got {self.nu}")
        at = np.asarray(self.at, float)
        at = at[:, None] if at.ndim == 1 else at
        if at.ndim != 2 or len(at) != len(group) or not np.isfinite(at).all():
            raise ValueError(
                f"expected coordinates of matern in {name}, ({len(group)}, d) and finite; got "
                f"shape {at.shape}"
            )
        points, code = np.unique(at, axis=0, return_inverse=True)
        D = scipy.spatial.distance.cdist(points, points)
        if len(points) < 2:
            raise ValueError(f"expected two points or more of matern in {name}; got one")
        texts = [",".join(f"{x:g}" for x in point) for point in points]
        levels = within(group, code.ravel(), texts)
        first = np.full(1, np.log(np.median(D[D > 0]) / 2))
        return _blocks(levels, len(points), (D,), MATERN[self.nu], ("range",), ("scale",), first)


def _blocks(
    levels: Levels,
    k: int,
    make: tuple[Any, ...],
    function: Callable,
    names: tuple[str, ...],
    kinds: tuple[str, ...],
    first: np.ndarray,
) -> Levelled:
    """One dense block, the same for each level of the group."""
    groups = levels.labels.size // k
    plan = analyze(sp.csc_array(sp.kron(sp.eye_array(groups), np.ones((k, k)))))
    where = (np.asarray(plan.rows) % k) * k + np.asarray(plan.cols) % k
    return Levelled(levels, Structure(plan, (*make, where), first, function, names, kinds))


def _exchangeable(rho: Array, ones: Array, eye: Array, least: Array, where: Array) -> Array:
    """Between -1 / (k - 1) and 1: tanh, its negative part scaled by the bound."""
    r = jnp.tanh(rho[0])
    r = jnp.where(r < 0, r * least, r)
    return jnp.linalg.inv((1 - r) * eye + r * ones).reshape(-1)[jnp.asarray(where)]


def _correlated(factor: Callable[[Array], Any], nu: float) -> Callable[..., Array]:
    """Matern's correlation of smoothness nu, exp(-d) factor(d) with d = sqrt(2 nu) D / range
    (Rasmussen & Williams 2006, Gaussian Processes for Machine Learning, section 4.2.1)."""

    def values(rho: Array, D: Array, where: Array) -> Array:
        d = np.sqrt(2 * nu) * jnp.asarray(D) / jnp.exp(rho[0])
        C = factor(d) * jnp.exp(-d)
        return jnp.linalg.inv(C).reshape(-1)[jnp.asarray(where)]

    return values


MATERN = {
    0.5: _correlated(lambda d: 1.0, 0.5),
    1.5: _correlated(lambda d: 1 + d, 1.5),
    2.5: _correlated(lambda d: 1 + d + d**2 / 3, 2.5),
}
