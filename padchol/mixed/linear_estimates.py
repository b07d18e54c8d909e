"""The fit of a linear model: its search, what is said of its end, and what follows from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from padchol.mixed import basis
from padchol.mixed.boundary import ZERO, explained, settled, singular
from padchol.mixed.optimise import Minimum, minimise
from padchol.mixed.refit import Refits, begin, refit_all
from padchol.mixed.report import Fit

if TYPE_CHECKING:
    from padchol.mixed.lmm import LinearMixedModel
    from padchol.mixed.profile import Solution

# r^2 is a difference, and has lost nine of sixteen digits where sigma is this part of the deviation
# of y. Measured for n = 300: the deviance is off by 1e-5 at 1e-4, by 1e-4 at 1e-5.
EXHAUSTED = 3e-5
# Flops of a factorisation from which a program without the gradient, 1 s to compile, is
# worth its while: InstEval has 2e8, its deviance takes 65 ms, and with the gradient 160 ms.
LARGE = 2e7
SIZES = (0.0, 0.25, 4.0)  # multiples of a term's T that are tried from the end of a search


def fit(model: LinearMixedModel, start: Any, **options: Any) -> Fit:
    """See `LinearMixedModel.fit`."""
    from padchol.mixed.lmm import evaluated

    inside, first = model.standard(), model.first
    large = model.plan.stats["flops"] > LARGE
    if start is not None:
        start = np.asarray(model.effects.check(start))
        first = basis.to_standard(model.effects, model.bases, start)

    def value_and_grad(x: Any) -> tuple[Any, Any]:
        (value, _), gradient = evaluated(inside, jnp.asarray(x))
        return value, gradient

    found = minimise(
        value_and_grad, first, model.effects.on_diagonal,
        others=lambda x: basis.neighbours(model.effects, x, SIZES),
        value_alone=(lambda x: _solution(inside, x).deviance) if large else None,
        **options,
    )  # fmt: skip
    found = explained(model.effects, settled(model.effects, found, value_and_grad))
    theta = basis.to_user(model.effects, model.bases, found.x)
    ending = model.without_data(), jnp.asarray(theta)
    at = _solution(*ending) if large else evaluated(*ending)[0][1]
    if not at.sigma > EXHAUSTED * model.unit:
        found = found._replace(converged=False, message=_exhausted(float(at.sigma)))
    return _report(model, found, theta, jax.tree.map(np.asarray, at))


@eqx.filter_jit
def _solution(model: LinearMixedModel, theta: Array) -> Solution:
    return model.solution(theta)


def refits(model: LinearMixedModel, fit: Fit, responses: Float[Array, "refits n"]) -> Refits:
    """The model fitted to other responses, from the estimates of its fit."""
    x, inverse = begin(fit.minimum.x, model.effects.on_diagonal, fit.minimum.curvature)
    inside = eqx.tree_at(lambda m: m.bases, model, basis.identities(model.bases))
    found = refit_all(inside, responses, x, inverse, jnp.ones(()))
    x, deviance, (beta, sigma), converged = jax.tree.map(np.asarray, found)
    theta = np.stack([basis.to_user(model.effects, model.bases, each) for each in x])
    return Refits(theta, beta, sigma, deviance, converged)


def theta_covariance(model: LinearMixedModel, theta: Any) -> Float[np.ndarray, "theta theta"]:
    """2 H^-1, H the Hessian of the profiled deviance: the large-sample covariance of theta.

    NaN where H is not positive definite, and where a covariance matrix is singular: on the boundary
    there is no such approximation. H is formed and inverted in the standard basis: there
    d(theta(theta~)) has the Hessian J^T H J + sum_k (dd / dtheta_k) theta_k'', J the Jacobian of
    theta(theta~).
    """
    theta = np.asarray(theta)
    nothing = np.full((theta.size, theta.size), np.nan)
    if not np.isfinite(theta).all():
        return nothing
    within = basis.to_standard(model.effects, model.bases, theta)
    if not np.all(within[model.effects.on_diagonal] > ZERO):
        return nothing
    inside = model.standard()
    slope = np.asarray(inside.value_and_grad(within)[1])
    J, bend = basis.user_jacobian(model.effects, model.bases, within, slope)
    H = np.asarray(_hessian(inside, jnp.asarray(within))) - bend
    if np.isfinite(H).all() and np.linalg.eigvalsh(H).min(initial=np.inf) > 0:
        return 2 * J @ np.linalg.solve(H, J.T)
    return nothing


@eqx.filter_jit
def _hessian(model: LinearMixedModel, theta: Array) -> Array:
    return jax.hessian(model.deviance)(theta)


def _exhausted(sigma: float) -> str:
    return (
        f"the random effects fit the response: sigma {sigma:.2g} is less than {EXHAUSTED:.0e} of "
        "the response's deviation, where the deviance has lost its digits or falls without end"
    )


def _report(model: LinearMixedModel, found: Minimum, theta: np.ndarray, at: Any) -> Fit:
    return Fit(
        theta=theta,
        theta_names=model.effects.names,
        beta=at.beta,
        names=model.names,
        covariance=at.covariance,
        sigma=float(at.sigma),
        deviance=float(at.deviance),
        effects=model.effects.split(at.b),
        terms=model.effects,
        criterion="REML criterion" if model.reml else "deviance",
        n=model.n,
        notes=model.notes,
        minimum=found,
        singular=singular(model.effects, found.x),
        model=model,
    )
