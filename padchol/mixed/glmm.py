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
import scipy.linalg
from jaxtyping import Array, Float

from padchol import likelihoods
from padchol.analysis import analyze
from padchol.assembly import gram_pattern
from padchol.laplace import Design, Laplace, design, laplace
from padchol.methods import WithMethods
from padchol.mixed import basis, start
from padchol.mixed.algebra import orthonormal
from padchol.mixed.boundary import settled, singular
from padchol.mixed.held import Held, hold
from padchol.mixed.objective import curvature
from padchol.mixed.optimise import Minimum, minimise
from padchol.mixed.refit import Refits, begin, refit_all
from padchol.mixed.report import Fit
from padchol.mixed.separation import endless
from padchol.mixed.terms import Effects, Random, design_matrix, tables

SIZES = (0.0, 0.25, 4.0)  # multiples of a term's T that are tried from the end of a search


class GeneralizedLinearMixedModel(WithMethods):
    """A GLMM on one plan; a pytree.

    terms: eta (n,) to log p(y_i | eta_i) (n,), as `padchol.likelihoods` makes them; a pytree or a
    plain function. X (n, p) dense of full column rank, random: terms (x_i, group_i); further
    options are those of `padchol.analyze`. Use float64. Raises `ValueError` for shapes that do not
    fit, values that are not finite, and a column of X that depends on those before it.
    """

    effects: Effects
    Z: Design  # of the standard basis
    rows: tuple[Float[np.ndarray, "n p_i"], ...]  # x~ of each term
    bases: tuple[Float[np.ndarray, "p_i p_i"], ...]  # R of each term
    first: Float[np.ndarray, " theta"]  # where the search begins, in the standard basis
    Q: Float[np.ndarray, "n p"]  # X = Q U, columns of unit mean square
    U: Float[np.ndarray, "p p"]
    terms: Held
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
        X, self.terms = np.asarray(X, float), hold(terms)
        if X.ndim != 2 or not np.isfinite(X).all():
            raise ValueError(f"expected X (n, p), finite; got shape {X.shape}")
        n, p = X.shape
        _check_terms(terms, n)
        self.names = tuple(names) or tuple(f"x{c}" for c in range(p))
        self.notes = tuple(notes)
        Q, U = orthonormal(X, self.names)
        self.Q, self.U = Q * np.sqrt(n), U / np.sqrt(n)
        self.effects, rows, codes = tables(n, random)
        rows, self.bases, self.first = basis.standard_terms(rows)
        self.rows = tuple(rows)
        B = design_matrix(self.effects, rows, codes, n)
        self.Z = design(analyze(gram_pattern(B), **analysis), B)

    @property
    def X(self) -> Float[np.ndarray, "n p"]:
        return self.Q @ self.U

    @property
    def start(self) -> np.ndarray:
        """Where the search begins, (theta, beta): the fit of the fixed effects without random
        effects, and every T a multiple of the identity in the standard basis."""
        x, unit, _ = start.start(self.terms, self.Q, self.first)
        return self._to_user(x * unit)

    def laplace(self, parameters: Any) -> Laplace:
        """The approximation of u at parameters = (theta, beta)."""
        theta, beta = self._split(parameters)
        Z, fixed = self._linear(theta, beta)
        identity = self.Z.plan.add_diagonal(jnp.zeros(self.Z.plan.nnz, theta.dtype), jnp.ones(()))
        return laplace(Z, lambda eta: self.terms(fixed + eta), identity)

    def _linear(self, theta: Array, beta: Array) -> tuple[Design, Float[Array, " n"]]:
        """Z Lambda and X beta."""
        pairs = zip(self.rows, self._matrices(theta), strict=True)
        scaled = [(jnp.asarray(x) @ M).reshape(-1) for x, M in pairs]
        Z = self.Z.with_entries(jnp.concatenate([jnp.zeros(0, theta.dtype), *scaled]))
        return Z, jnp.asarray(self.Q) @ (jnp.asarray(self.U) @ beta)

    def deviance(self, parameters: Any) -> Float[Array, ""]:
        """-2 log p(y), for parameters (theta, beta). NaN where no mode is found."""
        return -2 * self.laplace(parameters).log_marginal

    def value_and_grad(self, parameters: Any) -> tuple[Float[Array, ""], Float[Array, " k"]]:
        """The deviance and its gradient, compiled once for models of one shape."""
        (value, _), gradient = _value_and_grad(self, jnp.asarray(parameters, float))
        return value, gradient

    def fit(self, start: Any = None, **options: Any) -> Fit:
        """Minimise over theta and beta: see `padchol.mixed.Fit`.

        The search runs in the standard basis, where it does not see how the covariates were shifted
        and scaled. start: (theta, beta); max_steps: of the search, at most. The covariance of beta
        is its block of 2 H^-1, H the Hessian of the deviance in theta and beta by differences of
        gradients; NaN where the fit has not converged, or H is not positive definite.
        """
        search = _Search(self, start)
        even = np.concatenate([self.effects.on_diagonal, np.zeros(len(self.names), bool)])
        found = minimise(search.value_and_grad, search.first, even, others=search.others, **options)
        found = settled(self.effects, found, search.value_and_grad)
        remark = search.unusable or endless(self, found, search.value_and_grad, search.unit)
        if remark:
            found = found._replace(converged=False, message=remark)
        covariance = np.full((len(self.names), len(self.names)), np.nan)
        if found.converged:
            covariance = self._covariance(search.value_and_grad, found.x, search.unit)
        return self._fit(found, self._to_user(found.x * search.unit), covariance)

    def given(self, arrays: Sequence[Array]) -> GeneralizedLinearMixedModel:
        """The model of other data of its likelihood."""
        return eqx.tree_at(lambda model: model.terms.arrays, self, list(arrays))

    def objective(self, parameters: Array) -> tuple[Array, tuple[()]]:
        """(deviance, nothing beside it)"""
        return self.deviance(parameters), ()

    def simulated(self, key: Array, theta: Array, beta: Array, sigma: Array) -> list[Array]:
        """Data of the likelihood drawn at these parameters, random effects drawn anew."""
        del sigma
        terms = self.terms.whole()
        if not hasattr(terms, "sampled"):
            raise NotImplementedError(
                "expected one of padchol.likelihoods, which data can be drawn from; got "
                f"{type(terms).__name__}"
            )
        of_u, of_y = jax.random.split(key)
        Z, fixed = self._linear(theta, beta)
        eta = fixed + Z(jax.random.normal(of_u, (self.effects.q,), theta.dtype))
        return hold(terms.sampled(of_y, eta)).arrays

    def response(self, arrays: Sequence[Array]) -> Array:
        return self.given(arrays).terms.whole().y

    def _refits(self, fit: Fit, responses: Any) -> Refits:
        search, k = _Search(self, np.concatenate([fit.theta, fit.beta])), self.effects.n_theta
        even = np.concatenate([self.effects.on_diagonal, np.zeros(len(self.names), bool)])
        x, inverse = begin(fit.minimum.x, even, fit.minimum.curvature)
        found = refit_all(search.inside, responses, x, inverse, jnp.asarray(search.unit))
        x, deviance, _, converged = jax.tree.map(np.asarray, found)
        user = np.stack([self._to_user(each * search.unit) for each in x])
        return Refits(user[:, :k], user[:, k:], None, deviance, converged)

    def _fit(self, found: Minimum, parameters: np.ndarray, covariance: np.ndarray) -> Fit:
        (_, u), _ = _value_and_grad(self, jnp.asarray(parameters))
        theta, beta = np.split(parameters, [self.effects.n_theta])
        b = self.effects.times(self.effects.factors(jnp.asarray(theta)), u)
        return Fit(
            theta=theta,
            theta_names=self.effects.names,
            beta=beta,
            names=self.names,
            covariance=covariance,
            sigma=None,
            deviance=found.value,
            effects=self.effects.split(np.asarray(b)),
            terms=self.effects,
            criterion="deviance (Laplace)",
            n=self.Q.shape[0],
            notes=self.notes,
            minimum=found,
            singular=singular(self.effects, found.x[: self.effects.n_theta]),
            model=self,
        )

    def _covariance(self, value_and_grad: Any, x: np.ndarray, unit: float) -> np.ndarray:
        """Of beta. A direction of theta without curvature, on which nothing depends, is left out
        (as in two terms of one group)."""
        H, k = curvature(value_and_grad, x), self.effects.n_theta
        nothing = np.full((x.size - k, x.size - k), np.nan)
        if not np.isfinite(H).all():
            return nothing
        S = H[k:, k:] - H[k:, :k] @ np.linalg.pinv(H[:k, :k], 1e-8, hermitian=True) @ H[:k, k:]
        if min(np.linalg.eigvalsh(each).min(initial=np.inf) for each in (S, H[k:, k:])) <= 0:
            return nothing
        root = unit * scipy.linalg.solve_triangular(self.U, np.eye(x.size - k))
        return 2 * root @ np.linalg.solve(S, root.T)

    def _split(self, parameters: Any) -> tuple[Array, Array]:
        parameters = jnp.asarray(parameters, float)
        if parameters.shape != (expected := (self.effects.n_theta + len(self.names),)):
            raise ValueError(f"expected parameters of shape {expected}; got {parameters.shape}")
        theta, beta = jnp.split(parameters, [self.effects.n_theta])
        return theta, beta

    def _matrices(self, theta: Array) -> list[Array]:
        pairs = zip(self.bases, self.effects.factors(theta), strict=True)
        return [jnp.asarray(R) @ T for R, T in pairs]

    def _standard(self) -> GeneralizedLinearMixedModel:
        """The same model, whose parameters are those of the standard basis."""
        one = (basis.identities(self.bases), np.eye(len(self.U)))
        return eqx.tree_at(lambda model: (model.bases, model.U), self, one)

    def _to_user(self, x: np.ndarray) -> np.ndarray:
        theta, beta = np.split(x, [self.effects.n_theta])
        beta = scipy.linalg.solve_triangular(self.U, beta, check_finite=False)
        return np.concatenate([basis.to_user(self.effects, self.bases, theta), beta])

    def _to_standard(self, x: np.ndarray) -> np.ndarray:
        theta, beta = np.split(x, [self.effects.n_theta])
        theta = basis.to_standard(self.effects, self.bases, theta)
        return np.concatenate([theta, self.U @ beta])


class _Search:
    """The deviance in the standard basis and in units of the spread of the data about the fixed
    effects, and where its search begins."""

    def __init__(self, model: GeneralizedLinearMixedModel, given: Any):
        self.effects, self.inside = model.effects, model._standard()
        self.first, self.unit, self.unusable = start.start(model.terms, model.Q, model.first)
        if given is not None:
            given = np.asarray(model._split(given)[0]), np.asarray(model._split(given)[1])
            self.first = model._to_standard(np.concatenate(given)) / self.unit
            self.unusable = ""
        elif not self.unusable:
            k = self.effects.n_theta
            for size in (1.0, 0.1, 0.01, 0.0):
                moved = self.first * np.where(np.arange(self.first.size) < k, size, 1.0)
                if np.isfinite(self.value_and_grad(moved)[0]):
                    self.first = moved
                    break

    def value_and_grad(self, x: Any) -> tuple[Any, Any]:
        value, gradient = self.inside.value_and_grad(jnp.asarray(x) * self.unit)
        return value, gradient * self.unit

    def others(self, x: np.ndarray) -> list[np.ndarray]:
        return basis.neighbours(self.effects, x, SIZES)


def _check_terms(terms: likelihoods.Terms, n: int) -> None:
    expected = f"expected a likelihood of {n} terms, the rows of X"
    try:
        found = jax.eval_shape(terms, jnp.zeros(n)).shape
    except TypeError as error:  # JAX's, for shapes that do not go together
        raise ValueError(f"{expected}; got {error}") from error
    if found != (n,):
        raise ValueError(f"{expected}; got shape {found}")


@eqx.filter_jit
def _value_and_grad(
    model: GeneralizedLinearMixedModel, x: Array
) -> tuple[tuple[Array, Array], Array]:
    """((deviance, mode), gradient)"""

    def value(x):
        at = model.laplace(x)
        return -2 * at.log_marginal, at.mode

    return jax.value_and_grad(value, has_aux=True)(x)
