"""Generalised linear mixed models by the Laplace approximation.

    eta = X beta + Z Lambda(theta) u,    u ~ N(0, I),    y_i | eta_i by any likelihood

    d(theta, beta) = -2 log p(y)    with u integrated out by Laplace's approximation at its mode,

which is the objective of lme4's glmer (nAGQ = 1; Bates, Maechler, Bolker & Walker 2015, J. Stat.
Softw. 67(1)) and of TMB (Kristensen et al. 2016, J. Stat. Softw. 70(5)). The mode is sought in u
and not in b = Lambda u, so that a variance of zero is a point like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from padchol import likelihoods
from padchol.analysis import analyze
from padchol.assembly import gram_pattern
from padchol.laplace import Design, Laplace, design, laplace
from padchol.mixed.fixed import require_full_rank
from padchol.mixed.optimise import Minimum, minimise
from padchol.mixed.report import Fit
from padchol.mixed.terms import Effects, Random, design_matrix, tables


class GeneralizedLinearMixedModel(eqx.Module):
    """A GLMM on one plan; a pytree.

    terms: eta (n,) to log p(y_i | eta_i) (n,), as `padchol.likelihoods` makes them; a pytree or a
    plain function. X (n, p) dense, random: terms (x_i, group_i); further options are those of
    `padchol.analyze`. Use float64. Raises `ValueError` for shapes that do not fit and values that
    are not finite.
    """

    effects: Effects
    Z: Design
    rows: tuple[Float[np.ndarray, "n p_i"], ...]  # x of each term
    X: Float[np.ndarray, "n p"]
    terms: likelihoods.Terms = eqx.field(static=True)
    names: tuple[str, ...] = eqx.field(static=True)
    notes: tuple[str, ...] = eqx.field(static=True)

    def __init__(
        self,
        terms: likelihoods.Terms,
        X: Any,
        random: Sequence[Random],
        *,
        names: tuple[str, ...] = (),
        notes: tuple[str, ...] = (),
        **analysis: Any,
    ):
        self.X, self.terms = np.asarray(X, float), terms
        if self.X.ndim != 2 or not np.isfinite(self.X).all():
            raise ValueError(f"expected X (n, p), finite; got shape {self.X.shape}")
        n, p = self.X.shape
        _check_terms(terms, n)
        self.names = tuple(names) or tuple(f"x{c}" for c in range(p))
        self.notes = tuple(notes)
        require_full_rank(self.X, self.names)
        self.effects, rows, codes = tables(n, random)
        self.rows = tuple(rows)
        B = design_matrix(self.effects, rows, codes, n)
        self.Z = design(analyze(gram_pattern(B), **analysis), B)

    @property
    def start(self) -> np.ndarray:
        """Every T the identity, beta zero."""
        return np.concatenate([self.effects.on_diagonal.astype(float), np.zeros(len(self.names))])

    def laplace(self, parameters: Any) -> Laplace:
        """The approximation of u at parameters = (theta, beta)."""
        parameters = jnp.asarray(parameters, float)
        if parameters.shape != (expected := (self.effects.n_theta + len(self.names),)):
            raise ValueError(f"expected parameters of shape {expected}; got {parameters.shape}")
        theta, beta = jnp.split(parameters, [self.effects.n_theta])
        pairs = zip(self.rows, self.effects.terms, strict=True)
        scaled = [(jnp.asarray(x) @ term.factor(theta)).reshape(-1) for x, term in pairs]
        Z = self.Z.with_entries(jnp.concatenate([jnp.zeros(0, theta.dtype), *scaled]))
        fixed = jnp.asarray(self.X) @ beta
        identity = self.Z.plan.add_diagonal(jnp.zeros(self.Z.plan.nnz, theta.dtype), jnp.ones(()))
        return laplace(Z, lambda eta: self.terms(fixed + eta), identity)

    def deviance(self, parameters: Any) -> Float[Array, ""]:
        """-2 log p(y), for parameters (theta, beta). NaN where no mode is found."""
        return -2 * self.laplace(parameters).log_marginal

    def value_and_grad(self, parameters: Any) -> tuple[Float[Array, ""], Float[Array, " k"]]:
        """The deviance and its gradient, compiled once."""
        return _value_and_grad(self, jnp.asarray(parameters, float))

    def fit(self, start: Any = None, **options: Any) -> Fit:
        """Minimise over theta and beta, diagonals of the T's >= 0: see `padchol.mixed.Fit`.

        The covariance of beta is its block of 2 H^-1, H the Hessian of the deviance in theta and
        beta; NaN where H is not positive definite.
        """
        start = self.start if start is None else np.asarray(start, float)
        bounded = np.concatenate([self.effects.on_diagonal, np.zeros(len(self.names), bool)])
        found = minimise(self.value_and_grad, start, bounded, **options)
        H, u = (np.asarray(each) for each in _curvature(self, jnp.asarray(found.x)))
        theta, beta = np.split(found.x, [self.effects.n_theta])
        free = found.x > np.where(bounded, 0.0, -np.inf)  # what is zero is held there
        covariance = np.full_like(H, np.nan)
        inner = H[np.ix_(free, free)]
        if np.isfinite(inner).all() and np.linalg.eigvalsh(inner).min(initial=np.inf) > 0:
            covariance[np.ix_(free, free)] = 2 * np.linalg.inv(inner)
        return self._fit(found, theta, beta, covariance[theta.size :, theta.size :], u)

    def _fit(self, found: Minimum, theta, beta, covariance, u) -> Fit:
        return Fit(
            theta=theta,
            theta_names=self.effects.names,
            beta=beta,
            names=self.names,
            covariance=covariance,
            sigma=None,
            deviance=found.value,
            effects=self.effects.split(np.asarray(self.effects.times(jnp.asarray(theta), u))),
            terms=self.effects,
            criterion="deviance (Laplace)",
            n=self.X.shape[0],
            notes=self.notes,
            minimum=found,
        )


def _check_terms(terms: likelihoods.Terms, n: int) -> None:
    expected = f"expected a likelihood of {n} terms, the rows of X"
    try:
        found = jax.eval_shape(terms, jnp.zeros(n)).shape
    except TypeError as error:  # JAX's, for shapes that do not go together
        raise ValueError(f"{expected}; got {error}") from error
    if found != (n,):
        raise ValueError(f"{expected}; got shape {found}")


@eqx.filter_jit
def _value_and_grad(model: GeneralizedLinearMixedModel, x: Array) -> tuple[Array, Array]:
    return jax.value_and_grad(model.deviance)(x)


@eqx.filter_jit
def _curvature(model: GeneralizedLinearMixedModel, x: Array) -> tuple[Array, Array]:
    """The Hessian of the deviance, and the mode."""
    return jax.hessian(model.deviance)(x), model.laplace(x).mode
