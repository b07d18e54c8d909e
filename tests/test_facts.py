"""Rows 25 and 37: facts are those of the plan that one asks, wherever it has been."""

from __future__ import annotations

import contextlib
import copy
import itertools
import pickle
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import support

import padchol

pytestmark = [pytest.mark.core, pytest.mark.oldest]


def relabelled(A, seed: int):
    order = np.random.default_rng(seed).permutation(A.shape[0])
    return A[order][:, order]


@pytest.fixture(scope="module")
def alike():
    """Two plans that share programs, and their matrices: of one layout, with different nnz(L)."""
    A = support.laplacian(20) + support.sp.eye_array(400)
    made = [(padchol.analyze(B, order="mmd"), B) for B in (relabelled(A, k) for k in range(12))]
    return next(
        (p, q)
        for p, q in itertools.combinations(made, 2)
        if p[0].layout == q[0].layout and p[0].nnz_L != q[0].nnz_L
    )


def is_of(found, plan, A, tmp_path):
    """`found` is `plan`, by all that can be asked of it."""
    assert found.fingerprint == plan.fingerprint
    assert found.nnz_L == plan.nnz_L
    facts = dict(plan.stats)
    del facts["seconds"]
    assert {name: found.stats[name] for name in facts} == facts
    copied = padchol.structured_copy(found, plan.values(A))
    np.testing.assert_array_equal(copied, padchol.structured_copy(plan, plan.values(A)))
    found.save(tmp_path / "plan.npz")
    assert padchol.load(tmp_path / "plan.npz").fingerprint == plan.fingerprint
    assert plan.fingerprint[:16] in str(found)


def test_a_plan_out_of_jit_is_its_own(alike, tmp_path):
    """What `cholesky` gives under jit holds the plan that went in, not the one it was traced for;
    the program is shared all the same."""
    (p, A), (q, B) = alike
    traces = []

    @jax.jit
    def factor(plan, a):
        traces.append(None)
        return padchol.cholesky(plan, a)

    factor(p, p.values(A))
    found = factor(q, q.values(B))
    assert len(traces) == 1
    is_of(found.plan, q, B, tmp_path)
    assert found.to_csc().nnz == q.nnz_L
    is_of(factor(p, p.values(A)).plan, p, A, tmp_path)
    again = jax.jit(padchol.structured_copy)(found.plan, q.values(B))  # and back into a program
    assert again.shape == (q.nnz_L,)
    assert jax.jit(padchol.structured_copy)(p, p.values(A)).shape == (p.nnz_L,)


@pytest.mark.parametrize("first", [True, False])
def test_cond_over_two_plans(alike, first, tmp_path):
    (p, A), (q, B) = alike
    found = jax.lax.cond(first, lambda: p, lambda: q)
    is_of(found, *((p, A) if first else (q, B)), tmp_path)


def test_a_batch_of_plans_has_no_facts_of_its_own(alike):
    (p, A), _ = alike
    a = jnp.stack([p.values(A)] * 3)
    batch = jax.vmap(lambda a: padchol.cholesky(p, a))(a)
    with pytest.raises(ValueError, match="facts of one plan"):
        print(batch.plan.nnz_L)
    assert jax.tree.map(lambda x: x[1], batch).plan.nnz_L == p.nnz_L


def test_copies(alike, tmp_path):
    """Row 33: copied, pickled or put on a device, a plan is the same plan."""
    (p, A), _ = alike
    for found in (copy.copy(p), copy.deepcopy(p), pickle.loads(pickle.dumps(p))):
        is_of(found, p, A, tmp_path)
        assert found.stats == p.stats
    is_of(jax.device_put(p), p, A, tmp_path)


def test_threads_that_trace_at_once(alike):
    """Two threads that make the first call of one jitted function with different plans: each gets
    the shape of its own. A trace is made to wait until the other thread has asked."""
    (p, _), (q, _) = alike
    for _ in range(10):
        both, entered = threading.Barrier(2), threading.Barrier(2)

        @jax.jit
        def copied(plan, a, entered=entered):
            with contextlib.suppress(threading.BrokenBarrierError):
                entered.wait(0.2)
            return padchol.structured_copy(plan, a)

        found = {}

        def run(plan, both=both, copied=copied, found=found):
            both.wait()
            found[id(plan)] = copied(plan, np.ones(plan.nnz)).shape

        threads = [threading.Thread(target=run, args=(plan,)) for plan in (p, q)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == {id(plan): (plan.nnz_L,) for plan in (p, q)}
