"""What follows from the fit of a generalised model: predictions, variances, and its likelihood over
all parameters, for `padchol.mixed.predict`, `conditional` and `intervals`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jaxtyping import Array, Float

from padchol.factor import Factor
from padchol.mixed.families.family import Observed
from padchol.mixed.held import hold
from padchol.mixed.predict import Spread, solved
from padchol.mixed.reading import Rows
from padchol.mixed.surface import Surface, kinds_of, of_terms, with_jacobian
from padchol.mixed.terms import design_matrix

if TYPE_CHECKING:
    from padchol.mixed.glmm import GeneralizedLinearMixedModel
    from padchol.mixed.report import Fit


def parameters_of(fit: Fit) -> np.ndarray:
    """(theta, beta, extra)"""
    return np.concatenate([fit.theta, fit.beta, *(part.parameters for part in fit.extras)])


def own_rows(model: GeneralizedLinearMixedModel) -> Rows:
    """The rows of the data, in the user's units."""
    terms = zip(model.rows, model.bases, model.codes, strict=True)
    offset = 0.0 if model.offset is None else model.offset
    parts = {part.formula: part.Q @ part.U for part in model.parts if part.formula}
    return Rows(model.X, [(x @ R, code) for x, R, code in terms], offset, parts)


def of_response(model: GeneralizedLinearMixedModel, y: np.ndarray) -> GeneralizedLinearMixedModel:
    """The model of another response, which its likelihood must be able to have."""
    whole = model.terms.whole()
    if isinstance(whole, Observed):
        old = whole.data
        new = whole.family.data(y, old.trials, old.weights, whole.zero)
        whole = eqx.tree_at(lambda observed: observed.data, whole, new)
    elif hasattr(whole, "y"):
        whole = eqx.tree_at(lambda likelihood: likelihood.y, whole, jnp.asarray(y))
    else:
        raise TypeError(
            f"expected a likelihood that has its response as y; got {type(whole).__name__}"
        )
    return eqx.tree_at(lambda m: m.terms, model, hold(whole))


def conditional(model: GeneralizedLinearMixedModel, fit: Fit) -> tuple[Factor, float]:
    """The factor of H, the precision of u at its mode."""
    return _at_mode(model, jnp.asarray(parameters_of(fit)))[0], 1.0


def spread(model: GeneralizedLinearMixedModel, fit: Fit) -> Spread:
    """H^-1 v, and Lambda^T Z^T W X."""
    factor, W = _at_mode(model, jnp.asarray(parameters_of(fit)))
    rows = model.own_rows()
    factors = model.effects.factors(jnp.asarray(fit.theta))
    scaled = [x @ np.asarray(T) for (x, _), T in zip(rows.random, factors, strict=True)]
    codes = [code for _, code in rows.random]
    Z = sp.csr_array(design_matrix(model.effects, scaled, codes, len(rows.X)))
    cross = Z.T @ (np.asarray(W)[:, None] * rows.X)
    return Spread(lambda v: np.asarray(solved(factor, jnp.asarray(v))), cross)


@eqx.filter_jit
def _at_mode(model: GeneralizedLinearMixedModel, x: Array) -> tuple[Factor, Array]:
    at = model.laplace(x)
    return at.factor, at.problem.weights(at.design(at.mode))


def response_at(
    model: GeneralizedLinearMixedModel, fit: Fit, eta: np.ndarray, rows: Rows
) -> tuple[np.ndarray, np.ndarray]:
    """E[y], of one trial of a binomial, and its derivative in eta."""
    terms = model.terms.whole()
    if model.has_family:
        predictors = []
        for each, part in zip(model.parts, fit.extras, strict=True):
            c, X = jnp.asarray(part.parameters), rows.parts.get(each.formula)
            constant = X is None or len(each.Q) == 1
            predictors.append(each(c) if constant else jnp.asarray(X) @ c)
        mean = lambda eta: terms.mean(eta, *predictors)
    else:
        if len(eta) != len(model.Q) or not hasattr(terms, "mean"):
            raise ValueError(
                'expected a family of padchol.mixed.families for type="response" of other data; '
                f"got the likelihood {type(terms).__name__}, whose data are the model's own"
            )
        trials = getattr(terms, "trials", 1.0)
        mean = lambda eta: terms.mean(eta) / trials
    at = jnp.asarray(eta)
    value, slope = jax.jvp(mean, (at,), (jnp.ones_like(at),))
    return np.asarray(value), np.asarray(slope)


class _Quantities(eqx.Module):
    """x to what is reported: see `padchol.mixed.surface`."""

    model: Any
    units: Any

    def __call__(self, x: Array) -> Array:
        m, x = self.model, x * jnp.asarray(self.units)
        k = m.effects.n_theta
        found = [jnp.reshape(v, (1,)) for v in of_terms(m.effects, m.bases, x[:k], 1.0)]
        solve, at = jax.scipy.linalg.solve_triangular, k + len(m.names)
        found.append(solve(jnp.asarray(m.U), x[k:at]))
        for part in m.parts:
            c = solve(jnp.asarray(part.U), x[at : at + len(part.names)])
            found.append(c if part.shown is None else part.shown(c))
            at += len(part.names)
        return jnp.concatenate([jnp.zeros(0), *found])


def surface(model: GeneralizedLinearMixedModel, fit: Fit) -> Surface:
    """The likelihood over (theta, beta, extra)."""
    from padchol.mixed.estimates import Search

    parameters = parameters_of(fit)
    search = Search(model, parameters)
    names = (*model.effects.names, *fit.names, *fit.extra_names)
    kinds = kinds_of(model.effects)
    return Surface(
        search.value_and_grad,
        with_jacobian(_Quantities(model, search.units)),
        names,
        (*kinds, *("coefficient" for _ in names[len(kinds) :])),
        model.to_standard(parameters) / search.units,
        fit.deviance,
    )


def by_maximum_likelihood(model: GeneralizedLinearMixedModel, fit: Fit) -> Fit:
    """The fit itself: there is no other criterion."""
    del model
    return fit


def observed(model: GeneralizedLinearMixedModel) -> Float[np.ndarray, " n"]:
    """y, as the likelihood has it: successes of a binomial."""
    return np.asarray(model.terms.whole().y)
