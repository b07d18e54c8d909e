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

from padchol import likelihoods
from padchol.analysis import analyze
from padchol.mixed.columns import numbers_of
from padchol.mixed.formula import frame
from padchol.mixed.glmm import GeneralizedLinearMixedModel
from padchol.mixed.levels import Levels
from padchol.mixed.lmm import LinearMixedModel, Solution
from padchol.mixed.report import Fit
from padchol.mixed.syntax import INSTEAD_OF_OFFSET
from padchol.mixed.terms import Random

__all__ = [
    "Fit",
    "GeneralizedLinearMixedModel",
    "Levels",
    "LinearMixedModel",
    "Random",
    "Solution",
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
    **analysis: Any,
) -> LinearMixedModel:
    """The linear mixed model of a formula: see `LinearMixedModel` and `padchol.mixed.formula`.

    data: a pandas DataFrame. Rows with missing values are left out. Columns of X, or of a term,
    that depend on those before them (an interaction without observations in one cell) are an error
    that names them, or with `drop` are dropped, the later ones first, as in R. `notes` of the model
    and its fits say in words what was left out. `weights` and `offset` are not supported yet.
    Further options are those of `padchol.analyze`. Needs formulaic.
    """
    _not_yet(weights=weights, offset=offset)
    _check_options(analysis)
    read = frame(formula, data, drop=drop, labels=False)
    options = {"reml": reml, "names": read.names, "notes": read.notes, **analysis}
    return LinearMixedModel(read.y, read.X, read.random, **options)


def generalized(
    formula: str,
    data: Any,
    likelihood: Callable[..., likelihoods.Terms],
    *columns: str,
    drop: bool = False,
    weights: Any = None,
    offset: Any = None,
    **analysis: Any,
) -> GeneralizedLinearMixedModel:
    """The generalised linear mixed model of a formula: see `GeneralizedLinearMixedModel`.

    likelihood: as in `padchol.likelihoods`, called with the response and the named columns of the
    data: `generalized("hits ~ x + (1 | g)", data, likelihoods.binomial, "trials")`. A response of
    two labels becomes 0 and 1; success is the second, as sorted or in the order of the categorical.
    `drop`, `notes` and further options are as in `linear`. Needs formulaic.
    """
    _not_yet(weights=weights, offset=offset)
    _check_options(analysis)
    if not callable(likelihood) or not all(isinstance(name, str) for name in columns):
        raise TypeError(
            "expected a likelihood such as padchol.likelihoods.poisson, and after it names of "
            f"columns; got {(likelihood, *columns)!r}"
        )
    counts = (likelihoods.gaussian, likelihoods.poisson, likelihoods.gamma, likelihoods.weibull)
    read = frame(formula, data, columns, drop=drop, labels=likelihood not in counts)
    terms = likelihood(read.y, *(numbers_of(read.data, name) for name in columns))
    options = {"names": read.names, "notes": read.notes, **analysis}
    return GeneralizedLinearMixedModel(terms, read.X, read.random, **options)


def _not_yet(**given: Any) -> None:
    """Raises `NotImplementedError` for what comes with a later version."""
    if given["weights"] is not None:
        raise NotImplementedError(
            "weights= is not supported yet. Meanwhile: in a linear model multiply y, X and the x "
            "of each Random by sqrt(weights) and give them to padchol.mixed.LinearMixedModel (its "
            "deviance then lacks the constant -sum(log(weights))); in a generalised one multiply "
            "the terms in a likelihood of your own that takes the column, or name the column of "
            "trials of a binomial"
        )
    if given["offset"] is not None:
        raise NotImplementedError(f"offset= is not supported yet. {INSTEAD_OF_OFFSET}")


def _check_options(options: dict[str, Any]) -> None:
    known = [*inspect.signature(analyze).parameters][1:]
    known.remove("lower")
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise TypeError(
            f"unknown options {unknown}; there are reml (of linear), drop, and those of "
            f"padchol.analyze: {', '.join(known)}"
        )
