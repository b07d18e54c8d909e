"""Log densities of theta, and of (theta, x), from a Laplace approximation given theta.

    log p(y, theta)    is about log_marginal + log_prior                        (`Marginal`)
    log p(y, theta, x) = psi(x) + c(theta) + log_prior                          (`Joint`)

psi(x) = log p(y | x, theta) - (x - loc)^T Q (x - loc) / 2 is the problem whose maximum was sought,
and c(theta) = (log|Q| - d log 2 pi) / 2 what the prior of x adds, d its dimensions. Intrinsic
fields, whose Q has no determinant, have it from the approximation, by an identity at its mode:

    c(theta) = log_marginal - psi(mode) + (log|H| - d log 2 pi) / 2

exact, but at the cost of the Newton steps to the mode.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from padchol.analysis import analyze
from padchol.factor import Factor, cholesky
from padchol.gmrf.intrinsic import LOST, rounding_of_logdet
from padchol.laplace import Laplace
from padchol.methods import WithMethods
from padchol.numeric.values import poisoned
from padchol.plan import Plan

Approximation = Callable[[Float[Array, " p"]], Laplace]
LogPrior = Callable[[Float[Array, " p"]], Any]


class Marginal(WithMethods):
    """theta (p,) to log p(y, theta), as the Laplace approximation has it.

    NaN where the mode of x is not found, which every kernel rejects. Differentiable, exactly.
    """

    approximation: Approximation
    log_prior: LogPrior

    def __call__(self, theta: Float[Array, " p"]) -> Float[Array, ""]:
        return self.approximation(theta).log_marginal + jnp.asarray(self.log_prior(theta))


class Joint(WithMethods):
    """(theta (p,), x (n,)) to log p(y, theta, x): exact, with any number of derivatives."""

    approximation: Approximation
    log_prior: LogPrior
    prior: Prior | None  # None: the constant is found by the identity

    def __call__(self, theta: Float[Array, " p"], x: Float[Array, " n"]) -> Float[Array, ""]:
        fit = self.approximation(theta)
        constant = _by_identity(fit) if self.prior is None else self.prior.constant(fit)[0]
        return fit.problem.value(x) + constant + jnp.asarray(self.log_prior(theta))


class Prior(WithMethods):
    """The precision of the prior of x on a plan of its own, without the entries of B^T W B.

    inside, outside: the entries of the plan of H that it has, and those that are zero in it.
    """

    plan: Plan
    inside: Int[np.ndarray, " nnz"]
    outside: Int[np.ndarray, " rest"]

    def constant(self, fit: Laplace) -> tuple[Float[Array, ""], Factor]:
        """c(theta), and the factor of Q. NaN where Q has entries outside of its plan."""
        problem = fit.problem
        a = jnp.asarray(problem.a)
        sound = jnp.all(a[jnp.asarray(self.outside)] == 0)
        factor = cholesky(self.plan, poisoned(a[jnp.asarray(self.inside)], sound))
        determinant, d, apart = factor.logdet(), problem.loc.size, 0.0
        if problem.plane is not None:
            held = problem.plane.under(factor)
            white = held.white(problem.loc)
            determinant, d = determinant + held.log_determinant(), d - held.e.size
            apart = white @ white
        return (determinant - d * math.log(2 * math.pi) + apart) / 2, factor


def _by_identity(fit: Laplace) -> Float[Array, ""]:
    held = fit.posterior.constraint
    d = fit.mode.size - (0 if held is None else held.e.size)
    above = fit.log_marginal - fit.problem.value(fit.mode)
    return above + (fit.posterior.log_determinant() - d * math.log(2 * math.pi)) / 2


def prior_of(fit: Laplace, slope: Float[Array, "nnz p"]) -> Prior | None:
    """The prior of x with a plan of its own, where it has a determinant: that of known numbers.

    slope: the derivative of its values in theta. An entry that is zero with all its derivatives is
    none of the prior's. Whether it has a determinant is seen by the numbers: it must be that which
    the approximation was made with, and not be lost to rounding.
    """
    plan = fit.design.plan
    rows, cols = np.asarray(plan.rows), np.asarray(plan.cols)
    there = (rows == cols) | (np.asarray(fit.problem.a) != 0) | np.any(np.asarray(slope) != 0, 1)
    own = analyze((rows[there], cols[there], plan.n), lower=True) if not there.all() else plan
    prior = Prior(own, np.flatnonzero(there), np.flatnonzero(~there))
    found, factor = prior.constant(fit)
    expected = _by_identity(fit)
    size = jnp.abs(found) + jnp.abs(expected) + jnp.abs(fit.log_marginal)
    agrees = jnp.abs(found - expected) <= jnp.finfo(found.dtype).eps ** 0.5 * size
    return prior if bool(agrees & (rounding_of_logdet(factor) <= LOST)) else None
