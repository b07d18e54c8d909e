"""Counted things stay within what they were when `budget.json` was written (helpers/counted.py)."""

import json

import counted
import pytest

BUDGET = json.loads(counted.BUDGET.read_text())
SLACK = 1.02
SLACK_MODELS = 1.05  # JAX's own functions differ between its versions
SLACK_COMPILED = 1.15  # fusions and copies are the compiler's, and differ between its versions


@pytest.mark.parametrize("name", counted.PLANS)
def test_plans_ask_for_no_more(name):
    levels = counted.of_levels(counted.plan_of(name, "gpu"))
    check(name, counted.of_plan(counted.plan_of(name)) | levels, SLACK)


@pytest.mark.optimised
@pytest.mark.slow
@pytest.mark.parametrize("name", counted.COMPILED)
def test_programs_are_no_larger(name):
    check(name, counted.of_programs(counted.plan_of(name)), SLACK_COMPILED)


def test_models_are_no_larger():
    """What the first call of a model compiles: kernels, and the equations around them."""
    for name, f in counted.models().items():
        check(name, counted.of_model(f), SLACK_MODELS)


def check(name, found, slack):
    over = {k: (v, BUDGET[name][k]) for k, v in found.items() if v > slack * BUDGET[name][k]}
    assert not over, f"{name}: found and budget {over}"
