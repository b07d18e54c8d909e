"""What follows from the fit of a linear model: predictions, variances, and its likelihood over all
parameters, for `padchol.mixed.predict`, `conditional` and `intervals`."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from padchol.factor import Factor
from padchol.mixed import basis
from padchol.mixed.predict import Spread, solved
from padchol.mixed.reading import Rows
from padchol.mixed.surface import Surface, kinds_of, of_terms, with_jacobian

if TYPE_CHECKING:
    from padchol.mixed.lmm import LinearMixedModel
    from padchol.mixed.report import Fit


def own_rows(model: LinearMixedModel) -> Rows:
    """The rows of the data, in the user's units."""
    data = model.data
    assert data is not None
    root = data.root[:, None]
    terms = zip(data.rows, model.bases, data.codes, strict=True)
    return Rows(data.Q @ model.U / root, [(x @ R / root, c) for x, R, c in terms], data.offset, {})


def response_at(
    model: LinearMixedModel, fit: Fit, eta: np.ndarray, rows: Rows
) -> tuple[np.ndarray, float]:
    """E[y] and its derivative in eta."""
    del model, fit, rows
    return eta, 1.0


def conditional(model: LinearMixedModel, fit: Fit) -> tuple[Factor, float]:
    """The factor of A, and sigma^2: sigma^2 A^-1 is the covariance of u given y."""
    return factored(model, fit.theta).factor, (fit.sigma or 1.0) ** 2


def by_maximum_likelihood(model: LinearMixedModel, fit: Fit) -> Fit:
    """The fit itself, or that of its model by maximum likelihood where it was by REML."""
    if not model.reml:
        return fit
    model = copy.copy(model)
    object.__setattr__(model, "reml", False)  # the copy is nobody else's yet
    return model.fit(start=fit.theta)


def of_response(model: LinearMixedModel, y: np.ndarray) -> LinearMixedModel:
    """The model of another response, from the same first theta."""
    data = model.data
    assert data is not None
    found = jax.tree.map(np.asarray, model.given(jnp.asarray(y)))
    return eqx.tree_at(lambda m: m.data.y, found, y)


def spread(model: LinearMixedModel, fit: Fit) -> Spread:
    """sigma^2 A^-1 v, and Lambda^T Z^T W X / sigma^2 in the user's units."""
    at = factored(model, fit.theta)
    variance = (fit.sigma or 1.0) ** 2
    cross = np.asarray(at.R)[:, : model.p] @ model.U / variance
    return Spread(lambda v: variance * np.asarray(solved(at.factor, jnp.asarray(v))), cross)


def factored(model: LinearMixedModel, theta: Any) -> Any:
    """The `Profile` at theta, compiled."""
    return _profile(model.without_data(), jnp.asarray(theta))


@eqx.filter_jit
def _profile(model: LinearMixedModel, theta: Array) -> Any:
    return model.profile(theta)


class _Deviance(eqx.Module):
    """x = (theta~, log sigma, c) to -2 log p(y)."""

    model: Any

    def __call__(self, x: Array) -> Array:
        k = self.model.effects.n_theta
        return self.model.profile(x[:k]).deviance(jnp.exp(x[k]), x[k + 1 :])


class _Quantities(eqx.Module):
    """x to what is reported: see `padchol.mixed.surface`."""

    model: Any

    def __call__(self, x: Array) -> Array:
        m, k = self.model, self.model.effects.n_theta
        parts = of_terms(m.effects, m.bases, x[:k], jnp.exp(x[k]))
        c = jnp.asarray(m.unit) * (jnp.asarray(m.ols) + x[k + 1 :])
        beta = jax.scipy.linalg.solve_triangular(jnp.asarray(m.U), c)
        return jnp.concatenate([jnp.stack([*parts, x[k]]), beta])


@eqx.filter_jit
def _value_and_grad(f: Any, x: Array) -> tuple[Array, Array]:
    return jax.value_and_grad(f)(x)


def surface(model: LinearMixedModel, fit: Fit) -> Surface:
    """The likelihood of a fit by maximum likelihood, over all parameters."""
    theta = basis.to_standard(model.effects, model.bases, fit.theta)
    c = model.U @ fit.beta / model.unit - model.ols
    f = _Deviance(model.standard())
    return Surface(
        lambda x: _value_and_grad(f, jnp.asarray(x, float)),
        with_jacobian(_Quantities(model.without_data())),
        (*model.effects.names, "sigma", *model.names),
        (*kinds_of(model.effects), "scale", *("coefficient" for _ in model.names)),
        np.concatenate([theta, [np.log(fit.sigma or 1.0)], c]),
        fit.deviance,
    )
