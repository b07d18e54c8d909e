"""BlackJAX's samplers for a Laplace approximation of x given theta (extra `blackjax`).

    draws = nuts(key, approximation, log_prior, start)            theta and x, jointly
    draws = marginal_nuts(key, approximation, log_prior, start)   theta, then x given theta

`approximation` takes theta (p,) to `padchol.laplace.laplace` of the model given theta; `log_prior`
theta to the log density of its prior, with the Jacobian where theta is the logarithm of what the
prior is about. `nuts` samples p(theta, x | y) itself: the approximation says no more than where it
is and how wide (`padchol.interop.preconditioning`). `marginal_nuts` takes the approximations of
p(y | theta) and p(x | theta, y) for the truth, and moves in p dimensions instead of p + n.

For other kernels: `preconditioned(...)` and `Marginal(approximation, log_prior)` are log densities,
and `laplace_marginal` is what BlackJAX's own Laplace kernels take. What fails is NaN, and rejected.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from blackjax.adaptation.mass_matrix import mass_matrix_adaptation
from blackjax.adaptation.step_size import dual_averaging_adaptation
from blackjax.adaptation.window_adaptation import build_schedule
from blackjax.mcmc import nuts as kernels
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from padchol.interop.joint import Approximation, Joint, LogPrior, Marginal
from padchol.interop.preconditioning import (
    LogJoint,
    Preconditioned,
    Whitening,
    preconditioned,
    start_of,
)

__all__ = [
    "Draws",
    "Joint",
    "Marginal",
    "Preconditioned",
    "Whitening",
    "laplace_marginal",
    "marginal_nuts",
    "nuts",
    "preconditioned",
]

METRICS = ("unit", "diagonal", "dense")


class Draws(NamedTuple):
    """Draws of each chain after it has warmed up, and how the sampler went."""

    theta: Float[Array, "chains draws p"]
    x: Float[Array, "chains draws n"]
    diverging: Bool[Array, "chains draws"]
    acceptance: Float[Array, "chains draws"]
    integration_steps: Int[Array, "chains draws"]
    step_size: Float[Array, " chains"]


class _Settings(NamedTuple):
    draws: int
    warmup: int
    metric: str
    acceptance: float


def nuts(
    key: Array,
    approximation: Approximation,
    log_prior: LogPrior,
    start: Any,
    *,
    draws: int = 1000,
    warmup: int = 200,
    chains: int = 4,
    metric: str = "unit",
    varying: bool = False,
    target_acceptance: float = 0.8,
    log_joint: LogJoint | None = None,
) -> Draws:
    """Draws of p(theta, x | y) by the no-U-turn sampler in preconditioned coordinates.

    start (p,), varying and log_joint: see `preconditioned`. metric: "unit", as the coordinates have
    about unit variances already, so that warming up is about the step size alone; or "diagonal",
    adapted in windows. Chains start at draws of the Gaussian approximation.

    NUTS: Hoffman & Gelman (2014), JMLR 15, 1593-1623, as BlackJAX has it; preconditioning:
    Monnahan, Kristensen, Thorson & Carpenter (2026), arXiv 2603.02437. Raises `ValueError` where
    the mode of theta is not found, or the log density is not finite where a chain starts.
    """
    settings = _checked(draws, warmup, chains, metric, target_acceptance)
    density = preconditioned(approximation, log_prior, start, varying=varying, log_joint=log_joint)
    whitening = density.whitening
    begin, run = jax.random.split(key)
    size = whitening.theta.size + whitening.mode.size
    z = jax.random.normal(begin, (chains, size), whitening.mode.dtype)
    z, *found = _sampled(density, z, run, settings)
    return Draws(*_points(whitening, z), *_sound(found))


def marginal_nuts(
    key: Array,
    approximation: Approximation,
    log_prior: LogPrior,
    start: Any,
    *,
    draws: int = 1000,
    warmup: int = 300,
    chains: int = 4,
    metric: str = "dense",
    target_acceptance: float = 0.8,
) -> Draws:
    """Draws of theta by the no-U-turn sampler on its Laplace marginal, and of x given each.

    Each step costs the Newton search of the mode of x, with gradient; x is drawn from the Gaussian
    at that mode, once for each draw of theta. Margossian, Vehtari, Simpson & Agrawal (2020),
    NeurIPS 33, 9086-9097. start (p,): where all chains begin. metric: of theta, adapted in windows
    unless "unit". All is one compiled program. Raises `ValueError` where the marginal is not finite
    at the start; where a search fails later, the proposal is rejected.
    """
    settings = _checked(draws, warmup, chains, metric, target_acceptance)
    density = Marginal(approximation, log_prior)
    thetas = jnp.broadcast_to(jnp.asarray(start_of(start)), (chains, np.size(start)))
    theta, x, *found = _marginally_sampled(density, thetas, key, settings)
    return Draws(theta, x, *_sound(found))


def laplace_marginal(approximation: Callable[[Array, Any], Any], log_prior: LogPrior) -> Any:
    """The marginal as the `LaplaceMarginal` of BlackJAX, from 1.7.

    For the kernels of `blackjax.mcmc.laplace_hmc` and `laplace_dynamic_hmc`, in place of a dense
    one.

    approximation: (theta, start) to `padchol.laplace.laplace(..., start=start)`, where start is
    None or the last mode: BlackJAX's phi is our theta, and its theta our x.
    """
    from blackjax.mcmc.laplace_marginal import LaplaceMarginal
    from blackjax.optimizers.lbfgs import LBFGSDiagnostics

    def mode(theta, start=None):
        return approximation(theta, start).mode

    def mode_with_info(theta, start=None):
        fit = approximation(theta, start)
        slope = fit.problem.gradient(fit.mode)
        if fit.problem.plane is not None:
            C = jnp.asarray(fit.problem.plane.C)
            slope = slope - C.T @ (C @ slope)
        error = jnp.linalg.norm(slope)
        return fit.mode, LBFGSDiagnostics(fit.steps, error, fit.converged, ~fit.converged)

    def log_marginal(theta, start=None):
        fit = approximation(theta, start)
        return fit.log_marginal + jnp.asarray(log_prior(theta)), fit.mode

    def sampled(key, theta, start):
        return approximation(theta, start).sample(key)

    return LaplaceMarginal(mode, mode_with_info, mode, log_marginal, sampled)


@eqx.filter_jit
def _points(whitening: Whitening, z: Array) -> tuple[Array, Array]:
    return lax.map(lambda each: lax.map(whitening, each), z)


@eqx.filter_jit
def _sampled(density: Callable, starts: Array, key: Array, settings: _Settings) -> tuple:
    return _chains(density, starts, key, settings)


@eqx.filter_jit
def _marginally_sampled(
    density: Marginal, starts: Array, key: Array, settings: _Settings
) -> tuple[Array, ...]:
    run, own = jax.random.split(key)
    theta, *found = _chains(density, starts, run, settings)
    flat = theta.reshape(-1, theta.shape[-1])
    given = lambda each: density.approximation(each[0]).sample(each[1])
    x = lax.map(given, (flat, jax.random.split(own, len(flat))))
    return theta, x.reshape(*theta.shape[:2], -1), *found


def _chains(density: Callable, starts: Array, key: Array, settings: _Settings) -> tuple:
    """A chain from each of the starts. In a batch all wait for the longest trajectory: on a CPU,
    where an evaluation in a batch of four costs two thirds at best, one after the other."""
    chain = lambda each: _chain(density, each[0], each[1], settings)
    pairs = (starts, jax.random.split(key, len(starts)))
    return lax.map(chain, pairs) if jax.default_backend() == "cpu" else jax.vmap(chain)(pairs)


class _State(NamedTuple):
    """Of a chain: where it is, and what is adapted."""

    at: Any
    steps: Any  # dual averaging of the step size
    metric: Any  # Welford's algorithm, and the inverse mass matrix in use


def _chain(density: Callable, start: Array, key: Array, settings: _Settings) -> tuple:
    """(positions, diverging, acceptance, integration steps, step size, log density at the start).

    Warming up and drawing are one loop, so that the kernel is compiled once.
    """
    begin, averaged, size_of = dual_averaging_adaptation(settings.acceptance)
    metric_begin, metric_seen, metric_final = mass_matrix_adaptation(settings.metric != "dense")
    kernel: Any = kernels.build_kernel()
    typed = lambda tree: jax.tree.map(lambda x: jnp.asarray(x, start.dtype), tree)

    def step(state: _State, inputs: Any) -> tuple[_State, Any]:
        key, warming, seen, last = inputs
        size = jnp.where(warming, jnp.exp(state.steps.log_step_size), size_of(state.steps))
        at, info = kernel(key, state.at, density, size, state.metric.inverse_mass_matrix)
        metric = _if(seen, metric_seen(state.metric, at.position), state.metric)
        metric = lax.cond(last, metric_final, lambda same: same, metric)
        steps = typed(averaged(state.steps, info.acceptance_rate))
        steps = _if(last, typed(begin(size_of(steps))), steps)
        kept = (at.position, info.is_divergent, info.acceptance_rate, info.num_integration_steps)
        return _State(at, _if(warming, steps, state.steps), metric), kept

    at = kernels.init(start, density)
    state = _State(at, typed(begin(jnp.ones((), start.dtype))), metric_begin(start.size))
    keys = jax.random.split(key, settings.warmup + settings.draws)
    state, kept = lax.scan(step, state, (keys, *_schedule(settings)))
    return (*(x[settings.warmup :] for x in kept), size_of(state.steps), at.logdensity)


def _if(condition: Array, yes: Any, no: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)


def _schedule(settings: _Settings) -> tuple[np.ndarray, ...]:
    """For each step: whether it warms up, is seen by the metric, and ends a window of it; Stan's
    windows, as BlackJAX has them."""
    stages = np.zeros((3, settings.warmup + settings.draws), bool)
    stages[0, : settings.warmup] = True
    if settings.metric != "unit":
        with jax.ensure_compile_time_eval():
            stages[1:, : settings.warmup] = np.asarray(build_schedule(settings.warmup)).T
    return tuple(stages)


def _checked(draws: int, warmup: int, chains: int, metric: str, acceptance: float) -> _Settings:
    if min(draws, warmup, chains) < 1:
        raise ValueError(
            f"expected draws, warmup and chains of at least 1; got {draws}, {warmup} and {chains}"
        )
    if metric not in METRICS:
        raise ValueError(f"expected a metric of {METRICS}; got {metric!r}")
    if not 0 < acceptance < 1:
        raise ValueError(f"expected 0 < target_acceptance < 1; got {acceptance}")
    return _Settings(int(draws), int(warmup), metric, float(acceptance))


def _sound(found: Any) -> Any:
    """What the chains say, without the log densities at their starts, which must be finite."""
    *rest, began = found
    if not np.isfinite(began).all():
        raise ValueError(
            f"expected a finite log density where the chains start; got {np.asarray(began)}"
        )
    return rest
