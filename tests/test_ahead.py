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
from padchol.cli._launches import launches, trips
from padchol.cli._targets import TARGETS, installed
from padchol.symbolic.unfold import read

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
  ROOT %w = (s32[], f32[8]{0}) while(%c), condition=%less, body=%chunk, metadata={op_name="jit(f)/rounds/while/body/chunks_of_bin_0/while"}
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
  %w = (s32[], f32[8]{0}) while(%b), condition=%less, body=%round, metadata={op_name="jit(f)/rounds/while"}
  ROOT %g = f32[8]{0} get-tuple-element(%w), index=1
}
"""  # noqa: E501 - as XLA prints it
KNOWN = 'backend_config={"known_trip_count":{"n":"4"}}'
COUNTER = "condition=%four, body=%column"
NAMED = 'metadata={op_name="jit(f)/rounds/while/body/4_trips/while"}'


@pytest.mark.parametrize("last", [KNOWN, NAMED, COUNTER])
def test_launches_are_multiplied_by_trips(last):
    """One copy; 2 rounds and 5 chunks in all, of 1 call and 4 columns of 1 kernel each. Conditions
    run once more than bodies."""
    conditions = (2 + 1) + (5 + 2) + (5 * 4 + 5)
    text = TEXT.replace("condition=%less, body=%column, LAST", last)
    if last is not COUNTER:
        text = TEXT.replace("LAST", last)
    found = launches(text, {"rounds": 2, "chunks_of_bin_0": 5})
    assert found == 1 + 5 * (1 + 4) + conditions


def test_a_loop_of_unknown_length_is_refused():
    with pytest.raises(ValueError, match="expected loops of known length; got ROOT %w"):
        launches(TEXT.replace(", LAST", ""), {"rounds": 2, "chunks_of_bin_0": 5})


def test_trips_of_a_plan():
    """Every chunk and every tile once in a sweep."""
    _, plan, _ = support.case("grid2")
    found = trips(plan)
    assert found["rounds"] == plan.layout.rounds
    for bin in plan.layout.bins:
        assert found[f"chunks_of_bin_{bin.index}"] == bin.chunks
        if bin.blocks:
            tiles = read(plan.table, bin.blocks.source).size // bin.blocks.T
            assert found[f"tiles_of_bin_{bin.index}"] == tiles


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_missing_is_named(name, monkeypatch, capsys):
    monkeypatch.setitem(TARGETS, name, TARGETS[name]._replace(module="no_such_package"))
    assert main(["bench", "--for", name, "grid2d:5"]) == 2
    assert f"pip install 'padchol[{TARGETS[name].extra}]'" in capsys.readouterr().err


def test_a_device_that_is_not_here(capsys):
    assert main(["bench", "--device", "tpu", "grid2d:5"]) == 2
    assert "JAX finds no tpu here" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_compiled_ahead_of_time(name):
    """Factorisation, value and gradient; the kernels do not depend on what else is in the text."""
    if not installed(name):
        pytest.skip(f"padchol[{TARGETS[name].extra}] is not installed")
    command = [sys.executable, "-m", "padchol", "bench", "--for", name, "--json", "grid2d:12"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    plan = padchol.analyze(support.grid(12, 12), device="gpu")
    assert found["n"] == plan.n
    assert 0 < found["kernels"] < found["kernels_value_and_grad"]
    assert found["temporary_bytes"] > 0
    assert found["compile_s"] > 0
