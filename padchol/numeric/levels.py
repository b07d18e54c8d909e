"""Sweeps over batches of padded supernodes, level by level: how accelerators run them.

Stage after stage, trip after trip, C supernodes of one padded shape at a time, so that the kernels
launched are few: see `symbolic.schedule`.

Rows of vectors are added to, and read from, those of all ancestors in the storage itself. Updates
of panels go from child to parent by *fronts* (D x D), one a supernode, which live as long as the
sweep (multifrontal: Duff & Reid 1983, ACM TOMS 9(3), 302-325; Liu 1992, SIAM Review 34(1), 82-109):

    up      a front collects what the children hand up; its columns of the pivots are added to the
            panel, the rest to what the supernode hands up itself
    down    a front is the final panel and what was read below; the children read from it

A batch over values is JAX's own vmap: it is folded into the trips.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from padchol.numeric.verbs import OnBatch
from padchol.symbolic.layout import INT32_MAX, Kind, Levels, Section, Stage

if TYPE_CHECKING:
    from padchol.numeric.shards import Top
    from padchol.numeric.sweep import Routine


def run(
    routine: Routine,
    levels: Levels,
    table,
    storage: jax.Array,
    leaves: Sequence[jax.Array],
    top: Top | None = None,
):
    """The final storage; top: of a sweep up a tree in shards.

    Cost: a dozen kernels a trip, the padded flops, a move of each update.
    """
    panels = routine.node == "panel"
    size = levels.fronts if panels and not routine.alone else 0
    state = (storage, jnp.zeros(size, storage.dtype))
    numbered = list(enumerate(levels.stages))
    for number, stage in numbered if routine.up else reversed(numbered):
        if top and number == levels.top:
            handed = replace(top, start=stage.front) if panels else top
            state = (top.summed(state[0]), handed.summed(state[1]) if panels else state[1])
        if routine.alone:
            state = _alone(routine, stage, table, leaves, state)
            continue
        one_trip = {
            (True, True): _panel_up,
            (True, False): _panel_down,
            (False, True): _pivots_up,
            (False, False): _pivots_down,
        }[panels, routine.up]

        def trip(t, state, stage=stage, one_trip=one_trip):
            t = t if routine.up else stage.trips - 1 - t
            return one_trip(routine, stage, table, leaves, t, state)

        state = lax.fori_loop(0, stage.trips, trip, state)
    return state[0]


def _done(routine: Routine, stage: Stage, args: Sequence, below: Any = None) -> OnBatch:
    """What the routine has done with one trip."""
    v = OnBatch(stage, args, below)
    routine.kernel(v)
    return v


def _panel_up(routine: Routine, stage: Stage, table, leaves, t, state):
    panels, fronts = state
    node, *others = _read_all(routine, stage, table, panels, leaves, t)
    received = _read(fronts, stage.front, t, (stage.C, stage.D, stage.D))
    v = _done(routine, stage, (node + received[:, :, : stage.W], *others))
    panels = _write(panels, stage.panel, t, v.node)
    if stage.M:
        handed = received[:, stage.W :, stage.W :] + v.update
        fronts = _hand_up(fronts, _parents(stage, table, t), handed)
    return panels, fronts


def _panel_down(routine: Routine, stage: Stage, table, leaves, t, state):
    panels, fronts = state
    args = _read_all(routine, stage, table, panels, leaves, t)
    below = _read_below(fronts, _parents(stage, table, t))
    node = _done(routine, stage, args, below).node
    front = jnp.concatenate([node, jnp.pad(below, ((0, 0), (stage.W, 0), (0, 0)))], 2)
    return _write(panels, stage.panel, t, node), _write(fronts, stage.front, t, front)


def _pivots_up(routine: Routine, stage: Stage, table, leaves, t, state):
    pivots, none = state
    v = _done(routine, stage, _read_all(routine, stage, table, pivots, leaves, t))
    pivots = _write(pivots, stage.pivot, t, v.node)
    if stage.M:
        rows = _rows(stage, table, t)
        pivots = pivots.at[rows].add(v.update, mode="drop")
    return pivots, none


def _pivots_down(routine: Routine, stage: Stage, table, leaves, t, state):
    pivots, none = state
    args = _read_all(routine, stage, table, pivots, leaves, t)
    below = pivots.at[_rows(stage, table, t)].get(mode="fill", fill_value=0)
    return _write(pivots, stage.pivot, t, _done(routine, stage, args, below).node), none


def _alone(routine: Routine, stage: Stage, table, leaves, state):
    """All places at once."""
    storage, none = state
    whole = replace(stage, C=stage.places, trips=1)
    node = _done(routine, whole, _read_all(routine, whole, table, storage, leaves, 0)).node
    start = stage.panel if routine.node == "panel" else stage.pivot
    return _write(storage, start, 0, node), none


def _read_all(routine: Routine, stage: Stage, table, storage, leaves, t) -> tuple:
    """The nodes of one trip, and its leaves."""
    return tuple(
        _of_kind(stage, kind, table, x, t)
        for kind, x in zip(routine.kinds, (storage, *leaves), strict=True)
    )


def _of_kind(stage: Stage, kind: Kind, table, stored, t):
    if kind == "panel":
        return _read(stored, stage.panel, t, (stage.C, stage.D, stage.W))
    if kind == "pivots":
        return _read(stored, stage.pivot, t, (stage.C, stage.W))
    return stored.at[_rows(stage, table, t)].get(mode="fill", fill_value=0)


def _read(stored, start: int, t, shape: tuple[int, ...]):
    """One trip of a storage, of which a stage starts at `start`; columns stay behind."""
    size = int(np.prod(shape))
    flat = lax.dynamic_slice_in_dim(stored, start + t * size, size)
    return flat.reshape(*shape, *stored.shape[1:])


def _write(stored, start: int, t, value):
    """The inverse of `_read`."""
    flat = value.reshape(-1, *stored.shape[1:])
    return lax.dynamic_update_slice_in_dim(stored, flat, start + t * flat.shape[0], 0)


def _take(table, section: Section, t, shape: tuple[int, ...]) -> Any:
    """The part of a table that belongs to one trip."""
    return _read(table, section.start, t, shape)


def _rows(stage: Stage, table, t):
    """(C, M): where the rows below lie in the pivot storage; its end at padding."""
    return _take(table, stage.rows, t, (stage.C, stage.M))


class _Parents(NamedTuple):
    """Where the rows below lie in the fronts of the parents: see `Stage`."""

    local: jax.Array  # (C, M)
    start: jax.Array  # (C, 1, 1)
    order: jax.Array  # (C, 1, 1)

    @property
    def at(self):
        """(C, M, M): where each entry is, mirrored onto the lower triangle; beyond every front
        where there is none."""
        i, j = self.local[:, :, None], self.local[:, None, :]
        low = jnp.minimum(i, j)
        found = self.start + self.order * jnp.maximum(i, j) + low
        return jnp.where(low >= 0, found, INT32_MAX)


def _parents(stage: Stage, table, t) -> _Parents:
    parent = _take(table, stage.parent, t, (stage.C, 2))[:, :, None, None]
    return _Parents(_take(table, stage.local, t, (stage.C, stage.M)), parent[:, 0], parent[:, 1])


def _hand_up(fronts, parents: _Parents, update):
    """Extend-add of the lower triangle of updates (C, M, M) into the fronts of the parents."""

    def at_once(fronts, parents, update):
        i = lax.iota(np.int32, update.shape[1])
        at = jnp.where(i[:, None] >= i, parents.at, INT32_MAX)
        return fronts.at[at].add(update, mode="drop")

    return lax.platform_dependent(fronts, parents, update, tpu=_hand_up_one_by_one, default=at_once)


def _hand_up_one_by_one(fronts, parents: _Parents, update):
    """With indices that ascend: what does not, XLA for TPUs sorts, and takes minutes to compile
    (tests/bench/NOTES.md, experiment 34). Both triangles, because one alone would not ascend."""
    real = parents.local >= 0  # zero is added twice to the last place that is
    local = jnp.where(real, parents.local, jnp.max(parents.local, 1, keepdims=True))
    update = jnp.where(real[:, :, None] & real[:, None, :], update, 0)

    def add(c, fronts):
        at = parents.start[c] + parents.order[c] * local[c][:, None] + local[c]
        at = jnp.where(local[c] >= 0, at, INT32_MAX)  # a root has no parent
        return fronts.at[at].add(update[c], mode="drop", indices_are_sorted=True)

    return lax.fori_loop(0, len(update), add, fronts)


def _read_below(fronts, parents: _Parents):
    """The adjoint: symmetric matrices (C, M, M), zero at padding."""
    return fronts.at[parents.at].get(mode="fill", fill_value=0)
