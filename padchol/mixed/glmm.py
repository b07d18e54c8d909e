"""Generalised linear mixed models by the Laplace approximation, or by quadrature.

    eta = X beta + offset + Z Lambda(theta) u,    u ~ N(0, I),    y_i | eta_i by any likelihood

    d(theta, beta, extra) = -2 log p(y)    with u integrated out by Laplace's approximation at its
                                           mode, or by quadrature: see `padchol.mixed.quadrature`

which is the objective of lme4's glmer (nAGQ = 1; Bates, Maechler, Bolker & Walker 2015, J. Stat.
Softw. 67(1)) and of TMB (Kristensen et al. 2016, J. Stat. Softw. 70(5)). The mode is sought in u
and not in b = Lambda u, so that a variance of zero is a point like any other. `extra` are the
coefficients of the likelihood's own parameters, of which each has a linear predictor: see
`padchol.mixed.families`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Array, Float, Int

from padchol import likelihoods
from padchol.analysis import analyze
from padchol.assembly import gram_pattern
from padchol.laplace import Design, Laplace, design, laplace
from padchol.methods import WithMethods
from padchol.mixed import basis, estimates
from padchol.mixed import generalized_inference as inference
from padchol.mixed.algebra import orthonormal
from padchol.mixed.data import offset_of
from padchol.mixed.families.family import Observed
from padchol.mixed.families.predictors import Predictor
from padchol.mixed.held import Held, hold
from padchol.mixed.quadrature import check_nodes, log_marginal
from padchol.mixed.reading import Rows
from padchol.mixed.refit import Refits
from padchol.mixed.report import Fit
from padchol.mixed.structures import Prior, pattern
from padchol.mixed.terms import Effects, Random, design_matrix, in_short, tables


class GeneralizedLinearMixedModel(WithMethods):
    """A GLMM on one plan; a pytree.

    terms: eta (n,) to log p(y_i | eta_i) (n,), as `padchol.likelihoods` makes them; a pytree or a
    plain function. With `parts` it is called with the predictor of each, and gives such terms. X
    (n, p) dense of full column rank, random: terms (x_i, group_i), offset: (n,); nagq: nodes of
    quadrature, more than one for a single term of one column; further options are those of
    `padchol.analyze`. Use float64. Raises `ValueError` for shapes that do not fit, values that are
    not finite, and a column of X that depends on those before it.
    """

    effects: Effects
    Z: Design  # of the standard basis
    rows: tuple[Float[np.ndarray, "n p_i"], ...]  # x~ of each term
    codes: tuple[Int[np.ndarray, " n"], ...]  # its levels
    bases: tuple[Float[np.ndarray, "p_i p_i"], ...]  # R of each term
    first: Float[np.ndarray, " theta"]  # where the search begins, in the standard basis
    Q: Float[np.ndarray, "n p"]  # X = Q U, columns of unit mean square
    U: Float[np.ndarray, "p p"]
    prior: Prior  # the precision of u
    terms: Held
    parts: tuple[Predictor, ...]
    offset: Float[np.ndarray, " n"] | None
    names: tuple[str, ...] = eqx.field(static=True)
    notes: tuple[str, ...] = eqx.field(static=True)
    nagq: int = eqx.field(static=True)
    reading: Any = eqx.field(static=True)  # how a formula reads other data, or None

    def __init__(
        self,
        terms: likelihoods.Terms | Callable[..., likelihoods.Terms],
        X: Any,
        random: Sequence[Random],
        *,
        parts: Sequence[Predictor] = (),
        offset: Any = None,
        nagq: int = 1,
        names: tuple[str, ...] = (),
        notes: tuple[str, ...] = (),
        reading: Any = None,
        **analysis: Any,
    ):
        X, self.terms, self.parts = np.asarray(X, float), hold(terms), tuple(parts)
        if X.ndim != 2 or not np.isfinite(X).all():
            raise ValueError(f"expected X (n, p), finite; got shape {X.shape}")
        n, p = X.shape
        self.offset = None if offset is None else offset_of(offset, n)
        _check_terms(self, n)
        self.names = tuple(names) or tuple(f"x{c}" for c in range(p))
        self.notes, self.reading = tuple(notes), reading
        Q, U = orthonormal(X, self.names)
        self.Q, self.U = Q * np.sqrt(n), U / np.sqrt(n)
        self.effects, rows, codes, structures = tables(n, random)
        self.nagq = check_nodes(nagq, self.effects)
        rows, self.bases, self.first = basis.standard_terms(rows)
        self.rows, self.codes = tuple(rows), tuple(codes)
        B = design_matrix(self.effects, rows, codes, n)
        starts = [term.start for term in self.effects.terms]
        patterns = [gram_pattern(B), *pattern(starts, structures, self.effects.q)]
        self.Z = design(analyze(patterns, **analysis), B)
        self.prior = Prior.of(self.Z.plan, starts, structures)
        self.first = np.concatenate([self.first, *(s.first for s in self.prior.structures)])

    def __repr__(self) -> str:
        return in_short(self)

    @property
    def X(self) -> Float[np.ndarray, "n p"]:
        """The design matrix of the fixed effects."""
        return self.Q @ self.U

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many parameters there are in theta, beta, and each part."""
        return (self.effects.n_theta, len(self.names), *(len(part.names) for part in self.parts))

    @property
    def start(self) -> np.ndarray:
        """Where the search begins, (theta, beta, extra): the fit of the fixed effects without
        random effects, and every T a multiple of the identity in the standard basis."""
        search = estimates.Search(self, None)
        return self.to_user(search.first * search.units)

    def likelihood(self, parameters: Any) -> Any:
        """eta (n,) to log p(y_i | eta_i), eta being the sum of fixed part, offset and Z b."""
        return self._terms(self.split(parameters)[2])

    def laplace(self, parameters: Any) -> Laplace:
        """The approximation of u at parameters = (theta, beta, extra)."""
        return self._approximation(parameters)[0]

    def _approximation(self, parameters: Any) -> tuple[Laplace, likelihoods.Terms, Array]:
        """That of u, the terms as a function of Z Lambda u, and the fixed part."""
        theta, beta, extra = self.split(parameters)
        terms = self._terms(extra)
        Z, fixed = self.linear(theta, beta)
        prior = self.prior(self.effects.rho(theta))
        return laplace(Z, lambda eta: terms(fixed + eta), prior), terms, fixed

    def _terms(self, extra: Sequence[Array]) -> Any:
        pairs = zip(self.parts, extra, strict=True)
        return self.terms.at([part(c) for part, c in pairs])

    def linear(self, theta: Array, beta: Array) -> tuple[Design, Float[Array, " n"]]:
        """Z Lambda and X beta + offset."""
        pairs = zip(self.rows, self._matrices(theta), strict=True)
        scaled = [(jnp.asarray(x) @ M).reshape(-1) for x, M in pairs]
        Z = self.Z.with_entries(jnp.concatenate([jnp.zeros(0, theta.dtype), *scaled]))
        fixed = jnp.asarray(self.Q) @ (jnp.asarray(self.U) @ beta)
        return Z, fixed if self.offset is None else fixed + jnp.asarray(self.offset)

    def deviance(self, parameters: Any) -> Float[Array, ""]:
        """-2 log p(y), for parameters (theta, beta, extra). NaN where no mode is found."""
        return self.deviance_and_mode(parameters)[0]

    def deviance_and_mode(self, parameters: Any) -> tuple[Float[Array, ""], Float[Array, " q"]]:
        """The deviance as `deviance` gives it, and the mode of the random effects there."""
        at, terms, fixed = self._approximation(parameters)
        if self.nagq == 1:
            return -2 * at.log_marginal, at.mode
        theta, _, _ = self.split(parameters)
        z = jnp.asarray(self.rows[0])[:, 0] * self._matrices(theta)[0][0, 0]
        value = log_marginal(terms, fixed, z, self.codes[0], at.mode, self.nagq)
        return -2 * value, at.mode

    def value_and_grad(self, parameters: Any) -> tuple[Float[Array, ""], Float[Array, " k"]]:
        """The deviance and its gradient, compiled once for models of one shape."""
        (value, _), gradient = _value_and_grad(self, jnp.asarray(parameters, float))
        return value, gradient

    def mode(self, parameters: Any) -> Float[Array, " q"]:
        """Of u, by the same program."""
        return _value_and_grad(self, jnp.asarray(parameters, float))[0][1]

    def fit(self, start: Any = None, **options: Any) -> Fit:
        """Minimise over theta, beta and extra: see `padchol.mixed.Fit`.

        The search runs in the standard basis, where it does not see how the covariates were shifted
        and scaled. start: (theta, beta, extra); max_steps: of the search, at most. The covariance
        of beta and extra is their block of 2 H^-1, H the Hessian of the deviance by differences of
        gradients; NaN where the fit has not converged, or H is not positive definite.
        """
        return estimates.fit(self, start, **options)

    def given(self, arrays: Sequence[Array]) -> GeneralizedLinearMixedModel:
        """The model of other data of its likelihood."""
        return eqx.tree_at(lambda model: model.terms.arrays, self, list(arrays))

    def objective(self, parameters: Array) -> tuple[Array, tuple[()]]:
        """(deviance, nothing beside it)"""
        return self.deviance(parameters), ()

    def simulated(
        self, key: Array, theta: Array, beta: Array, sigma: Array, *extra: Array
    ) -> list[Array]:
        """Data of the likelihood drawn at these parameters, random effects drawn anew."""
        del sigma
        whole = self.terms.whole()
        if not hasattr(whole, "sampled"):
            raise NotImplementedError(
                "expected one of padchol.likelihoods, which data can be drawn from; got "
                f"{type(whole).__name__}"
            )
        of_u, of_y = jax.random.split(key)
        Z, fixed = self.linear(theta, beta)
        eta = fixed + Z(self.prior.sample(of_u, self.effects.rho(theta)))
        predictors = [part(c) for part, c in zip(self.parts, extra, strict=True)]
        return hold(whole.sampled(of_y, eta, *predictors)).arrays

    def response(self, arrays: Sequence[Array]) -> Array:
        """The response among the arrays of a model."""
        return self.given(arrays).terms.whole().y

    @property
    def has_family(self) -> bool:
        """Whether the likelihood is that of a family of `padchol.mixed.families`."""
        return isinstance(self.terms.whole(), Observed)

    @property
    def observed(self) -> Float[np.ndarray, " n"]:
        """y, as the likelihood has it: successes of a binomial."""
        return inference.observed(self)

    def own_rows(self) -> Rows:
        """The rows of the data, in the user's units."""
        return inference.own_rows(self)

    @property
    def inference(self) -> Any:
        """The functions of models and fits that intervals, predictions and the like call."""
        return inference

    def _refits(self, fit: Fit, responses: Any) -> Refits:
        return estimates.refits(self, fit, responses)

    def split(self, parameters: Any) -> tuple[Array, Array, list[Array]]:
        """theta, beta, and the coefficients of each part."""
        parameters = jnp.asarray(parameters, float)
        if parameters.shape != (expected := (sum(self.sizes),)):
            raise ValueError(f"expected parameters of shape {expected}; got {parameters.shape}")
        theta, beta, *extra = jnp.split(parameters, np.cumsum(self.sizes)[:-1])
        return theta, beta, extra

    def _matrices(self, theta: Array) -> list[Array]:
        pairs = zip(self.bases, self.effects.factors(theta), strict=True)
        return [jnp.asarray(R) @ T for R, T in pairs]

    def standard(self) -> GeneralizedLinearMixedModel:
        """The same model, whose parameters are those of the standard basis."""
        parts = tuple(part.standard() for part in self.parts)
        one = (basis.identities(self.bases), np.eye(len(self.U)), parts)
        return eqx.tree_at(lambda model: (model.bases, model.U, model.parts), self, one)

    def triangle(self) -> np.ndarray:
        """Of (beta, extra) to the coefficients of the standard basis: U of each, block by block."""
        return np.asarray(scipy.linalg.block_diag(self.U, *(part.U for part in self.parts)))

    def to_user(self, x: np.ndarray) -> np.ndarray:
        """From the parameters of the search to theta and coefficients in the user's units."""
        theta, rest = np.split(x, [self.effects.n_theta])
        rest: Any = scipy.linalg.solve_triangular(self.triangle(), rest, check_finite=False)
        return np.concatenate([basis.to_user(self.effects, self.bases, theta), rest])

    def to_standard(self, x: np.ndarray) -> np.ndarray:
        """The inverse of `to_user`."""
        theta, rest = np.split(x, [self.effects.n_theta])
        theta = basis.to_standard(self.effects, self.bases, theta)
        return np.concatenate([theta, self.triangle() @ rest])


def _check_terms(model: GeneralizedLinearMixedModel, n: int) -> None:
    expected = f"expected a likelihood of {n} terms, the rows of X"
    try:
        terms = model._terms([jnp.asarray(part.first) for part in model.parts])
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
    return jax.value_and_grad(model.deviance_and_mode, has_aux=True)(x)
