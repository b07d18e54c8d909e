"""One factorisation over several devices: subtrees and a top. Everything equals one shard, and
dense matrices; see tests/test_devices.py for batches of matrices over devices."""

from __future__ import annotations

import pickle
import re
import subprocess
import sys
import textwrap
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import support
import symbolic_oracle as oracle
from hypothesis import given
from hypothesis import strategies as st
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import padchol
from padchol.symbolic import postorder
from padchol.symbolic import shards as cutting
from padchol.symbolic.exact import exact_supernodes
from padchol.symbolic.supernodes import renumbered

pytestmark = pytest.mark.oldest

NAMES = ["grid2", "forest", "arrow_last", "dense", "disconnected", "diagonal", "empty"]
COLLECTIVES = re.compile(
    r"= \S+ (all-gather|all-reduce|all-to-all|collective-permute)(?:-start)?\("
)


def grid_in(shards, device: Any = "cpu", side=9):
    A = support.grid(side, side)
    plan = padchol.analyze(A, shards=shards, device=device)
    return A, plan, plan.values(A)


# ---- the cut ----------------------------------------------------------------------------------


@st.composite
def trees(draw):
    """Parents, each after its children, and a cost of each node."""
    n = draw(st.integers(0, 30))
    parent = [
        draw(st.one_of(st.just(-1), st.integers(s + 1, n - 1))) if s + 1 < n else -1
        for s in range(n)
    ]
    cost = [draw(st.integers(1, 100)) for _ in range(n)]
    return np.array(parent, np.int64), np.array(cost, float)


@oracle.quick
@given(trees(), st.integers(1, 5))
def test_a_cut_keeps_subtrees_whole(tree, shards):
    parent, cost = tree
    found = cutting.cut(parent, cost, shards)
    for s, p in enumerate(parent):
        if found.shard[s] == cutting.TOP:
            assert p < 0 or found.shard[p] == cutting.TOP
        elif p >= 0:
            assert found.shard[p] in (cutting.TOP, found.shard[s])
    for k in range(shards):
        assert found.load[k] == cost[found.shard == k].sum()
    assert found.top == cost[found.shard == cutting.TOP].sum()
    assert found.longest <= cost.sum() * (1 + 1e-12)
    assert 1 <= found.speedup <= shards * (1 + 1e-12) or not cost.size


def test_equal_subtrees_are_dealt_out_evenly():
    parent = np.array([2, 2, 6, 5, 5, 6, -1])  # two trees of three below one root
    found = cutting.cut(parent, np.ones(7), 2)
    assert found.top == 1
    np.testing.assert_array_equal(found.load, [3, 3])
    assert found.speedup == 7 / 4


def test_a_path_is_not_cut():
    found = cutting.cut(np.append(np.arange(1, 50), -1), np.ones(50), 4)
    assert found.speedup == 1


@oracle.quick
@given(trees(), st.integers(2, 5))
def test_the_best_of_the_cuts_met_on_the_way(tree, shards):
    """The cut is the best on the way, but for the small subtrees, which are taken to fill gaps: the
    last of them may stand over by what it costs."""
    parent, cost = tree
    whole = postorder.subtree_sums(parent, cost)
    subtrees, top, longest = np.flatnonzero(parent < 0).tolist(), 0.0, [np.inf]
    while subtrees:
        load = np.zeros(shards)
        for c in sorted(subtrees, key=lambda c: -whole[c]):
            load[np.argmin(load)] += whole[c]
        longest.append(top + load.max())
        dearest = max(subtrees, key=lambda c: (whole[c], -c))
        if whole[dearest] <= whole[parent < 0].sum() / (cutting.EVEN * shards):
            break
        subtrees.remove(dearest)
        subtrees += np.flatnonzero(parent == dearest).tolist()
        top += cost[dearest]
    found = cutting.cut(parent, cost, shards).longest
    small = whole[parent < 0].sum() / (cutting.EVEN * shards)
    assert found <= min(longest) * (1 + 1e-6) + small or not cost.size


@oracle.quick
@given(oracle.patterns(), st.integers(2, 4))
def test_parts_are_the_whole(S, shards):
    """Every supernode is in one part, with its rows; the top is the same in all."""
    nodes, _ = exact_supernodes(oracle.as_pattern(S), np.arange(len(S)))
    found = cutting.cut(nodes.parent, nodes.width + nodes.below + 1.0, shards)
    number = cutting.sequence(found.shard)
    nodes, order = renumbered(nodes, number)
    shard = found.shard[number]
    np.testing.assert_array_equal(np.sort(order), np.arange(len(S)))
    entries = np.zeros(0, int)
    parts = cutting.parts(nodes, shard, shards, entries, entries)
    seen = np.zeros(len(S), int)
    for k, part in enumerate(parts):
        here = part.nodes
        assert here.parent.size == parts[0].nodes.parent.size
        seen[part.columns[: here.first[part.top]]] += 1
        if k == 0:
            seen[part.columns[here.first[part.top] :]] += 1
        for s in range(here.parent.size):
            columns = part.columns[here.first[s] : here.first[s + 1]]
            rows = part.columns[here.rows[here.row_ptr[s] : here.row_ptr[s + 1]]]
            if not columns.size:
                assert not rows.size
                continue
            (whole,) = np.flatnonzero(nodes.first[:-1] == columns[0])
            wanted = nodes.rows[nodes.row_ptr[whole] : nodes.row_ptr[whole + 1]]
            np.testing.assert_array_equal(rows, wanted)
            assert shard[whole] == (k if s < part.top else cutting.TOP)
            parent = here.parent[s]
            assert (parent < 0) == (nodes.parent[whole] < 0)
            if parent >= 0:
                first = part.columns[here.first[parent]]
                assert first == nodes.first[nodes.parent[whole]]
    np.testing.assert_array_equal(seen, 1)


# ---- numbers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("shards", [2, pytest.param(3, marks=pytest.mark.slow)])
@support.both_engines
@pytest.mark.parametrize("name", NAMES)
def test_every_output(name, device, shards):
    build, order = support.MATRICES[name]
    A = build()
    plan = support.unmerged(A, order=order, device=device, shards=shards)
    support.check_against_dense(plan, plan.values(A))


@support.both_engines
@pytest.mark.slow
def test_derivatives(device):
    A, plan, a = grid_in(2, device, side=4)
    one = padchol.analyze(A, device=device)
    b = np.linspace(-1, 1, plan.n)

    def of(plan):
        def f(a):
            F = padchol.cholesky(plan, a)
            return F.logdet() - b @ F.solve(b) + jnp.sum(jnp.sin(F.marginal_variances()))

        return f

    for mode in (jax.grad, jax.hessian):
        found, wanted = (jax.jit(mode(of(p)))(a) for p in (plan, one))
        assert support.relative(found, wanted) < 1e-12


@pytest.mark.slow
def test_derivatives_of_half_solves():
    A, plan, a = grid_in(2, side=5)
    b = np.linspace(-1, 1, plan.n)

    def found(t):
        F = padchol.cholesky(plan, a * jnp.exp(t[0] * b[plan.rows]))
        return jnp.sum(jnp.sin(F.solve_L(b))) + jnp.sum(F.pivots**3)

    def wanted(t):
        M = jnp.asarray(A.toarray()) * jnp.exp(t[0] * b[np.maximum(*np.indices(A.shape))])
        M = jnp.tril(M) + jnp.tril(M, -1).T
        L = jnp.linalg.cholesky(M[plan.perm][:, plan.perm])
        y = jax.scipy.linalg.solve_triangular(L, b, lower=True)
        return jnp.sum(jnp.sin(y)) + jnp.sum(jnp.diag(L) ** 3)

    support.check_derivatives(found, wanted, np.array([0.1]))


@support.both_engines
@pytest.mark.slow
def test_batches(device):
    _, plan, a = grid_in(2, device, side=5)
    values = jnp.stack([a * (1 + 0.1 * i) for i in range(3)])
    vectors = jnp.stack([jnp.linspace(i, 1, plan.n) for i in range(3)])

    def f(a, b):
        F = padchol.cholesky(plan, a)
        return F.logdet(), F.solve(b), F.selected_inverse()

    support.check_batching(f, values, vectors, 1e-12)


@support.both_engines
@pytest.mark.parametrize("column", [0, 40, 80])
def test_the_first_failing_pivot(column, device):
    A, plan, _ = grid_in(3, device)
    spoilt = A.tolil()
    spoilt[column, column] = -1.0
    F = padchol.cholesky(plan, plan.values(spoilt.tocsc()))
    assert int(F.info) == 1 + column
    assert np.isnan(F.logdet())
    assert np.isnan(F.solve(np.ones(plan.n))).all()
    with pytest.raises(padchol.NotPositiveDefiniteError, match=str(column)):
        padchol.cholesky(plan, plan.values(spoilt.tocsc()), throw=True)


@support.both_engines
def test_L_itself(device):
    A, plan, a = grid_in(3, device)
    L = padchol.cholesky(plan, a).to_csc()
    permuted = A.toarray()[plan.perm][:, plan.perm]
    assert support.relative((L @ L.T).toarray(), permuted) < 1e-13
    indices, indptr = plan.factor_pattern()
    np.testing.assert_array_equal(L.indices, indices)
    np.testing.assert_array_equal(L.indptr, indptr)


@support.both_precisions
@pytest.mark.slow
def test_either_precision(precision):
    _, plan, a = grid_in(2)
    support.check_against_dense(plan, a.astype(precision))


# ---- where things are -------------------------------------------------------------------------


def test_each_device_has_its_own_part():
    A, plan, a = grid_in(2, side=40)
    one = padchol.analyze(A)
    F = padchol.cholesky(plan, a)
    assert F.panels.shape == (2, plan.layout.storage.panels)
    for x in (F.panels, F.plan.table):
        assert x.sharding.spec == PartitionSpec("shards")
        assert {shard.data.shape[0] for shard in x.addressable_shards} == {1}
    assert F.panels.shape[1] < 0.75 * padchol.cholesky(one, a).panels.size
    for x in (F.solve(np.ones(plan.n)), F.logdet(), F.selected_inverse(), F.info):
        assert x.sharding.is_fully_replicated
        assert x.sharding.device_set == set(jax.devices()[:2])


def test_one_collective_a_sweep():
    """A factorisation sums its tops, and its diagonal; a solve its tops and its result, once each:
    the sweep down has none of its own."""
    _, plan, a = grid_in(2)
    F = padchol.cholesky(plan, a)
    b = np.ones(plan.n)
    programs = {
        "factor": (lambda p, a: padchol.cholesky(p, a).panels, (F.plan, a), 2),
        "solve": (lambda F, b: F.solve(b), (F, b), 2),
        "selected inverse": (lambda F, b: F.selected_inverse(), (F, b), 1),
    }
    for name, (f, x, most) in programs.items():
        text = jax.jit(f).lower(*x).compile().as_text() or ""
        found = COLLECTIVES.findall(text)
        assert set(found) == {"all-reduce"}, name
        assert len(found) <= most, name


def test_a_mesh_of_ones_own():
    A, plan, a = grid_in(2)
    mesh = Mesh(np.array(jax.devices()[:2][::-1]), ("mine",))
    F = padchol.cholesky(plan, a, mesh=mesh)
    assert F.panels.sharding.device_set == set(jax.devices()[:2])
    wanted = padchol.cholesky(padchol.analyze(A), a).logdet()
    assert support.relative(F.logdet(), wanted) < 1e-13


def test_inside_jit_with_the_plan_as_argument_or_not():
    A, plan, a = grid_in(2)
    wanted = padchol.cholesky(padchol.analyze(A), a).logdet()
    closed = jax.jit(lambda a: padchol.cholesky(plan, a).logdet())(a)
    given_plan = jax.jit(lambda p, a: padchol.cholesky(p, a).logdet())(plan, a)
    carried = jax.jit(lambda F: F.logdet())(padchol.cholesky(plan, a))
    for found in (closed, given_plan, carried):
        assert support.relative(found, wanted) < 1e-13


@pytest.mark.slow
def test_a_field_over_devices():
    A, plan, a = grid_in(2)
    x, one = np.linspace(-1, 1, plan.n), padchol.analyze(A)

    def log_prob(plan):
        return lambda a: padchol.gmrf.GMRF(plan, a).log_prob(x)

    for mode in (lambda f: f, jax.grad):
        found, wanted = (mode(log_prob(p))(a) for p in (plan, one))
        assert support.relative(found, wanted) < 1e-12
    key = jax.random.key(0)
    draws = padchol.gmrf.GMRF(plan, a).sample(key, (3,))
    assert draws.shape == (3, plan.n)
    assert np.isfinite(draws).all()


# ---- plans ------------------------------------------------------------------------------------


@support.both_engines
def test_plans_are_kept_and_equal(device, tmp_path):
    A, plan, a = grid_in(2, device)
    again = grid_in(2, device)[1]
    assert plan.fingerprint == again.fingerprint
    assert plan.fingerprint != padchol.analyze(A, device=device).fingerprint
    plan.save(tmp_path / "plan.npz")
    loaded = padchol.load(tmp_path / "plan.npz")
    assert loaded.layout == plan.layout
    for other in (loaded, pickle.loads(pickle.dumps(plan))):
        assert other.fingerprint == plan.fingerprint
        found = padchol.cholesky(other, a).logdet()
        np.testing.assert_array_equal(found, padchol.cholesky(plan, a).logdet())


def test_plans_in_a_cache_are_told_apart(tmp_path):
    A = support.grid(9, 9)
    plans = [padchol.analyze(A, shards=k, cache=tmp_path) for k in (1, 2, 1, 2)]
    assert [plan.layout.shards for plan in plans] == [1, 2, 1, 2]


def test_the_report_names_shares():
    _, plan, _ = grid_in(3)
    f = plan.stats
    assert f["shards"] == len(f["shares"]) == 3
    assert abs(sum(f["shares"]) + f["top_share"] - 1) < 1e-3
    line = next(line for line in str(plan).splitlines() if "shards" in line)
    assert "the top" in line
    assert "16:" in line
    assert list(f["speedups"]) == ["2", "4", "8", "16"]


def test_one_shard_is_the_plan_as_it_was():
    A = support.grid(9, 9)
    assert padchol.analyze(A, shards=1).fingerprint == padchol.analyze(A).fingerprint


@pytest.mark.parametrize("shards", [0, -2, 1.5, "2", True])
def test_a_number_of_shards_that_is_none(shards):
    with pytest.raises(ValueError, match="expected shards to be a number of devices"):
        padchol.analyze(support.grid(3, 3), shards=shards)


def test_more_shards_than_devices():
    _, plan, a = grid_in(9)
    with pytest.raises(ValueError, match=r"expected 9 devices.*this process sees"):
        padchol.cholesky(plan, a)


def test_meshes_that_do_not_fit():
    _, plan, a = grid_in(2)
    one = Mesh(np.array(jax.devices()[:1]), ("x",))
    with pytest.raises(ValueError, match="expected a mesh of one axis with 2 devices"):
        padchol.cholesky(plan, a, mesh=one)
    square = Mesh(np.array(jax.devices()[:2]).reshape(2, 1), ("x", "y"))
    with pytest.raises(ValueError, match="expected a mesh of one axis"):
        padchol.cholesky(plan, a, mesh=square)
    with pytest.raises(TypeError, match=r"expected mesh to be a jax\.sharding\.Mesh; got int"):
        padchol.cholesky(plan, a, mesh=2)


def test_more_shards_than_subtrees():
    """Some devices have nothing but the top."""
    A = support.path(4)
    plan = padchol.analyze(A, order="natural", shards=3)
    support.check_against_dense(plan, plan.values(A))


def test_a_plan_that_was_placed_before():
    A, plan, a = grid_in(2)
    placed = plan.placed()
    assert placed.fingerprint == plan.fingerprint
    assert placed.placed() is placed
    F = padchol.cholesky(placed, a)
    assert F.plan is placed
    here = NamedSharding(placed.mesh, PartitionSpec())
    found = jax.jit(lambda p, a: padchol.cholesky(p, a).logdet())(placed, jax.device_put(a, here))
    np.testing.assert_array_equal(found, F.logdet())
    one = padchol.analyze(A)
    assert one.placed() == one  # on the default device: test_resident
    assert one.placed().mesh is None


# ---- two processes ----------------------------------------------------------------------------

PROCESS = textwrap.dedent(
    """
    import os, sys
    import jax, numpy as np
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_num_cpu_devices", 1)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    port, mine = sys.argv[1], int(sys.argv[2])
    jax.distributed.initialize(
        f"localhost:{port}", 2, mine, initialization_timeout=60, heartbeat_timeout_seconds=20
    )
    sys.path.insert(0, sys.argv[3])
    import padchol, support
    A = support.grid(9, 9)
    plan = padchol.analyze(A, shards=2, device="cpu")
    a, b = plan.values(A), np.linspace(-1, 1, plan.n)
    F = padchol.cholesky(plan, a)
    print("logdet", repr(float(F.logdet())), flush=True)
    if len(sys.argv) > 4 and mine == 1:
        os._exit(3)
    x = F.solve(b)
    gradient = jax.grad(lambda a: padchol.cholesky(plan, a).logdet())(a)
    print("sums", repr(float(np.sum(x))), repr(float(np.sum(gradient))), flush=True)
    """
)


def processes(*more):
    """Output and exit status of two processes."""
    import socket
    from pathlib import Path

    with socket.socket() as s:
        s.bind(("localhost", 0))
        port = s.getsockname()[1]
    here = str(Path(__file__).parent / "helpers")
    started = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(port), str(k), here, *more],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for k in range(2)
    ]
    return [(*each.communicate(timeout=240), each.returncode) for each in started]


@pytest.mark.slow
def test_two_processes():
    _, plan, a = grid_in(2)
    F, b = padchol.cholesky(plan, a), np.linspace(-1, 1, plan.n)
    gradient = jax.grad(lambda a: padchol.cholesky(plan, a).logdet())(a)
    for out, errors, status in processes():
        assert status == 0, errors
        found = [float(word) for word in re.findall(r"-?\d+\.\d+(?:e-?\d+)?", out)]
        wanted = [F.logdet(), np.sum(F.solve(b)), np.sum(gradient)]
        np.testing.assert_allclose(found, wanted, rtol=1e-12)


@pytest.mark.slow
def test_a_process_that_dies_is_an_error_and_no_hang():
    """Row 44: the process that is left ends with an error, and prints no number."""
    (out, errors, status), (_, _, dead) = processes("die")
    assert dead == 3
    assert "logdet" in out
    assert status not in (0, None), errors
    assert "sums" not in out
