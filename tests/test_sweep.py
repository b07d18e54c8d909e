"""The two sweeps in levels: against elimination in a dense array, adjoint, and tight padding.

The kernels here are linear. A supernode hands up, with node its final value, masked to what counts,

    panel     p_i = sum_w weight_iw node_iw of its rows below, then  (p_i (j + 1) + (i + 2) p_j) / 8
    pivots    p   = sum_w weight_w node_w, then  (i + 1) p / 8

The weights are a leaf, zero at padding. Every other place that does not count starts as NaN: padded
supernodes, rows and columns, and what lies above the diagonal.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import support
from storages import counting, places

from padchol.numeric.levels import run
from padchol.numeric.sweep import Routine
from padchol.symbolic.unfold import fronts

pytestmark = pytest.mark.core

TREES = ("grid2", "path", "forest", "disconnected", "diagonal")
K = 3  # columns of vectors


def weighted(node, weight, axis):
    return jnp.sum(jnp.where(weight == 0, 0, node * weight), axis)


def ramp(stage):
    return 1.0 + jnp.arange(stage.M)


def panel_up(stage, args):
    node, weight = jnp.tril(args[0]), args[1]
    p = weighted(node, weight, 2)[:, stage.W :]
    i = ramp(stage)
    return node, (p[:, :, None] * i + (i[:, None] + 1) * p[:, None, :]) / 8


def noisy_panel_up(stage, args):
    """`panel_up`, with NaN wherever a sweep may find anything."""
    node, update = panel_up(stage, args)
    above = jnp.triu(jnp.ones(update.shape, bool), 1)
    pivots = jnp.triu(jnp.ones(node.shape, bool), 1)
    return jnp.where(pivots, jnp.nan, node), jnp.where(above, jnp.nan, update)


def panel_down(stage, args, below):
    node, weight = args
    i, below = ramp(stage), jnp.tril(below)
    p = (below @ i + jnp.swapaxes(below, 1, 2) @ (i + 1)) / 8
    moved = weight[:, stage.W :] * p[:, :, None]
    return jnp.tril(node) + jnp.pad(moved, ((0, 0), (stage.W, 0), (0, 0)))


def pivots_up(stage, args):
    p = weighted(args[0], args[1], 1)
    return args[0], ramp(stage)[:, None] * p[:, None] / 8


def pivots_down(stage, args, below):
    node, weight = args
    return node + weight * jnp.einsum("i,cik->ck", ramp(stage), below)[:, None] / 8


UP = {"panel": panel_up, "pivots": pivots_up}
DOWN = {"panel": panel_down, "pivots": pivots_down}
kinds = pytest.mark.parametrize("kind", ["panel", "pivots"])
case = partial(support.case, device="gpu")
trees = pytest.mark.parametrize("name", TREES)


def random_storage(plan, kind, seed, padding=np.nan):
    """Random where a place counts, `padding` elsewhere."""
    counts = counting(plan, kind)
    shape = counts.shape if kind == "panel" else (*counts.shape, K)
    x = np.random.default_rng(seed).normal(size=shape)
    x[~counts] = padding
    return x


def swept(plan, kind, kernel, x):
    """What counts of the final storage, zero elsewhere."""
    weight = random_storage(plan, kind, 9, padding=0)
    up = kernel not in DOWN.values()

    def in_verbs(v):
        if up:
            v.node, v.update = kernel(v.stage, v.args)
        else:
            v.node = kernel(v.stage, v.args, v.ancestors)

    routine = Routine(in_verbs, up, kind, (kind,))
    sweep = jax.jit(lambda *args: run(routine, plan.layout.levels, *args))
    found = np.array(sweep(plan.table, x, [weight]))
    found[~counting(plan, kind)] = 0
    return found


def eliminated(plan, kind, x):
    """The up sweep, supernode by supernode, in arrays indexed by rows and columns of the matrix."""
    counts = counting(plan, kind)
    row, column = (each[counts] for each in places(plan, kind))
    held, weight = np.zeros((2, plan.n, plan.n) if kind == "panel" else (2, plan.n, 1, K))
    held[row, column] = x[counts]
    weight[row, column] = random_storage(plan, kind, 9)[counts]
    found = fronts(plan.layout, plan.table)
    each = zip(found.pivots, found.below, strict=True)
    for pivots, below in sorted(each, key=lambda front: front[0].min()):  # children come first
        i = 1 + np.arange(below.size)
        if kind == "panel":
            mine = np.ix_(below, pivots)
            p = (held[mine] * weight[mine]).sum(1)
            held[np.ix_(below, below)] += np.tril(p[:, None] * i + (i[:, None] + 1) * p) / 8
        else:
            held[below] += i[:, None, None] * (held[pivots] * weight[pivots]).sum(0) / 8
    expected = np.zeros_like(x)
    expected[counts] = held[row, column]
    return expected


@trees
@pytest.mark.parametrize("kernel", [panel_up, noisy_panel_up, pivots_up])
def test_up_is_a_loop_over_fronts(name, kernel):
    """Row 15: the sweep adds every update where elimination in a dense array adds it."""
    _, plan, _ = case(name)
    kind = "pivots" if kernel is pivots_up else "panel"
    x = random_storage(plan, kind, 0)
    expected = eliminated(plan, kind, x)
    assert np.isfinite(expected).all()
    if name != "diagonal":  # where nothing moves
        assert support.relative(expected, np.nan_to_num(x)) > 1e-3
    assert support.relative(swept(plan, kind, kernel, x), expected) < 1e-13


@trees
@kinds
def test_up_and_down_are_adjoint(name, kind):
    """Row 23: <up x, y> = <x, down y>, the two kernels written apart."""
    _, plan, _ = case(name)
    x, y = random_storage(plan, kind, 0), random_storage(plan, kind, 1)
    up, down = swept(plan, kind, UP[kind], x), swept(plan, kind, DOWN[kind], y)
    x, y = np.nan_to_num(x), np.nan_to_num(y)
    left, right = np.vdot(up, y), np.vdot(x, down)
    size = sum(np.linalg.norm(a) * np.linalg.norm(b) for a, b in ((up, y), (x, down)))
    assert abs(left - right) <= 1e-13 * size
    if name != "diagonal":  # where nothing moves
        assert np.abs(up - x).max() > 1e-2
        assert np.abs(down - y).max() > 1e-2


def test_depths():
    """Row 15: one level, and as many levels as there are supernodes."""
    plan = case("diagonal")[1]
    assert plan.stats["levels"] == plan.stats["trips"] == 1
    plan = case("path")[1]
    assert plan.stats["levels"] == plan.n - 1  # the last two columns share a supernode
    assert plan.stats["trips"] == plan.stats["levels"]
