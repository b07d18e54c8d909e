"""The two sweeps: against a plain loop over fronts, adjoint to one another, and tight padding."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import support

import padchol
from padchol.numeric import sweep as sweeps
from padchol.numeric.binding import sweep
from padchol.numeric.sweep import Sweep
from padchol.symbolic.layout import ZEROS
from padchol.symbolic.unfold import front_parents, front_rows

TREES = ("grid2", "path", "forest", "disconnected", "diagonal")


def gather_up(bin, xs, message):
    """Own entries plus the children's; the rows below go on to the parent."""
    total = low(xs[0] + joined(bin, message))
    below = slice(bin.W, None)
    return (total,), (total[:, below, below] if square(total) else total[:, below],)


def spread_down(bin, xs, message):
    """The adjoint: own entries plus, at the rows below, those of the parent."""
    pad = ((0, 0), (bin.W, 0), (bin.W, 0) if square(xs[0]) else (0, 0))
    total = low(xs[0] + jnp.pad(message[0], pad))
    if not square(total):
        return (total,), (total,)
    return (total,), (total[:, :, : bin.W], total[:, bin.W :, bin.W :])


def joined(bin, message):
    """A message on a whole front as one array: its pivot columns, and the rest beside them."""
    if len(message) == 1:
        return message[0]
    columns, rest = message
    return jnp.concatenate([columns, jnp.pad(rest, ((0, 0), (bin.W, 0), (0, 0)))], 2)


def square(x) -> bool:
    return x.shape[-1] == x.shape[-2]


def low(x):
    """Matrix messages count on and below the diagonal only."""
    return jnp.tril(x) if square(x) else x


def leaves(plan, rank: int, seed: int) -> list[np.ndarray]:
    """Random entries of every front, (F, D, 3) or (F, D, D), zero at padding."""
    rng = np.random.default_rng(seed)
    out = []
    for bin, rows in zip(plan.layout.bins, front_rows(plan.layout, plan.table), strict=True):
        real = rows < plan.n
        x = rng.normal(size=(bin.fronts, bin.D, bin.D if rank == 2 else 3))
        x = x * real[:, :, None]
        out.append(np.tril(x * real[:, None, :]) if rank == 2 else x)
    return out


def swept(plan, kernel, rank: int, x: list) -> list[np.ndarray]:
    up = kernel is gather_up
    spec = Sweep(plan.layout, kernel, up, rank, 3 if rank == 1 else 0, (True,))
    return [np.asarray(y) for y in sweep(spec, jnp.asarray(plan.table), [x])[0]]


def by_fronts(plan, x: list[np.ndarray]) -> list[np.ndarray]:
    """`gather_up` front after front, entries matched by their row of the matrix."""
    rows = [r for bin in front_rows(plan.layout, plan.table) for r in bin]
    total = [t.copy() for bin in x for t in bin]
    parents = front_parents(plan.layout, plan.table)
    owner = [bin for bin in plan.layout.bins for _ in range(bin.fronts)]
    real = [t for t in range(len(rows)) if rows[t][0] < plan.n]
    for t in sorted(real, key=lambda t: rows[t][0]):  # children have the earlier pivots
        if parents[t] >= len(rows):
            continue
        W = owner[t].W
        mine = W + np.flatnonzero(rows[t][W:] < plan.n)
        home = [np.flatnonzero(rows[parents[t]] == r)[0] for r in rows[t][mine]]
        if total[t].shape[-1] == owner[t].D:
            total[parents[t]][np.ix_(home, home)] += total[t][np.ix_(mine, mine)]
        else:
            total[parents[t]][home] += total[t][mine]
    sizes = np.cumsum([bin.fronts for bin in plan.layout.bins])[:-1]
    return [np.stack(total[i:j]) for i, j in zip([0, *sizes], [*sizes, len(total)], strict=True)]


@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("name", TREES)
def test_up_is_a_loop_over_fronts(name, rank):
    """Row 15: the sweep adds every child's rows where a plain loop adds them."""
    _, plan, _ = support.case(name)
    x = leaves(plan, rank, 0)
    for found, expected in zip(swept(plan, gather_up, rank, x), by_fronts(plan, x), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("name", TREES)
def test_up_and_down_are_adjoint(name, rank):
    """Row 23: <up x, y> = <x, down y>, the two sweeps written apart."""
    _, plan, _ = support.case(name)
    x, y = leaves(plan, rank, 0), leaves(plan, rank, 1)
    up, down = swept(plan, gather_up, rank, x), swept(plan, spread_down, rank, y)
    left = sum(np.vdot(a, b) for a, b in zip(up, y, strict=True))
    right = sum(np.vdot(a, b) for a, b in zip(x, down, strict=True))
    norm = np.linalg.norm
    size = sum(norm(a) * norm(b) for a, b in zip(up + x, y + down, strict=True))
    assert abs(left - right) <= 1e-10 * size


@pytest.mark.parametrize("rank", [1, 2])
def test_transpose_of_up_is_down(rank):
    """Row 23: what JAX makes of the transpose is the sweep written by hand."""
    _, plan, _ = support.case("grid2")
    x, y = leaves(plan, rank, 0), leaves(plan, rank, 1)
    spec = Sweep(plan.layout, gather_up, True, rank, 3 if rank == 1 else 0, (True,))
    table = jnp.asarray(plan.table)
    transposed = jax.linear_transpose(lambda x: sweep(spec, table, [x])[0], x)
    (found,) = jax.jit(transposed)([jnp.asarray(each) for each in y])
    for a, b in zip(found, swept(plan, spread_down, rank, y), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


def test_depths():
    """Row 15: one level, and as many levels as there are fronts."""
    assert support.case("diagonal")[1].layout.levels == 1
    plan = support.case("path")[1]
    assert plan.layout.levels == plan.n - 1  # the last two columns share a front
    assert sum(bin.chunks for bin in plan.layout.bins) == plan.layout.levels


class PoisonedZeros:
    """jax.numpy for `padchol.numeric.sweep`, whose buffers start as `value`, not zero.

    Only what `run` allocates is poisoned: message buffers from address ZEROS on, and outputs. The
    fronts that one chunk accumulates into are zeroed on purpose and stay so.
    """

    def __init__(self, value: float, buffers: set[int]):
        self.value, self.buffers, self.inside, self.count = value, buffers, False, 0

    def __getattr__(self, name):
        return getattr(jnp, name)

    def zeros(self, shape, dtype=None):
        if self.inside:
            return jnp.zeros(shape, dtype)
        self.count += 1
        full = jnp.full(shape, self.value, dtype)
        return full.at[:ZEROS].set(0) if shape[0] in self.buffers else full

    def chunk(self, call):
        def marked(*args):
            self.inside = True
            try:
                return call(*args)
            finally:
                self.inside = False

        return marked


@pytest.mark.parametrize("name", ["disconnected", pytest.param("grid2", marks=pytest.mark.slow)])
def test_padding_never_leaks(name, monkeypatch):
    """Row 20: buffers and outputs that start as NaN or 1e30 change no bit of any result."""
    _, plan, a = support.case(name)
    b = support.right_hand_side(plan)
    buffers = {size for _, size in plan.layout.buffers}
    assert buffers.isdisjoint(bin.fronts for bin in plan.layout.bins)

    def everything(a):
        found = support.outputs(plan, a, b)
        third = jax.grad(lambda a: jnp.sum(padchol.cholesky(plan, a).selected_inverse() ** 2))
        return [*found.values(), third(a)]

    clean = jax.jit(lambda a: everything(a))(a)
    chunk = sweeps._chunk
    for value in (np.nan, 1e30):
        poisoned = PoisonedZeros(value, buffers)
        monkeypatch.setattr(sweeps, "jnp", poisoned)
        monkeypatch.setattr(sweeps, "_chunk", poisoned.chunk(chunk))
        found = jax.jit(lambda a: everything(a))(a)
        monkeypatch.undo()
        assert poisoned.count > 10
        for x, y in zip(found, clean, strict=True):
            assert np.isfinite(y).all()
            np.testing.assert_array_equal(x, y)
