"""Mixed models: random effects by sparse Cholesky on one plan, with formulas like lme4's.

    model = padchol.mixed.linear("Reaction ~ Days + (Days | Subject)", data)
    fit = model.fit()
    print(fit)

`model.deviance(theta)` is plain JAX: jit, grad, hessian.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from padchol import likelihoods
from padchol.mixed.formula import frame
from padchol.mixed.glmm import GeneralizedLinearMixedModel
from padchol.mixed.lmm import LinearMixedModel, Solution
from padchol.mixed.report import Fit
from padchol.mixed.terms import Random

__all__ = [
    "Fit",
    "GeneralizedLinearMixedModel",
    "LinearMixedModel",
    "Random",
    "Solution",
    "frame",
    "generalized",
    "linear",
]


def linear(formula: str, data: Any, *, reml: bool = False, **analysis: Any) -> LinearMixedModel:
    """The linear mixed model of a formula: see `LinearMixedModel` and `padchol.mixed.formula`.

    data: a pandas DataFrame. Further options are those of `padchol.analyze`. Needs formulaic.
    """
    read = frame(formula, data)
    options = {"reml": reml, "names": read.names, **analysis}
    return LinearMixedModel(read.y, read.X, read.random, **options)


def generalized(
    formula: str,
    data: Any,
    likelihood: Callable[..., likelihoods.Terms],
    *columns: str,
    **analysis: Any,
) -> GeneralizedLinearMixedModel:
    """The generalised linear mixed model of a formula: see `GeneralizedLinearMixedModel`.

    likelihood: as in `padchol.likelihoods`, called with the response and the named columns of the
    data: `generalized("hits ~ x + (1 | g)", data, likelihoods.binomial, "trials")`. Further options
    are those of `padchol.analyze`. Needs formulaic.
    """
    read = frame(formula, data, columns)
    terms = likelihood(read.y, *(read.data[name].to_numpy(float) for name in columns))
    return GeneralizedLinearMixedModel(terms, read.X, read.random, names=read.names, **analysis)
