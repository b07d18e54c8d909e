"""The approximation at the mode."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Real

from padchol.errors import check_type
from padchol.factor import Factor, same_factor
from padchol.gmrf import GMRF, IntrinsicGMRF, Plane, log_determinants, plane
from padchol.laplace._design import Design
from padchol.laplace._mode import LogLikelihood, Problem, are_coupled, mode, problem, search
from padchol.laplace._start import beginning
from padchol.methods import WithMethods
from padchol.numeric.devices import alike
from padchol.numeric.values import check_values, diagonal_places, poisoned, real_array
from padchol.plan import Plan


class Laplace(WithMethods):
    """The Gaussian approximation of x given y, N(mode, H^-1), and the log marginal likelihood.

    `converged` says whether the mode was found, H is positive definite there and log p(y) finite;
    where not, mode, log_marginal, variances and samples are NaN, and so are derivatives.
    `posterior` is the approximation as a field.
    """

    mode: Float[Array, " n"]
    log_marginal: Float[Array, ""]
    converged: Bool[Array, ""]
    steps: Int[Array, ""]
    posterior: GMRF
    problem: Problem  # the likelihood and the prior, for what is more than Gaussian

    @property
    def design(self) -> Design:
        """The design B of eta = B x, on its plan."""
        return self.problem.design

    @property
    def log_likelihood(self) -> LogLikelihood:
        """eta to the terms log p(y_i | eta_i); the object that was given, where it is a module."""
        return self.problem.terms

    @property
    def factor(self) -> Factor:
        """Of H."""
        return self.posterior.factor

    def marginal_variances(self, jacobian: Any = None, covariance: Any = None):
        """(n,): diag(H^-1), the variances given the hyperparameters.

        With the jacobian (n, p) of the mode in p hyperparameters and their covariance (p, p), the
        total ones: diag(H^-1 + J V J^T), by the delta method (Kristensen et al. 2016, eq. 11).
        """
        variances = self.variances()[0]
        if jacobian is None:
            return variances
        return variances + jnp.einsum("np,pq,nq->n", jacobian, jnp.asarray(covariance), jacobian)

    def predictor_variances(self) -> Float[Array, " m"]:
        """diag(B H^-1 B^T), the variances of eta given the hyperparameters."""
        return self.variances()[1]

    def variances(self) -> tuple[Float[Array, " n"], Float[Array, " m"]]:
        """Those of x and of eta given the hyperparameters, from one selected inverse.

        The pattern of B^T B lies in the plan, so the selected inverse has all that it takes.
        """
        plan, held = self.design.plan, self.posterior.constraint
        Z = self.factor.selected_inverse()
        latent, predictor = Z[diagonal_places(plan)], self.design.gram.diagonal(plan, Z)
        if held is not None:
            lost = jnp.sum(jax.vmap(self.design)(held.root()) ** 2, 0)
            latent = jnp.maximum(latent - held.lost_variances(), 0)
            predictor = jnp.maximum(predictor - lost, 0)
        return self._said(latent), self._said(predictor)

    def sample(self, key: Array, shape: int | Sequence[int] = ()) -> Float[Array, "*shape n"]:
        """Draws of N(mode, H^-1), given the constraints where there are any."""
        return self.posterior.sample(key, shape)

    def _said(self, x: Array) -> Array:
        return poisoned(x, self.converged)


def laplace(
    design: Design,
    log_likelihood: LogLikelihood,
    prior: Real[ArrayLike, " nnz"] | GMRF | IntrinsicGMRF,
    loc: Any = 0.0,
    *,
    constrained: bool | Sequence[bool] = False,
    start: Any = None,
    max_steps: int | Int[Array, ""] = 50,
) -> Laplace:
    """The Laplace approximation at the mode of x given y.

    log_likelihood: eta (m,) to the terms log p(y_i | eta_i) (m,), term i a function of eta_i alone;
    it may close over hyperparameters. prior: canonical values of Q, with loc a number or (n,); or a
    field on the design's plan, constraints and all. An intrinsic field stays improper, its null
    space left to the data; `constrained=True` holds it on constraints @ (x - loc) = 0, and one
    truth value for each row of the field's constraints on some of them: a second-order walk that
    sums to zero, its slope left to the data, is `constrained=[True, False]`. start: where the
    search begins, by default loc, or where `padchol.inla` was before.

    Works under jit, vmap, grad and hessian with respect to everything `prior`, `loc`, the entries
    of the design and `log_likelihood` depend on. Cost: one factorisation a Newton step, one or two
    of which follow once the mode is found, and one at the end; a gradient costs one selected
    inverse and one solve more.

    Raises `ValueError` for shapes that do not fit, and, outside of jit, for terms that depend on
    entries of eta other than their own, which the second derivative at the mode shows; under jit
    `converged` is then false. It is as well where no mode is found, H is not positive definite
    there, or log p(y) is not finite.
    """
    check_type(design, Design, "a design, as made by padchol.laplace.design")
    plan = design.plan
    field = _field(plan, prior, loc)
    held, rest = _prior(field, constrained)
    dtype = jnp.result_type(field.values, field.loc, jnp.asarray(design.gram.data))
    mean = field.loc.astype(dtype)
    start = (
        beginning(mean) if start is None else _vector(plan, real_array(start, "a start"), "start")
    )
    start = start.astype(dtype) if held is None else held.nearest(start.astype(dtype))
    _check_terms(log_likelihood, design, dtype)
    whole = problem(design, log_likelihood, field.values.astype(dtype), mean, held)
    fixed = lax.stop_gradient(whole)
    begin, _ = alike(lax.stop_gradient(start), fixed.loc)
    x, factor, W, found, steps = search(fixed, begin, max_steps)
    factor = eqx.tree_at(lambda F: F.plan, factor, plan)  # the prior's, see `log_determinants`
    coupled = _refused_if_known(are_coupled(fixed, x))
    x = mode(whole, x, factor, W)
    factor = same_factor(factor, whole.curvature(x))
    posterior = GMRF.of(factor, x, whole.held(factor, W))
    before, after = log_determinants(field, posterior)
    value = whole.value(x) + rest + (before - after) / 2
    converged = found & ~coupled & jnp.all(jnp.isfinite(x)) & jnp.isfinite(value)
    x, value = poisoned(x, converged), poisoned(value, converged)
    posterior = eqx.tree_at(lambda field: field.loc, posterior, x)
    return Laplace(x, value, converged, steps, posterior, whole)


def _field(plan: Plan, prior: Any, loc: Any) -> GMRF | IntrinsicGMRF:
    if not isinstance(prior, GMRF | IntrinsicGMRF):
        loc = _vector(plan, real_array(loc, "a mean"), "loc")
        return GMRF(plan, check_values(plan, prior), loc)
    if not _same_pattern(prior.plan, plan):
        raise ValueError("expected a prior on the plan of the design; got one on another plan")
    if not (isinstance(loc, int | float) and loc == 0):
        raise ValueError("expected no loc beside a field, which has its own")
    return prior


def _same_pattern(p: Plan, q: Plan) -> bool:
    """Whether canonical values of p are those of q, as far as it is known."""
    if (p.n, p.nnz) != (q.n, q.nnz):
        return False
    pairs = ((p.rows, q.rows), (p.cols, q.cols))
    known = [pair for pair in pairs if not any(isinstance(x, jax.core.Tracer) for x in pair)]
    return all(np.array_equal(*pair) for pair in known)


def _refused_if_known(coupled: Bool[Array, ""]) -> Bool[Array, ""]:
    if not isinstance(coupled, jax.core.Tracer) and coupled:
        raise ValueError(
            "expected a log_likelihood whose term i depends on eta_i alone; got terms that depend "
            "on other entries of eta (its second derivative is not diagonal)"
        )
    return coupled


def _prior(
    field: GMRF | IntrinsicGMRF, constrained: bool | Sequence[bool]
) -> tuple[Plane | None, Array | float]:
    """The plane, and the log density of the prior with its square at zero, without half the log
    determinant; of log 2 pi as often as there are dimensions that only the posterior has."""
    if isinstance(field, IntrinsicGMRF):
        C = field.constraints
        if np.shape(constrained) not in ((), (len(C),)):
            raise ValueError(
                f"expected constrained True, False or one of them for each of {len(C)} constraints "
                f"of the field; got {constrained}"
            )
        C = C[np.flatnonzero(np.broadcast_to(np.asarray(constrained, bool), len(C)))]
        rest = (field.rank_deficiency - len(C)) * math.log(2 * math.pi) / 2
        return plane(C, C @ field.loc, field.n, field.loc.dtype) if len(C) else None, rest
    held = field.constraint
    if held is None:
        return None, 0.0
    white = held.white(field.loc)
    return held.plane, white @ white / 2


def _check_terms(log_likelihood: LogLikelihood, design: Design, dtype: Any) -> None:
    """The shape of the terms, without computing any."""
    m = design.gram.shape[0]
    expected = f"expected a log_likelihood of eta ({m},) with terms of shape ({m},), as B has rows"
    try:
        found = jax.eval_shape(log_likelihood, jax.ShapeDtypeStruct((m,), dtype))
    except TypeError as error:  # JAX's, for shapes that do not go together
        raise ValueError(f"{expected}; got {error}") from error
    if getattr(found, "shape", None) != (m,):
        raise ValueError(f"{expected}; got {found}")


def _vector(plan: Plan, v: Array, what: str) -> Array:
    if v.shape not in ((), (plan.n,)):
        raise ValueError(f"expected {what} a number or of shape ({plan.n},); got {v.shape}")
    return jnp.broadcast_to(v, (plan.n,))
