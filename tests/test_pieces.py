"""Long arrays a piece at a time give what they give at once."""

import numpy as np
import pytest
import support

import padchol
from padchol.symbolic import pieces


def test_pieces_are_all_of_an_array(monkeypatch):
    monkeypatch.setattr(pieces, "AT_ONCE", 2)
    found = [x for piece in pieces.pieces(11) for x in range(11)[piece]]
    assert found == list(range(11))
    a, b = np.arange(11), np.arange(11) ** 2
    np.testing.assert_array_equal(pieces.piecewise(np.add, a, b), a + b)


@pytest.mark.parametrize("A", [support.grid(9, 7), support.arrow(40, 0), support.forest(3, 9)])
def test_plans_are_the_same(A, monkeypatch):
    """Rows and columns of which one piece has a part each."""
    whole = padchol.analyze(A, device="cpu")
    monkeypatch.setattr(pieces, "AT_ONCE", 4)
    assert padchol.analyze(A, device="cpu").fingerprint == whole.fingerprint
