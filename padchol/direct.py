"""One-liners for scipy matrices: analyse (remembered by pattern), factor, answer."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from jaxtyping import Array, Float

from padchol.analysis import analyze
from padchol.factor import Factor, cholesky
from padchol.plan import Plan
from padchol.symbolic.pattern import canonical

REMEMBERED = 32  # plans kept, least recently used dropped first
_plans: OrderedDict[str, Plan] = OrderedDict()


def _factor(A: Any) -> Factor:
    key = canonical(A).digest
    plan = _plans.pop(key, None) or analyze(A)
    _plans[key] = plan
    while len(_plans) > REMEMBERED:
        _plans.popitem(last=False)
    return cholesky(plan, plan.values(A), throw=True)


def solve(A: Any, b: Any) -> Float[Array, " n *k"]:
    """x with A x = b for a sparse symmetric positive definite A, b (n,) or (n, k).

    The analysis of a pattern is remembered. Raises `NotPositiveDefiniteError`.
    """
    return _factor(A).solve(b)


def logdet(A: Any) -> Float[Array, ""]:
    """log |A| for a sparse symmetric positive definite A. Raises `NotPositiveDefiniteError`."""
    return _factor(A).logdet()
