"""Programs for devices that are not here: kernels counted in a text, and compiled ahead of time."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import support

import padchol
from padchol.cli import main
from padchol.cli._launches import launches
from padchol.cli._targets import TARGETS, installed

TEXT = """HloModule jit_f

%fused (p: f32[8]) -> f32[8] {
  %p = f32[8]{0} parameter(0)
  ROOT %n = f32[8]{0} negate(%p)
}

%column (c: (s32[], f32[8])) -> (s32[], f32[8]) {
  %c = (s32[], f32[8]{0:T(128)}) parameter(0)
  %x = f32[8]{0:T(128)} get-tuple-element(%c), index=1
  %y = f32[8]{0:T(128)} fusion(%x), kind=kLoop, calls=%fused
  ROOT %t = (s32[], f32[8]{0:T(128)}) tuple(%x, %y)
}

%chunk (c: (s32[], f32[8])) -> (s32[], f32[8]) {
  %c = (s32[], f32[8]{0}) parameter(0)
  %a = f32[8]{0} custom-call(%c), custom_call_target="solve"
  ROOT %w = (s32[], f32[8]{0}) while(%c), condition=%less, body=%column, LAST
}

%round (c: (s32[], f32[8])) -> (s32[], f32[8]) {
  %c = (s32[], f32[8]{0}) parameter(0)
  ROOT %w = (s32[], f32[8]{0}) while(%c), condition=%less, body=%chunk, backend_config={"known_trip_count":{"n":"5"}}
}

%less (c: (s32[], f32[8])) -> pred[] {
  %c = (s32[], f32[8]{0}) parameter(0)
  ROOT %l = pred[] compare(%c, %c), direction=LT
}

%four (c: (s32[], f32[8])) -> pred[] {
  %c = (s32[], f32[8]{0}) parameter(0)
  %f = s32[]{:T(128)} constant(4)
  %i = s32[]{:T(128)} get-tuple-element(%c), index=0
  ROOT %l = pred[]{:T(512)} compare(%i, %f), direction=LT
}

%other (p: f32[8]) -> f32[8] {
  %p = f32[8]{0} parameter(0)
  ROOT %k = f32[8]{0} copy(%p)
}

ENTRY %main (p: f32[8]) -> f32[8] {
  %p = f32[8]{0} parameter(0)
  %b = f32[8]{0} bitcast(%p)
  %d = f32[8]{0} call(%b), to_apply=%other
  %w = (s32[], f32[8]{0}) while(%b), condition=%less, body=%round, backend_config={"known_trip_count":{"n":"2"}}
  ROOT %g = f32[8]{0} get-tuple-element(%w), index=1
}
"""  # noqa: E501 - as XLA prints it
KNOWN = 'backend_config={"known_trip_count":{"n":"4"}}'
COUNTER = "condition=%four, body=%column"
NAMED = 'metadata={op_name="jit(f)/while/body/4_trips/while"}'


@pytest.mark.parametrize("last", [KNOWN, NAMED, COUNTER])
def test_launches_are_multiplied_by_trips(last):
    """One copy; 2 rounds of 5 trips, of 1 call and 4 columns of 1 kernel each. Conditions run once
    more than bodies."""
    conditions = (2 + 1) + (10 + 2) + (10 * 4 + 10)
    text = TEXT.replace("condition=%less, body=%column, LAST", last)
    if last is not COUNTER:
        text = TEXT.replace("LAST", last)
    assert launches(text) == 1 + 10 * (1 + 4) + conditions


def test_a_loop_of_unknown_length_is_refused():
    with pytest.raises(ValueError, match="expected loops of known length; got ROOT %w"):
        launches(TEXT.replace(", LAST", ""))


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_missing_is_named(name, monkeypatch, capsys):
    monkeypatch.setitem(TARGETS, name, TARGETS[name]._replace(module="no_such_package"))
    assert main(["bench", "--for", name, "grid2d:5"]) == 2
    assert f"pip install 'padchol[{TARGETS[name].extra}]'" in capsys.readouterr().err


def test_a_device_that_is_not_here(capsys):
    assert main(["bench", "--device", "tpu", "grid2d:5"]) == 2
    assert "JAX finds no tpu here" in capsys.readouterr().err


def ahead(name, *arguments):
    """What `bench --for` says of each matrix."""
    if not installed(name):
        pytest.skip(f"padchol[{TARGETS[name].extra}] is not installed")
    command = [sys.executable, "-m", "padchol", "bench", "--for", name, "--json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=True)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


@pytest.mark.optimised
@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_compiled_ahead_of_time(name):
    """Factorisation, value and gradient."""
    (found,) = ahead(name, "grid2d:12")
    plan = padchol.analyze(support.grid(12, 12), device="gpu")
    assert found["n"] == plan.n
    assert 0 < found["kernels"] < found["kernels_value_and_grad"]
    assert found["temporary_bytes"] > 0
    assert found["compile_s"] > 0


@pytest.mark.optimised
@pytest.mark.slow
def test_shards_compile_ahead_of_time():
    """For the four chips of a v5e 2x2."""
    one, four = (ahead("v5e", "--shards", k, "grid2d:30")[0] for k in ("1", "4"))
    assert four["compile_s"] > 0
    assert four["temporary_bytes"] < one["temporary_bytes"]


@pytest.mark.optimised
@pytest.mark.slow
def test_few_kernels_are_launched():
    """On an H100, in one factorisation."""
    most = {"grid2d:100": 1_500, "grid2d:300": 3_000, "grid3d:30": 4_000}
    found = ahead("h100", "--factor-only", *most)
    for one, (name, kernels) in zip(found, most.items(), strict=True):
        assert 0 < one["kernels"] <= kernels, name


@pytest.mark.optimised
@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_every_routine_compiles_ahead_of_time(name):
    """Solves, selected inverse, vmap, and derivatives of all of them."""
    if not installed(name):
        pytest.skip(f"padchol[{TARGETS[name].extra}] is not installed")
    program = """
import jax, jax.numpy as jnp, numpy as np, padchol, sys
from padchol.cli._targets import Compiler
from padchol.cli.bench import read
compiler = Compiler(sys.argv[1])
A = read("grid2d:20")
tpu = sys.argv[1] == "v5e"
jax.config.update("jax_enable_x64", not tpu)
dtype = np.float32 if tpu else np.float64
plan = padchol.analyze(A, device="tpu" if tpu else "gpu")
a, b = plan.values(A).astype(dtype), np.ones((plan.n, 2), dtype)

def everything(plan, a, b):
    F = padchol.cholesky(plan, a)
    out = F.logdet(), F.solve(b), F.solve_L(b), F.solve_Lt(b), F.selected_inverse(), F.pivots
    return sum(jnp.sum(jnp.sin(x)) for x in out)

both = jax.vmap(everything, (None, 0, None))
for f, values in ((everything, a), (jax.grad(everything, (1, 2)), a), (both, np.stack([a] * 3))):
    print(len(compiler.compile(f, jax.tree.map(np.asarray, plan), values, b).as_text()))
"""
    command = [sys.executable, "-c", program, name]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=True)
    assert len([line for line in done.stdout.splitlines() if line.isdigit()]) == 3
