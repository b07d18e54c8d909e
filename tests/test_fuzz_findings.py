"""What random cases are checked by finds what is wrong: results are changed, one after another."""

from __future__ import annotations

import itertools
import runpy
import sys
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import support

import padchol
from padchol import testing
from padchol.symbolic.unfold import fronts
from padchol.testing import (
    _dense,
    _files,
    _formulas,
    _junk,
    _malformed,
    _matrices,
    _run,
    _sequences,
    _symbolic,
    _values,
)
from padchol.testing._patterns import Entries, Stored
from padchol.testing._targets import Target


class Changed:
    """A plan of which some attributes are others."""

    def __init__(self, plan, **changes):
        self.plan, self.changes = plan, changes

    def __getattr__(self, name):
        return self.changes[name] if name in self.changes else getattr(self.plan, name)


# ---- plans ------------------------------------------------------------------------------------


def grid(order="mmd"):
    """A plan of a grid, and the grid as it was given."""
    A = support.grid(4, 4)
    low = sp.coo_array(sp.tril(A))
    entries = Entries(16, low.row.astype(int), low.col.astype(int), low.data)
    return padchol.analyze(A, order=order), Stored(A, False, entries, "csc")


def findings(plan, given, order: Any = "mmd"):
    return [*_symbolic._of_plan(plan, given, order)]


CHANGES = {
    "n, nnz are": lambda plan: {"nnz": plan.nnz + 1},
    "the canonical pattern is another": lambda plan: {"rows": plan.rows[::-1].copy()},
    "perm is no permutation": lambda plan: {"perm": 0 * plan.perm},
    "the pattern of L is another": lambda plan: {
        "factor_pattern": lambda: (plan.factor_pattern()[0][::-1], plan.factor_pattern()[1])
    },
    "nnz_L is": lambda plan: {"nnz_L": plan.nnz_L + 1},
    "the places of structured_copy": lambda plan: {"copy_places": plan.copy_places[::-1].copy()},
    "the elimination tree": lambda plan: {"pattern": padchol.analyze(sp.eye_array(16)).pattern},
    "the column counts": lambda plan: {"pattern": padchol.analyze(sp.eye_array(16)).pattern},
    "the supernodes": lambda plan: {"pattern": padchol.analyze(sp.eye_array(16)).pattern},
    "the values": lambda plan: {"values": lambda A: plan.values(A) + 1e-3},
}


@pytest.mark.parametrize("expected", CHANGES)
def test_a_changed_plan_is_found(expected):
    plan, given = grid()
    assert findings(plan, given) == []
    found = findings(Changed(plan, **CHANGES[expected](plan)), given)
    assert any(text.startswith(expected) for text in found), found


def test_orders_that_were_not_kept_are_found():
    plan, given = grid()
    assert findings(plan, given, plan.perm) == []
    assert findings(plan, given, plan.perm[::-1]) == ["the permutation given was not kept"]
    assert findings(plan, given, "natural") == ["natural order is not the identity"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda x: x._replace(pivots=x.pivots[:-1], below=x.below[:-1]), "are not all columns"),
        (lambda x: x._replace(below=[b[:0] for b in x.below]), "lacks rows of L"),
        (lambda x: x._replace(below=[np.append(b, b) for b in x.below]), "has rows below"),
    ],
)
def test_changed_fronts_are_found(change, expected, monkeypatch):
    plan, given = grid("natural")
    monkeypatch.setattr(_symbolic, "fronts", lambda *tables: change(fronts(*tables)))
    assert any(expected in text for text in findings(plan, given, "natural"))


def test_changed_arguments_are_found(monkeypatch):
    count = itertools.count()
    monkeypatch.setattr(_symbolic, "contents", lambda A: next(count))
    (first, *_) = _symbolic.unit(np.random.default_rng(0), 0)
    assert first.endswith(": the caller's arrays were changed")


# ---- files ------------------------------------------------------------------------------------


def test_another_plan_in_a_file_is_found(tmp_path, monkeypatch):
    path, plan = tmp_path / "plan.npz", grid()[0]
    plan.save(path)
    assert _files._wrong(path, (plan,)) == ""
    assert _files._wrong(path, (padchol.analyze(sp.eye_array(3)),)) == "another plan was loaded"
    path.write_bytes(b"")
    assert _files._wrong(path, (plan,)) == ""
    for error, expected in (
        (padchol.PlanFileError("is damaged"), "an error without words: "),
        (KeyError("arr_0"), "KeyError: 'arr_0'"),
    ):
        monkeypatch.setattr(padchol, "load", lambda path, error=error: (_ for _ in ()).throw(error))
        assert _files._wrong(path, (plan,)).startswith(expected)


def test_a_plan_that_does_not_come_back_is_found(monkeypatch):
    monkeypatch.setattr(_files, "CASES", 0)
    assert [*_files.unit(np.random.default_rng(0), 0)] == []
    monkeypatch.setattr(_files, "is_same", lambda a, b: False)
    expected = ["the plan that was saved does not come back"]
    assert [*_files.unit(np.random.default_rng(0), 0)] == expected


# ---- arguments --------------------------------------------------------------------------------


def raising(error):
    def call(x):
        raise error

    return call


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (raising(ValueError("expected a number; got something else")), ""),
        (raising(ValueError("no number")), "an error without words: ValueError('no number')"),
        (raising(KeyError("x")), "KeyError: 'x'"),
        (lambda x: 3.0, "no error, but a float"),
        (lambda x: x.sort(), "no error, but a NoneType, arguments changed"),
    ],
)
def test_refusals_that_are_none_are_found(call, expected, monkeypatch):
    target, bad = Target("f", call, {"x": 1.0}, {}), np.array([2.0, 1.0])
    assert _malformed._wrong(target, "x", bad) == expected
    monkeypatch.setattr(_malformed, "SOON", -1.0)
    assert " after 0.0 s" in _malformed._wrong(target, "x", np.array([1.0, 2.0]))


def test_matrices_that_a_call_changes_are_found():
    rng, good = np.random.default_rng(0), {"A": sp.csc_array(support.grid(3, 3)), "k": 2}
    call = lambda A, k: np.multiply(A.data, k, out=A.data)
    assert _malformed._changed(rng, Target("f", call, good, {})) == (
        "f: the caller's arrays were changed"
    )
    call = lambda A, k: A.data * k
    assert _malformed._changed(rng, Target("f", call, good, {})) is None


def test_a_unit_of_bad_calls_and_of_matrices(monkeypatch):
    """Some of them are calls that are right, of matrices that are looked at again."""

    def call(A):
        if not sp.issparse(A):
            raise TypeError("expected a matrix; got something else")
        A.data *= 2

    pool = {
        "a number": lambda rng: 2.0,
        "another matrix": lambda rng: sp.eye_array(2, format="csr"),
    }
    target = Target("f", call, {"A": sp.csc_array(support.grid(3, 3))}, {"A": pool})
    monkeypatch.setattr(_malformed, "targets", lambda: (target,))
    found = [*_malformed.unit(np.random.default_rng(0), 0)]
    assert len(found) == _malformed.CASES
    assert {*found} == {
        None,
        "f: the caller's arrays were changed",
        "f(A: another matrix): no error, but a NoneType, arguments changed",
    }


@pytest.mark.parametrize("kind", _junk.MATRIX)
def test_every_matrix_that_is_none_is_refused(kind):
    """Row 7: in words."""
    with pytest.raises((ValueError, TypeError, OverflowError)) as refused:
        padchol.analyze(_junk.MATRIX[kind](np.random.default_rng(0)))
    assert len(str(refused.value).split()) >= _malformed.WORDS


# ---- formulas ---------------------------------------------------------------------------------


def test_readers_that_fail_are_found(monkeypatch):
    for error, expected in (
        (ValueError("expected terms; got none"), ""),
        (ValueError("none"), "an error without words: ValueError('none')"),
        (IndexError("4"), "IndexError: 4"),
    ):
        reader = raising(error)
        assert _formulas._wrong(reader, "y ~ x") == expected
        monkeypatch.setattr(_formulas, "_readers", lambda reader=reader: (reader,))
        found = [*_formulas.unit(np.random.default_rng(0), 0)]
        assert len(found) == _formulas.CASES
        assert all((text or "").endswith(expected) for text in found)


def test_formulas_are_split_without_formulaic(monkeypatch):
    with_data = [*_formulas._readers()]
    monkeypatch.setattr(_formulas, "find_spec", lambda name: None)
    assert [*_formulas._readers.__wrapped__()] == with_data[:2]


@pytest.mark.skipif("not __import__('importlib').util.find_spec('formulaic')")
def test_some_formulas():
    report = testing.fuzz(["formulas"], cases=60, seed=1, say=lambda text: None)
    assert report.wrong == []
    assert report.total == 60


# ---- values -----------------------------------------------------------------------------------


def solved():
    """A plan, three matrices of which the last is indefinite, and what dense numpy says of them."""
    plan = padchol.analyze(support.grid(2, 3), order="mmd")
    good = plan.values(support.grid(2, 3))
    a = np.stack([good, 2 * good, good - 30 * (plan.rows == plan.cols)])
    A = _matrices.dense(plan, a)
    b, at = np.random.default_rng(0).normal(size=(3, 6, 2)), np.array([-1, 2, -1])
    b[1, 2, 1] = np.nan
    place = np.argsort(plan.perm)
    i, j = place[plan.rows], place[plan.cols]
    inverse = np.linalg.inv(A)
    found = {"solve": (inverse @ b)[:, place], "logdet": np.linalg.slogdet(A)[1]}
    found["solve_Lt of solve_L"] = found["solve"].copy()
    found["selected_inverse"] = inverse[:, i, j]
    found["gradient"] = np.where(i == j, 1, 2) * inverse[:, i, j]
    for x in found.values():
        x[2] = np.nan
    found["info"] = np.array([0, 0, plan.perm[0] + 1])
    return plan, A, (b, at), found


def test_right_values_are_right():
    assert _values._wrong(*solved(), np.float64) == [[], [], []]


@pytest.mark.parametrize(
    "name", ["solve", "solve_Lt of solve_L", "logdet", "selected_inverse", "gradient"]
)
def test_values_that_are_off_are_found(name):
    plan, A, given, found = solved()
    found[name][0] *= 1 + 1e-9
    first, second, failed = _values._wrong(plan, A, given, found, np.float64)
    assert len(first) == 1
    assert first[0].startswith(f"{name} is off by ")
    assert second == failed == []
    found[name][2] = 0.0
    assert _values._wrong(plan, A, given, found, np.float64)[2] == [
        "numbers of a matrix that failed"
    ]


def test_what_hides_that_it_is_no_number_is_found():
    plan, A, given, found = solved()
    found["solve"][1] = 0.0
    _, second, _ = _values._wrong(plan, A, given, found, np.float64)
    assert second[0].startswith("solve, which hides NaN or infinity, is off")


def test_a_wrong_info_is_found():
    plan, A, given, found = solved()
    found["info"] = np.array([1, 0, 0])
    first, second, failed = _values._wrong(plan, A, given, found, np.float64)
    assert first[0].startswith("info is 1, pivot")
    assert first[0].endswith("expected one of 6 to 6")
    assert second == []
    assert failed[0] == "info is 0, pivot 6 of 6; expected one of 0 to 0"


def test_a_class_of_which_nothing_is_drawn_has_no_cases(monkeypatch):
    monkeypatch.setattr(_values, "member", lambda rng, of: None)
    for unit in (_values.unit, _sequences.unit):
        assert [*unit(np.random.default_rng(0), 0)] == []


def test_values_of_nothing():
    plan = padchol.analyze(sp.csc_array((0, 0)))
    rng = np.random.default_rng(0)
    a = _matrices.values(rng, plan, 5, np.float64)
    assert a.shape == (5, 0)
    A = _matrices.dense(plan, a)
    assert _dense.verdict(A, 1e-16, 1e-300).first.tolist() == [0] * 5  # n: none fails
    b = _matrices.right_hand_sides(rng, A, np.float64)
    assert _matrices.spoiled_columns(rng, b).tolist() == [-1] * 5


def test_results_that_differ_in_a_bit_are_found(monkeypatch):
    x = np.array([1.0, np.nan, 0.0])
    assert _sequences._differs([x], [x.copy()]) == ""
    assert _sequences._differs([x, x], [x, np.array([1 + 1e-15, 0.0, -0.0])]) == "2 numbers"
    monkeypatch.setattr(_values, "outputs", lambda plan, a, b: {"a": a})
    monkeypatch.setattr(_values, "of_class", lambda number: _values.Class(3, 2, "cpu", float, 0))
    monkeypatch.setattr(_values, "member", lambda rng, of: padchol.analyze(support.path(3)))
    for name in ("FACTORS", "CONTAINERS"):
        monkeypatch.setattr(_sequences, name, 0)
    monkeypatch.setattr(_sequences, "PLAN_STEPS", {"nothing": lambda x: x})
    unit = lambda: [*_sequences.unit(np.random.default_rng(0), 0)]
    assert unit() == [None] * _sequences.WALKS
    count = itertools.count()
    monkeypatch.setattr(_values, "outputs", lambda plan, a, b: {"a": a + next(count)})
    assert all(text and ": other results after ['nothing'" in text for text in unit())
    monkeypatch.setattr(_sequences, "is_same", lambda a, b: False)
    assert all(text and ": another plan after ['nothing'" in text for text in unit())


@pytest.mark.parametrize("name", _sequences.PLAN_STEPS)
def test_every_step_keeps_a_plan(name):
    plan = padchol.analyze(support.path(5))
    found = _sequences.PLAN_STEPS[name](plan)
    assert found is not plan or name == "copy"
    assert _files.is_same(plan, found)


def test_values_from_jax_containers():
    """Traced and not, of which some are unsymmetric."""
    rng, plan = np.random.default_rng(0), padchol.analyze(support.path(5))
    assert [*_sequences._of_containers(rng, plan, "")] == [None] * 2 * _sequences.CONTAINERS


def test_the_first_pivot_that_fails():
    """By eigenvalues of every leading minor, which bisection must find."""
    rng, n = np.random.default_rng(0), 7
    A = rng.normal(size=(60, n, n))
    A = A + A.transpose(0, 2, 1) + 5 * np.eye(n)
    eigenvalues = [np.linalg.eigvalsh(A[:, :k, :k])[:, 0] for k in range(1, n + 1)]
    expected = np.argmax(np.append(np.array(eigenvalues) < 0, np.ones((1, 60), bool), 0), 0)
    found = _dense.verdict(A, 1e-16, 1e-300)
    assert np.unique(expected).size > 4
    np.testing.assert_array_equal(found.first, expected)
    np.testing.assert_array_equal(found.last, expected)


# ---- the command ------------------------------------------------------------------------------


def test_a_long_run_says_how_far_it_is(monkeypatch):
    said = []
    monkeypatch.setitem(_run.KINDS, "files", (lambda rng, number: iter([None] * 3), 1.0))
    monkeypatch.setattr(_run, "EVERY", -1.0)
    testing.fuzz(["files"], cases=7, say=said.append)
    assert [text.split(",")[0] for text in said] == ["3 cases", "6 cases"]
    assert testing.fuzz(["files"], cases=10**9, seconds=-1.0, say=said.append).total == 3


def test_the_command_as_a_program(monkeypatch, capsys):
    monkeypatch.setitem(_run.KINDS, "files", (lambda rng, number: iter([None] * 3), 1.0))
    monkeypatch.setattr(sys, "argv", ["padchol.testing", "--kinds", "files", "--cases", "1"])
    imported = runpy.run_module("padchol.testing.__main__", run_name="imported")
    assert imported["main"] is testing.main  # and nothing has run
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("padchol.testing.__main__", run_name="__main__")
    assert ended.value.code == 0
    assert "3 cases, 0 wrong" in capsys.readouterr().out
