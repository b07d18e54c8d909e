"""The mode: Newton's method, and its derivatives by the implicit function theorem."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from padchol.factor import Factor, cholesky, factor_of, same_factor
from padchol.gmrf import Constraint, Plane
from padchol.laplace._design import Design
from padchol.numeric.devices import alike, varying
from padchol.numeric.solve import known_solution
from padchol.numeric.values import multiply, poisoned

LogLikelihood = Callable[[Float[Array, " m"]], Float[Array, " m"]]
"""eta (m,) to the terms log p(y_i | eta_i) (m,)."""

SUFFICIENT = 1e-4  # part of the predicted increase that a step must bring (Armijo 1966)
HALVINGS = 40  # of a step before the search gives up
POLISHING = 2  # whole steps at most, once the mode is near
LOST, SEARCHING, NEAR = -1, 0, 1
LAST = NEAR + POLISHING  # NEAR + k: k steps of polishing are done; LAST: no step is to be done
FOUND = LAST + 1


class Terms(eqx.Module):
    """A log-likelihood with what it closes over as leaves."""

    held: list[Any]
    function: Callable = eqx.field(static=True)

    def __call__(self, eta: Array) -> Array:
        return self.function(eta, *self.held)


class Problem(eqx.Module):
    """psi(x) = l(B x) - (x - loc)^T Q (x - loc) / 2 and its derivatives, on a plane or without."""

    design: Design
    terms: LogLikelihood
    a: Array
    loc: Array
    plane: Plane | None

    def value(self, x: Array) -> Array:
        apart = x - self.loc
        return jnp.sum(self.terms(self.design(x))) - apart @ self._Q(apart) / 2

    def gradient(self, x: Array) -> Array:
        return self.balance(x, self.slope)

    def balance(self, x: Array, slope: LogLikelihood) -> Array:
        """B^T slope(B x) - Q (x - loc)"""
        return self.design.t(slope(self.design(x))) - self._Q(x - self.loc)

    def curvature(self, x: Array, exact: Any = True) -> Float[Array, " nnz"]:
        """Values of -psi'' at x; not exact: without what would make it indefinite."""
        w = self.weights(self.design(x))
        return self.a + self.design.gram(jnp.where(exact, w, jnp.maximum(w, 0)))

    def weights(self, eta: Array) -> Float[Array, " m"]:
        """W = -l''(eta)"""
        return -jax.jvp(self.slope, (eta,), _varying_as(eta, jnp.ones_like(eta)))[1]

    def solved(self, x: Array, factor: Factor) -> tuple[Array, Array]:
        """A^-1 psi'(x) and W = A^-1 C^T from the factor of A; W (n, 0) without a plane."""
        slope = self.gradient(x)[:, None]
        if self.plane is None:
            return factor.solve(slope)[:, 0], slope[:, :0]
        found = factor.solve(jnp.concatenate([slope, jnp.asarray(self.plane.C).T], 1))
        return found[:, 0], found[:, 1:]

    def held(self, factor: Factor, W: Array) -> Constraint | None:
        """The plane as a constraint on N(., A^-1), from W, which is known as numbers."""
        if self.plane is None:
            return None
        C = jnp.asarray(self.plane.C)
        W = known_solution(factor.plan, factor.values, factor.panels, C.T, W)
        return self.plane.with_covariances(W)

    def stepped(self, x: Array, step: Array, held: Constraint | None) -> Array:
        """Where a Newton step leads, on the plane."""
        return x + step if held is None else held.moved(x + step)

    def slope(self, eta: Array) -> Array:
        return jax.grad(lambda eta: jnp.sum(self.terms(eta)))(eta)

    def _Q(self, v: Array) -> Array:
        return multiply(self.design.plan, self.a, v[:, None])[:, 0]


class Found(NamedTuple):
    """Where the search ended, without derivatives. A failure has NaN for its factor."""

    x: Array
    factor: Factor  # of the curvature at x
    W: Float[Array, "n c"]  # of the plane, by this factor
    converged: Bool[Array, ""]
    steps: Int[Array, ""]


def search(problem: Problem, x: Array, max_steps: int | Array) -> Found:
    """Newton's method with step halving.

    Converged: the increase of psi that its slope predicts, step^T psi'(x), is at most the square
    root of the rounding. At most POLISHING whole steps follow, until it is at most the rounding:
    each squares what is left. The last trip goes nowhere, but makes the factor at the mode: one
    loop for all, so that a factorisation is compiled once.
    """
    plan, eps = problem.design.plan, jnp.finfo(x.dtype).eps

    def halved(x, value, step, increase):
        """The step to take, as a part of the whole, and how often it was halved.

        The comparison is made in the body: a batch decides there which members go on, and again in
        the condition whether any does, and two roundings of one number would differ for ever.
        """

        def one(carry):
            t, tries, _ = carry
            enough = problem.value(x + t * step) >= value + SUFFICIENT * t * increase
            return jnp.where(enough, t, t / 2), tries + ~enough, ~enough

        def short(carry):
            return carry[2] & (carry[1] < HALVINGS)

        whole: Any = _varying_as(value, jnp.ones((), value.dtype), 0, True)
        return lax.while_loop(short, one, whole)[:2]

    def factored(x, state):
        factor = cholesky(plan, problem.curvature(x, state >= NEAR))
        step, W = problem.solved(x, factor)
        return step, (factor.values, factor.panels, factor.info, factor.pivots, W)

    def one(carry):
        x, _, state, count = carry
        step, parts = factored(x, state)
        held = problem.held(factor_of(plan, *parts[:-1]), parts[-1])
        to = problem.stepped(x, step, held)
        increase = (step if held is None else to - x) @ problem.gradient(x)
        near = (state >= NEAR) | (increase <= eps**0.5)
        t, tries = halved(x, problem.value(x), to - x, jnp.where(near, 0, increase))
        lost = (tries >= HALVINGS) & ~near  # no step helps, or a value is not a number
        stays = lost | (state == LAST)
        x = jnp.where(stays, x, jnp.where(near, to, x + t * (to - x)))
        done = (state >= NEAR) & (state < LAST) & (increase <= eps)
        state = jnp.where(lost, LOST, jnp.where(done, LAST, state + near))
        return x, parts, state, count + ~stays

    def going(carry):
        _, _, state, count = carry
        return (state >= SEARCHING) & (state < FOUND) & ((state >= NEAR) | (count < max_steps))

    shapes = jax.eval_shape(factored, x, SEARCHING)[1]
    nothing = _varying_as(x, *(jnp.zeros(each.shape, each.dtype) for each in shapes))
    start = (x, nothing, *_varying_as(x, SEARCHING, 0))
    x, (a, panels, info, pivots, W), state, count = lax.while_loop(going, one, start)
    found = jnp.asarray(state == FOUND)
    panels, pivots = poisoned(panels, found), poisoned(pivots, found)
    return Found(x, factor_of(plan, a, panels, info, pivots), W, found, jnp.asarray(count))


def mode(problem: Problem, x: Array, factor: Factor, W: Array) -> Array:
    """x, the mode of the problem, as a function of all that the problem depends on.

    `factor` is that of the curvature H = -psi''(x), as numbers, and W is from it. By the implicit
    function theorem psi'(x; p) = 0 gives, x held fixed on the right,

        dx = H^-1 d psi'(x; p)

    that is the derivative of a Newton step from x held fixed, with the curvature held fixed as
    well: at a root the step does not depend on where it starts, nor on the curvature. It is exact,
    and as it is made of the mode itself and of solves with one factor, so are its own derivatives.
    """
    plane = problem.plane
    turning = plane is not None and not isinstance(plane.C, np.ndarray)
    return _mode(turning, problem, x, factor, W)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _mode(turning: bool, problem: Problem, x: Array, factor: Factor, W: Array) -> Array:
    """turning: whether C of the plane may have derivatives, which cost a solve for each row."""
    del turning, problem, factor, W
    return x


@_mode.defjvp
def _mode_jvp(turning, primals, tangents):
    problem, x, factor, W = primals
    x = _mode(turning, problem, x, *lax.stop_gradient((factor, W)))
    factor = same_factor(factor, problem.curvature(x))
    held = problem.held(factor, W)

    def step(p):
        if held is None:
            return p.stepped(x, factor.solve(p.gradient(x)), None)
        on = p.held(factor, held.W) if turning else p.plane.with_covariances(held.W)
        return p.stepped(x, factor.solve(p.gradient(x)), on)

    return x, jax.jvp(step, (problem,), tangents[:1])[1]


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


def problem(
    design: Design, log_likelihood: LogLikelihood, a: Array, loc: Array, plane: Plane | None
) -> Problem:
    """The problem with all that it depends on as leaves, closed-over tracers included.

    A module whose leaves are numbers is kept as it is, another function is closed. Inside
    `shard_map`, loc varies over the devices as anything of it does, and so does the search.
    """
    numbers = all(map(eqx.is_array_like, jax.tree.leaves(log_likelihood)))
    if numbers and eqx.Module in type(log_likelihood).__mro__:
        loc, *_ = alike(loc, *jax.tree.leaves([log_likelihood, design, a, plane]))
        return Problem(design, log_likelihood, a, loc, plane)
    eta = jax.eval_shape(lambda d, x: d(x), design, loc)
    eta = jnp.zeros(eta.shape, eta.dtype)
    terms = lambda eta: log_likelihood(eta)  # a function, which has a hash
    function, held = jax.closure_convert(terms, eta)
    eta, loc, *_ = alike(eta, loc, *jax.tree.leaves([held, design, a, plane]))
    if varying(eta):
        function, held = jax.closure_convert(terms, eta)
    return Problem(design, Terms(list(held), function), a, loc, plane)


def _varying_as(x: Array, *starts: Any) -> tuple[Array, ...]:
    """Where a loop begins whose state varies over devices as x does, see `numeric.devices`."""
    return tuple(alike(*map(jnp.asarray, starts), x)[:-1])
