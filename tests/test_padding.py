"""Row 20: what stands in padding, trash and unwritten memory never reaches a result."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import support
from storages import laid_out, tiled_parts

import padchol
from padchol.numeric import factorise, fronts, solve
from padchol.symbolic.layout import BLOCK, LANES
from padchol.symbolic.unfold import read


class Poison:
    """Puts `value` wherever nothing that counts may be read, and 1e30 where it must meet a zero.

    value (NaN, too), in the storages and leaves of every sweep in chunks: both ends and padded
    fronts, their pivots included. In the tiled panels of A, what lies above the diagonal and in
    front of the first; in tiled vectors, the trash.

    1e30: padded rows below of the panels of A, which meet zeros read below (in chunks; on tiles
    they stay zero, as does what lies behind the last panel); padded pivots of a vector, which meet
    zeros of L. Neither may be NaN, as NaN times zero is NaN. What remains has to be as it is: the
    pivot columns of padding in a real front, which are those of the identity.
    """

    def __init__(self, plan, value: float, patch):
        n, self.value = plan.n, value
        self.sweeps = self.starts = 0
        self.idle = {
            kind: laid_out(plan, kind, True, lambda bin, rows: rows[:, :1, None] == n)
            for kind in ("panel", "pivots", "rows")
        }
        self.above, self.below, ends = tiled_parts(plan)
        self.above[:LANES] = ends[:LANES]
        self.padded_pivots = np.ones(plan.layout.tiles.pivots, bool)
        self.padded_pivots[read(plan.table, plan.layout.tiles.location)] = False
        self.true = fronts.run_chunks, factorise.to_panels, solve.to_pivots
        patch.setattr(fronts, "run_chunks", self.run)
        patch.setattr(factorise, "to_panels", self.to_panels)
        patch.setattr(solve, "to_pivots", self.to_pivots)

    def run(self, spec, table, storage, leaves):
        self.sweeps += 1

        def put(operand, x):
            axes = len(spec.lead_of(operand))
            mask = self.idle[spec.kinds[operand]].reshape(-1, *(1,) * (x.ndim - axes - 1))
            return jnp.where(mask, self.value, x)

        leaves = [put(1 + i, leaf) for i, leaf in enumerate(leaves)]
        return self.true[0](spec, table, put(0, storage), leaves)

    def to_panels(self, plan, a, pivots=0):
        self.starts += 1
        x = jnp.where(self.above, self.value, self.true[1](plan, a, pivots))
        return jnp.where(self.below, 1e30, x) if pivots and not fronts.TILED else x

    def to_pivots(self, plan, v, users=False):
        self.starts += 1
        x = jnp.where(self.padded_pivots[:, None], 1e30, self.true[2](plan, v, users))
        return x.at[0].set(self.value)


@pytest.mark.parametrize(
    "tiled",
    [True, False],
    ids=["tiled", "in chunks"],
)
@pytest.mark.slow
@pytest.mark.parametrize("name", ["disconnected", "grid2"])
def test_padding_never_leaks(name, tiled, monkeypatch):
    """Row 20: NaN and 1e30 in padding, trash and unwritten memory change no bit of any result.

    What they replace, and what cannot be replaced: see `Poison`.
    """
    monkeypatch.setattr(fronts, "TILED", tiled)
    jax.clear_caches()
    _, plan, a = support.case(name)
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
        assert tiled or poison.sweeps > 4
        assert poison.idle["panel"].sum() > 2 * BLOCK  # padded fronts, not only both ends
        assert poison.below.any()
        assert poison.padded_pivots.sum() > 1
        for x, y in zip(found, clean, strict=True):
            assert np.isfinite(y).all()
            np.testing.assert_array_equal(x, y)
