"""Rows 24 and 43: everything inside `jax.shard_map` with its default settings, and batches that jit
cuts over two devices; meshes whose axes XLA cuts (auto) and whose axes are types (explicit)."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import padchol
from padchol import likelihoods, precisions

pytestmark = [pytest.mark.core, pytest.mark.oldest]

SIDE, MEMBERS = 6, 4
CUT = PartitionSpec("b")
COLLECTIVES = re.compile(r"(all-gather|all-reduce|all-to-all|collective-permute)(?:-start)?\(")


def meshes():
    explicit = jax.make_mesh((2,), ("b",), axis_types=(jax.sharding.AxisType.Explicit,))
    return {"auto": Mesh(np.array(jax.devices()[:2]), ("b",)), "explicit": explicit}


def grid_plan():
    line = sp.diags_array([-1.0, 2.5, -1.0], offsets=[-1, 0, 1], shape=(SIDE, SIDE))
    eye = sp.eye_array(SIDE)
    A = sp.csc_array(sp.kron(line, eye) + sp.kron(eye, line))
    plan = padchol.analyze(A)
    return plan, plan.values(A)


def matrices():
    return np.stack([grid_plan()[1] * (1 + 0.1 * i) for i in range(MEMBERS)])


B = np.linspace(0, 1, SIDE**2)
ROUTINES = {
    "logdet": lambda F: F.logdet(),
    "solve": lambda F: F.solve(B),
    "refined": lambda F: F.solve(np.stack([B, B**2], 1), refine=1),
    "solve_L": lambda F: F.solve_L(B),
    "solve_Lt": lambda F: F.solve_Lt(B),
    "selected_inverse": lambda F: F.selected_inverse(),
    "marginal_variances": lambda F: F.marginal_variances(),
    "pivots": lambda F: F.pivots,
    "sample": lambda F: F.sample(jax.random.key(0), (2,)),
    "copy": lambda F: padchol.structured_copy(F.plan, F.values),
}


def squares(f):
    return lambda *x: jnp.sum(f(*x) ** 2)


def of_values(name):
    plan, _ = grid_plan()
    return lambda a: ROUTINES[name](padchol.cholesky(plan, a))


def transformed(f, kind):
    if kind == "value":
        return f
    gradient = jax.grad(squares(f))
    return gradient if kind == "gradient" else lambda x: jax.jvp(gradient, (x,), (x,))[1]


def in_shard_map(f, x):
    mapped = jax.shard_map(jax.vmap(f), mesh=meshes()["auto"], in_specs=CUT, out_specs=CUT)
    return jax.jit(mapped)(x)


def cut_by_jit(f, mesh, *args):
    """The result, checked to be cut, and the text of the compiled program."""
    cut = [jax.device_put(x, NamedSharding(mesh, CUT)) for x in args]
    program = jax.jit(jax.vmap(f)).lower(*cut).compile()
    found = program(*cut)
    assert {x.sharding.spec[0] for x in jax.tree.leaves(found)} == {"b"}
    return found, program.as_text() or ""


LONG = [  # to compile; CI runs them
    *((name, "gradient") for name in ("refined", "solve_Lt", "marginal_variances", "sample")),
    ("logdet", "second"),
    ("solve", "second"),
]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (name, kind)
        for name in ROUTINES
        for kind in ("value", "gradient")
        if (name, kind) not in LONG
    ]
    + [pytest.param(*each, marks=pytest.mark.slow) for each in LONG],
)
def test_inside_shard_map(name, kind):
    """Default settings, check_vma included: the same numbers as on one device."""
    f = transformed(of_values(name), kind)
    a = matrices()
    expected = jax.jit(jax.vmap(f))(a)
    np.testing.assert_allclose(in_shard_map(f, a), expected, rtol=1e-12, atol=1e-13)


explicit = pytest.param(
    "explicit",
    marks=pytest.mark.skipif(
        jax.__version_info__ < (0, 10), reason="JAX 0.9 loses meshes that are types in `info == 0`"
    ),
)


@pytest.mark.parametrize("mesh", ["auto", explicit])
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("logdet", "value"),
        ("logdet", "gradient"),
        ("solve", "gradient"),
        ("solve_L", "gradient"),
        ("selected_inverse", "gradient"),
        ("pivots", "gradient"),
    ],
)
def test_a_batch_under_jit(name, kind, mesh):
    """The result stays cut, nothing is gathered, and no array holds the panels of all members: each
    device's loop runs over its own."""
    f, a = transformed(of_values(name), kind), matrices()
    expected = jax.jit(jax.vmap(f))(a)
    found, text = cut_by_jit(f, meshes()[mesh], a)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)
    assert not COLLECTIVES.findall(text)
    plan, _ = grid_plan()
    for length in (plan.layout.storage.panels, plan.nnz):
        assert f"f64[{MEMBERS},{length}]" not in text
    assert f"f64[{MEMBERS // 2},{plan.nnz}]" in text


@pytest.mark.parametrize("mesh", ["auto", explicit])
def test_right_hand_sides_under_jit(mesh):
    """One factor on every device, right-hand sides cut: solved where they are."""
    plan, a = grid_plan()
    b = np.stack([B + i for i in range(MEMBERS)])
    found, text = cut_by_jit(padchol.cholesky(plan, a).solve, meshes()[mesh], b)
    np.testing.assert_allclose(found, jax.vmap(padchol.cholesky(plan, a).solve)(b), rtol=1e-13)
    assert not COLLECTIVES.findall(text)


def test_values_and_right_hand_sides_under_jit():
    plan, _ = grid_plan()
    f = jax.grad(squares(lambda a, b: padchol.cholesky(plan, a).solve(b)), (0, 1))
    a, b = matrices(), np.stack([B + i for i in range(MEMBERS)])
    found, text = cut_by_jit(f, meshes()["auto"], a, b)
    for x, y in zip(found, jax.jit(jax.vmap(f))(a, b), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-13)
    assert not COLLECTIVES.findall(text)


def models():
    """Functions of one hyperparameter, each on a field of eight nodes."""
    n = 8
    y, design = np.arange(n) % 3, sp.eye_array(n)
    W = sp.csr_array(sp.diags_array([1.0, 1.0], offsets=[-1, 1], shape=(n, n)))
    Q, R = precisions.ar1(n), precisions.icar(W)
    plan = padchol.analyze([Q.pattern, R.pattern, padchol.assembly.gram_pattern(design)])
    ar, icar, D = Q.on(plan), R.on(plan), padchol.laplace.design(plan, design)

    def laplace(t, terms):
        return padchol.laplace.laplace(D, terms, ar(t, 0.3)).log_marginal

    return {
        "density": lambda t: ar.field(t, 0.3).log_prob(jnp.ones(n)),
        "intrinsic": lambda t: icar.field(t).log_prob(jnp.arange(1.0 * n)),
        "constrained": lambda t: ar.field(t, 0.3).constrain(np.ones((1, n))).log_determinant(),
        "conditioned": lambda t: ar.field(t, 0.3).condition(design, y, t).marginal_variances()[0],
        "laplace": lambda t: laplace(t, likelihoods.poisson(y)),
        "parameter of a likelihood": lambda t: laplace(1.0, likelihoods.gaussian(y, t)),
    }


COSTLY = ("laplace", "parameter of a likelihood")  # a minute to compile


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow) if n in COSTLY else n for n in models()],
)
@pytest.mark.slow
def test_models_inside_shard_map(name):
    f, t = jax.value_and_grad(models()[name]), np.linspace(0.5, 2, MEMBERS)
    for x, y in zip(in_shard_map(f, t), jax.jit(jax.vmap(f))(t), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-10)


def test_a_failure_on_one_device():
    """Row 2: the other members are right, to the bit."""
    plan, _ = grid_plan()
    a = matrices()
    a[1] = -a[1]
    f = lambda a: (lambda F: (F.logdet(), F.info))(padchol.cholesky(plan, a))
    (logdet, info), _ = cut_by_jit(f, meshes()["auto"], a)
    np.testing.assert_array_equal(np.isnan(logdet), [False, True, False, False])
    np.testing.assert_array_equal(np.asarray(info) > 0, [False, True, False, False])
    expected = jax.jit(jax.vmap(f))(a)[0]
    np.testing.assert_array_equal(logdet, expected)
