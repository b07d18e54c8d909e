"""The tables of the tiled fronts against what they stand for, entry by entry."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
import support
from storages import NAMES, case_of, records, tiled_panels

import padchol
from padchol.symbolic import extend_add
from padchol.symbolic.costs import CostModel
from padchol.symbolic.layout import BAND, MOVE, PIECE, QUAD, RECORD, SQUARE_RECORD, STRIP
from padchol.symbolic.unfold import panel_places, positions, read

pytestmark = pytest.mark.core


def fronts(plan):
    """Plan positions of the pivots and of the rows below of each front."""
    n, position = plan.n, positions(plan.layout, plan.table)
    below = position[read(plan.table, plan.layout.tiles.rows)]
    for _, D, quads, m, pivot, start, *_ in records(plan):
        pivots = position[pivot : pivot + QUAD * quads]
        assert (below[start + m : start + D - QUAD * quads] == n).all()
        yield pivots[pivots < n], below[start : start + m]


def squares(plan, f):
    """(squares, 5) of front f: first row, rows, first column, columns as bits, place; as a kernel
    meets them."""
    sizes = {"squares": SQUARE_RECORD, "moves": MOVE, "strips": STRIP, "pieces": PIECE}
    table = {
        name: read(plan.table, getattr(plan.layout.tiles, name)).reshape(-1, size)
        for name, size in sizes.items()
    }
    ends = read(plan.table, plan.layout.tiles.records).reshape(-1, RECORD)[f : f + 2, -2:]
    (square, move), (last_square, last_move) = ends
    assert square == last_square or move == last_move
    found = list(table["squares"][square:last_square])
    for begin, first, end in table["moves"][move:last_move]:
        for piece, place, last in table["pieces"][first:end]:
            found += [(strip, piece, quad + place) for strip, quad in table["strips"][begin:last]]
    strip, piece, place = np.array(found, int).reshape(-1, 3).T
    fields = (piece // QUAD, piece % QUAD + 1, strip // 2**QUAD, strip % 2**QUAD, place)
    return np.stack(fields, 1)


@pytest.mark.parametrize("name", [*NAMES, "tall"])
def test_fronts_hold_the_pattern(name):
    """Pivots partition the columns; each column of L has its rows in the front of its pivot."""
    plan = case_of(name)[0]
    indices, indptr = plan.factor_pattern()
    found = np.zeros(plan.n, int)
    for pivots, below in fronts(plan):
        found[pivots] += 1
        stored = np.concatenate([pivots, below])
        for j in pivots:
            assert np.isin(indices[indptr[j] : indptr[j + 1]], stored).all()
    assert (found == 1).all()


@support.both_engines
@pytest.mark.parametrize("name", NAMES)
def test_rows_of_unknowns_in_both_orders(name, device):
    """The same rows of the pivot storage, for the plan's order and for the user's."""
    plan = case_of(name, device)[0]
    storage = plan.layout.storage
    location, user = read(plan.table, storage.location), read(plan.table, storage.user)
    np.testing.assert_array_equal(user[np.asarray(plan.perm)], location)


@pytest.mark.parametrize("name", [*NAMES, "tall"])
def test_moves_carry_each_entry_once(name):
    tall = check_moves(case_of(name)[0])
    if name == "tall":
        assert tall > BAND


def unlisted(monkeypatch):
    """Every front has moves and no list of squares."""
    monkeypatch.setattr(extend_add, "LISTED", 0)


@pytest.mark.parametrize(
    "name", ["grid2", *(pytest.param(n, marks=pytest.mark.slow) for n in NAMES if n != "grid2")]
)
def test_moves_in_place_of_squares(name, monkeypatch):
    """The same entries, and the same numbers as dense, with strips times pieces only."""
    unlisted(monkeypatch)
    A, plan, a = support.case(name)
    plan = support.unmerged(A, order=np.asarray(plan.perm))
    tiles = plan.layout.tiles
    assert tiles.squares.size == 0
    assert tiles.moves.size > 0 or check_moves(plan) == 0
    check_moves(plan)
    support.check_against_dense(plan, a)


@pytest.mark.slow
def test_derivatives_with_moves(monkeypatch):
    """Of all that reads below: the selected inverse and its gradient."""
    unlisted(monkeypatch)
    A, plan, a = support.case("grid2")
    plan, b = support.unmerged(A), support.right_hand_side(plan)
    weight = support.random_like(a, 4)
    support.check_derivatives(
        lambda a: jnp.vdot(weight, padchol.cholesky(plan, a).selected_inverse()),
        lambda a: jnp.vdot(weight, support.dense_outputs(plan, a, b)["selected_inverse"]),
        a,
    )


@pytest.mark.parametrize("listed", [0, extend_add.LISTED])
@pytest.mark.parametrize("order", ["natural", "mmd"])
@pytest.mark.parametrize("widest", [4, 6, 8])
def test_moves_into_chains_of_fronts(widest, order, listed, monkeypatch):
    """Supernodes cut into pieces, whose rows lie at places that differ by a constant."""
    monkeypatch.setattr(extend_add, "LISTED", listed)
    A = sp.block_diag([support.dense(21), support.scattered(40, 80), support.dense(24)]).tolil()
    for i, j in ((0, 25), (5, 30), (3, 70), (4, 64), (9, 84), (33, 62)):
        A[i, j] = A[j, i] = 0.1
    plan = padchol.analyze(A, order=order, costs=CostModel(widest=widest))
    assert check_moves(plan) > widest


def check_moves(plan):
    """Every entry on and below the diagonal of every update is moved exactly once, to its place in
    the panel of the front whose pivot its column is, and what comes too much above that diagonal;
    moves of a front come band by band. Returns the rows of the tallest update."""
    n = plan.n
    place = {}
    for at, i, j in zip(*panel_places(plan.layout, plan.table), strict=True):
        if i < n and j < n:
            place[i, j] = at
    tall = 0
    for f, (_, below) in enumerate(fronts(plan)):
        counted = np.zeros((below.size, below.size), int)
        moved = squares(plan, f)
        assert (np.diff(moved[:, 0] // BAND) >= 0).all()
        tall = max(tall, below.size)
        for top, rows, left, lanes, target in moved:
            assert top // BAND == (top + rows - 1) // BAND
            for c in np.flatnonzero(lanes >> np.arange(QUAD) & 1):
                k = left - QUAD + c
                for q, t in enumerate(range(top, top + rows)):
                    counted[t, k] += 1
                    assert place[below[t], below[k]] == target + QUAD * q + c
        np.testing.assert_array_equal(np.tril(counted), np.tril(np.ones_like(counted)))
    return tall


def test_places_of_panels():
    """`panel_places` against the layout spelled out."""
    plan = case_of("grid2")[0]
    front, r, c = tiled_panels(plan)
    at, row, column = panel_places(plan.layout, plan.table)
    kept = front >= 0
    np.testing.assert_array_equal(at, np.flatnonzero(kept))
    front, r, c = front[kept], r[kept], c[kept]
    for f, (pivots, below) in enumerate(fronts(plan)):
        w = QUAD * records(plan)[f, 2]
        own = np.full(w, plan.n)
        own[: pivots.size] = pivots
        stored = np.concatenate([own, below, np.full(QUAD, plan.n)])
        mine = front == f
        np.testing.assert_array_equal(row[mine], stored[r[mine]])
        np.testing.assert_array_equal(column[mine], own[c[mine]])
