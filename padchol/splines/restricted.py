"""The restricted likelihood of an additive model, and the estimate at given smoothing parameters.

    eta = B beta + offset,   y_i | eta_i by a likelihood,   beta ~ N(0, (sum_l lambda_l S_l)^-)

with a flat prior on the Mp coefficients that no penalty sees. All of beta is integrated out by
Laplace's approximation at its mode (Wood 2011, JRSS B 73(1), 3-36, equations 4 and 5),

    l(lambda) = log p(y | beta) - beta^T S beta / 2 + log|S|_+ / 2 - log|H| / 2 + Mp log(2 pi) / 2

S = sum_l lambda_l S_l, H = B^T W B + S, W = -d^2 log p / d eta^2. |S|_+ is as in
`padchol.splines.determinant`. In a Gaussian model, whose prior precision is S / phi, that is exact;
phi has its best value d / (m - Mp), d(beta) = sum_i w_i (y_i - eta_i)^2 + beta^T S beta, where

    2 l = log|S|_+ - log|H| + sum_i log w_i - (m - Mp) (log(2 pi phi) + 1),   H = B^T w B + S.

Parameters of other likelihoods (the dispersion of a gamma, the size of a negative binomial) are
arguments beside log lambda. Everything is plain JAX, differentiable to any order in those, in y,
weights and offset, through the mode by the implicit function theorem (`padchol.laplace`).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from padchol import assembly
from padchol.factor import Factor, cholesky, same_factor
from padchol.laplace import Design
from padchol.laplace._mode import Problem, mode, problem, search
from padchol.likelihoods import with_offset
from padchol.methods import WithMethods
from padchol.numeric.devices import alike
from padchol.numeric.values import poisoned
from padchol.plan import Plan
from padchol.splines.families import Family

MAX_STEPS = 100  # of Newton's method


class Data(NamedTuple):
    """Each (m,)."""

    y: Any
    weights: Any
    offset: Any
    columns: tuple = ()  # what else the likelihood takes


class Estimate(WithMethods):
    """At given smoothing parameters. NaN where H is not positive definite, or no mode is found."""

    coefficients: Float[Array, " n"]
    theta: Float[Array, " q"]  # of the likelihood; phi first where it has one
    log_restricted: Float[Array, ""]
    factor: Factor  # of H
    information: Float[Array, " m"]  # W
    scale: Float[Array, ""]  # by which H^-1 is the covariance of beta


class Penalties(eqx.Module):
    """S_l as entries of the plan, their roots, and log|S|_+ as times @ log(table @ lambda)."""

    place: Int[np.ndarray, " entries"]
    which: Int[np.ndarray, " entries"]
    value: Float[np.ndarray, " entries"]
    root: tuple[np.ndarray, np.ndarray, np.ndarray]  # rows, columns, entries of all D_l
    of_row: Int[np.ndarray, " rows"]  # l
    table: Float[np.ndarray, "k l"]
    times: Float[np.ndarray, " k"]
    constant: Float[np.ndarray, ""]

    def values(self, plan: Plan, smoothing: Array) -> Float[Array, " nnz"]:
        """Of sum_l lambda_l S_l."""
        each = smoothing[jnp.asarray(self.which)] * jnp.asarray(self.value, smoothing.dtype)
        return jnp.zeros(plan.nnz, each.dtype).at[jnp.asarray(self.place)].add(each)

    def log_determinant(self, smoothing: Array) -> Float[Array, ""]:
        total = jnp.asarray(self.table, smoothing.dtype) @ smoothing
        return jnp.asarray(self.times, smoothing.dtype) @ jnp.log(total) + self.constant

    def bends(self, beta: Array) -> Float[Array, " rows"]:
        """D_l beta, one after another."""
        rows, cols, data = map(jnp.asarray, self.root)
        return jnp.zeros(self.of_row.size, beta.dtype).at[rows].add(data * beta[cols])

    def t_bends(self, v: Array, n: int) -> Float[Array, " n"]:
        """sum_l D_l^T v_l"""
        rows, cols, data = map(jnp.asarray, self.root)
        return jnp.zeros(n, v.dtype).at[cols].add(data * v[rows])


class Penalised(Problem):
    """The problem of a mode whose prior is known by its roots: x^T S x as sum_l lambda_l |D_l x|^2.

    Where lambda is large, S x is a small difference of large numbers, which D x is not.
    """

    penalties: Penalties
    smoothing: Array

    def value(self, x: Array) -> Array:
        each = self.smoothing[jnp.asarray(self.penalties.of_row)]
        return jnp.sum(self.terms(self.design(x))) - each @ self.penalties.bends(x) ** 2 / 2

    def _Q(self, v: Array) -> Array:
        each = self.smoothing[jnp.asarray(self.penalties.of_row)]
        return self.penalties.t_bends(each * self.penalties.bends(v), v.size)


class Restricted(WithMethods):
    """Design, penalties and plan of one model; made by `padchol.splines.model`."""

    plan: Plan
    gram: assembly.Gram
    penalties: Penalties
    family: Family = eqx.field(static=True)
    free: int = eqx.field(static=True)  # Mp

    @property
    def smoothings(self) -> int:
        return self.penalties.table.shape[1]

    def at(self, z: Any, data: Data, start: Any = None) -> Estimate:
        """The estimate at z: log lambda, then the logarithms of the likelihood's parameters, which
        a Gaussian model has not. start (n,): where the search of the mode begins.

        Cost: one factorisation, or one a Newton step.
        """
        z = jnp.asarray(z)
        if self.family.name == "gaussian":
            return self._gaussian(z, data)
        return self._laplace(z, data, start)

    def log_restricted(self, z: Any, data: Data, start: Any = None) -> Float[Array, ""]:
        return self.at(z, data, start).log_restricted

    def _gaussian(self, rho: Array, data: Data) -> Estimate:
        w, smoothing = data.weights, jnp.exp(rho)
        target = data.y - data.offset
        factor = cholesky(self.plan, self.gram(w) + self.penalties.values(self.plan, smoothing))
        beta = factor.solve(self.gram.t_times(w * target))
        residual = target - self.gram.times(beta)
        deviance = jnp.sum(w * residual**2)
        each = smoothing[jnp.asarray(self.penalties.of_row)]
        deviance += each @ self.penalties.bends(beta) ** 2
        left = jnp.sum(w > 0) - self.free
        phi = deviance / left
        twice = self.penalties.log_determinant(smoothing) - factor.logdet()
        twice = twice + jnp.sum(jnp.log(jnp.where(w > 0, w, 1)))
        twice = twice - left * (jnp.log(2 * jnp.pi * phi) + 1)
        return Estimate(beta, phi[None], twice / 2, factor, w, phi)

    def _laplace(self, z: Array, data: Data, start: Any) -> Estimate:
        rho, theta = z[: self.smoothings], jnp.exp(z[self.smoothings :])
        smoothing = jnp.exp(rho) / (theta[0] if self.family.dispersed else 1.0)
        likelihood = self.family.make(data.y, data.weights, theta, *data.columns)
        likelihood = with_offset(likelihood, data.offset)
        prior = self.penalties.values(self.plan, smoothing)
        loc = jnp.zeros(self.plan.n, prior.dtype)
        base = problem(Design(self.plan, self.gram), likelihood, prior, loc, None)
        fields = (base.design, base.terms, base.a, base.loc, base.plane)
        whole = Penalised(*fields, self.penalties, smoothing)
        x, factor, found = self._mode(whole, loc if start is None else start)
        value = whole.value(x) + self.free * math.log(2 * math.pi) / 2
        value += (self.penalties.log_determinant(smoothing) - factor.logdet()) / 2
        converged = found & jnp.isfinite(value)
        x, value = poisoned(x, converged), poisoned(value, converged)
        weights = whole.weights(whole.design(x))
        return Estimate(x, theta, value, factor, weights, jnp.ones((), x.dtype))

    def _mode(self, whole: Any, start: Any) -> tuple[Array, Factor, Bool[Array, ""]]:
        """As in `padchol.laplace.laplace`, of a prior that need not have a factor."""
        fixed = lax.stop_gradient(whole)
        begin, _ = alike(lax.stop_gradient(jnp.asarray(start, whole.loc.dtype)), fixed.loc)
        x, factor, W, found, _ = search(fixed, begin, MAX_STEPS)
        factor = eqx.tree_at(lambda F: F.plan, factor, self.plan)
        x = mode(whole, x, factor, W)
        return x, same_factor(factor, whole.curvature(x)), found


@jax.jit
def climb(z: Array, model: Restricted, data: Data, start: Array) -> tuple[Estimate, Array]:
    """The estimate, and the slope in z of its restricted likelihood: one program for all data and
    models of one shape."""

    def value(z):
        found = model.at(z, data, start)
        return found.log_restricted, found

    (_, found), slope = jax.value_and_grad(value, has_aux=True)(z)
    return found, slope
