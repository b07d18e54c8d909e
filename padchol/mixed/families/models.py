"""Models of a formula: of a family, or of a likelihood of `padchol.likelihoods`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from padchol import likelihoods
from padchol.mixed.columns import listed, numbers_of
from padchol.mixed.families.family import Family
from padchol.mixed.formula import frame, split
from padchol.mixed.glmm import GeneralizedLinearMixedModel
from padchol.mixed.variables import response_column

NUMBERS = (likelihoods.gaussian, likelihoods.poisson, likelihoods.gamma, likelihoods.weibull)


def of_family(
    formula: str,
    data: Any,
    family: Family,
    *,
    zero: str | None,
    dispersion: str | None,
    reading: dict[str, Any],
    **options: Any,
) -> GeneralizedLinearMixedModel:
    """reading: options of `frame`; further ones are the model's."""
    notes: list[str] = []
    if family.name == "ordinal":
        data, family, notes = _categories(formula, data, family)
    further = {"zero": zero, "dispersion": dispersion}
    parts = {what: text for what, text in further.items() if text is not None}
    labels = family.name == "binomial"
    read = frame(formula, data, parts=parts, labels=labels, **reading)
    rows = family.data(read.y, read.trials, read.weights, zero is not None)
    terms, predictors = family.model(rows, *(read.parts.get(what) for what in further))
    X, names = read.X, read.names
    if not family.intercept and "Intercept" in names:
        keep = [k for k, name in enumerate(names) if name != "Intercept"]
        X, names = X[:, keep], tuple(names[k] for k in keep)
        kept = np.arange(len(read.names)) if read.reading.X.kept is None else read.reading.X.kept
        read.reading.X = read.reading.X._replace(names=names, kept=tuple(kept[k] for k in keep))
    return GeneralizedLinearMixedModel(
        terms, X, read.random, parts=predictors, offset=read.offset, names=names,
        notes=(*notes, *read.notes), reading=read.reading, **options,
    )  # fmt: skip


def of_likelihood(
    formula: str,
    data: Any,
    likelihood: Callable[..., likelihoods.Terms],
    columns: Sequence[str],
    *,
    reading: dict[str, Any],
    **options: Any,
) -> GeneralizedLinearMixedModel:
    """reading: options of `frame`; further ones are the model's. Weights multiply the terms."""
    if not callable(likelihood) or not all(isinstance(name, str) for name in columns):
        raise TypeError(
            "expected a family such as padchol.mixed.families.poisson, or a likelihood such as "
            "padchol.likelihoods.poisson and after it names of columns; got "
            f"{(likelihood, *columns)!r}"
        )
    read = frame(formula, data, columns, labels=likelihood not in NUMBERS, **reading)
    if read.trials is not None:
        raise ValueError(
            "expected the response successes | trials with the family binomial of "
            "padchol.mixed.families; a likelihood takes the trials as the name of a column"
        )
    terms = likelihood(read.y, *(numbers_of(read.data, name) for name in columns))
    if read.weights is not None:
        terms = _weighted(terms, read.weights)
    return GeneralizedLinearMixedModel(
        terms, read.X, read.random, offset=read.offset, names=read.names, notes=read.notes,
        reading=read.reading, **options,
    )  # fmt: skip


def _weighted(terms: likelihoods.Terms, weights: np.ndarray) -> likelihoods.Terms:
    if isinstance(terms, likelihoods.Likelihood):
        return likelihoods.weighted(terms, weights)
    return lambda eta: jnp.asarray(weights) * terms(eta)


def _categories(formula: str, data: Any, family: Family) -> tuple[Any, Family, list[str]]:
    """The data with the codes 0, 1, ... of an ordered response, the family with the names of its
    categories, and in words their order: of a categorical its own, otherwise as they sort."""
    import pandas

    name = response_column(split(formula)[0])
    if name is None or not isinstance(data, pandas.DataFrame) or name not in data.columns:
        return data, family, []  # to be refused, or read, by `frame`
    made: Any = pandas.Categorical(data[name]).remove_unused_categories()
    codes = np.where(made.codes < 0, np.nan, made.codes)
    labels = tuple(str(label) for label in made.categories)
    order = f"response {name}: the categories in order are {listed(labels, 12)}"
    data = data.assign(**{name: codes})
    return data, dataclasses.replace(family, labels=labels), [order]
