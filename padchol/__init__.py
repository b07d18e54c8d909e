"""Sparse Cholesky in pure JAX: one symbolic analysis per pattern, any number of factorisations.

    plan = padchol.analyze(A)              # numpy and scipy: ordering, tree, bins, index tables
    a = plan.values(A)                     # canonical values, one per symmetric pair
    F = padchol.cholesky(plan, a)          # JAX: jit, grad, jvp, vmap, scan, remat
    F.solve(b), F.logdet(), F.sample(key), F.selected_inverse(), F.marginal_variances()

Two nouns, `Plan` (of a pattern) and `Factor` (of values). Every numeric routine is a dense kernel
on one front, handed to one of two sweeps over the elimination tree; see `padchol.numeric.sweep`.
Importing padchol touches no device and changes no JAX configuration.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from padchol import (
        assembly,
        gmrf,
        inla,
        interop,
        laplace,
        likelihoods,
        mixed,
        precisions,
        splines,
    )
    from padchol.analysis import analyze
    from padchol.direct import logdet, solve
    from padchol.errors import NotPositiveDefiniteError, PlanFileError
    from padchol.factor import Factor, cholesky
    from padchol.low_rank import LowRank
    from padchol.numeric.values import structured_copy
    from padchol.plan import Plan
    from padchol.storage import load
    from padchol.symbolic.costs import CostModel

__version__ = "0.1.0"

__all__ = [
    "CostModel",
    "Factor",
    "LowRank",
    "NotPositiveDefiniteError",
    "Plan",
    "PlanFileError",
    "analyze",
    "assembly",
    "cholesky",
    "gmrf",
    "inla",
    "interop",
    "laplace",
    "likelihoods",
    "load",
    "logdet",
    "mixed",
    "precisions",
    "solve",
    "splines",
    "structured_copy",
]

# Where each name stands that is not a module. All are imported when they are first asked for (PEP
# 562): SciPy's modules, which they need, take longer than JAX's.
_HOME = {
    "CostModel": "symbolic.costs",
    "Factor": "factor",
    "LowRank": "low_rank",
    "NotPositiveDefiniteError": "errors",
    "Plan": "plan",
    "PlanFileError": "errors",
    "analyze": "analysis",
    "cholesky": "factor",
    "load": "storage",
    "logdet": "direct",
    "solve": "direct",
    "structured_copy": "numeric.values",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
        globals()[name] = value
        return value
    if importlib.util.find_spec(f"{__name__}.{name}") is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.{name}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
