"""What JAX sees of a sweep: program size, copies, traces, export."""

from __future__ import annotations

import itertools
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
import support
from jax import export
from programs import equations

import padchol
from padchol.numeric import factorise
from padchol.numeric.values import multiply
from padchol.symbolic.costs import CostModel

pytestmark = pytest.mark.compiler


def log_density(plan, a, x):
    """log N(x; 0, A^-1) up to a constant."""
    F = padchol.cholesky(plan, a)
    return F.logdet() / 2 - jnp.vdot(x, multiply(plan, F.values, x[:, None])[:, 0]) / 2


def marginal_likelihood(plan, a, x):
    """log N(x; 0, A) up to a constant: unlike `log_density` it solves."""
    F = padchol.cholesky(plan, a)
    return -F.logdet() / 2 - jnp.vdot(x, F.solve(x)) / 2


def laplacian_plan(k: int):
    A = support.laplacian(k) + 0.1 * sp.eye_array(k * k)
    plan = padchol.analyze(A)
    return plan, plan.values(A)


def traced_size(k: int, density) -> int:
    """Equations of value_and_grad of a Gaussian log density on a k x k grid."""
    plan, a = laplacian_plan(k)
    f = jax.value_and_grad(lambda a, x: density(plan, a, x))
    return sum(1 for _ in equations(jax.make_jaxpr(f)(a, np.zeros(plan.n)).jaxpr))


@pytest.mark.slow
@pytest.mark.parametrize("density", [log_density, marginal_likelihood])
def test_program_size_does_not_grow(density):
    """Row 25: the traced program, sweeps counted as the loops they stand for, has the same size
    from 10^2 to 400^2 unknowns. Nothing is compiled."""
    sizes = {k: traced_size(k, density) for k in (10, 30, 100, 400)}
    assert len(set(sizes.values())) == 1, sizes
    assert sizes[10] > 500


@pytest.mark.parametrize("model", [CostModel.gpu(), CostModel.tpu()], ids=["gpu", "tpu"])
@pytest.mark.slow
def test_stages_are_few(model):
    """Row 25: in levels, a sweep of any matrix has at most so many shapes."""
    for k in (30, 60, 100, 200):
        plan = padchol.analyze(support.laplacian(k), device="gpu", costs=model)
        assert 1 <= len(plan.layout.levels.stages) <= model.stages <= 12


def large_copies(text: str, entries: int) -> list[str]:
    """Copies of at least so many entries in any computation but those that run once: the entry, and
    what it calls."""
    found, inside_entry = [], False
    for line in text.splitlines():
        if line.startswith(("ENTRY ", "%")):
            inside_entry = line.startswith(("ENTRY ", "%fronts"))
        shape = re.search(r"= \(?\w+\[([\d,]*)\]\S* copy(-start)?\(", line)
        zeros = "copy(%wrapped_broadcast" in line  # scratch, once for a member of a batch
        if shape and not inside_entry and not zeros:
            dims = [int(d) for d in shape[1].split(",") if d]
            if np.prod(dims) >= entries:
                found.append(line.strip())
    return found


def log_determinant_and_gradient(plan, a):
    return jax.value_and_grad(lambda a: padchol.cholesky(plan, a).logdet())(a)


@pytest.mark.optimised
@pytest.mark.slow
@pytest.mark.parametrize("f", [factorise.factorise, log_determinant_and_gradient])
def test_no_copy_of_a_buffer(f):
    """Row 34: inside the loops of the compiled factorisation, and of the selected inverse, nothing
    larger than a tile is copied: not the panel storage, and not the scratch of one front."""
    plan, a = laplacian_plan(60)
    text = jax.jit(f).lower(plan, jnp.asarray(a)).compile().as_text() or ""
    assert " while(" in text
    scratch = (plan.layout.tiles.W + plan.layout.tiles.M + 32) ** 2
    assert 2 * scratch < plan.layout.storage.panels
    assert large_copies(text, 1000) == []


def test_the_copy_detector_detects():
    """The parser of the test above finds a copy where one stands in a loop body."""
    text = "%body {\n  %c = f64[40,50]{1,0} copy(f64[40,50]{0,1} %p)\n}\nENTRY %main {\n"
    text += "  %d = f64[9999]{0} copy(f64[9999]{0} %q)\n}\n"
    assert len(large_copies(text, 2000)) == 1
    assert large_copies(text, 2001) == []


def test_equal_plans_share_one_trace():
    """Row 25: a jitted function of a plan is traced once for plans made apart of equal patterns,
    and again for another pattern."""
    traces = []

    @jax.jit
    def f(plan, a):
        traces.append(plan.n)
        return padchol.cholesky(plan, a).logdet()

    A = support.grid(3, 4)
    for _ in range(3):
        plan = padchol.analyze(A)
        f(plan, plan.values(A))
        f(plan, 2 * plan.values(A))
    assert traces == [12]
    B = support.path(7)
    other = padchol.analyze(B)
    f(other, other.values(B))
    assert traces == [12, 7]


COMPILED: list[str] = []  # one entry for each program that XLA is given


def _compiled(event: str, duration_secs: float, **kwargs: Any):
    if "backend_compile" in event:
        COMPILED.append(event)


jax.monitoring.register_event_duration_secs_listener(_compiled)


def relabelled(A, seed: int):
    order = np.random.default_rng(seed).permutation(A.shape[0])
    return A[order][:, order]


@pytest.mark.slow
def test_similar_patterns_share_one_program():
    """Row 25: other patterns of as many rows and entries, whose tables have the same rounded sizes,
    run what was compiled for the first, eager calls as well; each gets its own results."""
    f = jax.jit(jax.value_and_grad(lambda a, plan, x: marginal_likelihood(plan, a, x)))
    A = support.laplacian(40) + 0.1 * sp.eye_array(1600)
    x = np.sin(np.arange(1600.0))
    programs: dict = {}
    for seed in range(6):
        B = relabelled(A, seed)
        plan = padchol.analyze(B, order="mmd")
        programs.setdefault(plan.layout, []).append(plan)
        COMPILED.clear()
        value, gradient = f(plan.values(B), plan, x)
        variances = padchol.cholesky(plan, plan.values(B)).marginal_variances()
        assert (not COMPILED) == (len(programs[plan.layout]) > 1)
        dense = np.linalg.inv(B.toarray())
        logdet = np.linalg.slogdet(B.toarray())[1]
        np.testing.assert_allclose(value, -logdet / 2 - x @ dense @ x / 2, rtol=1e-12)
        np.testing.assert_allclose(variances, dense.diagonal(), rtol=1e-11)
        own = gradient[plan.rows == plan.cols]
        np.testing.assert_allclose(own, ((dense @ x) ** 2 - dense.diagonal()) / 2, rtol=1e-9)
    assert len(programs) < 6
    made = [plan for plans in programs.values() for plan in plans]
    assert len({plan.fingerprint for plan in made}) == 6
    assert len({plan.nnz_L for plan in made}) > len(programs)


def test_programs_that_read_facts_are_not_shared():
    """Row 25: the shape of a structured copy is a fact of one pattern; so is its number of entries,
    where a function under jit asks for it."""
    A = support.laplacian(20)
    made = [padchol.analyze(relabelled(A, seed), order="mmd") for seed in range(12)]
    plans = next(
        (p, q)
        for p, q in itertools.combinations(made, 2)
        if p.layout == q.layout and p.nnz_L != q.nnz_L
    )
    copied = jax.jit(padchol.structured_copy)
    counted = jax.jit(lambda plan: jnp.asarray(plan.nnz_L))
    for plan in (*plans, *plans):
        assert copied(plan, np.ones(plan.nnz)).shape == (plan.nnz_L,)
        assert int(counted(plan)) == plan.nnz_L


def test_equal_plans_share_inner_traces(monkeypatch):
    """Row 25: eager calls, too, trace a computation once for equal plans."""
    traces = []
    true = factorise.Factorisation.compute

    def counted(*args):
        traces.append(None)
        return true(*args)

    monkeypatch.setattr(factorise.Factorisation, "compute", counted)
    A = support.grid(3, 5)
    first = padchol.analyze(A)
    jax.block_until_ready(padchol.cholesky(first, first.values(A)))
    assert len(traces) == 1
    again = padchol.analyze(A)
    assert again is not first
    jax.block_until_ready(padchol.cholesky(again, 3 * again.values(A)))
    assert len(traces) == 1


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_a_plan_for_cpus_elsewhere(platform):
    """It runs there as well, front by front; a warning says what to do."""
    plan = padchol.analyze(support.grid(3, 4))
    f = jax.jit(lambda a: padchol.cholesky(plan, a).logdet())
    with pytest.warns(UserWarning, match="device='gpu'"):
        exported = export.export(f, platforms=[platform])(np.ones(plan.nnz))
    assert "while" in exported.mlir_module()


@pytest.mark.parametrize("precision", ["float32"], indirect=True)
@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
@support.both_engines
def test_export(platform, device, precision):
    """Rows 21, 36: the log density and its gradient lower for every platform, in float32 with x64
    off, without one call into LAPACK; in levels an accelerator uses its own library."""
    _, plan, a = support.case("grid2", device=device)
    f = jax.jit(jax.value_and_grad(lambda a, x: log_density(plan, a, x), (0, 1)))
    x = np.ones(plan.n, precision)
    exported = export.export(f, platforms=[platform])(a.astype(precision), x)
    module = exported.mlir_module()
    assert "f64" not in module
    calls = set(re.findall(r'custom_call\s*@?"?([\w.]+)', module))
    theirs = {c for c in calls if any(x in c.lower() for x in ("lapack", "cusolver", "cholesky"))}
    library = device == "gpu" and platform == "cuda"
    assert bool(theirs) == library, calls
    assert exported.platforms == (platform,)
