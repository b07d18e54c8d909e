"""The factorisation: values on every shape of tree, scaling, conditioning, the same bits."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
import support

import padchol

pytestmark = pytest.mark.core

QUICK = ("grid2", "band", "disconnected", "one", "empty")  # in float32; every case is a compilation


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        pytest.param(name, precision, marks=[] if fast else [pytest.mark.slow])
        for name in support.MATRICES
        for precision, fast in (("float64", True), ("float32", name in QUICK))
    ],
    indirect=["precision"],
)
def test_every_output_equals_dense(name, precision):
    """Rows 13, 14, 15, 21: every small shape, every output, both precisions, no upcast."""
    _, plan, a = support.case(name)
    support.check_against_dense(plan, a.astype(precision))


@pytest.mark.parametrize("name", ["grid2", "disconnected"])
def test_merged_fronts_equal_dense(name):
    """Row 15: the same matrices with relaxed supernodes, in one or two large fronts."""
    _, plan, a = support.case(name, merged=True)
    support.check_against_dense(plan, a)


def test_explicit_zero_is_structure():
    """Row 12: a stored zero stays in the pattern, and the gradient there is that of any entry."""
    A = support.from_edges(6, np.array([[0, 1], [1, 2], [0, 4], [2, 5], [3, 4]])).tolil()
    A[0, 3] = A[3, 0] = 1.0
    A = sp.csc_array(A)
    A.data[A.data == 1.0] = 0.0
    assert (A.data == 0).sum() == 2
    plan = padchol.analyze(A)
    a = plan.values(A)
    at = np.flatnonzero((plan.rows == 3) & (plan.cols == 0))
    assert a[at] == 0
    gradient = jax.grad(lambda v: padchol.cholesky(plan, v).logdet())(jnp.asarray(a))
    expected = 2 * np.linalg.inv(A.toarray())[3, 0]
    np.testing.assert_allclose(gradient[at], expected, rtol=1e-10)


@pytest.mark.parametrize("scale", [1e-150, 1e150])
def test_extreme_uniform_scaling(scale):
    """Row 30: log |A| is finite where |A| underflows or overflows; solve and variances follow."""
    A, plan, a = support.case("band")
    b = support.right_hand_side(plan)
    found = support.all_outputs(plan, jnp.asarray(a * scale), b)
    expected = support.dense_outputs(plan, jnp.asarray(a), b)
    assert np.linalg.det((A * scale).toarray()) in (0.0, np.inf)
    shifted = expected["logdet"] + plan.n * np.log(scale)
    np.testing.assert_allclose(found["logdet"], shifted, rtol=1e-12)
    assert support.relative(found["solve"] * scale, expected["solve"]) < 1e-11
    variances = found["marginal_variances"] * scale
    assert support.relative(variances, expected["marginal_variances"]) < 1e-11


def test_extreme_mixed_scaling():
    """Row 30: rows and columns scaled by powers of ten from 1e-75 to 1e75 in one matrix."""
    _, plan, a = support.case("band")
    s = 10.0 ** np.linspace(-75, 75, plan.n)
    b = support.right_hand_side(plan)
    scaled = jnp.asarray(a * s[plan.rows] * s[plan.cols])
    found = support.all_outputs(plan, scaled, b * s[:, None])
    expected = support.dense_outputs(plan, jnp.asarray(a), b)
    shifted = expected["logdet"] + 2 * np.sum(np.log(s))
    np.testing.assert_allclose(found["logdet"], shifted, rtol=1e-11)
    assert support.relative(found["solve"] * s[:, None], expected["solve"]) < 1e-10


def ill_conditioned(kind: str) -> sp.csc_array:
    """Condition numbers of 1e7 to 1e15."""
    rng = np.random.default_rng(0)
    if kind == "beam":  # bending stiffness, clamped at one end
        D = sp.diags_array([1.0, -2.0, 1.0], offsets=[0, -1, -2], shape=(100, 100))
        return sp.csc_array(D @ D.T)
    if kind == "almost singular":
        return sp.csc_array(support.graph_laplacian(support.grid(5, 8)) + 1e-12 * sp.eye_array(40))
    if kind == "wild diagonal":
        d = 10.0 ** rng.uniform(-6, 6, 40)
        return sp.csc_array(sp.diags_array(d) + 1e-7 * support.grid(5, 8))
    # two pivot blocks with eigenvalues from 1 to 1e-12, each coupled to the rows of a third
    Q = np.linalg.qr(rng.normal(size=(8, 8)))[0]
    block = (Q * np.geomspace(1, 1e-12, 8)) @ Q.T
    rows = 0.3 * np.linalg.cholesky((block + block.T) / 2) @ rng.normal(size=(8, 8))
    A = np.kron(np.diag([1.0, 1.0, 0.0]), block) + np.kron(np.diag([0.0, 0.0, 10.0]), np.eye(8))
    A[:16, 16:] = np.concatenate([rows, rows])
    A[16:, :16] = A[:16, 16:].T
    return sp.csc_array((A + A.T) / 2)


@pytest.mark.parametrize("kind", ["beam", "almost singular", "wild diagonal", "wild pivot blocks"])
def test_backward_error_when_ill_conditioned(kind):
    """Row 4: |b - A x| <= 20 n eps (|A| |x| + |b|) and |L L^T - A| <= 20 n eps |A|."""
    A = ill_conditioned(kind)
    assert np.linalg.cond(A.toarray()) > 1e7
    plan = support.unmerged(A)
    F = padchol.cholesky(plan, plan.values(A))
    assert int(F.info) == 0
    b = A @ np.ones(plan.n)
    x = np.asarray(F.solve(b))
    size = abs(A).sum(1).max()
    bound = 20 * plan.n * np.finfo(float).eps
    L = F.to_csc()
    assert abs(L @ L.T - A[plan.perm][:, plan.perm]).max() <= bound * size
    assert np.abs(b - A @ x).max() <= bound * (size * np.abs(x).max() + np.abs(b).max())


DIGEST = """
import hashlib, sys
import jax, numpy as np
sys.path.insert(0, sys.argv[1])
import support
with jax.enable_x64(True):
    _, plan, a = support.case("grid2")
    found = support.all_outputs(plan, a, support.right_hand_side(plan))
    print(hashlib.sha256(b"".join(np.asarray(x).tobytes() for x in found.values())).hexdigest())
"""


def test_same_bits(tmp_path):
    """Row 27: two calls, and two processes, give the same bits on CPU."""
    _, plan, a = support.case("grid2")
    digests = []
    for _ in range(2):
        found = support.all_outputs(plan, a, support.right_hand_side(plan))
        joined = b"".join(np.asarray(x).tobytes() for x in found.values())
        digests.append(hashlib.sha256(joined).hexdigest())
    here = str(support.__file__).rsplit("support.py", 1)[0]
    other = subprocess.run(
        [sys.executable, "-c", DIGEST, here], capture_output=True, text=True, check=True
    )
    assert {*digests, other.stdout.strip()} == {digests[0]}
