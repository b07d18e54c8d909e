"""Rows 18 and 39: sizes are proved from counts before anything of that size is made, and tables
stay below L."""

from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pytest
import support

import padchol
from padchol.symbolic import amalgamation, extend_add, layout, pattern, supernodes, tiles
from padchol.symbolic.exact import exact_supernodes
from padchol.symbolic.layout import QUAD


def hub(n):
    """Node 0 is joined to all others: in natural order L is dense."""
    others = np.arange(1, n)
    return np.append(0 * others, others), np.append(others, 0 * others), n


def random_graph(n, a_row, seed=0):
    r = np.random.default_rng(seed)
    i, j = np.repeat(np.arange(n), a_row // 2), r.integers(0, n, n * (a_row // 2))
    i, j = i[i != j], j[i != j]
    return np.append(i, j), np.append(j, i), n


@pytest.mark.parametrize("device", ["cpu", "gpu"])
@pytest.mark.parametrize(
    ("A", "numbers"),
    [
        (([0, 1], [0, 1], 2**31 + 5), "2,147,483,653.*8,589,934,612.*2,147,483,647"),
        (([0], [0], 2**62), "order 4,611,686,018,427,387,904"),
        (hub(100_000), r"nnz\(L\).*5,000,050,000"),
        (random_graph(80_000, 10), "panel storage.*2,147,483,647"),
    ],
)
def test_too_large_is_said_at_once(A, numbers, device, monkeypatch):
    """Row D10: within seconds, with the numbers, and before the rows of L are found."""
    monkeypatch.setattr(supernodes, "with_rows", None)  # not to be reached
    started = time.perf_counter()
    with pytest.raises(OverflowError, match=numbers):
        padchol.analyze(A, order="natural", device=device)
    assert time.perf_counter() - started < 30


def test_an_order_too_large_allocates_nothing():
    tracemalloc.start()
    try:
        for n in (2**29, 2**31 + 5, 2**62):
            with pytest.raises(OverflowError, match=f"order {n:,}"):
                padchol.analyze(([0, 1], [0, 1], n))
        assert tracemalloc.get_traced_memory()[1] < 1e5
    finally:
        tracemalloc.stop()


def test_more_than_the_machine_has(monkeypatch):
    monkeypatch.setattr(layout.os, "sysconf", lambda name: 1_000)
    with pytest.raises(MemoryError, match=r"order 10,000 needs 3,000,000 bytes.*has 1,000,000"):
        padchol.analyze(([0], [0], 10_000))


def test_no_such_facts_on_this_system(monkeypatch):
    """Where a system does not tell its memory, numpy and the system decide."""

    def unknown(name):
        raise ValueError(name)

    monkeypatch.setattr(layout.os, "sysconf", unknown)
    assert padchol.analyze(support.grid(3, 3)).n == 9


@pytest.mark.parametrize("n", [1_500, 3_000])
def test_tables_of_a_dense_tail_stay_far_below_L(n):
    """Row D10: the last 80 % of the columns of L are nearly full. In squares of 4 rows and columns
    the extend-add took 4.2 times the bytes of L at n = 20,000."""
    plan = padchol.analyze(random_graph(n, 10), order="natural")
    assert plan.stats["bytes"] < 0.2 * 8 * plan.nnz_L


@pytest.mark.slow
def test_tables_of_a_large_dense_tail():
    """Row D10: n = 20,000 took 4.3 GB of tables beside 1.0 GB of L."""
    started = time.perf_counter()
    plan = padchol.analyze(random_graph(20_000, 10), order="natural")
    assert plan.stats["bytes"] < 0.1 * 8 * plan.nnz_L
    assert time.perf_counter() - started < 60


def test_the_extend_add_grows_with_rows():
    """Twice the dense tail: four times the pieces, where squares are eight times as many."""
    sizes = []
    for n in (2_048, 4_096):
        found = padchol.analyze(hub(n), order="natural").layout.tiles
        tables = (found.squares, found.moves, found.strips, found.pieces)
        sizes.append(sum(table.size for table in tables))
    assert sizes[1] < 5 * sizes[0]


def test_moves_beyond_int32_are_refused_before_they_are_made(monkeypatch):
    """The rows of pairs of front and owner are counted first."""
    exact, _ = exact_supernodes(pattern.canonical(hub(1_024)), np.arange(1_024))
    nodes = amalgamation.cut(exact, 256)
    where = tiles.placement(nodes)
    rows = 256 * (3 + 2 + 1)  # of the chain of each front but the last
    found = extend_add.moves(nodes, where)
    assert rows // QUAD <= len(found.pieces) + len(found.squares) <= rows
    monkeypatch.setattr(extend_add, "_pieces", None)  # not to be reached
    monkeypatch.setattr(layout, "INT32_MAX", rows // QUAD)
    with pytest.raises(OverflowError, match=f"extend-add needs indices up to {3 * rows // QUAD:,}"):
        extend_add.moves(nodes, where)
