"""Which orderings are tried: by what they are predicted to cost and to bring, never by a clock."""

from typing import Any

import numpy as np
import pytest
import support
import symbolic_oracle as oracle

import padchol
from padchol.symbolic.ordering import choice
from padchol.symbolic.ordering import named as ordering


def random_graph(n):
    r = np.random.default_rng(0)
    return oracle.edges(n, r.integers(0, n, (2 * n, 2)))


@pytest.fixture
def tried(monkeypatch):
    """The named orderings that are run, in sequence; pymetis is not among them."""
    monkeypatch.setattr(choice.importlib.util, "find_spec", lambda _: None)
    return counted(monkeypatch)


def counted(monkeypatch):
    """The names of the orderings that are run from now on, in sequence."""
    names = []
    for name in ("mmd", "nd", "metis"):
        found = ordering.NAMED[name]
        run = lambda p, name=name, found=found: names.append(name) or found(p)
        monkeypatch.setitem(ordering.NAMED, name, run)
    return names


def test_auto_tries_nested_dissection_where_it_pays(monkeypatch):
    assert "nd" in choice.candidates(oracle.as_pattern(oracle.path(choice.LEAF + 1)))
    assert "nd" not in choice.candidates(oracle.as_pattern(oracle.path(choice.LEAF)))
    monkeypatch.setattr(choice, "ND_BESIDE_METIS", choice.LEAF)
    larger = oracle.as_pattern(oracle.path(choice.LEAF + 1))
    for found, expected in ((None, ["mmd", "nd"]), ("spec", ["metis", "mmd"])):
        monkeypatch.setattr(choice.importlib.util, "find_spec", lambda _, found=found: found)
        assert choice.candidates(larger) == expected


@pytest.mark.parametrize(
    ("n", "widest", "enough"),
    [
        (90_000, 300, True),  # a square
        (64_000, 1_600, True),  # a cube
        (90_000, 40, False),  # roads
        (90_000, 15_000, False),  # a random graph
        (10_000, 100, False),  # nested dissection is tried beside METIS
    ],
)
def test_minimum_degree_is_left_out_beside_metis_on_large_meshes(n, widest, enough):
    assert choice.dissection_suffices(n, widest) == enough


@pytest.fixture
def beside_metis(monkeypatch):
    """The named orderings that are run where METIS is found, all graphs large enough for it."""
    oracle.metis(monkeypatch)
    monkeypatch.setattr(choice, "ND_BESIDE_METIS", 300)
    return counted(monkeypatch)


def test_a_large_mesh_is_told_by_its_separator(beside_metis):
    padchol.analyze(oracle.spd(oracle.grid(20, 20)))
    assert beside_metis == ["metis"]
    beside_metis.clear()
    padchol.analyze(oracle.spd(oracle.path(400)))
    assert beside_metis == ["metis", "mmd"]


def test_a_dissection_pays_beside_metis_where_a_factorisation_takes_long(beside_metis, monkeypatch):
    """By predicted nanoseconds, of which so many a node are its own."""
    A = oracle.spd(oracle.grid(20, 20))
    price = padchol.analyze(A, order="metis", device="cpu").stats["cost"]
    for nanoseconds, expected in ((price - 1, ["metis", "nd"]), (price + 1, ["metis"])):
        monkeypatch.setattr(choice, "ND_PAYS", nanoseconds / choice.ND_PER_NODE / 400)
        beside_metis.clear()
        padchol.analyze(A, device="cpu")
        assert beside_metis == expected
    monkeypatch.setattr(choice, "ND_BESIDE_METIS", 400)  # compared from the start
    beside_metis.clear()
    padchol.analyze(A, device="cpu")
    assert beside_metis == ["metis", "mmd", "nd"]


@pytest.mark.parametrize(
    ("S", "found"),
    [
        (random_graph(400), True),
        (oracle.grid(20, 20), False),
        (oracle.path(400), False),
        (oracle.path(400) | oracle.arrow(400, 7), False),  # but for its dense row
    ],
)
def test_graphs_that_expand(S, found, monkeypatch):
    assert not choice.expands(oracle.as_pattern(S))  # too small to matter
    monkeypatch.setattr(choice, "EXPANDS_FROM", 100)
    assert choice.expands(oracle.as_pattern(S)) == found


def test_a_dissection_is_left_out_where_nothing_fills_in(tried):
    """On a CPU: elsewhere the height of the tree counts as well."""
    S = oracle.path(400) | oracle.arrow(400, 7)
    padchol.analyze(oracle.spd(S), device="cpu")
    assert tried == ["mmd"]
    each: list[dict[str, Any]] = [{"device": "gpu"}, {"device": "cpu", "shards": 2}]
    for options in each:
        tried.clear()
        padchol.analyze(oracle.spd(S), **options)
        assert tried == ["mmd", "nd"]


def test_minimum_degree_is_given_up_by_its_price(tried, monkeypatch):
    """After a dissection that has told the price; whoever asks for it gets it."""
    monkeypatch.setattr(choice, "EXPANDS_FROM", 100)
    A = oracle.spd(random_graph(400))
    padchol.analyze(A, device="cpu")
    assert tried == ["nd", "mmd"]
    tried.clear()
    monkeypatch.setattr(choice, "MMD_AT_MOST", 1.0)
    with pytest.warns(UserWarning, match=r"left out minimum degree.*L has [\d,]+ entries.*flops"):
        plan = padchol.analyze(A, device="cpu")
    assert tried == [plan.stats["ordering"]] == ["nd"]
    assert padchol.analyze(A, device="cpu", order="mmd").nnz_L < plan.nnz_L


def test_meshes_are_ordered_both_ways(tried):
    padchol.analyze(support.grid(20, 20), device="cpu")
    assert tried == ["mmd", "nd"]
