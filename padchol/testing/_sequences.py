"""Plans and factors that were saved, copied, traced and sent through threads: equal to the bit.

The classes, and their compiled programs, are those of `_values`.
"""

from __future__ import annotations

import copy
import pickle
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jax.experimental import sparse as jsparse

import padchol
from padchol.testing import _matrices, _values
from padchol.testing._files import is_same
from padchol.testing._patterns import Rng

WALKS, FACTORS, CONTAINERS = 10, 6, 8  # cases of one unit


def unit(rng: Rng, number: int) -> Iterator[str | None]:
    """A plan of a class: walks of it, of factors on it, and its values from JAX matrices."""
    of = _values.of_class(number // _values.UNITS)
    plan = _values.member(rng, of)
    if plan is None:
        return
    a = _matrices.values(rng, plan, _values.BATCH, of.dtype)
    b = rng.normal(size=(_values.BATCH, plan.n, 2)).astype(of.dtype)
    expected = _values.outputs(plan, a, b)
    about = f"n = {plan.n}, nnz = {plan.nnz}, {of.device}, {np.dtype(of.dtype)}"
    for _ in range(WALKS):
        names, found = walk(rng, plan, PLAN_STEPS)
        if not is_same(plan, found):
            yield f"{about}: another plan after {names}"
            continue
        moved = rng.permutation(len(a))
        wrong = _differs(
            [x[moved] for x in jax.tree.leaves(expected)],
            _values.outputs(found, a[moved], b[moved]),
        )
        yield f"{about}: other results after {names}: {wrong}" if wrong else None
    yield from _of_factors(rng, plan, a, b, about)
    yield from _of_containers(rng, plan, about)


def walk(rng: Rng, x: Any, steps: dict[str, Callable]) -> tuple[list[str], Any]:
    """What was done, one after the other, and what came of it."""
    names = [str(name) for name in rng.choice([*steps], size=rng.integers(1, 6))]
    for name in names:
        x = steps[name](x)
    return names, x


def _differs(expected: Any, found: Any) -> str:
    """How many of the numbers are not the same to the bit, NaN for NaN."""
    pairs = zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True)
    unequal = [int((~((x == y) | ((x != x) & (y != y)))).sum()) for x, y in pairs]
    return f"{sum(unequal)} numbers" if any(unequal) else ""


# ---- steps ------------------------------------------------------------------------------------


def _through_a_file(plan: padchol.Plan) -> padchol.Plan:
    with tempfile.TemporaryDirectory() as folder:
        plan.save(Path(folder) / "plan")
        return padchol.load(Path(folder) / "plan")


def _through_a_thread(x: Any) -> Any:
    with ThreadPoolExecutor(2) as pool:
        return [*pool.map(copy.deepcopy, [x, x])][1]


@jax.jit
def _identity(x: Any) -> Any:
    return x


@jax.jit
def _either(x: Any) -> Any:
    return jax.lax.cond(jnp.arange(2)[1] > 0, lambda x: x, lambda x: x, x)


STEPS: dict[str, Callable[[Any], Any]] = {
    "pickle": lambda x: pickle.loads(pickle.dumps(x)),
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
    "jit": _identity,
    "cond": _either,
    "thread": _through_a_thread,
    "flatten": lambda x: jax.tree.unflatten(*reversed(jax.tree.flatten(x))),
    "numpy": lambda x: jax.tree.map(np.asarray, x),
    "device": lambda x: jax.tree.map(jnp.asarray, x),
    "index of a batch": lambda x: jax.tree.map(lambda leaf: jnp.stack([leaf, leaf])[1], x),
}
PLAN_STEPS = STEPS | {"file": _through_a_file}


# ---- factors ----------------------------------------------------------------------------------


@jax.jit
def _factored(plan: padchol.Plan, a: jax.Array) -> padchol.Factor:
    return padchol.cholesky(plan, a)


@jax.jit
def _of_factor(F: padchol.Factor, b: jax.Array) -> Any:
    return F.info, F.solve(b), F.logdet(), F.marginal_variances()


def _of_factors(rng: Rng, plan: padchol.Plan, a: Any, b: Any, about: str) -> Iterator[str | None]:
    for k in range(FACTORS):
        F = _factored(plan, a[k])
        names, found = walk(rng, F, STEPS)
        wrong = _differs(_of_factor(F, b[k]), _of_factor(found, b[k]))
        yield f"{about}: other results of a factor after {names}: {wrong}" if wrong else None


# ---- values of JAX matrices -------------------------------------------------------------------


@jax.jit
def _traced_values(plan: padchol.Plan, A: Any) -> Any:
    return plan.values(A)


def _of_containers(rng: Rng, plan: padchol.Plan, about: str) -> Iterator[str | None]:
    """BCOO and BCSR, traced or not, against scipy; and NaN, or an error, where A is unsymmetric."""
    n, off = plan.n, plan.rows != plan.cols
    rows, cols = np.append(plan.rows, plan.cols[off]), np.append(plan.cols, plan.rows[off])
    for _ in range(CONTAINERS):
        a = rng.normal(size=plan.nnz)
        data, order = np.append(a, a[off]), rng.permutation(rows.size)
        spoiled = off.any() and rng.random() < 0.3
        if spoiled:
            data[-1] += 1
        A: Any = sp.csr_array((data, (rows, cols)), shape=(n, n))
        if rng.random() < 0.5 or not n:
            parts: Any = (data[order], np.stack([rows[order], cols[order]], 1))
            B: Any = jsparse.BCOO(parts, shape=(n, n))
        else:
            parts = (A.data, A.indices, A.indptr)
            B = jsparse.BCSR(parts, shape=(n, n))
        name, found = type(B).__name__, np.asarray(_traced_values(plan, B))
        right = np.isnan(found).all() if spoiled else np.array_equal(found, a)
        yield None if right else f"{about}: traced values of a {name}, unsymmetric: {spoiled}"
        try:
            right = np.array_equal(plan.values(B), a) and not spoiled
        except ValueError as error:
            right = spoiled and "expected a symmetric matrix" in str(error)
        yield None if right else f"{about}: values of a {name}, unsymmetric: {spoiled}"
