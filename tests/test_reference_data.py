"""Real matrices with published or independently computed answers, where their folder is at hand.

The matrices are not part of the project. They are looked for beside the repository, in the sibling
folder `shared`, subfolder `data`; without it these tests skip and say so.
"""

import functools
import json
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

import padchol

DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
SMALL = ["ani1", "bcsstk01", "bcsstk02", "lund_a", "mesh1e1", "well1033_AtA", "494_bus"]
SMALL += ["areal_germany"]
MEDIUM = ["Trefethen_500", "pyamg_bar", "gr_30_30", "1138_bus", "road_minnesota", "mesh_spot"]
MEDIUM += ["areal_uscounties_elect80"]
LARGE = ["lap2D_5pt_n100", "lap3D_7pt_n20", "mesh_fsaverage5_white_lh", "mesh_bunny35k"]
LARGE += ["qp_CONT-100", "ped_warcolak_Ainv"]
INDEFINITE = "power_case300"
ALL = [*SMALL, *MEDIUM, *LARGE, INDEFINITE]
slow = pytest.mark.slow


def path_of(file):
    path = DATA / file
    if not path.exists():
        missing = DATA if not DATA.exists() else path
        pytest.skip(f"needs the reference data: no {missing.name!r} in {missing.parent}")
    return path


@functools.cache
def matrix(name):
    return sp.load_npz(path_of(f"{name}.npz"))


@functools.cache
def references():
    return json.loads(path_of("reference.json").read_text())


def minimum_degree_by_cvxopt(A):
    """CHOLMOD's AMD ordering of the lower triangle."""
    cvxopt = pytest.importorskip("cvxopt", reason="the AMD ordering is taken from cvxopt")
    amd = pytest.importorskip("cvxopt.amd")
    lower = sp.coo_array(sp.tril(A))
    entries = cvxopt.spmatrix(1.0, lower.row.tolist(), lower.col.tolist(), A.shape)
    return np.array(amd.order(entries)).ravel()


def test_every_matrix_of_the_folder_is_tested():
    assert sorted(ALL) == sorted(set(references()) - {"ani1_chol_L"})
    assert sorted(ALL) == sorted({p.stem for p in DATA.glob("*.npz")} - {"ani1_chol_L"})


@pytest.mark.parametrize("name", ALL)
def test_order_and_entries(name):
    expected, A = references()[name], matrix(name)
    plan = padchol.analyze(A)
    assert plan.n == expected["n"]
    assert 2 * plan.nnz - plan.n == expected["nnz_full"]


@pytest.mark.parametrize("name", [*SMALL, *MEDIUM, LARGE[-1], INDEFINITE])
def test_entries_of_the_factor_in_natural_order(name):
    plan = padchol.analyze(matrix(name), order="natural")
    assert plan.stats["nnz_L"] == references()[name]["nnzL_natural"]


@pytest.mark.parametrize("name", ALL)
def test_entries_and_flops_of_the_factor_under_amd(name):
    A = matrix(name)
    plan = padchol.analyze(A, order=minimum_degree_by_cvxopt(A))
    assert plan.stats["nnz_L"] == references()[name]["nnzL_amd"]
    assert plan.stats["flops"] == references()[name]["flops_amd"]


@pytest.mark.parametrize("name", [*SMALL, *(pytest.param(name, marks=slow) for name in MEDIUM)])
def test_log_determinant_and_solve(name):
    A = matrix(name)
    plan = padchol.analyze(A)
    F = padchol.cholesky(plan, plan.values(A))
    assert int(F.info) == 0
    assert F.logdet().dtype == np.float64
    np.testing.assert_allclose(float(F.logdet()), references()[name]["logdet"], rtol=1e-9)
    b = np.random.default_rng(0).normal(size=plan.n)
    x = np.asarray(F.solve(b))
    scale = abs(A).sum(1).max() * np.abs(x).max() + np.abs(b).max()
    assert np.abs(b - A @ x).max() / scale < 1e-13  # normwise backward error


@slow
def test_a_real_matrix_that_is_not_positive_definite():
    A = matrix(INDEFINITE)
    assert not references()[INDEFINITE]["spd"]
    plan = padchol.analyze(A)
    F = padchol.cholesky(plan, plan.values(A))
    assert 0 < int(F.info) <= plan.n
    b = np.ones(plan.n)
    outputs = (F.logdet(), F.solve(b), F.solve_L(b), F.solve_Lt(b), F.selected_inverse())
    for output in (*outputs, F.marginal_variances(), F.to_csc().data):
        assert np.isnan(np.asarray(output)).all()
    with pytest.raises(padchol.NotPositiveDefiniteError, match="got pivot"):
        padchol.cholesky(plan, plan.values(A), throw=True)


def test_a_published_factor_entry_by_entry():
    expected = sp.csc_array(matrix("ani1_chol_L"))
    plan = padchol.analyze(matrix("ani1"), order="natural")
    L = padchol.cholesky(plan, plan.values(matrix("ani1"))).to_csc()
    expected.sort_indices()
    np.testing.assert_array_equal(L.indptr, expected.indptr)
    np.testing.assert_array_equal(L.indices, expected.indices)
    np.testing.assert_allclose(L.data, expected.data, rtol=1e-12, atol=1e-14)
