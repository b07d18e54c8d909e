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

    >>> import scipy.sparse as sp
    >>> A = sp.diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(3, 3))
    >>> print(solve(A, [1.0, 1.0, 1.0]).round(4))
    [1.5 2.  1.5]
    """
    return _factor(A).solve(b)


def logdet(A: Any) -> Float[Array, ""]:
    """log |A| for a sparse symmetric positive definite A. Raises `NotPositiveDefiniteError`.

    >>> import scipy.sparse as sp
    >>> A = sp.diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(3, 3))
    >>> print(logdet(A).round(4))  # log 4
    1.3863
    """
    return _factor(A).logdet()
