"""Which null spaces, constraints and precisions make an intrinsic field, by many random graphs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
import support

import padchol
from padchol import precisions
from padchol.gmrf import IntrinsicGMRF

pytestmark = [pytest.mark.core, pytest.mark.shapes]

TRIALS = 300
SIZES = (7, 12)  # of two components
n = sum(SIZES)
GRAPH = sp.block_diag([support.scattered(7, 9), support.grid(3, 4)], "csc")
PLAN = padchol.analyze(GRAPH)
I, J = np.stack(sp.triu(GRAPH, 1).nonzero())
FIRST = (np.arange(n) < 7).astype(float)
TWO = np.stack([FIRST, 1 - FIRST], 1)
TILTED = np.array([[10, 20], [15, 1]]) @ TWO.T  # both rows lie on the first component mostly


def laplacian(weights):
    W = sp.coo_array((weights, (I, J)), shape=(n, n)).toarray()
    return np.diag((W + W.T).sum(1)) - W - W.T


def components():
    W = (GRAPH != 0).astype(float)
    return sp.csgraph.connected_components(W)[1]


def test_the_graph_has_the_components_it_says():
    assert np.array_equal(components() == components()[0], FIRST == 1)


@pytest.mark.slow
@support.both_precisions
def test_a_missed_component_is_never_a_number(precision):
    """Weights from 1e-2 to 1e2, at any scale, and one component far heavier than the other."""
    r, heavier = np.random.default_rng(0), {"float64": 1e6, "float32": 1e3}[precision.name]
    weights = 10 ** r.uniform(-2, 2, (TRIALS, I.size)) * 10 ** r.uniform(-5, 5, (TRIALS, 1))
    weights[::3, FIRST[I] == 0] *= heavier
    dense = [laplacian(w) for w in weights]
    a = jnp.stack([PLAN.values(sp.csc_array(Q)) for Q in dense]).astype(precision)

    @jax.jit
    @jax.vmap
    def found(a):
        nulls = (TWO, TWO * 1e200, TWO @ [[1, 1e-150], [1, -1e-150]], TWO.sum(1), TWO[:, 0])
        return [IntrinsicGMRF(PLAN, a, N).log_determinant() for N in nulls]

    sound, large, mixed, whole, one = found(a)
    assert np.isnan(whole).all()
    assert np.isnan(one).all()
    keep = np.setdiff1d(np.arange(n), [0, 7])
    wanted = [np.linalg.slogdet(Q[np.ix_(keep, keep)])[1] + np.log(7 * 12) for Q in dense]
    tolerance = {"float64": 1e-10, "float32": 5e-3}[precision.name]
    for each in (sound, large, mixed):
        np.testing.assert_allclose(each, wanted, atol=tolerance)


def field(null=TWO, **options):
    return IntrinsicGMRF(
        PLAN, PLAN.values(sp.csc_array(laplacian(np.ones(I.size)))), null, **options
    )


def test_null_spaces_and_constraints_that_do_not_go_together_are_refused():
    with pytest.raises(ValueError, match="null space of full rank 2"):
        field(TWO[:, [0, 0]], constraints=TWO.T)
    with pytest.raises(ValueError, match="constraints of full rank 2"):
        field(constraints=TWO.T[[0, 0]])
    with pytest.raises(ValueError, match="tie down every direction of the null space"):
        field(constraints=np.stack([FIRST, FIRST * np.arange(n)]))
    with pytest.raises(ValueError, match="null space that are finite"):
        field(np.where(TWO > 0, np.inf, 0))


@pytest.mark.slow
def test_what_rounding_hides_is_said():
    weights = 10 ** np.random.default_rng(3).uniform(-2, 2, (20, I.size))
    values = [PLAN.values(sp.csc_array(laplacian(w))) for w in weights]
    with pytest.warns(UserWarning, match="singular up to rounding of float64 beyond the 1 dim"):
        found = [IntrinsicGMRF(PLAN, a, np.ones(n)).factor.info for a in values]
    assert np.all(np.array(found) > 0)


@pytest.mark.slow
def test_constraints_that_lean_on_one_component():
    """Pins come from the null space: those of the constraints would both lie on the first."""
    Q = laplacian(np.ones(I.size))
    for C in (TILTED, sp.csr_array(TILTED * 1e-180)):
        Z = np.linalg.svd(TILTED)[2][2:].T
        covariance = Z @ np.linalg.inv(Z.T @ Q @ Z) @ Z.T
        found = field(constraints=C)
        np.testing.assert_allclose(found.log_determinant(), np.linalg.slogdet(Z.T @ Q @ Z)[1])
        np.testing.assert_allclose(found.marginal_variances(), np.diag(covariance), rtol=1e-9)
        draws = found.sample(jax.random.key(0), 5)
        np.testing.assert_allclose(draws @ TILTED.T, 0, atol=1e-11)


@pytest.mark.slow
def test_areas_without_neighbours_only():
    """Rank zero: the density is one, and on the plane there is one point."""
    Q = precisions.icar(sp.csr_array((5, 5)))
    assert Q.rank_deficiency == 5
    islands = Q.on(padchol.analyze(Q.pattern)).field(2.0)
    assert islands.log_determinant() == 0
    assert islands.log_prob(np.arange(5.0)) == 0
    np.testing.assert_array_equal(islands.marginal_variances(), 0)
    np.testing.assert_allclose(islands.sample(jax.random.key(0), 3), np.zeros((3, 5)), atol=1e-15)


def test_areas_some_of_which_have_no_neighbours():
    Q = precisions.icar(sp.block_diag([sp.csr_array((2, 2)), np.ones((3, 3)) - np.eye(3)]))
    found = Q.on(padchol.analyze(Q.pattern)).field(2.0).log_determinant()
    np.testing.assert_allclose(found, 2 * np.log(2 * 3), rtol=1e-13)


CARRIED = {  # by float32, and not
    "rw1": (precisions.rw1, 600, 2000),
    "rw2": (precisions.rw2, 40, 200),
    "seasonal": (lambda n: precisions.seasonal(n, 12), 300, 2000),
}


@pytest.mark.parametrize("name", CARRIED)
@pytest.mark.parametrize("precision", ["float32"], indirect=True)
@pytest.mark.filterwarnings("ignore:.*float32")
@pytest.mark.slow
def test_what_float32_carries(precision, name):
    build, carried, lost = CARRIED[name]
    Q = build(carried)
    values = Q.on(padchol.analyze(Q.pattern))
    eigenvalues = np.linalg.eigvalsh(np.round(Q.matrix(1.0).toarray().astype(float)))
    wanted = np.log(eigenvalues[Q.rank_deficiency :]).sum()
    rank = carried - Q.rank_deficiency
    logdet = jax.jit(lambda tau: values.field(tau).log_determinant())
    for tau in (1.0, 1.7, 0.013):
        found = logdet(tau) - rank * np.log(np.float32(tau))
        np.testing.assert_allclose(found, wanted, atol=0.02)
    with pytest.warns(UserWarning, match="float32 carries"):
        Q = build(lost)
    values = Q.on(padchol.analyze(Q.pattern))
    assert np.isnan(jax.jit(lambda tau: values.field(tau).log_determinant())(1.7))


@pytest.mark.slow
def test_float64_carries_long_walks():
    """Against the product of the non-zero eigenvalues, n^2 (n^2 - 1) / 12 for the second order."""
    size = 1000
    Q = precisions.rw2(size)
    found = Q.on(padchol.analyze(Q.pattern)).field(1.7).log_determinant()
    wanted = np.log(size**2 * (size**2 - 1) / 12) + (size - 2) * np.log(1.7)
    np.testing.assert_allclose(found, wanted, atol=1e-4)
