"""Newton's method for the mode, and the steps that carry its derivatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float

from padchol.factor import cholesky
from padchol.gmrf import Plane
from padchol.laplace._design import Design
from padchol.numeric.devices import alike, varying
from padchol.numeric.values import multiply

LogLikelihood = Callable[[Float[Array, " m"]], Float[Array, " m"]]

SUFFICIENT = 1e-4  # part of the predicted increase that a step must bring (Armijo 1966)
HALVINGS = 40  # of a step before the search gives up


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
        return self.design.t(self.slope(self.design(x))) - self._Q(x - self.loc)

    def curvature(self, x: Array, exact: bool) -> Float[Array, " nnz"]:
        """Values of -psi'' at x; not exact: without what would make it indefinite."""
        eta = self.design(x)
        w = -jax.jvp(self.slope, (eta,), _varying_as(eta, jnp.ones_like(eta)))[1]
        return self.a + self.design.gram(w if exact else jnp.maximum(w, 0))

    def newton(self, x: Array, exact: bool) -> tuple[Array, Array]:
        """The Newton step, and the increase of psi that it predicts, doubled."""
        slope = self.gradient(x)
        factor = cholesky(self.design.plan, self.curvature(x, exact))
        step = factor.solve(slope)
        if self.plane is not None:
            step = self.plane.under(factor).moved(x + step) - x
        return step, step @ slope

    def slope(self, eta: Array) -> Array:
        return jax.grad(lambda eta: jnp.sum(self.log_likelihood(eta)))(eta)

    def _Q(self, v: Array) -> Array:
        return multiply(self.design.plan, self.a, v[:, None])[:, 0]


def search(problem: Problem, x: Array, max_steps: int | Array) -> tuple[Array, Array, Array]:
    """Newton's method with step halving: (x, whether it converged, steps).

    Converged: the predicted increase of psi is below the square root of the rounding, relative to
    1 + |psi| eps; the steps that follow square what is left. The problem is one `held_fixed`.
    """
    enough = jnp.finfo(x.dtype).eps ** 0.5

    def halved(x, value, step, increase):
        def short(carry):
            t, tries = carry
            found = problem.value(x + t * step)
            return ~(found >= value + SUFFICIENT * t * increase) & (tries < HALVINGS)

        whole: Any = _varying_as(value, jnp.ones((), value.dtype), 0)
        return lax.while_loop(short, lambda c: (c[0] / 2, c[1] + 1), whole)

    def one(carry):
        x, _, count = carry
        step, increase = problem.newton(x, exact=False)
        near = increase <= enough
        t, tries = halved(x, problem.value(x), step, jnp.where(near, 0, increase))
        lost = (tries >= HALVINGS) & ~near  # no step helps, or a value is not a number
        moved = jnp.where(near | lost, x, x + t * step)
        return moved, jnp.where(near, 1, jnp.where(lost, -1, 0)), count + 1

    start = (lax.stop_gradient(x), *_varying_as(x, 0, 0))
    x, state, count = lax.while_loop(lambda c: (c[1] == 0) & (c[2] < max_steps), one, start)
    return x, jnp.asarray(state == 1), jnp.asarray(count)


# Steps of the probe of each term: powers of two, by which products are exact, so that the probe of
# terms that are not coupled is zero to the last bit. Terms that are next to each other, or not a
# multiple of lcm(13, 16, 17) = 3536 apart, are told from each other.
PERIODS = (13, 16, 17)
COUPLING = 100  # roundings, of the largest entry: terms that are told apart by differences, say


def are_coupled(problem: Problem, x: Array) -> Bool[Array, ""]:
    """Whether a term of the likelihood depends on an entry of eta other than its own, seen at x.

    The second derivative H of a sum of uncoupled terms is diagonal: H v = (H 1) v for each v. False
    where a derivative is not a number.
    """
    eta = lax.stop_gradient(problem.design(x))
    i = np.arange(eta.size)
    steps = [np.exp2(i % period - period // 2) for period in PERIODS]
    (v,) = _varying_as(eta, np.stack([np.ones(eta.size), *steps]).astype(eta.dtype))
    H = jax.vmap(lambda v: jax.jvp(problem.slope, (eta,), (v,))[1])(v)
    wanted, eps = H[0] * v[1:], jnp.finfo(eta.dtype).eps
    size = jnp.abs(H[1:]) + jnp.abs(wanted)
    allowed = eps**0.5 * size + COUPLING * eps * jnp.max(size, initial=0.0)
    return jnp.any(jnp.abs(H[1:] - wanted) > allowed)


def held_fixed(problem: Problem) -> Problem:
    """The problem with everything it depends on held fixed, closed-over tracers included.

    Inside `shard_map`, loc varies over the devices as anything of it does, and so does the search.
    """
    eta = jax.eval_shape(lambda d, x: d(x), problem.design, problem.loc)
    eta = jnp.zeros(eta.shape, eta.dtype)
    terms = lambda eta: problem.log_likelihood(eta)  # a function, which has a hash
    closed, consts = jax.closure_convert(terms, eta)
    parts = [problem.design, problem.a, problem.loc, problem.plane]
    eta, loc, *_ = alike(eta, problem.loc, *jax.tree.leaves([consts, parts]))
    if varying(eta):
        closed, consts = jax.closure_convert(terms, eta)
    held, (design, a, _, plane), loc = lax.stop_gradient((consts, parts, loc))
    return Problem(design, lambda eta: closed(eta, *held), a, loc, plane)


def _varying_as(x: Array, *starts: Any) -> tuple[Array, ...]:
    """Where a loop begins whose state varies over devices as x does, see `numeric.devices`."""
    return tuple(alike(*map(jnp.asarray, starts), x)[:-1])
