"""Plans: analysis as a whole, exact patterns, the report, and when two plans are one."""

import copy
import os
import pickle
import subprocess
import sys
from typing import Any, cast

import equinox as eqx
import jax
import numpy as np
import pytest
import scipy.sparse as sp
import symbolic_oracle as oracle
from hypothesis import given
from hypothesis import strategies as st

import padchol
from padchol import analysis, candidates
from padchol.symbolic.costs import CostModel
from padchol.symbolic.schedule import schedule
from padchol.symbolic.unfold import fronts

pytestmark = [pytest.mark.core, pytest.mark.oldest]

PATTERNS = [pytest.param(S, id=name) for name, S in oracle.EXAMPLES.items()]
ORDERS = ["natural", "rcm", "mmd", "auto", "given"]
GRID = oracle.shuffled(oracle.grid(7, 7), 3)


def edges_of(S):
    rows, cols = np.nonzero(S)
    return rows, cols, len(S)


def analyze(S, order):
    if order == "given":
        order = np.random.default_rng(len(S)).permutation(len(S))
    return padchol.analyze(edges_of(S), order=order)


def is_same(plan, other):
    """Equal contents, and one and the same entry in a jit cache."""
    assert plan.fingerprint == other.fingerprint
    assert jax.tree.structure(plan) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(plan), jax.tree.leaves(other), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def check_against_oracle(plan, S):
    n = len(S)
    expected = oracle.as_pattern(S)
    assert (plan.n, plan.nnz) == (n, expected.rows.size)
    np.testing.assert_array_equal(plan.rows, expected.rows)
    np.testing.assert_array_equal(plan.cols, expected.cols)
    np.testing.assert_array_equal(np.sort(plan.perm), np.arange(n))
    L = oracle.eliminate(S[np.ix_(plan.perm, plan.perm)])
    indices, indptr = plan.factor_pattern()
    np.testing.assert_array_equal(indptr, oracle.csc(L)[1])
    np.testing.assert_array_equal(indices, oracle.csc(L)[0])
    assert plan.nnz_L == plan.stats["nnz_L"] == L.sum()
    assert plan.stats["flops"] == np.sum(oracle.column_counts(L).astype(float) ** 2)
    column = np.repeat(np.arange(n), np.diff(indptr))
    place = np.argsort(plan.perm)
    a, b = place[plan.rows], place[plan.cols]
    np.testing.assert_array_equal(indices[plan.copy_places], np.maximum(a, b))
    np.testing.assert_array_equal(column[plan.copy_places], np.minimum(a, b))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("S", PATTERNS)
def test_examples(S, order):
    check_against_oracle(analyze(S, order), S)


@oracle.quick
@given(oracle.patterns(), st.sampled_from(ORDERS))
def test_the_pattern_of_the_factor_is_exact(S, order):
    check_against_oracle(analyze(S, order), S)


@oracle.quick
@given(oracle.patterns(), st.integers(0, 2**16))
def test_given_and_natural_orders_are_kept_as_they_are(S, seed):
    perm = np.random.default_rng(seed).permutation(len(S))
    np.testing.assert_array_equal(padchol.analyze(edges_of(S), order=perm).perm, perm)
    np.testing.assert_array_equal(analyze(S, "natural").perm, np.arange(len(S)))


@oracle.quick
@given(oracle.patterns(), st.integers(0, 2**16))
def test_relabelling_and_undoing_it_gives_the_same_factor(S, seed):
    perm = np.random.default_rng(seed).permutation(len(S))
    there = padchol.analyze(edges_of(S), order=perm)
    relabelled = analyze(S[np.ix_(perm, perm)], "natural")
    for a, b in zip(there.factor_pattern(), relabelled.factor_pattern(), strict=True):
        np.testing.assert_array_equal(a, b)


@oracle.quick
@given(oracle.patterns(), st.integers(0, 2**16), st.sampled_from(["natural", "mmd", "auto"]))
def test_equal_patterns_give_equal_plans(S, seed, order):
    """Whatever the order of entries, duplicates, container, type or values."""
    A = sp.coo_array(oracle.spd(S, seed))
    p = np.random.default_rng(seed).permutation(2 * A.nnz) % max(A.nnz, 1)
    twice = sp.coo_array((A.data[p], (A.row[p], A.col[p])), shape=A.shape)
    plan = padchol.analyze(A, order=order)
    is_same(plan, padchol.analyze(twice, order=order))
    is_same(plan, padchol.analyze((A.row[p].astype(np.uint16), A.col[p], len(S)), order=order))
    is_same(plan, padchol.analyze(sp.csr_matrix(A).astype(np.float32), order=order))
    is_same(plan, padchol.analyze(sp.triu(A), order=order, lower=True))


def test_different_patterns_or_orders_have_different_fingerprints():
    S = oracle.grid(4, 4)
    more = S.copy()
    more[0, 15] = more[15, 0] = True
    patterns = (S, more, oracle.grid(4, 5))
    plans = [analyze(T, order) for T in patterns for order in ("natural", "rcm")]
    assert len({plan.fingerprint for plan in plans}) == 6


def test_equal_plans_compile_once():
    traces = []

    @jax.jit
    def first_pivot(plan):
        traces.append(plan.n)
        return plan.perm[0]

    plan = analyze(GRID, "mmd")
    others = [analyze(GRID, "mmd"), copy.deepcopy(plan), pickle.loads(pickle.dumps(plan))]
    assert [int(first_pivot(p)) for p in (plan, *others)] == [int(plan.perm[0])] * 4
    assert len(traces) == 1
    first_pivot(analyze(GRID, "natural"))
    assert len(traces) == 2


def test_the_fingerprint_is_the_same_in_another_process():
    script = (
        "import padchol, symbolic_oracle as o, test_plan as t\n"
        "print(t.analyze(t.GRID, 'mmd').fingerprint)"
    )
    path = os.pathsep.join([os.path.dirname(__file__), *sys.path])
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": "12345"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == analyze(GRID, "mmd").fingerprint


@pytest.mark.parametrize("S", PATTERNS)
def test_copies_and_pickles_are_equal(S):
    plan = analyze(S, "auto")
    for other in (copy.copy(plan), copy.deepcopy(plan), pickle.loads(pickle.dumps(plan))):
        is_same(plan, other)
        assert other.stats == plan.stats
        assert str(other) == str(plan)
    assert eqx.tree_equal(plan, copy.deepcopy(plan))


def test_a_plan_is_a_pytree_of_integer_tables():
    leaves = jax.tree.leaves(analyze(GRID, "mmd"))
    assert len(leaves) == 6
    assert all(isinstance(x, np.ndarray) and x.dtype == np.int32 for x in leaves)


@pytest.mark.parametrize("S", PATTERNS)
def test_values_are_those_of_the_lower_triangle(S):
    A = oracle.spd(S)
    plan = padchol.analyze(A)
    np.testing.assert_array_equal(plan.values(A), A.toarray()[plan.rows, plan.cols])


def test_the_report():
    plan = analyze(GRID, "mmd")
    text = str(plan)
    for fact in (
        "order n            49",
        f"nnz(A)             {int(GRID.sum())} (lower triangle {plan.nnz})",
        f"nnz(L)             {plan.nnz_L}",
        f"fill ratio {plan.nnz_L / plan.nnz:.2f}",
        f"flops              {plan.stats['flops']:.3g}",
        f"levels             {plan.stats['levels']}",
        f"bins               {plan.stats['bins']}",
        "padding efficiency",
        "ordering           mmd",
        plan.fingerprint[:16],
        f"{plan.stats['bytes']:,} bytes",
    ):
        assert fact in text
    assert repr(plan) == f"Plan(n=49, nnz={plan.nnz}, nnz_L={plan.nnz_L}, {plan.fingerprint[:12]})"


EXACT = ("nnz_L", "flops", "supernodes")  # the fronts are merged by other prices


@pytest.mark.parametrize("S", PATTERNS)
def test_stats_agree_with_the_layout(S):
    plan = analyze(S, "mmd")
    stats = plan.stats
    assert stats["levels"] == fronts(plan.layout, plan.table).level.max(initial=-1) + 1
    assert (stats["engine"], stats["bins"]) == ("tiles", 1)
    assert stats["trips"] == stats["fronts"]
    batched = padchol.analyze(oracle.spd(S), order="mmd", device="gpu")
    stages = batched.layout.levels.stages
    assert batched.stats["engine"] == "levels"
    assert batched.stats["trips"] == sum(stage.trips for stage in stages)
    assert batched.stats["bins"] == len(stages) or not S.size
    assert batched.stats["padded_flops"] >= batched.stats["flops"]
    assert {k: batched.stats[k] for k in EXACT} == {k: stats[k] for k in EXACT}
    assert stats["bytes"] == sum(leaf.nbytes for leaf in jax.tree.leaves(plan))
    assert stats["padded_flops"] >= stats["flops"]
    assert stats["padded_entries"] >= stats["nnz_L"]
    assert stats["ordering"] == "mmd"
    assert stats["seconds"] > 0
    stats["bins"] = -1
    assert plan.stats["bins"] == 1  # a copy: nobody's facts are changed


@pytest.mark.parametrize("n", [200_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_a_path_of_many_nodes(n):
    """Row 31: no recursion anywhere in the analysis."""
    k = np.arange(n - 1)
    plan = padchol.analyze((k + 1, k, n), order="natural", lower=True)
    assert plan.nnz_L == 2 * n - 1
    assert plan.stats["flops"] == 4.0 * (n - 1) + 1


@oracle.quick
@given(oracle.patterns())
def test_the_cheapest_ordering_is_found(S):
    model = CostModel.gpu()
    names = ["natural", "rcm", "mmd"]
    tried = [candidates.candidate(oracle.as_pattern(S), name, model, len) for name in names]
    best, scheduled = candidates.cheapest_in_levels(tried, model)
    costs = {c.name: schedule([(c.relaxed, c.relaxed.parent.size)], model).cost for c in tried}
    assert scheduled.cost == costs[best.name] == min(costs.values())
    best = candidates.cheapest(tried, CostModel(), 1)
    prices = [CostModel().predicted(c.relaxed.width, c.relaxed.below).sum() for c in tried]
    entries = [c.nnz_L for c in tried]
    found = names.index(best.name)
    assert prices[found] <= candidates.ALIKE_COST * min(prices)
    for c, (price, fill) in enumerate(zip(prices, entries, strict=True)):
        if price <= prices[found] and fill <= entries[found]:
            assert best.height <= tried[c].height  # no other is better in everything
    for c in tried:
        levels = oracle.heights(oracle.tree(oracle.eliminate(S[np.ix_(c.perm, c.perm)])))
        paths = [[s, *oracle.ancestors(c.counted.parent, s)] for s in range(c.counted.parent.size)]
        columns = max((sum(c.counted.width[path]) for path in paths), default=0)
        assert c.height == columns >= levels.max(initial=-1) + 1


def test_a_factor_beyond_int32_is_refused_before_its_rows_are_found():
    n = 100_000  # full: 5e9 entries
    first = (np.arange(1, n), np.zeros(n - 1, int), n)
    with pytest.raises(OverflowError, match=r"nnz\(L\) needs indices up to 5,000,050,000"):
        padchol.analyze(first, order="natural", lower=True)


def test_an_unknown_device():
    with pytest.raises(ValueError, match="'auto', 'cpu', 'gpu' or 'tpu'; got 'cuda'"):
        padchol.analyze(oracle.spd(GRID), device=cast(Any, "cuda"))


def test_the_default_device(monkeypatch):
    """A plan is for the platform of JAX's default device, if nothing else is said."""
    A = oracle.spd(GRID)
    planned = {device: padchol.analyze(A, device=device).fingerprint for device in ("cpu", "gpu")}
    assert padchol.analyze(A).fingerprint == planned["cpu"]
    with jax.default_device(jax.devices("cpu")[0]):
        assert padchol.analyze(A).fingerprint == planned["cpu"]
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(analysis, "_knows_accelerators", lambda: True)
    assert padchol.analyze(A).fingerprint == planned["gpu"]
    assert padchol.analyze(A, device="cpu").fingerprint == planned["cpu"]
    with jax.default_device(jax.devices("cpu")[0]):
        assert padchol.analyze(A).fingerprint == planned["cpu"]


@pytest.mark.parametrize("costs", ["cpu", 3, {}, CostModel])
def test_prices_are_a_cost_model(costs):
    with pytest.raises(TypeError, match=r"expected costs to be a padchol\.CostModel; got"):
        padchol.analyze(sp.eye_array(3), costs=costs)
