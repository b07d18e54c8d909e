"""The precision of random effects that are correlated with each other, and of all of a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jaxtyping import Array, Float, Int

from padchol.analysis import analyze
from padchol.factor import cholesky
from padchol.mixed.levels import Levels
from padchol.plan import Plan


class Structure(eqx.Module):
    """rho, as it is sought, to the canonical values of Q on its plan."""

    plan: Plan
    arrays: tuple[Any, ...]
    first: Float[np.ndarray, " rho"]
    function: Callable[..., Array] = eqx.field(static=True)  # (rho, *arrays) to values
    names: tuple[str, ...] = eqx.field(static=True)
    kinds: tuple[str, ...] = eqx.field(static=True)  # "correlation": artanh; "scale": log

    def __call__(self, rho: Float[Array, " rho"]) -> Float[Array, " nnz"]:
        return self.function(rho, *self.arrays)


class Levelled(NamedTuple):
    """The levels of a structured term, and the code of each row."""

    levels: Levels
    structure: Structure


class Prior(eqx.Module):
    """The precision of u on the plan of a model: ones on the diagonal, or that of a structure."""

    base: Float[np.ndarray, " nnz"]
    places: tuple[Int[np.ndarray, " nnz_s"], ...]
    structures: tuple[Structure, ...]
    starts: tuple[int, ...] = eqx.field(static=True)  # of their coefficients
    q: int = eqx.field(static=True)

    @classmethod
    def of(cls, plan: Plan, starts: Sequence[int], structures: Sequence[Structure | None]) -> Prior:
        """The prior on a plan whose rows begin, for each term, at `starts`."""
        rows, cols = np.asarray(plan.rows, np.int64), np.asarray(plan.cols, np.int64)
        base, keys = (rows == cols).astype(float), cols * plan.n + rows
        places, kept, at = [], [], []
        for start, structure in zip(starts, structures, strict=True):
            if structure is None:
                continue
            i, j = (
                np.asarray(x, np.int64) + start for x in (structure.plan.rows, structure.plan.cols)
            )
            places.append(np.searchsorted(keys, j * plan.n + i))
            base[places[-1]] = 0.0
            kept.append(structure)
            at.append(start)
        return cls(base, tuple(places), tuple(kept), tuple(at), plan.n)

    def split(self, rho: Float[Array, " rho"]) -> list[Array]:
        """The parameters of each structure."""
        sizes = [len(structure.names) for structure in self.structures]
        return jnp.split(rho, np.cumsum(sizes)[:-1]) if sizes else []

    def __call__(self, rho: Float[Array, " rho"]) -> Float[Array, " nnz"]:
        """The values."""
        found = jnp.asarray(self.base, rho.dtype)
        for place, structure, own in zip(
            self.places, self.structures, self.split(rho), strict=True
        ):
            found = found.at[jnp.asarray(place)].set(structure(own))
        return found

    def logdet(self, rho: Float[Array, " rho"]) -> Float[Array, ""]:
        """log|Q|. Cost: a factorisation for each structure with parameters."""
        pairs = zip(self.structures, self.split(rho), strict=True)
        parts = [cholesky(s.plan, s(own)).logdet() for s, own in pairs]
        return sum(parts, jnp.zeros((), rho.dtype))

    def sample(self, key: Array, rho: Float[Array, " rho"]) -> Float[Array, " q"]:
        """u ~ N(0, Q^-1)"""
        keys = jax.random.split(key, len(self.structures) + 1)
        u = jax.random.normal(keys[0], (self.q,), rho.dtype)
        pairs = zip(keys[1:], self.structures, self.split(rho), self.starts, strict=True)
        for each, structure, own, start in pairs:
            drawn = cholesky(structure.plan, structure(own)).sample(each)
            u = u.at[start : start + structure.plan.n].set(drawn)
        return u


def plan_of(
    rows: np.ndarray,
    cols: np.ndarray,
    q: int,
    starts: Sequence[int],
    structures: Sequence[Structure | None],
    options: dict[str, Any],
) -> Plan:
    """The plan of the lower triangle (rows, cols) and the precisions of structures."""
    own = pattern(starts, structures, q)
    if not own:
        return analyze((rows, cols, q), lower=True, **options)
    off = rows != cols
    i, j = np.concatenate([rows, cols[off]]), np.concatenate([cols, rows[off]])
    return analyze([sp.csc_array((np.ones(i.size), (i, j)), shape=(q, q)), *own], **options)


def pattern(starts: Sequence[int], structures: Sequence[Structure | None], q: int) -> list[Any]:
    """Of the precisions in the whole, for `analyze`: none, or one matrix."""
    rows, cols = [], []
    for start, structure in zip(starts, structures, strict=True):
        if structure is not None:
            rows.append(np.asarray(structure.plan.rows) + start)
            cols.append(np.asarray(structure.plan.cols) + start)
    if not rows:
        return []
    i, j = np.concatenate(rows), np.concatenate(cols)
    off = i != j
    i, j = np.concatenate([i, j[off]]), np.concatenate([j, i[off]])
    return [sp.csc_array((np.ones(i.size), (i, j)), shape=(q, q))]


def numbers(t: Any, n: int, what: str) -> np.ndarray:
    """Positions of the rows, checked."""
    t = np.asarray(t, float)
    if t.shape != (n,) or not np.isfinite(t).all():
        raise ValueError(f"expected {what}, ({n},) and finite; got shape {t.shape}")
    return t


def within(group: Levels, code: np.ndarray, texts: Sequence[str]) -> Levels:
    """All pairs of a level of the group and a position."""
    labels = np.empty(group.labels.size * len(texts), object)
    labels[:] = [f"{g}:{text}" for g in group.texts() for text in texts]
    return Levels(group.codes * len(texts) + code, labels)
