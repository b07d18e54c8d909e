"""Pictures of plans: what is drawn is what the plan holds, at every size."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse as sp
from support import arrow, grid, path

import padchol
from padchol import plot
from padchol.plot import spy, style, tree

pytest.importorskip("matplotlib", reason="pictures need matplotlib")

PLANS = {
    "grid": padchol.analyze(grid(9, 9), order="mmd"),
    "natural": padchol.analyze(grid(7, 7), order="natural"),
    "arrow": padchol.analyze(arrow(20, 0), order="natural"),
    "path": padchol.analyze(path(30), order="natural"),
    "diagonal": padchol.analyze(sp.eye_array(6)),
    "one": padchol.analyze(sp.eye_array(1)),
    "empty": padchol.analyze(sp.csc_array((0, 0))),
    "levels": padchol.analyze(grid(9, 9), order="mmd", device="gpu"),
}


@pytest.fixture
def ax():
    from matplotlib.figure import Figure

    return Figure().subplots()


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_fronts_partition_the_columns_and_hold_the_factor(plan):
    found = plot.fronts(plan)
    columns = np.concatenate([*found.pivots, np.zeros(0, int)])
    np.testing.assert_array_equal(np.sort(columns), np.arange(plan.n))
    indices, indptr = plan.factor_pattern()
    for pivots, below in zip(found.pivots, found.below, strict=True):
        inside = np.concatenate([pivots, below])
        for j in pivots:
            assert np.isin(indices[indptr[j] : indptr[j + 1]], inside).all()
    child = np.flatnonzero(found.parent >= 0)
    assert (found.level[found.parent[child]] > found.level[child]).all()
    assert found.flops.sum() >= plan.stats["flops"]


def test_flops_are_the_squared_column_lengths():
    found = plot.fronts(PLANS["grid"])
    for flops, padded, pivots, order in zip(
        found.flops, found.padded_flops, found.pivots, found.order, strict=True
    ):
        assert flops == np.sum((order - np.arange(pivots.size)) ** 2)
        assert padded >= flops


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_the_whole_picture_is_drawn(plan, tmp_path):
    out = tmp_path / "plan.png"
    plot.picture(plan).savefig(out)
    from matplotlib.image import imread

    pixels = imread(out)
    assert pixels.shape[0] > 500
    assert pixels[..., :3].std() > 0.02  # a blank page has none


@pytest.mark.parametrize("name", ["grid", "natural", "arrow"])
def test_cells_of_L_are_its_entries_and_fill_in_has_its_own_colour(name, ax):
    plan = PLANS[name]
    plot.spy_factor(ax, plan)
    image = np.asarray(ax.images[0].get_array())
    indices, indptr = plan.factor_pattern()
    in_L, in_A = np.zeros((2, plan.n, plan.n), bool)
    in_L[indices, np.repeat(np.arange(plan.n), np.diff(indptr))] = True
    place = np.argsort(np.asarray(plan.perm))
    i, j = place[plan.rows], place[plan.cols]
    in_A[np.maximum(i, j), np.minimum(i, j)] = True
    np.testing.assert_array_equal(image[..., 3] > 0, in_L)
    np.testing.assert_allclose(image[in_A][:, :3], np.tile(style.rgb(style.ENTRY), (plan.nnz, 1)))
    fill = image[in_L & ~in_A][:, :3]
    assert len(fill) == plan.nnz_L - plan.nnz > 0
    np.testing.assert_allclose(fill, np.tile(style.rgb(style.FILL), (len(fill), 1)))


def test_spies_of_A_show_both_triangles(ax):
    plan = PLANS["grid"]
    A = grid(9, 9).toarray() != 0
    plot.spy_matrix(ax, plan)
    np.testing.assert_array_equal(np.asarray(ax.images[0].get_array())[..., 3] > 0, A)
    plot.spy_permuted(ax, plan)
    permuted = A[np.ix_(plan.perm, plan.perm)]
    np.testing.assert_array_equal(np.asarray(ax.images[1].get_array())[..., 3] > 0, permuted)


def test_boxes_enclose_every_entry_of_L(ax):
    plan = PLANS["grid"]
    plot.spy_factor(ax, plan)
    boxes = [path.vertices[:-1] for path in ax.collections[0].get_paths()]
    indices, indptr = plan.factor_pattern()
    cols = np.repeat(np.arange(plan.n), np.diff(indptr))
    held = np.zeros(plan.nnz_L, bool)
    for box in boxes:
        (left, top), (right, bottom) = box.min(0), box.max(0)
        held |= (cols > left) & (cols < right) & (indices > top) & (indices < bottom)
    assert held.all()


def test_tree_has_a_dot_for_each_front_and_a_line_for_each_child(ax):
    plan = PLANS["grid"]
    found = plot.fronts(plan)
    plot.assembly_tree(ax, plan)
    lines, dots = ax.collections[:2]
    places = np.asarray(dots.get_offsets())
    np.testing.assert_array_equal(places[:, 1], found.level)
    assert len(np.unique(places, axis=0)) == len(found.parent)  # no dot hides another
    assert len(lines.get_segments()) == np.sum(found.parent >= 0) > 0


def test_histogram_shares_add_up(ax):
    plan = PLANS["grid"]
    plot.level_histogram(ax, plan)
    levels = plan.stats["levels"]
    widths = np.array([bar.get_width() for bar in ax.patches])
    np.testing.assert_allclose(widths.reshape(2, levels).sum(1), 1.0)


def test_padding_efficiency_is_a_share_and_one_without_padding(ax):
    plan = PLANS["grid"]
    found = plot.fronts(plan)
    plot.padding_by_level(ax, plan)
    shares = np.array([bar.get_width() for bar in ax.patches])
    assert shares.size == plan.stats["levels"]
    assert ((shares > 0) & (shares <= 1)).all()
    for level, share in enumerate(shares):
        here = found.level == level
        needed, done = found.flops[here].sum(), found.padded_flops[here].sum()
        assert share == pytest.approx(needed / done)
    exact = found._replace(padded_flops=found.flops)
    other = ax.figure.add_subplot()
    plot.padding_by_level(other, plan, exact)
    assert [bar.get_width() for bar in other.patches] == pytest.approx([1.0] * shares.size)


def test_cells_count_every_entry_and_stay_few():
    plan = padchol.analyze(grid(60, 60), order="mmd")
    counts, area = spy._count(plan.n, np.asarray(plan.rows), np.asarray(plan.cols))
    assert counts.shape == (spy.CELLS, spy.CELLS)
    assert counts.sum() == plan.nnz
    assert area == pytest.approx((3600 / spy.CELLS) ** 2)
    assert counts.max() <= np.ceil(np.sqrt(area)) ** 2  # no more than a cell has places


def test_cells_of_a_large_matrix_do_not_overflow_32_bit_indices():
    n = 20_000_000
    corners = np.array([0, n - 1], np.int32)
    counts, _ = spy._count(n, corners, corners)
    assert counts[0, 0] == counts[-1, -1] == 1


def test_many_levels_share_bars(ax):
    plan = padchol.analyze(path(3000), order="natural")
    levels = plan.stats["levels"]
    assert levels > tree.BARS
    plot.level_histogram(ax, plan)
    bars = ax.patches
    assert tree.BARS < len(bars) <= 2 * tree.BARS
    assert max(bar.get_y() + bar.get_height() for bar in bars) >= levels - 1
    assert sum(bar.get_width() for bar in bars) == pytest.approx(2.0)


def test_runs():
    assert spy._runs(np.array([0, 1, 2, 5, 7, 8])) == [(0, 3), (5, 1), (7, 2)]
    assert spy._runs(np.zeros(0, np.int64)) == []


def test_importing_plot_leaves_matplotlib_alone():
    code = "import sys, padchol.plot; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
