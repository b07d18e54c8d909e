"""The posterior that `integrate` gives: mixtures over the integration points."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from padchol.inla._combination import combination
from padchol.inla._criteria import Criteria, Terms, criteria
from padchol.inla._evaluation import Approximation, Evaluated, Evaluator, fitted
from padchol.inla._hyper import Weighted, function_of
from padchol.inla._marginals import Marginals
from padchol.inla._skewness import Skewness
from padchol.numeric.values import as_shape

DRAWS = 64  # of the latent field at a time


class Posterior:
    """What is known of theta, x and eta given y; made by `integrate`.

    mode (p,), mode_covariance (p, p): of theta, by the curvature of log p(theta | y) there.
    points (k, p), weights (k,): of the integration, weights sum to one. log_evidence: log p(y).
    converged, message: whether all was found, and what was not; results are then NaN. Where the
    density of theta has a tail so heavy that it was cut, the message says so.
    hyper: the marginals of theta. Everything else is computed when it is asked for, and kept.
    """

    mode: Float[np.ndarray, " p"]
    mode_covariance: Float[np.ndarray, "p p"]
    points: Float[np.ndarray, "k p"]
    weights: Float[np.ndarray, " k"]
    log_evidence: float
    converged: bool
    message: str
    hyper: Weighted

    def __init__(
        self,
        approximation: Approximation,
        devices: int,
        corrected: str,
        found: Evaluated,
        **facts: Any,
    ):
        self._approximation, self._found = approximation, found
        self._devices, self._corrected = devices, corrected
        for name, value in facts.items():
            setattr(self, name, value)

    def __repr__(self) -> str:
        if not self.converged:
            return f"Posterior(converged=False, {self.message!r})"
        theta = ", ".join(
            f"{m:.4g} ({s:.2g})" for m, s in zip(self.hyper.mean, self.hyper.sd, strict=True)
        )
        return (
            f"Posterior(theta {theta}, log_evidence {self.log_evidence:.6g}, {len(self.points)} "
            f"points, {self._found.mean.shape[1]} latent, {self._found.predictor_mean.shape[1]} "
            "observations)"
        )

    def hyper_of(self, f: Callable[[Array], Any]) -> Weighted:
        """The marginals of f(theta), f a JAX function to a number or a vector."""
        return function_of(self.hyper, f)

    @functools.cached_property
    def latent(self) -> Marginals:
        """Of x (n,)."""
        skewness = lambda: self._skewness[0]
        return Marginals(self.weights, self._found.mean, self._found.sd, skewness, self._corrected)

    @functools.cached_property
    def predictor(self) -> Marginals:
        """Of eta = B x (m,)."""
        skewness = lambda: self._skewness[1]
        found = self._found
        return Marginals(
            self.weights, found.predictor_mean, found.predictor_sd, skewness, self._corrected
        )

    def combination(self, A: Any) -> Marginals:
        """Of A x, A (m, n) or (n,), scipy sparse or dense: contrasts, or predictions at new points
        by the rows that a design has for them. Normal components. Cost: a solve for each row at
        each integration point."""
        f, m = combination(self._approximation, A, self._found.mean.shape[1])
        mean, sd = self._at_points(f, (self._thetas, self._found.mean))
        none = lambda: np.zeros((len(self.weights), m))
        return Marginals(self.weights, mean[:, :m], sd[:, :m], none, "gaussian")

    def sample(self, key: Array, shape: int | Sequence[int] = ()) -> tuple[Array, Array]:
        """(theta (*shape, p), x (*shape, n)): draws of an integration point by its weight, and of x
        given theta from the normal law with the corrected mean."""
        shape = as_shape(shape)
        count = int(np.prod(shape))
        chosen, each = jax.random.split(key)
        weights = jnp.asarray(self.weights)
        at = np.sort(np.asarray(jax.random.choice(chosen, len(weights), (count,), p=weights)))
        keys = jax.random.split(each, max(len(weights), 1))
        draw = eqx.Partial(_draws, self._approximation)
        n = self._found.mean.shape[1]
        x = np.zeros((count, n), self._found.mean.dtype)
        for k in np.unique(at):
            mine = np.flatnonzero(at == k)
            for begin in range(0, mine.size, DRAWS):
                part = mine[begin : begin + DRAWS]
                own = jax.random.fold_in(keys[k], begin)
                x[part] = np.asarray(_drawn(draw, self._thetas[k], own))[: part.size]
            x[mine] += self._found.mean[k]
        order = np.asarray(jax.random.permutation(jax.random.fold_in(key, 1), count))
        theta = self._thetas[at[order]].reshape(*shape, -1)
        return jnp.asarray(theta), jnp.asarray(x[order].reshape(*shape, n))

    @functools.cached_property
    def criteria(self) -> Criteria:
        """All model criteria, see `padchol.inla.Criteria`."""
        found = self._found
        points = (self._thetas, found.predictor_mean, found.predictor_sd, found.curvature)
        f = Terms(self._approximation)
        terms = self._at_points(f, points)
        mode, mean = self.mode[None].astype(found.mean.dtype), self.predictor.mean[None]
        plug_in = (mode, mean, found.predictor_sd[:1], found.curvature[:1])
        at_mean = self._at_points(f, plug_in)[-1][0]
        return criteria(self.weights, terms, at_mean)

    @property
    def dic(self) -> float:
        """The deviance information criterion."""
        return self.criteria.dic

    @property
    def waic(self) -> float:
        """The widely applicable information criterion."""
        return self.criteria.waic

    @property
    def cpo(self) -> Float[np.ndarray, " m"]:
        """p(y_i | y_-i), NaN where `cpo_failure` is one."""
        return self.criteria.cpo

    @property
    def cpo_failure(self) -> Float[np.ndarray, " m"]:
        """From 0, all is well, to 1, where the law without y_i cannot be had from that with it."""
        return self.criteria.failure

    @property
    def pit(self) -> Float[np.ndarray, " m"]:
        """P(Y_i <= y_i | y_-i); NaN for likelihoods without a distribution function."""
        return self.criteria.pit

    @property
    def _thetas(self) -> np.ndarray:
        return self.points.astype(self._found.mean.dtype)

    @functools.cached_property
    def _skewness(self) -> tuple[np.ndarray, np.ndarray]:
        return self._at_points(Skewness(self._approximation), self._thetas)

    def _at_points(self, f: Callable, points: Any) -> Any:
        return Evaluator(f, self._devices)(points)


def _draws(approximation: Approximation, theta: Any, key: Array) -> Array:
    fit = fitted(approximation, theta)
    return fit.sample(key, DRAWS) - fit.mode


@eqx.filter_jit
def _drawn(draw: Callable, theta: Any, key: Array) -> Array:
    return draw(theta, key)
