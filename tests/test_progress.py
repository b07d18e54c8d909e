"""The bar on long analyses."""

import sys

import numpy as np
import pytest
import support

import padchol
from padchol import progress
from padchol.symbolic import ordering

A = support.laplacian(4)


def test_shown_when_asked_for(capfd):
    pytest.importorskip("tqdm", reason="the bar is drawn by tqdm")
    plan = padchol.analyze(A, progress=True)
    shown = capfd.readouterr().err
    assert "padchol: mmd ordering" in shown
    assert "padchol: index tables" in shown
    assert plan == padchol.analyze(A)


@pytest.mark.parametrize("show", [None, False])
def test_a_short_analysis_is_silent(show, capfd):
    padchol.analyze(A, progress=show)
    assert capfd.readouterr().err == ""


def test_a_long_one_shows_where_it_is(capfd, monkeypatch):
    pytest.importorskip("tqdm", reason="the bar is drawn by tqdm")
    monkeypatch.setattr(progress, "DELAY", 1e-9)
    padchol.analyze(A)
    assert "padchol: " in capfd.readouterr().err


def test_a_large_one_says_what_is_waited_for_before_it_begins(capfd, monkeypatch):
    """Compiled orderings hold the interpreter: nothing could draw the bar while they run."""
    pytest.importorskip("tqdm", reason="the bar is drawn by tqdm")
    monkeypatch.setattr(progress, "LONG", 10)
    shown = []
    seen = lambda _: shown.append(capfd.readouterr().err) or np.arange(16)
    monkeypatch.setitem(ordering.NAMED, "mmd", seen)
    padchol.analyze(A, order="mmd")
    assert "padchol: mmd ordering of 16 columns" in shown[0]


def test_without_tqdm(monkeypatch, capfd):
    """The default goes without; who asks for the bar is told what it needs."""
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with pytest.raises(ImportError, match="pip install tqdm"):
        padchol.analyze(A, progress=True)
    monkeypatch.setattr(progress.importlib.util, "find_spec", lambda _: None)
    padchol.analyze(A)
    assert capfd.readouterr().err == ""
