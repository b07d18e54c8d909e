"""Predictions of a fit, and what they are uncertain by.

    eta = X beta + offset + Z b            rows of the model's data, or of other data

With z^T the row of Z, v = Lambda^T z, H the precision of u given the data and the parameters, and c
= Lambda^T Z^T W X, the derivative of -u's gradient in beta (W the weights of the data, over sigma^2
in a linear model),

    Var = v^T H^-1 v + d^T C d,     d = x - c^T H^-1 v,     C the covariance of beta:

the uncertainty of beta and of the random effects given theta, which is Henderson's (1975,
Biometrics 31, 423-447) prediction error variance. New levels add x^T S x, S the covariance matrix
of their term. theta and sigma are taken as known, as lme4 takes them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from padchol.mixed.reading import Rows

COLUMNS = 64  # right-hand sides of one solve
NEW_LEVELS = ("error", "zero")
TYPES = ("link", "response")
SHOWN = 5  # new levels named in a message


class Spread(NamedTuple):
    """H^-1 v, and c."""

    solve: Callable[[Float[np.ndarray, "q k"]], Float[np.ndarray, "q k"]]
    cross: Float[np.ndarray, "q p"]


class Prediction(NamedTuple):
    """Values and their standard errors, one a row."""

    value: Float[np.ndarray, " n"]
    se: Float[np.ndarray, " n"]


def predict(
    fit: Any, data: Any, random: bool, new_levels: str, se: bool, type: str
) -> np.ndarray | Prediction:
    """See `Fit.predict`."""
    if type not in TYPES:
        raise ValueError(f"expected a type of {TYPES}; got {type!r}")
    rows = rows_of(fit, data, random, new_levels)
    eta = linear_predictor(fit, rows, random)
    at = fit.model.inference.response_at
    value, slope = (eta, 1.0) if type == "link" else at(fit.model, fit, eta, rows)
    if not se:
        return value
    return Prediction(value, np.sqrt(np.maximum(variances(fit, rows, random), 0)) * np.abs(slope))


def rows_of(fit: Any, data: Any, random: bool, new_levels: str) -> Rows:
    """The rows to predict. Raises `ValueError` for what cannot be read, and for new levels unless
    they are to be zero."""
    if new_levels not in NEW_LEVELS:
        raise ValueError(f"expected new_levels of {NEW_LEVELS}; got {new_levels!r}")
    if data is None:
        return fit.model.own_rows()
    if fit.model.reading is None:
        raise ValueError(
            "expected a model that was made from a formula, to read other data; this one was made "
            "from matrices"
        )
    rows = fit.model.reading.rows(data, random=random)
    for term, grouping, (_, code) in zip(
        fit.terms.terms, fit.model.reading.random, rows.random, strict=False
    ):
        new = np.flatnonzero(code < 0)
        if new.size and new_levels == "error":
            names = data[list(grouping.factors)].iloc[new].drop_duplicates().head(SHOWN)
            labels = [":".join(map(str, row)) for row in names.itertuples(index=False)]
            known = {str(v): v for v in term.labels.values.tolist()}
            alike = [v for v in names.iloc[:, 0].tolist() if str(v) in known]
            alike = alike if names.shape[1] == 1 else []
            raise ValueError(
                f"expected levels of {term.name} that the model knows; got {', '.join(labels)} in "
                f'{new.size} rows. new_levels="zero" takes their effects as zero'
                + "".join(f". The model knows {known[str(v)]!r}, not {v!r}" for v in alike[:1])
            )
    return rows


def linear_predictor(fit: Any, rows: Rows, random: bool) -> Float[np.ndarray, " n"]:
    """eta; the effects of new levels are zero."""
    eta = rows.X @ fit.beta + rows.offset
    if not random:
        return eta
    for term, (x, code) in zip(fit.terms.terms, rows.random, strict=True):
        b = np.asarray(fit.effects[term.name])
        eta = eta + np.sum(x * np.where(code[:, None] < 0, 0.0, b[code]), 1)
    return eta


def variances(fit: Any, rows: Rows, random: bool) -> Float[np.ndarray, " n"]:
    """Of eta. Cost: a solve for each row whose random effects take part."""
    if not random:
        return np.einsum("ni,ij,nj->n", rows.X, fit.covariance, rows.X)
    spread, n = fit.model.inference.spread(fit.model, fit), len(rows.X)
    found = np.zeros(n)
    for first in range(0, n, COLUMNS):
        at = slice(first, min(first + COLUMNS, n))
        v = _columns(fit, rows, at)
        solved = spread.solve(v)[:, : at.stop - at.start]
        v = v[:, : at.stop - at.start]
        d = rows.X[at] - solved.T @ spread.cross
        found[at] = np.sum(v * solved, 0) + np.einsum("ni,ij,nj->n", d, fit.covariance, d)
    for term, (x, code) in zip(fit.terms.terms, rows.random, strict=True):
        new = code < 0
        S = fit.random_covariance(term.name)
        found[new] += np.einsum("ni,ij,nj->n", x[new], S, x[new])
    return found


def _columns(fit: Any, rows: Rows, at: slice) -> Float[np.ndarray, "q columns"]:
    """Lambda^T z of some rows, COLUMNS of them, zero beyond the last."""
    v = np.zeros((fit.terms.q, COLUMNS))
    for term, (x, code) in zip(fit.terms.terms, rows.random, strict=True):
        x, code = x[at], code[at]
        known = np.flatnonzero(code >= 0)
        T = np.asarray(term.factor(jnp.asarray(fit.theta)))
        where = term.start + term.p * code[known][:, None] + np.arange(term.p)
        v[where, known[:, None]] = x[known] @ T
    return v


@eqx.filter_jit
def solved(factor: Any, v: Array) -> Array:
    return factor.solve(v)
