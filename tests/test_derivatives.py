"""Every output, every derivative: to the values and the right-hand side, against dense JAX.

One vector x = (a, b) holds the canonical values and one right-hand side, so that a Hessian has its
blocks a-a, a-b and b-b. Full tensors are taken of all outputs at once (which maps the sweeps over
outputs and directions); single directions run the same rules unmapped.
"""

from __future__ import annotations

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import support
from jax.test_util import check_grads

import padchol

slow = pytest.mark.slow
GRIDS = ("grid2", "grid3")
MATRICES = {"grid2": lambda: support.grid(3, 4), "grid3": lambda: support.grid(2, 2, 3)}
MATRICES |= {"random": lambda: support.scattered(12, 20)}
KEY, DRAWS = 7, 2


@functools.cache
def problem(matrix: str) -> tuple[padchol.Plan, np.ndarray]:
    """(plan, x) with x = (values, right-hand side)."""
    A = MATRICES[matrix]()
    plan = support.unmerged(A)
    assert plan.nnz_L > plan.nnz  # it fills in
    b = support.right_hand_side(plan, columns=1)[:, 0]
    return plan, np.concatenate([plan.values(A), b])


def ours(plan: padchol.Plan):
    """x -> every output of the Factor, a sample with a fixed key included."""

    def f(x):
        a, b = x[: plan.nnz], x[plan.nnz :]
        sample = padchol.cholesky(plan, a).sample(jax.random.key(KEY), (DRAWS,))
        return support.outputs(plan, a, b) | {"sample": sample}

    return f


# ---- the dense reference ----------------------------------------------------------------------


def eliminate(A):
    """L with L L^T = A, column by column: no LAPACK call, so that every transformation is safe."""
    rows = jnp.arange(len(A))

    def step(S, j):
        column = jnp.where(rows >= j, S[:, j], 0) / jnp.sqrt(S[j, j])
        return S - jnp.outer(column, column), column

    return jax.lax.scan(step, A, rows)[1].T


def substitute(T, b, backward: bool):
    """T^-1 b for a triangular T, upper if backward."""

    def step(r, j):
        y = r[j] / T[j, j]
        return r - jnp.multiply.outer(T[:, j], y), y

    return jax.lax.scan(step, b, jnp.arange(len(T)), reverse=backward)[1]


def dense(plan: padchol.Plan):
    """`ours`, from the dense matrix."""
    place = np.argsort(plan.perm)

    def f(x):
        b = x[plan.nnz :]
        L = eliminate(support.symmetric(plan, x[: plan.nnz])[plan.perm][:, plan.perm])
        whole = lambda b: substitute(L.T, substitute(L, b, False), True)
        inverse = whole(jnp.eye(plan.n, dtype=x.dtype))[place][:, place]
        z = jax.random.normal(jax.random.key(KEY), (DRAWS, plan.n), x.dtype)
        return {
            "solve": whole(b[plan.perm])[place],
            "solve_L": substitute(L, b, False),
            "solve_Lt": substitute(L.T, b, True),
            "logdet": 2 * jnp.sum(jnp.log(jnp.diagonal(L))),
            "selected_inverse": inverse[plan.rows, plan.cols],
            "marginal_variances": jnp.diagonal(inverse),
            "sample": substitute(L.T, z.T, True)[place].T,
        }

    return f


def weights(outputs: dict) -> dict:
    return {name: support.random_like(outputs[name], k) for k, name in enumerate(sorted(outputs))}


def scalars(f, w: dict):
    """x -> a fixed random combination of the entries of each output."""

    def g(x):
        out = f(x)
        return {name: jnp.vdot(w[name], out[name]) for name in sorted(out)}

    return g


@functools.cache
def reference(matrix: str) -> tuple[dict, dict]:
    """(value, Jacobian) of every output of `dense`, on the host."""
    plan, x = problem(matrix)
    f = dense(plan)
    both = jax.jit(lambda x: (f(x), jax.jacfwd(f)(x)))(jnp.asarray(x))
    return jax.tree.map(np.asarray, both)


@functools.cache
def reference_hessian(matrix: str) -> dict:
    """Hessians of `scalars` of `dense`, on the host."""
    plan, x = problem(matrix)
    s = scalars(dense(plan), weights(reference(matrix)[0]))
    return jax.tree.map(np.asarray, jax.jit(jax.jacfwd(jax.jacfwd(s)))(jnp.asarray(x)))


def compare(found: dict, expected: dict, plan: padchol.Plan, tolerance: float = 1e-8) -> None:
    """Each output, and of a derivative each block, as those to the values and to the right-hand
    side differ in size. A block that should be zero may be off by rounding of the other."""
    assert found.keys() == expected.keys()
    for name, wanted in expected.items():
        got, wanted = np.asarray(found[name]), np.asarray(wanted)
        assert got.shape == wanted.shape, name
        derivative = wanted.shape[-1:] == (plan.nnz + plan.n,)
        blocks = [slice(plan.nnz), slice(plan.nnz, None)] if derivative else [slice(None)]
        for block in blocks:
            x, y = (np.atleast_1d(z)[..., block] for z in (got, wanted))
            size = np.abs(y).max() or np.abs(wanted).max()
            assert np.abs(x - y).max() <= tolerance * size, (name, block)


# ---- full tensors -----------------------------------------------------------------------------


@pytest.mark.parametrize("matrix", MATRICES)
def test_the_reference_is_lapack(matrix):
    """The plain dense operations above, which may be mapped, agree with LAPACK."""
    plan, x = problem(matrix)
    expected = support.dense_outputs(plan, jnp.asarray(x[: plan.nnz]), x[plan.nnz :])
    for name, wanted in expected.items():
        assert support.relative(reference(matrix)[0][name], wanted) < 1e-13, name


@pytest.mark.parametrize(
    "mode", [pytest.param(mode, marks=slow) for mode in (jax.jacrev, jax.jacfwd)]
)
def test_jacobians(mode):
    """Row 23: the Jacobian of every output, entry by entry, and its value."""
    plan, x = problem("random")
    f = ours(plan)
    value, found = jax.jit(lambda x: (f(x), mode(f)(x)))(x)
    compare(value, reference("random")[0], plan, 1e-11)
    compare(found, reference("random")[1], plan)


@slow
def test_hessians():
    """Row 23: the full Hessian of a combination of the entries of every output."""
    plan, x = problem("random")
    s = scalars(ours(plan), weights(reference("random")[0]))
    compare(jax.jit(jax.hessian(s))(x), reference_hessian("random"), plan)


# ---- single directions, nothing mapped --------------------------------------------------------


def one_at_a_time(w: dict):
    """(name, the weights of that output, zero for all others)"""
    zero = jax.tree.map(np.zeros_like, w)
    for name in w:
        yield name, zero | {name: w[name]}


@pytest.mark.parametrize("matrix", [pytest.param(m, marks=slow) for m in GRIDS])
def test_tangent_and_cotangent(matrix):
    """Row 23: J v and w J of every output, and <J v, w> = <v, J^T w>."""
    plan, x = problem(matrix)
    f, J = ours(plan), reference(matrix)[1]
    v, w = support.random_like(x, 20), weights(reference(matrix)[0])
    value, moved = jax.jit(lambda x, v: jax.jvp(f, (x,), (v,)))(x, v)
    compare(value, reference(matrix)[0], plan, 1e-11)
    compare(moved, {name: J[name] @ v for name in J}, plan)
    pull = jax.jit(lambda x, w: jax.vjp(f, x)[1](w)[0])
    for name, only in one_at_a_time(w):
        pulled = np.asarray(pull(x, only))
        compare({name: pulled}, {name: np.tensordot(w[name], J[name], np.ndim(w[name]))}, plan)
        left, right = np.vdot(moved[name], w[name]), np.vdot(v, pulled)
        sizes = np.linalg.norm(moved[name]) * np.linalg.norm(w[name])
        sizes = max(sizes, np.linalg.norm(v) * np.linalg.norm(pulled))
        assert abs(left - right) <= 1e-10 * sizes, name


PRODUCTS = {  # Hessian-vector products of g along v
    "reverse over reverse": lambda g, x, v: jax.grad(lambda x: jnp.vdot(jax.grad(g)(x), v))(x),
    "reverse over forward": lambda g, x, v: jax.grad(lambda x: jax.jvp(g, (x,), (v,))[1])(x),
    "forward over reverse": lambda g, x, v: jax.jvp(jax.grad(g), (x,), (v,))[1],
}


# Each mode and each matrix once; the other pairs before a release.
IN_CI = set(zip(MATRICES, PRODUCTS, strict=True))
PAIRS = [
    (m, p) if (m, p) in IN_CI else pytest.param(m, p, marks=pytest.mark.release)
    for m, p in itertools.product(MATRICES, PRODUCTS)
]


@pytest.mark.slow
@pytest.mark.parametrize(("matrix", "mode"), PAIRS)
def test_hessian_vector_products(matrix, mode):
    """Row 23: the Hessian of every output along one direction."""
    plan, x = problem(matrix)
    f, v = ours(plan), support.random_like(x, 21)

    @jax.jit
    def product(x, v, w):
        g = lambda x: sum(scalars(f, w)(x).values())
        return PRODUCTS[mode](g, x, v)

    for name, only in one_at_a_time(weights(reference(matrix)[0])):
        expected = reference_hessian(matrix)[name] @ v
        compare({name: product(x, v, only)}, {name: expected}, plan)


@slow
@pytest.mark.parametrize(
    "matrix", [pytest.param(m, marks=pytest.mark.release) for m in ("grid2", "grid3", "random")]
)
def test_finite_differences(matrix):
    """Row 23: finite differences to second order, both modes, of all outputs."""
    plan, x = problem(matrix)
    check_grads(jax.jit(ours(plan)), (jnp.asarray(x),), order=2, modes=("fwd", "rev"))


# ---- the right-hand side alone ----------------------------------------------------------------


@pytest.mark.parametrize("name", ["solve", "solve_L", "solve_Lt"])
@pytest.mark.slow
def test_right_hand_sides_alone(name):
    """Row 23: where the values are constants, solves of several columns have the inverse of A, L
    or L^T for a Jacobian, and second derivatives through what is done with them."""
    plan, x = problem("random")
    a, b = x[: plan.nnz], support.right_hand_side(plan, columns=2)
    solve = lambda b: getattr(padchol.cholesky(plan, a), name)(b)
    A = np.asarray(support.symmetric(plan, a))
    L = np.linalg.cholesky(A[plan.perm][:, plan.perm])
    inverse = np.linalg.inv({"solve": A, "solve_L": L, "solve_Lt": L.T}[name])
    expected = np.einsum("ij,kl->ikjl", inverse, np.eye(2))
    for mode in (jax.jacfwd, jax.jacrev):
        assert support.relative(jax.jit(mode(solve))(b), expected) < 1e-11
    energy = lambda b: jnp.sum(jnp.cos(solve(b)))
    curvature = np.einsum("ai,ak,aj->ikj", inverse, -np.cos(inverse @ b), inverse)
    expected = np.einsum("ikj,kl->ikjl", curvature, np.eye(2))
    for mode in (jax.hessian, lambda f: jax.jacrev(jax.jacrev(f))):
        assert support.relative(jax.jit(mode(energy))(b), expected) < 1e-10
