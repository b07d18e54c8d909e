"""The approximation at the mode."""

from __future__ import annotations

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from padchol.factor import Factor
from padchol.gmrf import GMRF, IntrinsicGMRF
from padchol.laplace._design import Design
from padchol.laplace._mode import LogLikelihood, Plane, Problem, search
from padchol.numeric.values import check_values, poisoned, real_array
from padchol.plan import Plan

POLISHING = 2  # Newton steps that carry the derivatives


class Laplace(eqx.Module):
    """The Gaussian approximation of x given y, N(mode, H^-1), and the log marginal likelihood.

    `converged` says whether the mode was found and H is positive definite there; where not, mode,
    log_marginal, variances and samples are NaN, and so are derivatives. `posterior` is the
    approximation as a field.
    """

    mode: Float[Array, " n"]
    log_marginal: Float[Array, ""]
    converged: Bool[Array, ""]
    steps: Int[Array, ""]
    posterior: GMRF
    design: Design

    @property
    def factor(self) -> Factor:
        """Of H."""
        return self.posterior.factor

    def marginal_variances(self, jacobian: Any = None, covariance: Any = None):
        """(n,): diag(H^-1), the variances given the hyperparameters.

        With the jacobian (n, p) of the mode in p hyperparameters and their covariance (p, p), the
        total ones: diag(H^-1 + J V J^T), by the delta method (Kristensen et al. 2016, eq. 11).
        """
        variances = self._said(self.posterior.marginal_variances())
        if jacobian is None:
            return variances
        return variances + jnp.einsum("np,pq,nq->n", jacobian, jnp.asarray(covariance), jacobian)

    def predictor_variances(self) -> Float[Array, " m"]:
        """diag(B H^-1 B^T), the variances of eta given the hyperparameters.

        The pattern of B^T B lies in the plan, so the selected inverse has all that it takes.
        """
        found = self.design.gram.diagonal(self.design.plan, self.factor.selected_inverse())
        held = self.posterior.constraint
        if held is not None:
            root = jax.scipy.linalg.solve_triangular(held.chol, held.W.T, lower=True)
            found = found - jnp.sum(jax.vmap(self.design)(root) ** 2, 0)
        return self._said(found)

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> Float[Array, "*shape n"]:
        """Draws of N(mode, H^-1), given the constraints where there are any."""
        return self.posterior.sample(key, shape)

    def _said(self, x: Array) -> Array:
        return poisoned(x, self.converged)


def laplace(
    design: Design,
    log_likelihood: LogLikelihood,
    prior: Float[Array, " nnz"] | GMRF | IntrinsicGMRF,
    loc: Any = 0.0,
    *,
    constrained: bool = False,
    start: Any = None,
    max_steps: int | Int[Array, ""] = 50,
) -> Laplace:
    """The Laplace approximation at the mode of x given y.

    log_likelihood: eta (m,) to the terms log p(y_i | eta_i) (m,), term i a function of eta_i alone;
    it may close over hyperparameters. prior: canonical values of Q, with loc a number or (n,); or a
    field on the design's plan, constraints and all. An intrinsic field stays improper, its null
    space left to the data; `constrained=True` holds it on constraints @ (x - loc) = 0. start: where
    the search begins, by default loc.

    Works under jit, vmap, grad and hessian with respect to everything `prior`, `loc`, the entries
    of the design and `log_likelihood` depend on. Cost: one factorisation a Newton step, 3 after
    the search, and as many again for a gradient.
    """
    plan = design.plan
    field = _field(plan, prior, loc)
    plane, log_prior = _prior(field, constrained)
    dtype = jnp.result_type(field.values, field.loc, jnp.asarray(design.gram.data))
    mean = field.loc.astype(dtype)
    start = mean if start is None else _vector(plan, real_array(start, "a start"), "start")
    start = start.astype(dtype) if plane is None else plane.nearest(start.astype(dtype))
    problem = Problem(design, log_likelihood, field.values.astype(dtype), mean, plane)
    x, found, steps = search(problem, start, max_steps)
    x = lax.stop_gradient(x)
    for _ in range(POLISHING):
        x = x + problem.newton(x, exact=True)[0]
    posterior = GMRF(plan, problem.curvature(x, exact=True), x)
    posterior = posterior if plane is None else posterior.constrain(plane.C, plane.e)
    converged = found & (posterior.factor.info == 0) & jnp.all(jnp.isfinite(x))
    value = problem.value(x) + log_prior - posterior.log_determinant() / 2
    x, value = poisoned(x, converged), poisoned(value, converged)
    posterior = eqx.tree_at(lambda field: field.loc, posterior, x)
    return Laplace(x, value, converged, steps, posterior, design)


def _field(plan: Plan, prior: Any, loc: Any) -> GMRF | IntrinsicGMRF:
    if not isinstance(prior, GMRF | IntrinsicGMRF):
        loc = _vector(plan, real_array(loc, "a mean"), "loc")
        return GMRF(plan, check_values(plan, prior), loc)
    if prior.values.shape != (plan.nnz,):
        raise ValueError("expected a prior on the plan of the design; got one on another plan")
    if not (isinstance(loc, int | float) and loc == 0):
        raise ValueError("expected no loc beside a field, which has its own")
    return prior


def _prior(field: GMRF | IntrinsicGMRF, constrained: bool) -> tuple[Plane | None, Array]:
    """The plane, and the log density of the prior with its square at zero; without log 2 pi but
    for that of the dimensions in which prior and posterior differ."""
    half = field.log_determinant() / 2
    if isinstance(field, IntrinsicGMRF):
        if constrained:
            return Plane(field.constraints, field.constraints @ field.loc), half
        return None, half + field.rank_deficiency * math.log(2 * math.pi) / 2
    held = field.constraint
    if held is None:
        return None, half
    gap = held.e - held.C @ field.loc
    white = jax.scipy.linalg.solve_triangular(held.chol, gap, lower=True)
    return Plane(held.C, held.e), half + white @ white / 2


def _vector(plan: Plan, v: Array, what: str) -> Array:
    if v.shape not in ((), (plan.n,)):
        raise ValueError(f"expected {what} a number or of shape ({plan.n},); got {v.shape}")
    return jnp.broadcast_to(v, (plan.n,))
