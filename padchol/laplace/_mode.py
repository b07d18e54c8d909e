"""Newton's method for the mode, and the steps that carry its derivatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from padchol.factor import Factor, cholesky
from padchol.laplace._design import Design
from padchol.numeric.values import multiply

LogLikelihood = Callable[[Float[Array, " m"]], Float[Array, " m"]]

SUFFICIENT = 1e-4  # part of the predicted increase that a step must bring (Armijo 1966)
HALVINGS = 40  # of a step before the search gives up


class Plane(eqx.Module):
    """C x = e"""

    C: Float[Array, "c n"]
    e: Float[Array, " c"]

    def nearest(self, x: Float[Array, " n"]) -> Float[Array, " n"]:
        """The point of the plane that is nearest to x."""
        return x - self.C.T @ jnp.linalg.solve(self.C @ self.C.T, self.C @ x - self.e)

    def corrected(self, factor: Factor, x: Float[Array, " n"]) -> Float[Array, " n"]:
        """x - H^-1 C^T (C H^-1 C^T)^-1 (C x - e)"""
        W = factor.solve(self.C.T)
        return x - W @ jnp.linalg.solve(self.C @ W, self.C @ x - self.e)


class Problem(eqx.Module):
    """psi(x) = l(B x) - (x - loc)^T Q (x - loc) / 2 and its derivatives, on a plane or without."""

    design: Design
    log_likelihood: LogLikelihood
    a: Array
    loc: Array
    plane: Plane | None

    def value(self, x: Array) -> Array:
        apart = x - self.loc
        return jnp.sum(self.log_likelihood(self.design(x))) - apart @ self._Q(apart) / 2

    def gradient(self, x: Array) -> Array:
        return self.design.t(self._slope(self.design(x))) - self._Q(x - self.loc)

    def curvature(self, x: Array, exact: bool) -> Float[Array, " nnz"]:
        """Values of -psi'' at x; not exact: without what would make it indefinite."""
        eta = self.design(x)
        w = -jax.jvp(self._slope, (eta,), (jnp.ones_like(eta),))[1]
        return self.a + self.design.gram(w if exact else jnp.maximum(w, 0))

    def newton(self, x: Array, exact: bool) -> tuple[Array, Array]:
        """The Newton step, and the increase of psi that it predicts, doubled."""
        slope = self.gradient(x)
        factor = cholesky(self.design.plan, self.curvature(x, exact))
        step = factor.solve(slope)
        if self.plane is not None:
            step = self.plane.corrected(factor, x + step) - x
        return step, step @ slope

    def _slope(self, eta: Array) -> Array:
        return jax.grad(lambda eta: jnp.sum(self.log_likelihood(eta)))(eta)

    def _Q(self, v: Array) -> Array:
        return multiply(self.design.plan, self.a, v[:, None])[:, 0]


def search(problem: Problem, x: Array, max_steps: int | Array) -> tuple[Array, Array, Array]:
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


def _without_derivatives(problem: Problem) -> Problem:
    """The problem with everything it depends on held fixed, closed-over tracers included."""
    eta = jax.eval_shape(lambda d, x: d(x), problem.design, problem.loc)
    closed, consts = jax.closure_convert(problem.log_likelihood, jnp.zeros(eta.shape, eta.dtype))
    fixed: Any = lax.stop_gradient([consts, problem.design, problem.a, problem.loc, problem.plane])
    held, design, a, loc, plane = fixed
    return Problem(design, lambda eta: closed(eta, *held), a, loc, plane)
