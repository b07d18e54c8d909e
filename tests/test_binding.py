"""What JAX sees of a sweep: batches, program size, copies, traces, export."""

from __future__ import annotations

import re
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
import support
from jax import export
from jax.extend.core import jaxprs_in_params

import padchol
from padchol.numeric import binding, factorise, solve
from padchol.numeric.sweep import Sweep
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


def equations(jaxpr):
    """Every equation, those of inner programs included; a sweep counts as the loops it stands for.

    A program that occurs under several equations is counted at each.
    """
    for eqn in jaxpr.eqns:
        yield eqn
        if eqn.primitive is binding.sweep_p:
            yield from equations(expanded(eqn).jaxpr)
        for inner in jaxprs_in_params(eqn.params):
            yield from equations(inner)


def expanded(eqn):
    """The program of one sweep."""
    operands = [jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in eqn.invars]
    return jax.make_jaxpr(partial(binding._run, **eqn.params))(*operands)


def sweeps(f, *args):
    """Every sweep in the traced program of f."""
    jaxpr = jax.make_jaxpr(f)(*args).jaxpr
    return [e.params["spec"] for e in equations(jaxpr) if e.primitive is binding.sweep_p]


@pytest.mark.parametrize(("short", "sides"), [(1, (4, 5)), (0, (3, 7))], ids=["loop", "folded"])
def test_both_ways_to_batch(short, sides, monkeypatch):
    """Row 24: a batch folded into the kernels, up to FOLDED_ENTRIES of panel storage, and a loop
    over it, one entry beyond, give what single calls give."""
    A = support.grid(*sides)  # patterns of this test alone: JAX remembers batched traces
    plan = support.unmerged(A)
    monkeypatch.setattr(binding, "FOLDED_ENTRIES", plan.layout.length("panel") - short)
    values = jnp.asarray(plan.values(A) * np.linspace(1.0, 1.5, 3)[:, None])
    vectors = jnp.asarray(np.random.default_rng(0).normal(size=(3, plan.n)))

    def f(a, b):
        F = padchol.cholesky(plan, a)
        return F.logdet(), F.solve(b)

    support.check_batching(f, values, vectors, 1e-12)
    leads = {spec.lead for spec in sweeps(jax.vmap(f), values, vectors)}
    assert leads == ({()} if short else {(3,)})


def loops_outside_sweeps(jaxpr):
    """Loops of the traced program that are not those of a sweep."""
    for eqn in jaxpr.eqns:
        if eqn.primitive.name in ("scan", "while"):
            yield eqn
        for inner in jaxprs_in_params(eqn.params):
            yield from loops_outside_sweeps(inner)


def check_columns(f, batch, columns: int):
    """f mapped over the first axis of `batch` runs sweeps of so many columns, neither folded nor
    in a loop, and gives what single calls give."""
    mapped = jax.vmap(f)
    specs = sweeps(mapped, batch)
    assert specs
    assert {(spec.k, spec.lead) for spec in specs} == {(columns, ())}
    assert not list(loops_outside_sweeps(jax.make_jaxpr(mapped)(batch).jaxpr))
    found, one = jax.jit(mapped)(batch), jax.jit(f)
    for i, b in enumerate(batch):
        for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(one(b)), strict=True):
            assert support.relative(x[i], y) < 1e-13


@pytest.mark.parametrize("limit", [0, 10**9])
@pytest.mark.parametrize("name", ["solve_L", "solve_Lt", "solve"])
def test_right_hand_sides_are_columns(name, limit, monkeypatch):
    """Row 24: a vmap over right-hand sides of one matrix is one solve with more columns, however
    long the panel storage; so are its tangent and its transpose, and a vmap of a vmap."""
    monkeypatch.setattr(binding, "FOLDED_ENTRIES", limit)
    _, plan, a = support.case("band")
    F = padchol.cholesky(plan, jnp.asarray(a))

    def f(b):
        return getattr(F, name)(b)

    b = jnp.asarray(np.random.default_rng(0).normal(size=(3, plan.n, 2)))
    check_columns(f, b[..., 0], 3)
    check_columns(f, b, 6)
    check_columns(jax.vmap(f, 1, 1), b, 6)
    check_columns(lambda b: jax.jvp(f, (b,), (b,))[1], b, 6)
    check_columns(lambda b: jax.linear_transpose(f, b)(b)[0], b, 6)


def keeping_front(bin, args):
    """The forward solve of one chunk with a shift of its right-hand side; what it hands up is kept
    as well."""
    b, panel, shift = args
    (y,), update = solve.forward_front(bin, (b + shift, panel))
    return (y, update), update


def with_vectors(plan, **changes):
    """The sweep of `keeping_front` for vectors of 2 columns."""
    takes = ("panel", "pivots")
    linear = (True, False, True)
    return Sweep(plan.layout, keeping_front, True, "pivots", 2, takes, ("rows",), linear, **changes)


def test_a_sweep_of_vectors_is_batched_as_columns():
    """Row 24: leaves of vectors go along with the vectors, whichever of them is batched; where
    panels are batched too, the batch is folded."""
    _, plan, a = support.case("band")
    panels, _ = factorise.factorise(plan, jnp.asarray(a))
    spec = with_vectors(plan)
    rng = np.random.default_rng(0)
    b, shift = jnp.asarray(rng.normal(size=(2, 3, *spec.stored("pivots"))))

    def f(b, shift):
        return binding.sweep(spec, plan.table, b, panels, shift)

    check_columns(lambda b: f(b, shift[0]), b, 6)
    check_columns(lambda shift: f(b[0], shift), shift, 6)
    check_columns(lambda both: f(*both), jnp.stack([b, shift], 1), 6)
    check_columns(lambda shift: jax.vmap(f, (0, None))(b, shift), shift, 18)

    def with_panels(b, panels):
        return binding.sweep(spec, plan.table, b, panels, shift[0])

    many = panels * jnp.linspace(1.0, 1.5, 3)[:, None]
    specs = sweeps(jax.vmap(with_panels), b, many)
    assert {(spec.k, spec.lead) for spec in specs} == {(2, (3,))}
    found = jax.vmap(with_panels)(b, many)
    for i in range(3):
        for x, y in zip(found, with_panels(b[i], many[i]), strict=True):
            assert support.relative(x[i], y) < 1e-13


def everything(F, b):
    return F.logdet(), F.solve(b), F.selected_inverse(), F.sample(jax.random.key(0))


def test_a_plan_repeated_along_a_batch():
    """Row 24: a Factor that a vmap returns carries a copy of its plan for each element, and goes
    into another vmap as it is."""
    _, plan, a = support.case("band")
    values = jnp.asarray(a * np.linspace(1.0, 1.5, 3)[:, None])
    b = jnp.asarray(np.random.default_rng(0).normal(size=plan.n))
    F = jax.vmap(lambda a: padchol.cholesky(plan, a))(values)
    assert F.plan.table.shape == (3, *plan.table.shape)
    found = jax.vmap(everything, (0, None))(F, b)
    for k, a in enumerate(values):
        expected = everything(padchol.cholesky(plan, a), b)
        for x, y in zip(found, expected, strict=True):
            np.testing.assert_allclose(x[k], y, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("axis", [None, 0], ids=["one matrix", "a matrix each"])
def test_different_plans_in_one_batch_give_nan(axis):
    """Row 24: tables that differ anywhere along the axis of a vmap are never used: all is NaN."""
    _, plan, a = support.case("band")
    a = jnp.asarray(a) if axis is None else jnp.stack([a, 2 * a])
    b = np.ones(plan.n)

    def f(table, a):
        F = padchol.cholesky(with_table(plan, table), a)
        return F.info, (F.panels, everything(F, b))

    f = jax.jit(jax.vmap(f, (0, axis)))
    other = plan.table.copy()
    other[-1] = 0 if other[-1] else 1
    info, found = f(np.stack([plan.table, other]), a)
    assert (info != 0).all()
    for x in jax.tree.leaves(found):
        assert jnp.isnan(x).all()
    info, found = f(np.stack([plan.table, plan.table]), a)
    assert (info == 0).all()
    for x in jax.tree.leaves(found):
        assert jnp.isfinite(x).all()


def with_table(plan, table):
    return eqx.tree_at(lambda p: p.table, plan, table)


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
