"""Forms: linear in every argument, symmetric in the directions, differentiable to every order."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import support

import padchol
from padchol.numeric import factorise, forms, selected_inverse, solve
from padchol.numeric.call import Call
from padchol.numeric.forms import VALUES

pytestmark = pytest.mark.core


def case():
    _, plan, a = support.case("disconnected")
    a = jnp.asarray(a)
    panels = factorise.factorise(plan, a)[0]
    rng = np.random.default_rng(0)
    directions = [jnp.asarray(rng.normal(size=plan.nnz)) for _ in range(3)]
    vectors = [jnp.asarray(rng.normal(size=(plan.n, 2))) for _ in range(2)]
    return plan, a, panels, directions, vectors


def number(form, plan, a, panels, directions, vectors, out):
    """D^k psi with all its arguments, the one left out put back by an inner product."""
    what = Call(forms.Partial(form, out), jax.tree.structure(plan))
    known, given = list(directions), list(vectors)
    if out == VALUES:
        last = known.pop()
    else:
        last, given[out] = given[out], None
    return jnp.vdot(what.computation.of(what, plan, panels, a, known, given), last)


@pytest.mark.parametrize("count", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_directions_commute(count):
    """D^k log|A| is the same whatever the order of its directions."""
    plan, a, panels, directions, _ = case()
    found = [
        float(number(selected_inverse.LOG_DETERMINANT, plan, a, panels, order, (), VALUES))
        for order in itertools.permutations(directions[:count])
    ]
    np.testing.assert_allclose(found, found[0], rtol=1e-11)


def test_one_number_whichever_argument_is_left_out():
    """D c^T L^-1 b [d], from the gradient with respect to A, b and c."""
    plan, a, panels, (d, *_), vectors = case()
    found = [
        float(number(solve.BILINEAR, plan, a, panels, [d], vectors, out)) for out in (VALUES, 0, 1)
    ]
    np.testing.assert_allclose(found, found[0], rtol=1e-12)


@pytest.mark.slow
def test_third_order_against_dense():
    """Row 23, one order beyond: gradients of Hessians of log|A| and of a half solve."""
    plan, a, _, (d, e, _), (b, _) = case()

    def ours(a):
        F = padchol.cholesky(plan, a)
        return F.logdet() + jnp.sum(F.solve_L(b) ** 3)

    def dense(a):
        P = support.symmetric(plan, a)[plan.perm][:, plan.perm]
        y = jax.scipy.linalg.solve_triangular(jnp.linalg.cholesky(P), b, lower=True)
        return jnp.linalg.slogdet(P)[1] + jnp.sum(y**3)

    def third(f):
        def second(a):
            return jax.jvp(lambda a: jax.jvp(f, (a,), (d,))[1], (a,), (e,))[1]

        return jax.jit(jax.grad(second))(a)

    assert support.relative(third(ours), third(dense)) < 1e-9


@pytest.mark.slow
def test_batches_of_some_arguments():
    """Row 24: directions, vectors or values batched, alone and together."""
    plan, a, _, (d, e, _), (b, c) = case()
    what = Call(forms.Partial(solve.BILINEAR, VALUES), jax.tree.structure(plan))
    pairs = {"a": (a, 1.1 * a), "d": (d, e), "b": (b, 2 * b), "c": (c, c - b)}

    def f(a, d, b, c):
        panels = factorise.factorise(plan, a)[0]
        return what.computation.of(what, plan, panels, a, [d], [b, c])

    single = jax.jit(f)
    for batched in ({"d"}, {"b"}, {"a", "c"}):
        axes = tuple(0 if name in batched else None for name in pairs)
        args = [jnp.stack(v) if name in batched else v[0] for name, v in pairs.items()]
        found = jax.jit(jax.vmap(f, axes))(*args)
        for i in range(2):
            expected = single(*(v[i] if name in batched else v[0] for name, v in pairs.items()))
            assert support.relative(found[i], expected) < 1e-12


def test_no_tape():
    """Of a gradient of any order nothing but L and the arguments is kept: no panels are residuals
    besides those of L."""
    plan, a, *_ = case()

    def f(a):
        return jnp.sum(padchol.cholesky(plan, a).marginal_variances() ** 2)

    _, pulled = jax.vjp(f, a)
    sizes = [x.size for x in jax.tree.leaves(pulled) if jnp.issubdtype(x.dtype, jnp.floating)]
    assert sizes.count(plan.layout.storage.panels) <= 1
    assert max(sizes) <= plan.layout.storage.panels
    jaxpr = jax.make_jaxpr(jax.grad(f))(a).jaxpr
    assert "padchol_call" in str(jaxpr)
