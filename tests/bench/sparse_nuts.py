"""Effective samples a second of NUTS over (theta, x): preconditioned at the mode, and at each
theta, beside a diagonal metric on theta and x themselves (BlackJAX's window adaptation, the same
kernel, the same log density).

    .venv/bin/python tests/bench/sparse_nuts.py [--draws 300] [--warmup 300] [MODEL ...]

For each model the smallest bulk effective sample size over all unknowns (Vehtari et al. 2021),
divided by the seconds that one warm chain takes to draw: of the processor, as the machine may be
shared, and by the clock. The last line has the geometric means of the ratios. The chain with a
diagonal metric begins at the mode, the others at a draw of the approximation.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import blackjax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from blackjax.diagnostics import ess_bulk

import padchol
from padchol import likelihoods, precisions
from padchol.assembly import gram_pattern
from padchol.interop import blackjax as samplers
from padchol.laplace import design, laplace

VAGUE = 0.01  # precision of an intercept


def with_intercept(field: Any, rows: Any) -> tuple[Any, Any]:
    """The design [rows, 1] and the values of a field and an intercept, on one plan."""
    B = sp.csc_array(sp.hstack([rows, np.ones((rows.shape[0], 1))]))
    whole = precisions.independent(field, independent_effects(1))
    plan = padchol.analyze([whole.pattern, gram_pattern(B)])
    return design(plan, B), whole.on(plan)


def independent_effects(n: int) -> Any:
    return precisions.combination([sp.eye_array(n)], lambda tau: (tau,), ("tau",))


def poisson_on_a_grid(k: int = 40) -> tuple[Callable, Callable, np.ndarray]:
    """Counts on a k x k grid, exp(intercept + a Matern field): theta = log range, log deviation."""
    rng = np.random.default_rng(1)
    ends = np.zeros(k)
    ends[[0, -1]] = 1
    line = sp.diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(k, k))
    line = line - sp.diags_array(ends)
    G = sp.kron(line, sp.eye_array(k)) + sp.kron(sp.eye_array(k), line)
    field = precisions.matern(sp.eye_array(k * k), G)
    Q = field.matrix(*precisions.matern_parameters(12.0, 0.8)).toarray()
    x = np.linalg.solve(np.linalg.cholesky(Q).T, rng.normal(size=k * k))
    terms = likelihoods.poisson(rng.poisson(np.exp(1 + x)))
    B, values = with_intercept(field, sp.eye_array(k * k))

    def approximation(theta):
        parameters = precisions.matern_parameters(jnp.exp(theta[0]), jnp.exp(theta[1]))
        return laplace(B, terms, values(parameters, (VAGUE,)))

    log_prior = lambda theta: -((theta[0] - 2.3) ** 2 + (theta[1] + 0.5) ** 2) / 2
    return approximation, log_prior, np.array([2.0, 0.0])


def stochastic_volatility(n: int = 2000) -> tuple[Callable, Callable, np.ndarray]:
    """y_t ~ N(0, exp(intercept + x_t)), x an AR(1): theta = log deviation, atanh correlation."""
    rng = np.random.default_rng(2)
    rho, deviation, x = 0.97, 0.7, np.zeros(n)
    x[0] = deviation * rng.normal()
    for t in range(1, n):
        x[t] = rho * x[t - 1] + deviation * np.sqrt(1 - rho**2) * rng.normal()
    squares = (np.exp((x - 1) / 2) * rng.normal(size=n)) ** 2
    B, values = with_intercept(precisions.ar1(n), sp.eye_array(n))

    def terms(eta):
        return -(eta + squares * jnp.exp(-eta) + jnp.log(2 * jnp.pi)) / 2

    def approximation(theta):
        field = (jnp.exp(-2 * theta[0]), jnp.tanh(theta[1]))
        return laplace(B, terms, values(field, (VAGUE,)))

    log_prior = lambda theta: -(theta[0] ** 2 + (2 * theta[1] - 3) ** 2) / 2
    return approximation, log_prior, np.array([0.0, 1.5])


def crossed_effects(a: int = 1000, b: int = 500, m: int = 10_000):
    """Binary answers of a persons to b questions: theta = the logs of two standard deviations."""
    rng = np.random.default_rng(3)
    i, j = rng.integers(a, size=m), rng.integers(b, size=m)
    rows = sp.csr_array((np.ones(2 * m), np.stack([i, a + j], 1).ravel(), 2 * np.arange(m + 1)))
    eta = rng.normal(size=a)[i] + 0.7 * rng.normal(size=b)[j] - 0.5
    terms = likelihoods.binomial(rng.binomial(1, 1 / (1 + np.exp(-eta))))
    both = precisions.independent(independent_effects(a), independent_effects(b))
    B, values = with_intercept(both, rows)

    def approximation(theta):
        tau = jnp.exp(-2 * theta)
        return laplace(B, terms, values(((tau[0],), (tau[1],)), (VAGUE,)))

    return approximation, lambda theta: -theta @ theta / 2, np.zeros(2)


MODELS = {f.__name__: f for f in (poisson_on_a_grid, stochastic_volatility, crossed_effects)}
METHODS = ("diagonal metric", "at the mode", "at each theta")


def diagonal(joint: Callable, start: Any, warmup: int, key: Any) -> tuple[Any, dict]:
    """The state and the parameters of a chain after BlackJAX's window adaptation."""
    quiet = lambda state, info, adaptation: None
    adaptation = blackjax.window_adaptation(blackjax.nuts, joint, adaptation_info_fn=quiet)
    run = jax.jit(lambda key, start: adaptation.run(key, start, num_steps=warmup)[0])
    return run(key, start)


def preconditioned(density: Any, start: Any, warmup: int, key: Any) -> tuple[Any, dict]:
    """The same, of a log density in preconditioned coordinates: the step size alone is adapted."""
    settings = samplers._Settings(1, warmup, "unit", 0.8)
    z, *_, size, _ = samplers._sampled(density, start[None], key, settings)
    metric = jnp.ones(start.size, start.dtype)
    state = eqx.filter_jit(blackjax.nuts.init)(z[0, -1], density)
    return state, {"step_size": size[0], "inverse_mass_matrix": metric}


def measured(density: Callable, points: Callable, state: Any, parameters: dict, draws: int):
    """Effective samples a second, of the processor and by the clock, and a description."""

    def run(density, state, parameters, key):
        step = blackjax.nuts(density, **parameters).step

        def one(state, key):
            state, info = step(key, state)
            return state, (state.position, info.num_integration_steps, info.is_divergent)

        return jax.lax.scan(one, state, jax.random.split(key, draws))[1]

    given = (density, state, parameters, jax.random.key(2))
    compiled = eqx.filter_jit(run).lower(*given).compile()
    processor, clock = time.process_time(), time.perf_counter()
    z, steps, diverging = jax.block_until_ready(compiled(*given))
    processor, clock = time.process_time() - processor, time.perf_counter() - clock
    sizes = np.asarray(ess_bulk(jax.jit(lambda z: jax.lax.map(points, z))(z)[None]))
    told = (
        f"least effective size {sizes.min():7.1f}, median {np.median(sizes):7.1f}, of {draws}; "
        f"{np.mean(steps):5.1f} steps of {1e3 * processor / np.sum(steps):5.2f} ms a draw; "
        f"{int(np.sum(diverging))} diverging"
    )
    return sizes.min() / processor, sizes.min() / clock, told


def compared(name: str, draws: int, warmup: int) -> np.ndarray:
    """(methods, 2): effective samples a second of each method on one model."""
    approximation, log_prior, start = MODELS[name]()
    rates = []
    for method in METHODS:
        density: Any = samplers.preconditioned(
            approximation, log_prior, start, varying=method == "at each theta"
        )
        whitening, key = density.whitening, jax.random.key(1)
        p = whitening.theta.size
        points = lambda z, whitening=whitening: jnp.concatenate(whitening(z))
        if method == "diagonal metric":
            point = jnp.concatenate([whitening.theta, whitening.mode])
            joint = lambda u, p=p, f=density.log_joint: f(u[:p], u[p:])
            state, parameters = diagonal(joint, point, warmup, key)
            density, points = joint, lambda u: u
        else:
            z = jax.random.normal(key, (p + whitening.mode.size,))
            state, parameters = preconditioned(density, z, warmup, key)
        *rate, told = measured(density, points, state, parameters, draws)
        rates.append(rate)
        print(f"{name:22} {method:16} {rate[0]:8.3f} a second; {told}", flush=True)
    return np.array(rates)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", metavar="MODEL", help=", ".join(MODELS))
    parser.add_argument("--draws", type=int, default=300)
    parser.add_argument("--warmup", type=int, default=300)
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    every = []
    for name in options.models or MODELS:
        rates = compared(name, options.draws, options.warmup)
        every.append(rates[1:] / rates[0])
        for method, (processor, clock) in zip(METHODS[1:], every[-1], strict=True):
            print(f"{name:22} {method:16} {processor:.1f} times as many (clock: {clock:.1f})")
    mean = np.exp(np.mean(np.log(every), 0))
    for method, (processor, clock) in zip(METHODS[1:], mean, strict=True):
        print(f"geometric mean, {method}: {processor:.1f} (clock: {clock:.1f})")


if __name__ == "__main__":
    main()
