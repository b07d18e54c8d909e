"""Row 20: what stands in padding, trash and unwritten memory never reaches a result."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import support
from storages import laid_out, tiled_parts

import padchol
from padchol.numeric import factorise, levels, solve, vectors
from padchol.symbolic.tiles import MARGIN
from padchol.symbolic.unfold import read

pytestmark = [pytest.mark.core, pytest.mark.compiler]


class Poison:
    """Puts `value` wherever nothing that counts may be read, and 1e30 where it must meet a zero.

    value (NaN, too): on tiles, in the panels of A, what lies above the diagonal and in front of the
    first; in vectors, the trash. In levels, what lies above the diagonal of the panels of A, in
    every storage the places of padded supernodes, and the fronts of those.

    1e30: padded rows below of the panels of A in levels, which meet zeros read below (on tiles they
    stay zero); padded pivots of a vector, which meet zeros of L. Neither may be NaN, as NaN times
    zero is NaN. What remains has to be as it is: the pivot columns of padding in a real supernode,
    which are those of the identity.
    """

    def __init__(self, plan, value: float, patch):
        self.value, self.starts, self.sweeps = value, 0, 0
        storage = plan.layout.storage
        self.padded_pivots = np.ones(storage.pivots, bool)
        self.padded_pivots[read(plan.table, storage.location)] = False
        self.trash = 0 if plan.layout.in_levels else 1
        if plan.layout.in_levels:
            self.levels(plan)
        else:
            self.above, self.below, ends = tiled_parts(plan)
            self.above[:MARGIN] = ends[:MARGIN]
            self.below[:] = False
        self.true = levels.run, factorise.to_panels, solve.to_pivots
        patch.setattr(levels, "run", self.run)
        patch.setattr(factorise, "to_panels", self.to_panels)
        patch.setattr(solve, "to_pivots", self.to_pivots)
        patch.setattr(vectors, "to_pivots", self.to_pivots)
        patch.setattr(vectors, "empty_pivots", self.empty_pivots)

    def levels(self, plan):
        """Masks of both storages."""
        n = plan.n

        def idle(stage, rows):
            return rows[:, :1, None] == n

        def above(stage, rows):
            over = np.arange(stage.D)[:, None] < np.arange(stage.W)
            return over & (rows[:, None, : stage.W] < n) & (rows[:, : stage.D, None] < n)

        def padded(stage, rows):
            below = np.arange(stage.D)[:, None] >= stage.W
            return below & (rows[:, :, None] == n) & ~idle(stage, rows)

        self.idle = {kind: laid_out(plan, kind, idle) > 0 for kind in ("panel", "pivots")}
        self.above, self.below = (laid_out(plan, "panel", mask) > 0 for mask in (above, padded))

    def run(self, routine, stages, table, storage, leaves, top=None):
        self.sweeps += 1

        def put(kind, x):
            if kind == "rows":
                return x
            mask = self.idle[kind].reshape(-1, *(1,) * (x.ndim - 1))
            return jnp.where(mask, self.value, x)

        leaves = [put(kind, leaf) for kind, leaf in zip(routine.takes, leaves, strict=True)]
        return self.true[0](routine, stages, table, put(routine.node, storage), leaves, top)

    def to_panels(self, plan, a, pivots=0):
        self.starts += 1
        x = jnp.where(self.above, self.value, self.true[1](plan, a, pivots))
        return jnp.where(self.below, 1e30, x) if pivots else x

    def empty_pivots(self, layout, k, dtype):
        self.starts += 1
        x = np.where(self.padded_pivots[:, None], 1e30, np.full((layout.storage.pivots, k), 0.0))
        x[: self.trash] = self.value
        return jnp.asarray(x, dtype)

    def to_pivots(self, plan, v, users=False):
        self.starts += 1
        x = jnp.where(self.padded_pivots[:, None], 1e30, self.true[2](plan, v, users))
        return x.at[: self.trash].set(self.value)


@support.both_engines
@pytest.mark.optimised  # bit for bit: other flags fuse the two programs differently
@pytest.mark.slow
@pytest.mark.parametrize("name", ["disconnected", "grid2"])
def test_padding_never_leaks(name, device, monkeypatch):
    """Row 20: NaN and 1e30 in padding, trash and unwritten memory change no bit of any result.

    What they replace, and what cannot be replaced: see `Poison`.
    """
    jax.clear_caches()
    _, plan, a = support.case(name, device=device)
    b = support.right_hand_side(plan)
    direction = support.random_like(a, 3)

    def everything(a):
        def gradient(a):  # of a function of the gradient of the log-determinant
            return jax.grad(lambda a: jnp.sum(padchol.cholesky(plan, a).selected_inverse() ** 2))(a)

        F = padchol.cholesky(plan, a)
        third = jax.jvp(gradient, (a,), (direction,))[1]
        sample = F.sample(jax.random.key(0), (2,))
        pulled = jax.grad(lambda b: jnp.sum(padchol.cholesky(plan, a).solve(b) ** 2))(b)
        return [F.values, *support.outputs(plan, a, b).values(), sample, pulled, gradient(a), third]

    clean = jax.jit(lambda a: everything(a))(a)
    for value in (np.nan, 1e30):
        jax.clear_caches()
        with monkeypatch.context() as patch:
            poison = Poison(plan, value, patch)
            found = jax.jit(lambda a: everything(a))(a)
        jax.clear_caches()
        assert poison.starts > 4
        if device == "gpu":
            assert poison.sweeps > 4
            assert poison.idle["panel"].any()
            assert poison.below.any()
        assert poison.padded_pivots.sum() > 1
        for x, y in zip(found, clean, strict=True):
            assert np.isfinite(y).all()
            np.testing.assert_array_equal(x, y)
