"""What JAX sees of a sweep: program size, copies, traces, export."""

from __future__ import annotations

import re

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
from padchol.symbolic.schedule import MAX_BINS


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


def traced(k: int, density=log_density):
    """(bins, jaxpr) of value_and_grad of a Gaussian log density on a k x k grid."""
    plan, a = laplacian_plan(k)
    f = jax.value_and_grad(lambda a, x: density(plan, a, x))
    return len(plan.layout.bins), jax.make_jaxpr(f)(a, np.zeros(plan.n)).jaxpr


def test_program_size_does_not_grow():
    """Row 25: there are at most MAX_BINS bins, and per bin the traced program (sweeps counted as
    the loops they stand for) is the same from 60^2 to 200^2 unknowns within 15 %; at 30^2, where
    fewer columns are wide enough for a kernel in pieces, it is no larger."""
    per_bin = {}
    for k in (30, 60, 100, 200):
        bins, jaxpr = traced(k)
        assert bins <= MAX_BINS
        per_bin[k] = sum(1 for _ in equations(jaxpr)) / bins
    large = [per_bin[k] for k in (60, 100, 200)]
    assert max(large) <= 1.15 * min(large), per_bin
    assert per_bin[30] <= min(large), per_bin


@pytest.mark.slow
def test_program_size_at_large_n():
    """Row 25: from 100^2 to 400^2 unknowns the whole traced program of a density with logdet and
    solve has the same size within 15 %; at 30^2 it is no larger. Nothing is compiled."""
    size = {}
    for k in (30, 100, 200, 400):
        bins, jaxpr = traced(k, marginal_likelihood)
        assert bins <= MAX_BINS
        size[k] = sum(1 for _ in equations(jaxpr))
    large = [size[k] for k in (100, 200, 400)]
    assert max(large) <= 1.15 * min(large), size
    assert size[30] <= min(large), size


def large_copies(text: str, entries: int) -> list[str]:
    """Copies of at least so many entries in any computation but the entry, which runs once."""
    found, inside_entry = [], False
    for line in text.splitlines():
        if line.startswith(("ENTRY ", "%")):
            inside_entry = line.startswith("ENTRY ")
        shape = re.search(r"= \(?\w+\[([\d,]*)\]\S* copy(-start)?\(", line)
        if shape and not inside_entry:
            dims = [int(d) for d in shape[1].split(",") if d]
            if np.prod(dims) >= entries:
                found.append(line.strip())
    return found


def log_determinant_and_gradient(plan, a):
    return jax.value_and_grad(lambda a: padchol.cholesky(plan, a).logdet())(a)


@pytest.mark.parametrize("f", [factorise.factorise, log_determinant_and_gradient])
def test_no_copy_of_a_buffer(f):
    """Row 34: inside the loops of the compiled factorisation, and of the selected inverse, nothing
    larger than one chunk of fronts is copied: not the panel storage, nor a part of it that grows
    with the matrix."""
    plan, a = laplacian_plan(60)
    text = jax.jit(f).lower(plan, jnp.asarray(a)).compile().as_text()
    assert " while(" in text
    chunk = max(bin.C * bin.D**2 for bin in plan.layout.bins)
    assert 5 * chunk < plan.layout.length("panel")
    assert large_copies(text, chunk + 1) == []


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


def test_equal_plans_share_inner_traces(monkeypatch):
    """Row 25: eager calls, too, trace the kernels, one per bin, once for equal plans."""
    traces = []
    kernel = factorise.cholesky_front

    def counted(bin, args):
        traces.append(bin.index)
        return kernel(bin, args)

    monkeypatch.setattr(factorise, "cholesky_front", counted)
    A = support.grid(3, 5)
    first = padchol.analyze(A)
    jax.block_until_ready(padchol.cholesky(first, first.values(A)))
    before = len(traces)
    again = padchol.analyze(A)
    assert again is not first
    jax.block_until_ready(padchol.cholesky(again, 3 * again.values(A)))
    assert 0 < before == len(traces)
    bins = len(first.layout.bins)
    np.testing.assert_array_equal(np.bincount(traces), np.full(bins, before // bins))


@pytest.mark.parametrize("precision", ["float32"], indirect=True)
@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_export(platform, precision):
    """Rows 21, 36: the log density and its gradient lower for every platform, in float32 with x64
    off, without one call into LAPACK or any other library."""
    _, plan, a = support.case("grid2")
    f = jax.jit(jax.value_and_grad(lambda a, x: log_density(plan, a, x), (0, 1)))
    x = np.ones(plan.n, precision)
    exported = export.export(f, platforms=[platform])(a.astype(precision), x)
    module = exported.mlir_module()
    assert "f64" not in module
    calls = set(re.findall(r'custom_call\s*@?"?([\w.]+)', module))
    assert not {c for c in calls if "lapack" in c or "cusolver" in c or "Cholesky" in c}, calls
    assert exported.platforms == (platform,)
