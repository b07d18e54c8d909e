"""Random effects given the data: their means, and covariance matrices of each level.

    Var(b | y) = Lambda H^-1 Lambda^T      given theta, beta and sigma, as lme4's `condVar`

of which the (p, p) block of a level is on the pattern of H, as its columns meet in every row of the
level: one selected inverse has them all.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


class Ranef(NamedTuple):
    """Of each term a DataFrame of conditional means (levels, p), and covariances (levels, p, p)."""

    effects: dict[str, Any]
    variances: dict[str, Float[np.ndarray, "levels p p"]]


def means(fit: Any) -> dict[str, Any]:
    """A DataFrame for each term, its rows named by the levels."""
    import pandas

    return {
        term.name: pandas.DataFrame(
            np.asarray(fit.effects[term.name]),
            index=pandas.Index(term.labels.values, name=term.name),
            columns=pandas.Index(term.columns),
        )
        for term in fit.terms.terms
    }


def covariances(fit: Any) -> dict[str, Float[np.ndarray, "levels p p"]]:
    """The blocks of Lambda H^-1 Lambda^T. Cost: one selected inverse."""
    factor, scale = fit.model.inference.conditional(fit.model, fit)
    Z = np.asarray(_selected(factor)) * scale
    plan = factor.plan
    keys = np.asarray(plan.cols, np.int64) * plan.n + np.asarray(plan.rows, np.int64)
    found = {}
    for term in fit.terms.terms:
        T = np.asarray(term.factor(jnp.asarray(fit.theta)))
        first = term.start + term.p * np.arange(term.levels)
        block = np.zeros((term.levels, term.p, term.p))
        for j, i in zip(*np.triu_indices(term.p), strict=True):
            at = np.searchsorted(keys, (first + j) * plan.n + first + i)
            block[:, i, j] = block[:, j, i] = Z[at]
        found[term.name] = T @ block @ T.T
    return found


@eqx.filter_jit
def _selected(factor: Any) -> Array:
    return factor.selected_inverse()
