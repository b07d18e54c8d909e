"""What the tests of the numeric phase share: matrices, dense references, and three checks.

Dense references go through LAPACK one matrix at a time, never under `vmap`: two jaxlib lines
deadlock on independent batched LAPACK calls.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
from jax.test_util import check_grads

import padchol
from padchol.symbolic import amalgamation

both_precisions = pytest.mark.parametrize("precision", ["float64", "float32"], indirect=True)
float32_slowly = pytest.mark.parametrize(
    "precision", ["float64", pytest.param("float32", marks=pytest.mark.slow)], indirect=True
)
VALUE_TOLERANCE = {"float64": 1e-11, "float32": 2e-5}  # relative to the largest reference entry

# ---- matrices ---------------------------------------------------------------------------------


def from_edges(n: int, edges: np.ndarray, seed: int = 0) -> sp.csc_array:
    """A symmetric, diagonally dominant matrix with random values on the given (m, 2) edges."""
    rng = np.random.default_rng(seed)
    edges = np.asarray(edges, int).reshape(-1, 2)
    weights = rng.uniform(0.3, 1.5, len(edges)) * rng.choice([-1.0, 1.0], len(edges))
    upper = sp.coo_array((weights, (edges[:, 0], edges[:, 1])), shape=(n, n))
    off = upper + upper.T
    diagonal = np.asarray(abs(off).sum(1)).reshape(n) + rng.uniform(0.2, 1.0, n)
    return sp.csc_array(off + sp.diags_array(diagonal, shape=(n, n)))


def grid(*sides: int) -> sp.csc_array:
    """Nearest neighbours on a grid in any number of dimensions."""
    at = np.arange(int(np.prod(sides))).reshape(sides)
    edges = [
        np.stack([np.delete(at, -1, d).ravel(), np.delete(at, 0, d).ravel()], 1)
        for d in range(len(sides))
    ]
    return from_edges(at.size, np.concatenate(edges))


def laplacian(k: int) -> sp.csc_array:
    """The 5-point Laplacian on a k x k grid: 4 on the diagonal, -1 for each neighbour."""
    line = sp.diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(k, k))
    eye = sp.eye_array(k)
    return sp.csc_array(sp.kron(line, eye) + sp.kron(eye, line))


def graph_laplacian(A: sp.csc_array) -> sp.csc_array:
    """Unit weights on the pattern of A: integer entries, constants in its null space."""
    off = sp.csc_array((A != 0).astype(float) - sp.eye_array(A.shape[0]))
    return sp.csc_array(sp.diags_array(np.asarray(off.sum(1)).ravel()) - off)


def arrow(n: int, tip: int) -> sp.csc_array:
    """Every row joined to row `tip`: 0 fills in completely in natural order, n - 1 not at all."""
    others = np.delete(np.arange(n), tip)
    return from_edges(n, np.stack([others, np.full(n - 1, tip)], 1))


def path(n: int) -> sp.csc_array:
    return grid(n)


def band(n: int) -> sp.csc_array:
    """Rows joined 1 and 4 apart: one front a few columns wide at each of many levels; fill-in."""
    i = np.arange(n)
    return from_edges(n, np.concatenate([np.stack([i[:-d], i[d:]], 1) for d in (1, 4)]))


def forest(trees: int, size: int) -> sp.csc_array:
    """Disconnected random trees."""
    rng = np.random.default_rng(1)
    edges = [
        (t * size + i, t * size + rng.integers(i)) for t in range(trees) for i in range(1, size)
    ]
    return from_edges(trees * size, np.array(edges))


def scattered(n: int, edges: int) -> sp.csc_array:
    """Random edges: irregular, and much fill-in."""
    rng = np.random.default_rng(2)
    pairs = np.sort(rng.integers(n, size=(edges, 2)), 1)
    return from_edges(n, np.unique(pairs[pairs[:, 0] < pairs[:, 1]], axis=0))


def dense(n: int) -> sp.csc_array:
    return from_edges(n, np.stack(np.tril_indices(n, -1), 1))


MATRICES: dict[str, tuple[Callable[[], sp.csc_array], str]] = {
    "grid2": (lambda: grid(5, 6), "auto"),
    "grid3": (lambda: grid(3, 3, 3), "mmd"),
    "arrow_first": (lambda: arrow(9, 0), "natural"),
    "arrow_last": (lambda: arrow(12, 11), "natural"),
    "path": (lambda: path(20), "natural"),
    "band": (lambda: band(26), "natural"),
    "forest": (lambda: forest(6, 5), "auto"),
    "disconnected": (lambda: sp.block_diag([grid(3, 3), dense(4), path(3)], "csc"), "auto"),
    "scattered": (lambda: scattered(24, 50), "auto"),
    "dense": (lambda: dense(10), "auto"),
    "diagonal": (lambda: from_edges(11, np.zeros((0, 2))), "auto"),
    "one": (lambda: sp.csc_array([[2.5]]), "auto"),
    "empty": (lambda: sp.csc_array((0, 0)), "auto"),
}


# ---- plans ------------------------------------------------------------------------------------

ENGINES = {"tiles": "cpu", "levels": "gpu"}  # by the device that a plan is for
both_engines = pytest.mark.parametrize("device", ENGINES.values(), ids=ENGINES)


def unmerged(A: Any, **options: Any) -> padchol.Plan:
    """`analyze` without relaxed amalgamation: small matrices keep a tree of many small fronts."""

    def each_its_own(nodes, _):
        return np.arange(nodes.parent.size)

    with mock.patch.object(amalgamation, "groups", each_its_own):
        return padchol.analyze(A, **options)


@functools.cache
def case(
    name: str, merged: bool = False, device: Any = "cpu"
) -> tuple[sp.csc_array, padchol.Plan, Any]:
    """(A, plan, canonical values) of one of MATRICES."""
    build, order = MATRICES[name]
    A = build()
    plan = (padchol.analyze if merged else unmerged)(A, order=order, device=device)
    return A, plan, plan.values(A)


def relative(found: Any, expected: Any) -> float:
    """Largest deviation, relative to the largest expected entry. NaN never passes."""
    found, expected = np.asarray(found, float), np.asarray(expected, float)
    assert found.shape == expected.shape
    if not expected.size:
        return 0.0
    return float(np.max(np.abs(found - expected)) / max(np.max(np.abs(expected)), 1e-300))


# ---- outputs, and what they should be ---------------------------------------------------------


def outputs(plan: padchol.Plan, a: Any, b: Any) -> dict[str, jax.Array]:
    """Every differentiable output of a Factor."""
    F = padchol.cholesky(plan, a)
    return {
        "solve": F.solve(b),
        "solve_L": F.solve_L(b),
        "solve_Lt": F.solve_Lt(b),
        "logdet": F.logdet(),
        "selected_inverse": F.selected_inverse(),
        "marginal_variances": F.marginal_variances(),
    }


all_outputs = jax.jit(outputs)


def symmetric(plan: padchol.Plan, a: Any) -> jax.Array:
    """The dense matrix of canonical values, in the user's order."""
    lower = jnp.zeros((plan.n, plan.n), jnp.result_type(a)).at[plan.rows, plan.cols].set(a)
    return lower.at[plan.cols, plan.rows].set(a)


def dense_outputs(plan: padchol.Plan, a: Any, b: Any) -> dict[str, jax.Array]:
    """`outputs` by dense LAPACK."""
    A = symmetric(plan, a)
    L = jnp.linalg.cholesky(A[plan.perm][:, plan.perm])
    inverse = jnp.linalg.inv(A)
    half = jax.scipy.linalg.solve_triangular
    return {
        "solve": jnp.linalg.solve(A, b),
        "solve_L": half(L, b, lower=True),
        "solve_Lt": half(L, b, lower=True, trans=1),
        "logdet": jnp.linalg.slogdet(A)[1],
        "selected_inverse": inverse[plan.rows, plan.cols],
        "marginal_variances": jnp.diagonal(inverse),
    }


def right_hand_side(plan: padchol.Plan, dtype: Any = np.float64, columns: int = 2) -> np.ndarray:
    return np.random.default_rng(5).normal(size=(plan.n, columns)).astype(dtype)


def random_like(x: Any, seed: int) -> np.ndarray:
    x = np.asarray(x)
    return np.random.default_rng(seed).normal(size=x.shape).astype(x.dtype)


# ---- the three checks -------------------------------------------------------------------------


def check_against_dense(plan: padchol.Plan, a: Any, names: tuple[str, ...] = ()) -> None:
    """Every output (or those named) equals the dense one, in the precision of `a`."""
    dtype = np.asarray(a).dtype
    b = right_hand_side(plan, dtype)
    found = all_outputs(plan, jnp.asarray(a), b)
    expected = dense_outputs(plan, jnp.asarray(a), b)
    for name in names or found:
        assert found[name].dtype == dtype, name
        assert relative(found[name], expected[name]) < VALUE_TOLERANCE[dtype.name], name


def check_derivatives(found: Callable, expected: Callable, x: Any, tolerance: float = 1e-8) -> None:
    """Gradient and Hessian (forward over reverse, forward twice, reverse twice) of two scalars."""
    x = jnp.asarray(x)
    names = ("gradient", "forward over reverse", "forward twice", "reverse twice")
    modes = (
        jax.grad,
        jax.hessian,
        lambda f: jax.jacfwd(jax.jacfwd(f)),
        lambda f: jax.jacrev(jax.jacrev(f)),
    )
    ours = jax.jit(lambda x: [mode(found)(x) for mode in modes])(x)
    gradient = jax.grad(expected)
    row = jax.jit(lambda x, t: jax.jvp(gradient, (x,), (t,))[1])
    hessian = jnp.stack([row(x, t) for t in jnp.eye(x.size, dtype=x.dtype)])
    dense = [jax.jit(gradient)(x), hessian, hessian, hessian]
    for name, value, wanted in zip(names, ours, dense, strict=True):
        assert relative(value, wanted) < tolerance, name


def check_gradients(f: Callable, x: jax.Array, order: int = 2) -> None:
    """Finite differences to `order` in both modes, and <J v, w> = <v, J^T w> to 1e-10."""
    f = jax.jit(f)
    check_grads(f, (x,), order=order, modes=("fwd", "rev"))
    v = random_like(x, 1)
    out, moved = jax.jvp(f, (x,), (v,))
    w = random_like(out, 2)
    (pulled,) = jax.vjp(f, x)[1](w)
    left, right = np.vdot(moved, w), np.vdot(v, pulled)
    scale = np.linalg.norm(moved) * np.linalg.norm(w) + np.linalg.norm(v) * np.linalg.norm(pulled)
    assert abs(left - right) <= 1e-10 * scale


def check_batching(f: Callable, values: jax.Array, vectors: jax.Array, tolerance: float) -> None:
    """vmap of f(a, b) over values, over vectors, over both, and nested, equals a loop.

    values (B, nnz), vectors (B, ...); f returns a pytree.
    """
    B = len(values)
    one = jax.jit(f)
    table = [[one(values[i], vectors[j]) for j in range(B)] for i in range(B)]

    def stacked(rows):
        return jax.tree.map(lambda *xs: np.stack(xs), *rows)

    wanted = {
        "values": (jax.vmap(f, (0, None)), (values, vectors[0]), [row[0] for row in table]),
        "vectors": (jax.vmap(f, (None, 0)), (values[0], vectors), table[0]),
        "both": (jax.vmap(f), (values, vectors), [table[i][i] for i in range(B)]),
        "nested": (
            jax.vmap(jax.vmap(f, (None, 0)), (0, None)),
            (values, vectors),
            [stacked(row) for row in table],
        ),
    }
    for name, (mapped, args, rows) in wanted.items():
        found, expected = jax.jit(mapped)(*args), stacked(rows)
        for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            assert relative(x, y) < tolerance, name
