"""The canonical pattern and values: whatever container, order or duplicates; errors by name."""

import re
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
import symbolic_oracle as oracle
from hypothesis import given
from hypothesis import strategies as st
from jax.experimental import sparse as jsparse

import padchol
from padchol.symbolic.pattern import canonical, positions, values
from padchol.symbolic.triplets import entries, triplets

pytestmark = [pytest.mark.core, pytest.mark.oldest, pytest.mark.shapes]

FORMATS = ["csc", "csr", "coo", "bsr", "dok", "lil", "dia"]
A33 = np.array([[4.0, 1.0, 0.0], [1.0, 5.0, 2.0], [0.0, 2.0, 6.0]])
ROWS, COLS, VALUES = [0, 1, 1, 2, 2], [0, 0, 1, 1, 2], [4.0, 1.0, 5.0, 2.0, 6.0]


def same(found, S):
    expected = oracle.as_pattern(S)
    assert found.n == expected.n
    np.testing.assert_array_equal(found.rows, expected.rows)
    np.testing.assert_array_equal(found.cols, expected.cols)
    np.testing.assert_array_equal(found.keys, np.sort(found.keys))


def mixed_up(A, seed, copies=2):
    """A in COO form: every entry split into `copies`, in random order."""
    coo = sp.coo_array(A)
    order = np.random.default_rng(seed).permutation(copies * coo.nnz)
    row, col = np.tile(coo.row, copies)[order], np.tile(coo.col, copies)[order]
    return sp.coo_array((np.tile(coo.data / copies, copies)[order], (row, col)), shape=A.shape)


@oracle.quick
@given(oracle.patterns(), st.integers(0, 2**16))
def test_canonical_whatever_the_order_and_the_duplicates(S, seed):
    A = oracle.spd(S, seed)
    B = mixed_up(A, seed)
    same(canonical(A), S)
    same(canonical(B), S)
    same(canonical((B.row, B.col, len(S))), S)
    same(canonical(sp.tril(B), lower=True), S)
    same(canonical(sp.triu(B), lower=True), S)
    found = values(canonical(A), B)
    np.testing.assert_allclose(found, A.toarray()[canonical(A).rows, canonical(A).cols])


@pytest.mark.parametrize("array", [True, False])
@pytest.mark.parametrize("form", FORMATS)
def test_every_scipy_format(form, array):
    A = (sp.csc_array if array else sp.csc_matrix)(A33)
    A = A.tobsr(blocksize=(1, 1)) if form == "bsr" else A.asformat(form)  # larger blocks hold zeros
    same(canonical(A), A33 != 0)
    np.testing.assert_array_equal(values(canonical(A), A), VALUES)


@pytest.mark.parametrize("make", [jsparse.BCOO.fromdense, jsparse.BCSR.fromdense])
@pytest.mark.parametrize("padding", [0, 3])
def test_jax_sparse_matrices_and_their_padding(make, padding):
    A = make(A33, nse=7 + padding)
    same(canonical(A), A33 != 0)
    np.testing.assert_array_equal(values(canonical(A33_csc()), A), VALUES)


def A33_csc():
    return sp.csc_array(A33)


def test_a_missing_diagonal_is_inserted_and_zero():
    """Row 11: as structure, with the value zero."""
    A = sp.csc_array(np.array([[0.0, 2.0], [2.0, 3.0]]))
    assert A.nnz == 3
    same(canonical(A), np.ones((2, 2)))
    np.testing.assert_array_equal(values(canonical(A), A), [0, 2, 3])


def test_explicit_zeros_are_structure():
    """Row 12: a stored zero is an entry like any other."""
    A = sp.coo_array(([1.0, 0.0, 0.0, 1.0], ([0, 0, 1, 1], [0, 1, 0, 1])), shape=(2, 2))
    same(canonical(A), np.ones((2, 2)))
    np.testing.assert_array_equal(values(canonical(A), A), [1, 0, 1])


def test_the_arrays_handed_in_are_never_changed():
    """Row 10: unsorted indices, in arrays that must not be written to."""
    B = mixed_up(sp.csc_array(A33), 5)
    rows, cols, data = B.row.copy(), B.col.copy(), B.data.copy()
    for array in (B.row, B.col, B.data):
        array.flags.writeable = False
    pattern = canonical(B)
    values(pattern, B)
    canonical((B.row, B.col, 3))
    unsorted = sp.csc_array((B.tocsr().data, B.tocsr().indices, B.tocsr().indptr), shape=(3, 3))
    before = unsorted.indices.copy()
    values(canonical(unsorted), unsorted)
    np.testing.assert_array_equal(unsorted.indices, before)
    np.testing.assert_array_equal(B.row, rows)
    np.testing.assert_array_equal(B.col, cols)
    np.testing.assert_array_equal(B.data, data)


@pytest.mark.parametrize(("rows", "cols"), [([], []), (np.zeros(0, int), np.zeros(0, int))])
@pytest.mark.parametrize("n", [0, 1, 4])
def test_tuples_without_entries(rows, cols, n):
    same(canonical((rows, cols, n)), np.eye(n))


@pytest.mark.parametrize(
    ("A", "error", "message"),
    [
        (sp.csc_array((2, 3)), ValueError, r"square matrix; got shape \(2, 3\)"),
        (sp.coo_array(np.ones(3)), ValueError, r"square matrix; got shape \(3,\)"),
        (np.eye(3), TypeError, "got ndarray"),
        ("A", TypeError, "got str"),
        (([0], [0]), ValueError, "got 2 items"),
        (([0, 1], [0], 2), ValueError, r"got \(2,\) and \(1,\)"),
        (([[0]], [[0]], 2), ValueError, r"got \(1, 1\)"),
        (([0.5], [0], 2), TypeError, "integer rows; got dtype float64"),
        (([0, 2], [0, 1], 2), ValueError, r"got entry \(2, 1\) at position 1"),
        (([0, 0], [0, -1], 2), ValueError, r"got entry \(0, -1\) at position 1"),
        (([], [], -1), ValueError, "got -1"),
        (([2, 0], [0, 0], 3), ValueError, r"entry at \(2, 0\) and none at \(0, 2\)"),
    ],
)
def test_what_is_no_symmetric_pattern_is_named(A, error, message):
    with pytest.raises(error, match=message):
        padchol.analyze(A)


def test_asymmetric_pattern_names_an_entry_and_the_way_out():
    """Row 7: the error names one (i, j)."""
    with pytest.raises(ValueError, match=r"\(1, 0\) and none at \(0, 1\).*lower=True"):
        canonical(sp.tril(A33_csc()))


def test_lower_with_both_triangles_names_one_entry_of_each():
    with pytest.raises(ValueError, match=r"both sides: \(1, 0\) and \(0, 1\)"):
        canonical(sp.csr_array(A33), lower=True)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64])
@pytest.mark.parametrize("use", [canonical, lambda A: values(canonical(A33_csc()), A)])
def test_asymmetric_values_are_named(use, dtype):
    B = A33.copy()
    B[1, 2] = 3
    with pytest.raises(ValueError, match=r"A\[(1, 2|2, 1)\] = .*A\[(1, 2|2, 1)\] = "):
        use(sp.csc_array(B.astype(dtype)))


def test_the_rounding_of_an_assembly_is_accepted():
    B = A33 * (1 + 1e-13 * np.random.default_rng(0).normal(size=(3, 3)))
    np.testing.assert_allclose(values(canonical(sp.csc_array(B)), sp.csc_array(B)), VALUES)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", [(1, 1), (1, 0)])
def test_not_finite_values_are_passed_on_in_silence(bad, where):
    B = A33.copy()
    B[where] = B[where[::-1]] = bad
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = values(canonical(sp.csc_array(B)), sp.csc_array(B))
    assert (~np.isfinite(found)).sum() == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("where", [(0, 1), (1, 0)])
def test_a_bad_value_in_one_triangle_is_not_lost(bad, where):
    """Either an error or a bad canonical value: never a plausible number."""
    B = A33.copy()
    B[where] = bad
    try:
        found = values(canonical(A33_csc()), sp.csc_array(B))
    except ValueError as error:
        assert re.search(r"A\[\d, \d\]", str(error))  # noqa: PT017 - either outcome is right
        return
    assert not np.isfinite(found).all()


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [("float32", "float32"), ("float64", "float64"), ("int32", "float64"), ("bool", "float64")],
)
def test_the_type_of_values(dtype, expected):
    A = sp.csc_array(A33.astype(dtype))
    found = values(canonical(A33_csc()), A)
    assert found.dtype == expected
    np.testing.assert_array_equal(found, np.array(VALUES).astype(dtype))


@pytest.mark.parametrize(
    ("A", "error", "message"),
    [
        (sp.csc_array(A33 * 1j), TypeError, "complex"),
        (sp.eye_array(4).tocsc(), ValueError, "order 3; got order 4"),
        (sp.csc_array(np.ones((3, 3))), ValueError, r"entry at \((2, 0|0, 2)\), which the plan"),
        ((ROWS, COLS, 3), TypeError, "index arrays only"),
        (np.eye(3), TypeError, "got ndarray"),
    ],
)
def test_values_of_another_pattern_or_type(A, error, message):
    plan = padchol.analyze(A33_csc())
    with pytest.raises(error, match=message):
        plan.values(A)


def test_values_of_a_contained_pattern_are_zero_elsewhere():
    np.testing.assert_array_equal(
        values(canonical(A33_csc()), 2 * sp.eye_array(3).tocsc()), [2, 0, 2, 0, 2]
    )


@oracle.quick
@given(oracle.patterns())
def test_positions_find_both_triangles(S):
    pattern = oracle.as_pattern(S)
    every = np.arange(pattern.rows.size)
    np.testing.assert_array_equal(positions(pattern, pattern.rows, pattern.cols), every)
    np.testing.assert_array_equal(positions(pattern, pattern.cols, pattern.rows), every)


def test_triplets_keep_duplicates_and_order():
    t = triplets(sp.coo_array(([1.0, 2.0, 3.0], ([1, 0, 1], [1, 0, 1])), shape=(2, 2)))
    np.testing.assert_array_equal(t.rows, [1, 0, 1])
    np.testing.assert_array_equal(t.data, [1, 2, 3])
    assert t.n == 2


def test_explicit_zeros_of_every_container():
    """Row D11: an entry that is stored is of the pattern, whatever its value; DIA's too."""
    A = sp.diags_array([[4.0, 4, 4, 4], [0.0, 1, 0], [0.0, 1, 0]], offsets=[0, 1, -1])
    t = entries(A)
    stored = sp.coo_array((t.data, (t.rows, t.cols)), shape=A.shape)
    assert t.rows.size == 10
    for form in ("dia", "coo", "csr", "csc", "bsr"):
        given = A if form == "dia" else stored.asformat(form)
        found = canonical(given)
        assert found.rows.size == 7, form
        np.testing.assert_array_equal(values(found, given), [4, 0, 4, 1, 4, 0, 4])


def test_diagonals_that_reach_outside_of_the_matrix():
    """Entries of DIA beyond the shape are none."""
    data = np.arange(1.0, 16).reshape(3, 5)
    A = sp.dia_array((data, [0, -2, 2]), shape=(4, 4))
    t = entries(A)
    assert t.rows.size == 4 + 2 + 2
    dense = np.zeros((4, 4))
    dense[t.rows, t.cols] = t.data
    np.testing.assert_array_equal(dense, A.toarray())


@pytest.mark.parametrize("n", [3.5, "3", None, np.nan, np.ones(2)])
def test_the_order_of_index_arrays_is_an_integer(n):
    """Not cut to one: a text or 3.5 would give a plan of order 3."""
    with pytest.raises(TypeError, match="expected an order n that is an integer"):
        canonical((np.arange(3), np.arange(3), n))
    assert canonical((np.arange(3), np.arange(3), np.int32(3))).n == 3
