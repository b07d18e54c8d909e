"""The Laplace approximation of latent Gaussian models, differentiable through the mode.

    x ~ N(loc, Q^-1),   eta = B x,   y_i | eta_i by any likelihood

    log p(y) is about  l(x) + log|Q|/2 - (x - loc)^T Q (x - loc)/2 - log|H|/2   at the mode x,

H = Q + B^T W B, W = -l''(eta) diagonal (Tierney & Kadane 1986, JASA 81, 82-86; as in Rue, Martino &
Chopin 2009, JRSS B 71, 319-392, and Kristensen et al. 2016, J. Stat. Softw. 70(5)).

The mode is found by Newton's method without derivatives, and two further Newton steps from there
carry them: a Newton step from a root that is off by d misses it by d^2, two by d^4, so that all
derivatives of the mode with respect to what Q and the likelihood depend on are exact up to the
third. No derivative passes through the search.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from padchol import assembly
from padchol.factor import Factor, cholesky
from padchol.numeric.values import check_values, multiply, pair_weights, real_array
from padchol.plan import Plan
from padchol.symbolic.pattern import entries

LogLikelihood = Callable[[Float[Array, " m"]], Float[Array, " m"]]

SUFFICIENT = 1e-4  # part of the predicted increase that a step must bring (Armijo 1966)
HALVINGS = 40  # of a step before the search gives up
POLISHING = 2  # Newton steps that carry the derivatives


class Design(eqx.Module):
    """The sparse map eta = B x, and the tables of B^T W B, on one plan; made by `design`."""

    plan: Plan
    gram: assembly.Gram
    rows: Int[Array, " entries"]
    cols: Int[Array, " entries"]
    m: int = eqx.field(static=True)

    def __call__(self, x: Float[Array, " n"]) -> Float[Array, " m"]:
        """B x"""
        data = jnp.asarray(self.gram.data)
        return jnp.zeros(self.m, x.dtype).at[self.rows].add(data * x[self.cols])

    def t(self, v: Float[Array, " m"]) -> Float[Array, " n"]:
        """B^T v"""
        data = jnp.asarray(self.gram.data)
        return jnp.zeros(self.plan.n, v.dtype).at[self.cols].add(data * v[self.rows])


def design(plan: Plan, B: Any) -> Design:
    """The design matrix B (m, n), scipy sparse or JAX BCOO or BCSR, on a plan that holds B^T B and
    Q: `padchol.analyze([Q, padchol.assembly.gram_pattern(B)])`. `ValueError` where it does not."""
    t = entries(B)
    product = assembly.gram(plan, B)
    rows, cols = jnp.asarray(t.rows, jnp.int32), jnp.asarray(t.cols, jnp.int32)
    return Design(plan, product, rows, cols, t.shape[0])


class Laplace(eqx.Module):
    """The Gaussian approximation of x given y, N(mode, H^-1), and the log marginal likelihood.

    `converged` says whether the mode was found and H is positive definite there; where not, mode
    and log_marginal are NaN.
    """

    mode: Float[Array, " n"]
    log_marginal: Float[Array, ""]
    converged: Bool[Array, ""]
    steps: Int[Array, ""]
    factor: Factor  # of H
    design: Design

    def marginal_variances(self, jacobian: Any = None, covariance: Any = None):
        """(n,): diag(H^-1), the variances given the hyperparameters.

        With the jacobian (n, p) of the mode in p hyperparameters and their covariance (p, p), the
        total ones: diag(H^-1 + J V J^T), by the delta method (Kristensen et al. 2016, eq. 11).
        """
        variances = self._said(self.factor.marginal_variances())
        if jacobian is None:
            return variances
        return variances + jnp.einsum("np,pq,nq->n", jacobian, jnp.asarray(covariance), jacobian)

    def predictor_variances(self) -> Float[Array, " m"]:
        """diag(B H^-1 B^T), the variances of eta given the hyperparameters.

        The pattern of B^T B lies in the plan, so the selected inverse has all that it takes.
        """
        plan, gram = self.design.plan, self.design.gram
        Z = self.factor.selected_inverse() * pair_weights(plan, self.factor.values.dtype)
        at = jnp.zeros(self.design.m, Z.dtype)
        (found,) = jax.linear_transpose(gram, at)(Z)
        return self._said(found)

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> Float[Array, "*shape n"]:
        """Draws of N(mode, H^-1)."""
        return self.mode + self.factor.sample(key, shape)

    def _said(self, x: Array) -> Array:
        return jnp.where(self.converged, x, jnp.nan)


def laplace(
    design: Design,
    log_likelihood: LogLikelihood,
    a: Float[Array, " nnz"],
    loc: Any = 0.0,
    *,
    start: Any = None,
    max_steps: int = 50,
) -> Laplace:
    """The Laplace approximation at the mode of x given y.

    log_likelihood: eta (m,) to the terms log p(y_i | eta_i) (m,), term i a function of eta_i alone;
    it may close over hyperparameters. a: canonical values of Q. loc: a number or (n,). start: where
    the search begins, by default loc. Works under jit, vmap, grad and hessian with respect to
    everything `a`, `loc` and `log_likelihood` depend on. Cost: one factorisation a Newton step, 3
    after the search, and as many again for a gradient.
    """
    plan = design.plan
    a, loc = check_values(plan, a), real_array(loc, "a mean")
    dtype = jnp.result_type(a, loc, jnp.asarray(design.gram.data))
    start = loc if start is None else real_array(start, "a start")
    loc, start = _vector(plan, loc, "loc").astype(dtype), _vector(plan, start, "start")
    problem = _Problem(design, log_likelihood, a.astype(dtype), loc)
    x, found, steps = _search(problem, start.astype(dtype), max_steps)
    x = lax.stop_gradient(x)
    for _ in range(POLISHING):
        x = x + problem.newton(x, exact=True)[0]
    factor = problem.curvature(x, exact=True)
    converged = found & (factor.info == 0) & jnp.all(jnp.isfinite(x))
    value = problem.value(x) + (cholesky(plan, a).logdet() - factor.logdet()) / 2
    nan = lambda v: jnp.where(converged, v, jnp.nan)
    return Laplace(nan(x), nan(value), converged, steps, factor, design)


def _vector(plan: Plan, v: Array, what: str) -> Array:
    if v.shape not in ((), (plan.n,)):
        raise ValueError(f"expected {what} a number or of shape ({plan.n},); got {v.shape}")
    return jnp.broadcast_to(v, (plan.n,))


class _Problem(eqx.Module):
    """psi(x) = l(B x) - (x - loc)^T Q (x - loc) / 2 and its derivatives."""

    design: Design
    log_likelihood: LogLikelihood
    a: Array
    loc: Array

    def value(self, x: Array) -> Array:
        apart = x - self.loc
        return jnp.sum(self.log_likelihood(self.design(x))) - apart @ self._Q(apart) / 2

    def gradient(self, x: Array) -> Array:
        return self.design.t(self._slope(self.design(x))) - self._Q(x - self.loc)

    def curvature(self, x: Array, exact: bool) -> Factor:
        """Factor of -psi'' at x; not exact: without what would make it indefinite."""
        eta = self.design(x)
        w = -jax.jvp(self._slope, (eta,), (jnp.ones_like(eta),))[1]
        w = w if exact else jnp.maximum(w, 0)
        return cholesky(self.design.plan, self.a + self.design.gram(w))

    def newton(self, x: Array, exact: bool) -> tuple[Array, Array]:
        """The Newton step, and the increase of psi that it predicts, doubled."""
        slope = self.gradient(x)
        step = self.curvature(x, exact).solve(slope)
        return step, step @ slope

    def _slope(self, eta: Array) -> Array:
        return jax.grad(lambda eta: jnp.sum(self.log_likelihood(eta)))(eta)

    def _Q(self, v: Array) -> Array:
        return multiply(self.design.plan, self.a, v[:, None])[:, 0]


def _search(problem: _Problem, x: Array, max_steps: int) -> tuple[Array, Array, Array]:
    """Newton's method with step halving: (x, whether it converged, steps).

    Converged: the predicted increase of psi is below the square root of the rounding, relative to
    1 + |psi| eps; the steps that follow square what is left.
    """
    problem = _without_derivatives(problem)
    enough = jnp.finfo(x.dtype).eps ** 0.5

    def halved(x, value, step, increase):
        def short(carry):
            t, tries = carry
            found = problem.value(x + t * step)
            return ~(found >= value + SUFFICIENT * t * increase) & (tries < HALVINGS)

        return lax.while_loop(short, lambda c: (c[0] / 2, c[1] + 1), (jnp.ones_like(value), 0))

    def one(carry):
        x, _, count = carry
        step, increase = problem.newton(x, exact=False)
        near = increase <= enough
        t, tries = halved(x, problem.value(x), step, jnp.where(near, 0, increase))
        lost = (tries >= HALVINGS) & ~near  # no step helps, or a value is not a number
        moved = jnp.where(near | lost, x, x + t * step)
        return moved, jnp.where(near, 1, jnp.where(lost, -1, 0)), count + 1

    x, state, count = lax.while_loop(
        lambda c: (c[1] == 0) & (c[2] < max_steps), one, (lax.stop_gradient(x), 0, 0)
    )
    return x, jnp.asarray(state == 1), jnp.asarray(count)


def _without_derivatives(problem: _Problem) -> _Problem:
    """The problem with everything it depends on held fixed, closed-over tracers included."""
    eta = jax.eval_shape(lambda d, x: d(x), problem.design, problem.loc)
    closed, consts = jax.closure_convert(problem.log_likelihood, jnp.zeros(eta.shape, eta.dtype))
    held = [lax.stop_gradient(c) for c in consts]
    return _Problem(
        problem.design,
        lambda eta: closed(eta, *held),
        lax.stop_gradient(problem.a),
        lax.stop_gradient(problem.loc),
    )
