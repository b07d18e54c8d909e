"""Many fits of one model in one batch: to simulated responses, as a parametric bootstrap needs.

Every refit begins at the estimates of the first fit, with its Hessian, and minimises the deviance
by the BFGS method (Nocedal & Wright 2006, Numerical Optimization, section 6.1) with halved steps.
All of it is one compiled loop over responses; nothing of it is compiled again for others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float

from padchol.mixed.objective import ENOUGH, positive_inverse, standardised

AWAY = 0.3  # where diagonals of T begin that were estimated as zero, a stationary point
SUFFICIENT = 1e-4  # part of the predicted decrease that a step must bring (Armijo 1966)
SHORTER = 0.3  # what is left of a step that does not
EVALUATIONS = 300  # of a refit, at most
SHORTEST = 1e-9  # part of a step at which a refit gives up


class Refits(NamedTuple):
    """Estimates of each refit, one a row; NaN in all of a row whose search found no number.

    `converged`: the BFGS method expects no decrease beyond 1e-6 of the deviance. Unlike a `fit`, a
    refit does not look around for another minimum.
    """

    theta: Float[np.ndarray, "refits theta"]
    beta: Float[np.ndarray, "refits p"]
    sigma: Float[np.ndarray, " refits"] | None  # None where the model has no residual variance
    deviance: Float[np.ndarray, " refits"]
    converged: Bool[np.ndarray, " refits"]
    extra: Float[np.ndarray, "refits extra"] | None = None  # the likelihood's own parameters


def begin(x: np.ndarray, even: np.ndarray, H: np.ndarray | None) -> tuple[Array, Array]:
    """Where refits begin, and the inverse Hessian there: of its eigenvalues, made positive."""
    x = np.where(even & (np.abs(x) < AWAY / 3), AWAY, x)
    H = np.eye(x.size) if H is None or not np.isfinite(H).all() else np.asarray(H)
    scale, values, vectors = standardised(H)
    return jnp.asarray(x), jnp.asarray(positive_inverse(values, vectors) / scale[:, None] / scale)


class _State(NamedTuple):
    x: Array
    value: Array
    gradient: Array
    aux: Any
    inverse: Array
    direction: Array
    t: Array
    left: Array  # decrease still expected
    count: Array


def descend(f: Callable, x: Array, inverse: Array) -> tuple[Array, Array, Any, Array]:
    """(x, value, aux, converged) at a minimum of f, which gives ((value, aux), gradient).

    f stands in the program once: a step, its halving and the first value are one loop.
    """
    (value, aux), gradient = jax.eval_shape(f, x)
    aux = jax.tree.map(lambda leaf: jnp.full(leaf.shape, jnp.nan, leaf.dtype), aux)
    first = jnp.zeros(gradient.shape, gradient.dtype)
    big = jnp.asarray(jnp.inf, value.dtype)
    start = _State(x, big, first, aux, inverse, first, jnp.ones_like(big), big, jnp.asarray(0))

    def going(at: _State) -> Array:
        return (at.left > ENOUGH) & (at.t > SHORTEST) & (at.count < EVALUATIONS)

    def one(at: _State) -> _State:
        x = at.x + at.t * at.direction
        (value, aux), gradient = f(x)
        fine = jnp.isfinite(value) & jnp.all(jnp.isfinite(gradient))
        fine = fine & (value <= at.value + SUFFICIENT * at.t * (at.gradient @ at.direction))
        inverse = _updated(at.inverse, x - at.x, gradient - at.gradient)
        direction = -inverse @ gradient
        there = _State(
            x, value, gradient, aux, inverse, direction, jnp.ones_like(at.t),
            -(gradient @ direction) / 2, at.count + 1,
        )  # fmt: skip
        here = at._replace(t=SHORTER * at.t, count=at.count + 1)
        return jax.tree.map(lambda a, b: jnp.where(fine, a, b), there, here)

    end = lax.while_loop(going, one, start)
    return end.x, end.value, end.aux, end.left <= ENOUGH


def _updated(inverse: Array, s: Array, y: Array) -> Array:
    """The inverse Hessian after a step s that changed the gradient by y (their 6.17); as it was
    where the curvature along the step is not positive."""
    sy = s @ y
    fine = sy > 1e-10 * jnp.linalg.norm(s) * jnp.linalg.norm(y)
    V = jnp.eye(s.size) - jnp.outer(s, y) / jnp.where(fine, sy, 1.0)
    return jnp.where(fine, V @ inverse @ V.T + jnp.outer(s, s) / jnp.where(fine, sy, 1.0), inverse)


@eqx.filter_jit
def refit_all(model: Any, responses: Any, x: Array, inverse: Array, unit: Array) -> Any:
    """(x, deviance, aux, converged) of the model refitted to each of the responses, their first
    axis; `model.given(response)` is the model with another response, `objective` its deviance."""

    def one(response):
        given = model.given(response)
        f = jax.value_and_grad(lambda x: given.objective(unit * x), has_aux=True)
        return descend(f, x, inverse)

    return lax.map(one, responses)


def responses_of(fit: Any, key: Array, n: int) -> tuple[Any, Array]:
    """(what `model.given` takes, the responses alone), n of each along the first axis."""
    if not hasattr(key, "dtype"):
        raise TypeError(f"expected a JAX key, such as jax.random.key(0); got {key!r}")
    sigma = jnp.asarray(1.0 if fit.sigma is None else fit.sigma)
    extra = [jnp.asarray(part.parameters) for part in fit.extras]
    estimates = jnp.asarray(fit.theta), jnp.asarray(fit.beta), sigma, *extra
    return _simulate_all(fit.model, jax.random.split(key, n), *estimates)


@eqx.filter_jit
def _simulate_all(model: Any, keys: Array, *estimates: Array) -> tuple[Any, Array]:
    drawn = jax.vmap(lambda key: model.simulated(key, *estimates))(keys)
    return drawn, jax.vmap(model.response)(drawn)
