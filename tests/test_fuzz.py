"""Random cases against brute force: `python -m padchol.testing`, whose units these run a few of.

Rows 1, 5, 7, 8, 16 and 32: in what it draws. A night's run is by hand: see CONTRIBUTING.
"""

import numpy as np
import pytest

from padchol import testing
from padchol.testing import _run

QUICK = ("symbolic", "files", "malformed")


def assert_right(report):
    assert report.wrong == [], "\n".join(report.wrong)


def test_some_cases_that_compile_nothing():
    """Rows 7, 9, 10, 16, 32 and 33."""
    report = testing.fuzz(QUICK, cases=100, seed=1, say=lambda text: None)
    assert_right(report)
    assert report.total >= 100
    assert all(report.cases[kind] > 0 for kind in QUICK)


@pytest.mark.slow
def test_thousands_of_cases():
    """Rows 1, 2, 4, 5, 20, 21, 28, 30, 32 and 33."""
    report = testing.fuzz(cases=5000, seed=2, seconds=70, say=lambda text: None)
    assert_right(report)
    assert report.total >= 2000
    assert all(report.cases[kind] > 0 for kind in testing.KINDS)
    assert f"{report.total:,} cases, 0 wrong" in str(report)


def unit(rng, number):
    """Of which one case in eight is wrong, and unit 2 fails itself."""
    for draw in rng.integers(8, size=4):
        yield f"drew {draw} in {number}" if draw == 0 else None
    assert number != 2, "no unit"


def test_a_wrong_case_is_said_and_repeated_by_itself(monkeypatch, capsys):
    monkeypatch.setitem(_run.KINDS, "symbolic", (unit, 1.0))
    assert testing.main(["--kinds", "symbolic", "--seed", "5", "--cases", "64"]) == 1
    said = capsys.readouterr().out
    assert "AssertionError: no unit" in said
    found = [line for line in said.splitlines() if line.startswith("WRONG symbolic: drew")]
    assert found
    number = int(found[0].split()[-1])
    repeat = ["--kinds", "symbolic", "--seed", "5", "--unit", str(number)]
    assert " ".join(repeat) in said
    assert testing.main(repeat) == 1
    assert found[0] in capsys.readouterr().out


def test_a_run_without_wrong_cases_returns_zero(monkeypatch, capsys):
    monkeypatch.setitem(_run.KINDS, "files", (lambda rng, number: iter([None] * 3), 1.0))
    assert testing.main(["--kinds", "files", "--cases", "10"]) == 0
    assert "12 cases, 0 wrong" in capsys.readouterr().out
    assert np.isfinite(testing.fuzz(["files"], cases=1, say=print).seconds["files"])
