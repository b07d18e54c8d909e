"""Mixed models: random effects by sparse Cholesky on one plan, with formulas like lme4's.

    model = padchol.mixed.linear("Reaction ~ Days + (Days | Subject)", data)
    fit = model.fit()
    print(fit)

`model.deviance(theta)` is plain JAX: jit, grad, hessian.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from padchol.analysis import analyze
from padchol.mixed import families
from padchol.mixed.anova import anova
from padchol.mixed.families.models import of_family, of_likelihood
from padchol.mixed.formula import frame
from padchol.mixed.glmm import GeneralizedLinearMixedModel
from padchol.mixed.levels import Levels
from padchol.mixed.lmm import LinearMixedModel, Solution
from padchol.mixed.report import Fit
from padchol.mixed.terms import Random

__all__ = [
    "Fit",
    "GeneralizedLinearMixedModel",
    "Levels",
    "LinearMixedModel",
    "Random",
    "Solution",
    "anova",
    "families",
    "frame",
    "generalized",
    "linear",
]


def linear(
    formula: str,
    data: Any,
    *,
    reml: bool = False,
    drop: bool = False,
    weights: Any = None,
    offset: Any = None,
    precision: dict[str, Any] | None = None,
    **analysis: Any,
) -> LinearMixedModel:
    """The linear mixed model of a formula: see `LinearMixedModel` and `padchol.mixed.formula`.

    data: a pandas DataFrame. Rows with missing values are left out. Columns of X, or of a term,
    that depend on those before them (an interaction without observations in one cell) are an error
    that names them, or with `drop` are dropped, the later ones first, as in R. `notes` of the model
    and its fits say in words what was left out. weights: the residual variance of a row is sigma^2
    over its weight. offset: a known summand of the mean. Both are names of columns, or arrays with
    a number for each row of the data; `offset(x)` may stand in the formula. precision: for the
    group of a term (1 | g) what correlates its levels, `{"g": structures.Known(Q, labels)}`: see
    `padchol.mixed.structures`, also for terms as ar1(t | g). Further options are those of
    `padchol.analyze`. Needs formulaic.
    """
    _check_options(analysis)
    beside = {"weights": weights, "offset": offset, "precision": precision}
    read = frame(formula, data, drop=drop, labels=False, **beside)
    if read.trials is not None:
        raise ValueError(f"expected a response without trials in a linear model; got {formula!r}")
    options = {"reml": reml, "names": read.names, "notes": read.notes, "reading": read.reading}
    options |= {"weights": read.weights, "offset": read.offset, **analysis}
    return LinearMixedModel(read.y, read.X, read.random, **options)


def generalized(
    formula: str,
    data: Any,
    family: families.Family | Callable[..., Any] | str,
    *columns: str,
    drop: bool = False,
    weights: Any = None,
    offset: Any = None,
    precision: dict[str, Any] | None = None,
    nagq: int = 1,
    zero: str | None = None,
    dispersion: str | None = None,
    **analysis: Any,
) -> GeneralizedLinearMixedModel:
    """The generalised linear mixed model of a formula: see `GeneralizedLinearMixedModel`.

    family: of `padchol.mixed.families`, or its name; its parameters are estimated with the others.
    zero: a formula "~ x" of the logit of the probability of zeros, beside those of the law, or all
    of them where the law has none (truncated counts, gamma, beta: hurdles). dispersion: a formula
    of the logarithm of the family's phi. nagq: nodes of adaptive quadrature for a model with one
    term (1 | g); 1 is Laplace's approximation. weights multiply the log-likelihood of a row; those
    of a gaussian divide its variance, and those of a binomial whose response are proportions are
    the trials. offset, weights: names of columns, or arrays; `offset(x)` may stand in the formula,
    and `successes | trials` on its left side.

    Or a likelihood of `padchol.likelihoods`, called with the response and the named columns of the
    data: `generalized("hits ~ x + (1 | g)", data, likelihoods.binomial, "trials")`.

    A response of two labels becomes 0 and 1; success is the second, as sorted or in the order of
    the categorical. `drop`, `notes` and further options are as in `linear`. Needs formulaic.
    """
    _check_options(analysis)
    found = families.family_of(family)
    reading = {"drop": drop, "weights": weights, "offset": offset, "precision": precision}
    if found is not None and not columns:
        options = {"zero": zero, "dispersion": dispersion, "nagq": nagq, **analysis}
        return of_family(formula, data, found, reading=reading, **options)
    if found is not None or zero is not None or dispersion is not None:
        raise TypeError(
            "expected zero= and dispersion= with a family of padchol.mixed.families, and names of "
            f"columns with a likelihood of padchol.likelihoods; got {(family, *columns)!r}"
        )
    likelihood: Any = family
    return of_likelihood(formula, data, likelihood, columns, reading=reading, nagq=nagq, **analysis)


def _check_options(options: dict[str, Any]) -> None:
    known = [*inspect.signature(analyze).parameters][1:]
    known.remove("lower")
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise TypeError(
            f"unknown options {unknown}; there are reml (of linear), drop, and those of "
            f"padchol.analyze: {', '.join(known)}"
        )
