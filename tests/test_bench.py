"""`python -m padchol bench`: matrices, medians and ratios, peers, and what it prints."""

from __future__ import annotations

import json
import math

import jax
import numpy as np
import pytest
import scipy.io
import scipy.sparse as sp
import support

from padchol.cli import _shards, bench, main, peers
from padchol.cli._errors import InputError


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """What commands change for their process comes back: settings of BLAS, and JAX's device."""
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    monkeypatch.setenv("OPENBLAS_L2_SIZE", "1")
    before = jax.config.jax_default_device
    yield
    jax.config.update("jax_default_device", before)


def refused(capsys, *argv: str) -> str:
    """What is said of bad input, with exit code 2 and nothing on standard output."""
    assert main([*argv]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    return err


# ---- matrices ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("dimension", "side"), [(1, 5), (2, 4), (3, 3)])
def test_grids_are_shifted_laplacians(dimension, side):
    A = bench.grid(dimension, side).toarray()
    at = np.stack(np.unravel_index(np.arange(side**dimension), (side,) * dimension), 1)
    distance = np.abs(at[:, None] - at[None]).sum(2)
    np.testing.assert_allclose(
        A, np.select([distance == 0, distance == 1], [0.01 + 2 * dimension, -1.0])
    )


def test_matrices_by_name(tmp_path):
    A = support.grid(3, 4)
    sp.save_npz(tmp_path / "A.npz", A)
    scipy.io.mmwrite(tmp_path / "A.mtx", A, symmetry="symmetric", precision=17)
    for name in ("A.npz", "A.mtx"):
        np.testing.assert_array_equal(bench.read(str(tmp_path / name)).toarray(), A.toarray())
    for name, n in (("grid2d:3", 9), ("grid3d:2", 8)):
        assert bench.read(name).shape == (n, n)


@pytest.mark.parametrize("name", ["grid2d", "grid2d:", "grid3d:x", "grid2d:0", "grid2d:-3"])
def test_grids_without_a_side_are_refused(name):
    with pytest.raises(
        InputError, match=rf"expected {name[:6]}:K with an integer K >= 1; got {name}"
    ):
        bench.read(name)


@pytest.mark.parametrize("command", [("bench", "--json"), ("fit",)], ids=["bench", "fit"])
def test_files_that_are_none_are_named(command, tmp_path, capsys):
    text = tmp_path / "text.mtx"
    text.write_text("not a matrix\n")
    assert refused(capsys, *command, "none.npz").endswith("error: none.npz: no such file\n")
    assert f"{text}: expected a MatrixMarket file" in refused(capsys, *command, str(text))


# ---- medians and ratios -----------------------------------------------------------------------


def test_jobs_are_timed_in_turns_after_one_run_unmeasured():
    called = []
    jobs = {name: lambda name=name: called.append(name) for name in "ab"}
    found = peers.medians(jobs, 0.0)
    assert called == ["a", "b"] * 6
    assert found.keys() == {"a", "b"}
    assert all(0 <= t < 1 for t in found.values())


def test_jobs_are_repeated_until_the_seconds_are_over(monkeypatch):
    """By a clock that a job moves on: each round takes a second, of which the second job half."""
    clock = [0.0]
    monkeypatch.setattr(peers.time, "perf_counter", lambda: clock[0])

    def job(seconds):
        clock[0] += seconds

    calls = []
    jobs = {"a": lambda: job(0.5), "b": lambda: calls.append(job(0.5))}
    assert peers.medians(jobs, 8.0) == {"a": 0.5, "b": 0.5}
    assert len(calls) == 1 + 8
    calls.clear()
    peers.medians(jobs, math.inf)
    assert len(calls) == 1 + 200


def test_ratios_are_to_the_best_of_each_peer(monkeypatch):
    seconds = {"factor": 8.0, "cholmod simplicial": 2.0, "cholmod supernodal": 0.5, "dense": 4.0}
    monkeypatch.setattr(peers, "medians", lambda jobs, limit: {k: seconds[k] for k in jobs})
    row = {}
    theirs = {name: None for name in seconds if name != "factor"}
    bench.compare(row, {"factor": None}, theirs, 1.0, share=4)
    assert row == {"factor_ms": 2000.0, "factor/cholmod": 4.0, "factor/dense": 0.5}


def test_lines_and_means():
    rows = [
        {
            "matrix": "one",
            "n": 1000,
            "nnz_L": 5000,
            "f_ms": 0.25,
            "f/cholmod": 2.0,
            "kernels": 1234,
        },
        {"matrix": "two", "n": 10, "nnz_L": 20, "f_ms": 0.5, "f/cholmod": 8.0},
    ]
    line = bench._line(rows[0])
    assert line.startswith("one ")
    for part in ("n   1,000", "nnz(L)       5,000", "f_ms 0.25", "f/cholmod 2", "kernels 1,234"):
        assert part in line
    assert bench._means(rows) == "geometric means: f/cholmod 4.00 (worst 8.00)"


# ---- peers ------------------------------------------------------------------------------------


def test_settings_that_pin_openblas_are_dropped():
    peers.release_blas()
    assert not {"OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"} & {*peers.os.environ}


@pytest.mark.parametrize("mode", [0, 2])
def test_cholmod_factorises_and_solves(mode):
    cvxopt = pytest.importorskip("cvxopt", reason="CHOLMOD comes with cvxopt")
    A = support.grid(4, 5)
    peer = peers.Cholmod(A, mode)
    peer.factor()
    assert peer.analysis >= 0
    x = cvxopt.matrix(np.ones((20, 3)))
    peer.cholmod.solve(peer.factor_object, x)
    np.testing.assert_allclose(np.array(x), np.linalg.solve(A.toarray(), np.ones((20, 3))))
    peer.solver(3)()  # of ones, which it does not give back


def test_dense_value_and_gradient():
    A = support.grid(3, 3)
    value, gradient = peers.dense_value_and_grad(A)(2.0)
    dense, y = 2 * A.toarray(), np.ones(9)
    x = np.linalg.solve(dense, y)
    assert float(value) == pytest.approx(np.linalg.slogdet(dense)[1] - y @ x)
    found = np.asarray(gradient)
    np.testing.assert_allclose(found + found.T, 2 * (np.linalg.inv(dense) + np.outer(x, x)))


def test_sparsax_value_and_gradient():
    pytest.importorskip("sparsax", reason="a peer that need not be installed")
    A = support.grid(3, 3)
    value, _ = peers.sparsax_value_and_grad(A)(1.0)
    dense, y = A.toarray(), np.ones(9)
    expected = np.linalg.slogdet(dense)[1] - y @ np.linalg.solve(dense, y)
    assert float(value) == pytest.approx(expected)


# ---- the command ------------------------------------------------------------------------------


def test_a_table_closes_with_means(monkeypatch, capsys):
    monkeypatch.setattr(peers, "gemm_rate", lambda: 5e9)
    seen = []

    def measure(A, *options):
        seen.append((A.shape, *options))
        return {"n": len(seen), "nnz_L": 7, "f/dense": 2.0 ** len(seen)}

    monkeypatch.setattr(bench, "measure", measure)
    argv = ["bench", "grid2d:3", "grid3d:2", "--seconds", "2", "--order", "mmd", "--device", "cpu"]
    assert main(argv) == 0
    rate, first, second, means = capsys.readouterr().out.splitlines()
    assert rate == "GEMM rate of this machine: 5 Gflop/s (float64)"
    assert first.startswith("grid2d:3 ")
    assert second.startswith("grid3d:2 ")
    assert means == "geometric means: f/dense 2.83 (worst 4.00)"
    assert seen == [((9, 9), "mmd", 2.0, False, "cpu"), ((8, 8), "mmd", 2.0, False, "cpu")]
    assert jax.config.jax_default_device is jax.devices("cpu")[0]


def test_the_factorisation_alone(capsys):
    assert main(["bench", "grid2d:3", "--seconds", "0", "--factor-only", "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert (row["matrix"], row["n"]) == ("grid2d:3", 9)
    assert row["factor_ms"] > 0
    assert ("factor/cholmod" in row) == peers.installed("cvxopt")
    assert "solve_1_ms" not in row


@pytest.mark.slow
def test_every_comparison(tmp_path, capsys):
    """One JSON object of a file: a time of each routine, and ratios where there are peers."""
    sp.save_npz(tmp_path / "small.npz", support.grid(4, 4))
    assert main(["bench", str(tmp_path / "small.npz"), "--seconds", "0", "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["matrix"] == "small"
    assert row["n"] == 16
    for name in ("factor", "solve_1", "solve_32", "selinv", "value_and_grad", "vmap"):
        assert row[f"{name}_ms"] > 0
        assert (f"{name}/cholmod" in row) == (
            peers.installed("cvxopt") and name not in ("selinv", "value_and_grad")
        )
    assert row["value_and_grad/dense"] > 0
    assert ("value_and_grad/sparsax" in row) == peers.installed("sparsax")


@pytest.mark.slow
def test_shards_beside_one_device(capsys):
    assert main(["bench", "grid2d:6", "--seconds", "0", "--json", "--shards", "2"]) == 0
    row = json.loads(capsys.readouterr().out)
    for name in ("factor", "value_and_grad"):
        assert row[f"{name}_speedup"] == pytest.approx(row[f"{name}_1_ms"] / row[f"{name}_2_ms"])
    assert 0.5 < row["bytes_a_device"] < 1.5
    assert row["predicted"] > 0


def test_more_shards_than_devices(monkeypatch, capsys):
    monkeypatch.setattr(_shards, "prepare", lambda shards: None)  # too late in this process
    many = str(len(jax.devices()) + 1)
    found = refused(capsys, "bench", "grid2d:3", "--shards", many, "--json")
    assert f"expected {many} devices; JAX finds {len(jax.devices())}" in found
