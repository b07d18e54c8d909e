"""Compositions of transformations, on patterns drawn at random, against dense numpy."""

from __future__ import annotations

from typing import Any, cast

import jax
import numpy as np
import pytest
import symbolic_oracle as oracle
from compositions import BATCH, COMPOSITIONS, Problem
from dense_oracle import OUTPUTS, Dense
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import padchol

pytestmark = [pytest.mark.core, pytest.mark.oldest]

TOLERANCE = 1e-8

# ---- problems ---------------------------------------------------------------------------------


def scattered(n: int, rng: np.random.Generator) -> np.ndarray:
    return oracle.edges(n, rng.integers(n, size=(2 * n, 2)))


def grid(n: int, rng: np.random.Generator) -> np.ndarray:
    rows = int(rng.integers(2, 4))
    return oracle.grid(rows, n // rows)


def arrow(n: int, rng: np.random.Generator) -> np.ndarray:
    return oracle.arrow(n, int(rng.choice([0, n - 1])))


def path(n: int, rng: np.random.Generator) -> np.ndarray:
    return oracle.path(n)


def forest(n: int, rng: np.random.Generator) -> np.ndarray:
    """Each node hangs under a later one; one in n of them, about, under none."""
    return oracle.edges(n, [(j, rng.integers(j, n)) for j in range(n)])


def dense_rows(n: int, rng: np.random.Generator) -> np.ndarray:
    S = oracle.edges(n, rng.integers(n, size=(n // 2, 2)))
    for at in rng.integers(n, size=2):
        S = S | oracle.arrow(n, at)
    return S


FAMILIES = (scattered, dense_rows, grid, forest, arrow, path)


@st.composite
def problems(draw, turn: int = 0):
    """turn: where the lists of families and outputs begin, as the first example takes the first."""
    turned = lambda names: st.sampled_from([*names[turn % len(names) :], *names])
    n = 12 - draw(st.integers(0, 7))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    S = draw(turned(FAMILIES))(n, rng)
    if draw(st.booleans()):
        S = oracle.shuffled(S, 1)
    name = draw(turned(OUTPUTS))
    order = draw(st.sampled_from(["auto", "natural"]))
    plan = padchol.analyze(oracle.spd(S), order=order)
    values = np.stack([plan.values(oracle.spd(S, seed)) for seed in range(BATCH)])
    vectors = rng.normal(size=(BATCH, plan.n))
    w = rng.normal(size=Dense(plan, name, values[0], vectors[0]).value.shape)
    da, db = rng.normal(size=values.shape), rng.normal(size=vectors.shape)
    return Problem(plan, name, values, vectors, da, db, w)


# ---- the tests --------------------------------------------------------------------------------


def check(p: Problem, composition) -> None:
    found, expected = composition(p)
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert x.shape == np.shape(y)
        np.testing.assert_allclose(x, y, rtol=0, atol=TOLERANCE * max(np.abs(y).max(), 1e-300))


def drawn(examples: int) -> settings:
    """No shrinking: an example compiles for a second, and none has more than 12 unknowns."""
    return settings(
        deadline=None,
        max_examples=examples,
        phases=(Phase.explicit, Phase.reuse, Phase.generate),
        suppress_health_check=cast(Any, list(HealthCheck)),
    )


@pytest.mark.parametrize("k", range(len(COMPOSITIONS)), ids=[c.__name__ for c in COMPOSITIONS])
def test_against_dense(k):
    """Row 24: on patterns of every family, an output under a composition equals dense numpy."""
    run = drawn(2)(given(problems(turn=k))(lambda p: check(p, COMPOSITIONS[k])))
    run()


@pytest.mark.slow
@pytest.mark.release
@pytest.mark.parametrize("k", range(len(COMPOSITIONS)), ids=[c.__name__ for c in COMPOSITIONS])
def test_against_dense_at_length(k):
    """Row 24: the same, with more patterns and outputs for each composition."""
    run = drawn(4)(given(problems(turn=k + 3))(lambda p: check(p, COMPOSITIONS[k])))
    run()


@pytest.mark.parametrize("name", OUTPUTS)
def test_the_oracle_by_differences(name):
    """The formulas of `dense_oracle` agree with central differences of its values."""
    rng = np.random.default_rng(1)
    A = oracle.spd(scattered(8, rng))
    plan = padchol.analyze(A)
    a, b = plan.values(A), rng.normal(size=8)
    da, db = rng.normal(size=a.shape), rng.normal(size=8)
    at = lambda t: Dense(plan, name, a + t * da, b + t * db).value
    expected = (at(1e-5) - at(-1e-5)) / 2e-5
    tangent = Dense(plan, name, a, b).tangent(da, db)
    np.testing.assert_allclose(tangent, expected, rtol=0, atol=1e-7 * np.abs(expected).max())
