"""docs/moving.md: every expression that it gives for a verb of CHOLMOD's, against dense."""

from __future__ import annotations

import re
from pathlib import Path

import jax
import numpy as np
import pytest
import scipy.linalg as sla
import scipy.sparse as sp

import padchol

PAGE = (Path(__file__).parents[1] / "docs" / "moving.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (.+?) \|.*\| `([^`|]+)` \|$", PAGE, re.MULTILINE)


@pytest.fixture(scope="module")
def scope():
    (block,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    names: dict = {}
    with jax.enable_x64(True):
        exec(compile(block, "moving.md", "exec"), names)
    return names


def product(F):
    """The matrix that a factor is of, in the user's order."""
    back = np.argsort(F.plan.perm)
    L = F.to_csc()
    return (L @ L.T).toarray()[np.ix_(back, back)]


def changed(M, b):
    """What there is of A + U U^T."""
    return M.solve(b), M.logdet(), M.marginal_variances()


def expected(A, A2, B, C, b, z, beta, p):
    """Of each row, by dense matrices."""
    A, A2, B = A.toarray(), A2.toarray(), B.toarray()
    L = np.linalg.cholesky(A[np.ix_(p, p)])
    L1, inverse, back = L / np.diagonal(L), np.linalg.inv(A), np.argsort(p)
    half = lambda M, b, **options: sla.solve_triangular(M, b, lower=True, **options)
    rows, cols = np.nonzero(np.tril(A))
    by_column = np.lexsort((rows, cols))
    of = lambda M: (np.linalg.solve(M, b), np.linalg.slogdet(M)[1], np.diag(np.linalg.inv(M)))
    return {
        "the analysis": sorted(p),
        "the factor": A,
        "of other values": A2,
        "of A + beta I": A + beta * np.eye(len(A)),
        "of B B^T + beta I": B @ B.T + beta * np.eye(len(A)),
        "A^-1 b": np.linalg.solve(A, b),
        "p": p,
        "b[p]": b[p],
        "back again": b[back],
        "L": L,
        "L^-1 b": half(L, b),
        "L^-T b": half(L, b, trans=1),
        "D": np.diagonal(L) ** 2,
        "L1": L1,
        "L1^-1 b": half(L1, b),
        "L1^-T b": half(L1, b, trans=1),
        "log det A": np.linalg.slogdet(A)[1],
        "sign, log det A": np.linalg.slogdet(A),
        "A^-1, all of it": inverse,
        "its entries where A has some": inverse[rows, cols][by_column],
        "its diagonal": np.diag(inverse),
        "a draw of N(0, A^-1)": half(L, z, trans=1)[back],
        "the same, from a key": (len(A),),
        "A + C C^T": of(A + C @ C.T),
        "A - C C^T": of(A - C @ C.T),
    }


def looked_at(found, what, b):
    """As an array, or a tuple of arrays."""
    if isinstance(found, padchol.Plan):
        return sorted(found.perm)
    if isinstance(found, padchol.Factor):
        return product(found)
    if what == "the same, from a key":
        return found.shape
    if hasattr(found, "quadratic"):
        return changed(found, b)
    return found.toarray() if sp.issparse(found) else found


def test_rows(scope):
    """Every row of the table is here, and none twice."""
    assert len(dict(ROWS)) == len(ROWS)
    assert len(ROWS) == len(re.findall(r"^\| [^|-]", PAGE, re.MULTILINE)) - 1  # less the heading


@pytest.mark.parametrize(("what", "code"), ROWS, ids=[what for what, _ in ROWS])
def test_row(scope, what, code):
    names = ("A", "A2", "B", "C", "b", "z", "beta")
    wanted = expected(**{name: scope[name] for name in names}, p=np.asarray(scope["plan"].perm))
    assert set(wanted) == {row for row, _ in ROWS}
    found = looked_at(eval(code, scope), what, scope["b"])
    parts = found if isinstance(found, tuple) else (found,)
    for x, y in zip(parts, wanted[what] if len(parts) > 1 else (wanted[what],), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-10, atol=1e-12)
