"""What is computed at each theta, as one compiled program for any number of them.

    log p(y, theta), its gradient, and the means and standard deviations of x and eta given theta

The program runs over a chunk of points, of which the first `count` are real, so that the search of
the mode and the integration share it. Where there are several devices each takes its part.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Bool, Float

from padchol.inla._correction import corrected_mean
from padchol.laplace import Laplace
from padchol.laplace._start import begun_at
from padchol.numeric.devices import alike

Approximation = Callable[[Float[Array, " p"]], Laplace]
LogPrior = Callable[[Float[Array, " p"]], Any]

CHUNK = 16  # points a device takes at a time: results of a chunk are made whole for one as well


class Evaluated(NamedTuple):
    """At one theta, or at k of them on a leading axis."""

    log_density: Any  # log p(y, theta)
    gradient: Any  # (p,)
    mean: Any  # (n,), corrected
    sd: Any  # (n,)
    predictor_mean: Any  # (m,)
    predictor_sd: Any  # (m,)
    curvature: Any  # (m,), -l'' at the mode of eta
    converged: Bool[Array, ""] | Any


def fitted(approximation: Approximation, theta: Array) -> Laplace:
    """The approximation at theta; `TypeError` where it is something else."""
    fit = approximation(theta)
    if not isinstance(fit, Laplace):
        raise TypeError(
            "expected an approximation that takes theta to what padchol.laplace.laplace gives; got "
            f"{type(fit).__name__}"
        )
    return fit


def at_one(
    approximation: Approximation, log_prior: LogPrior, along: Any, theta: Array
) -> Evaluated:
    """Everything at one theta; along: see `corrected_mean`."""

    def density(theta):
        fit = fitted(approximation, theta)
        prior = jnp.asarray(log_prior(theta))
        if prior.shape != ():
            raise ValueError(f"expected a log_prior that gives a number; got shape {prior.shape}")
        return fit.log_marginal + prior, fit

    (value, fit), gradient = jax.value_and_grad(density, has_aux=True)(theta)
    fit = lax.stop_gradient(fit)
    variances, predictor = fit.variances()
    predictor_sd = jnp.sqrt(predictor)
    mean, found = corrected_mean(fit, predictor_sd, along)
    return Evaluated(
        log_density=value,
        gradient=gradient,
        mean=mean,
        sd=jnp.sqrt(variances),
        predictor_mean=fit.design(mean),
        predictor_sd=predictor_sd,
        curvature=fit.problem.weights(fit.design(fit.mode)),
        converged=fit.converged & found & jnp.isfinite(value),
    )


@eqx.filter_jit
def _chunks(f: Callable, points: Any, counts: Any, mesh: Mesh | None) -> Any:
    """f at the first `count` of the points (d, CHUNK, ...) of each of d devices."""

    def chunk(points, count):
        points, count = jax.tree.map(lambda x: x[0], points), count[0]
        shapes = jax.eval_shape(f, jax.tree.map(lambda x: x[0], points))
        empty = jax.tree.map(lambda s: jnp.zeros((CHUNK, *s.shape), s.dtype), shapes)
        leaves, tree = jax.tree.flatten(empty)
        leaves = alike(*leaves, *jax.tree.leaves(points))[: len(leaves)]

        def one(i, out):
            point = jax.tree.map(lambda x: x[i], points)
            if isinstance(f, AtTheta):
                last = jax.tree.map(lambda o: o[jnp.maximum(i - 1, 0)], out)
                found = f.after(last, (i > 0) & last.converged, point)
            else:
                found = f(point)
            return jax.tree.map(lambda o, x: o.at[i].set(x), out, found)

        out = lax.fori_loop(0, count, one, jax.tree.unflatten(tree, leaves))
        return jax.tree.map(lambda x: x[None], out)

    if mesh is None:
        return chunk(points, counts)
    spec = PartitionSpec("points")
    return jax.shard_map(chunk, mesh=mesh, in_specs=(spec, spec), out_specs=spec)(points, counts)


class Evaluator:
    """f over any number of points, by one program that is compiled once for all of them.

    f takes one point, a pytree of arrays, to a pytree of arrays; programs are kept by the identity
    of what f is made of, see `equinox.filter_jit`.
    """

    def __init__(self, f: Callable, devices: int = 1):
        self.f = f
        self.mesh = Mesh(np.asarray(jax.devices()[:devices]), ("points",)) if devices > 1 else None
        self.devices = devices

    def __call__(self, points: Any) -> Any:
        """f at each of k points, stacked on the leading axis; numpy arrays."""
        points = jax.tree.map(lambda x: np.asarray(x), points)
        k = len(jax.tree.leaves(points)[0])
        at_once, found = self.devices * CHUNK, []
        for begin in range(0, k, at_once):
            part = jax.tree.map(lambda x, b=begin: x[b : b + at_once], points)
            found.append(self._chunk(part, min(k - begin, at_once)))
        return jax.tree.map(lambda *x: np.concatenate(x), *found)

    def _chunk(self, points: Any, k: int) -> Any:
        """Point i goes to device i mod d, so that each has its part of any number."""
        device, place = np.arange(k) % self.devices, np.arange(k) // self.devices

        def spread(x):
            out = np.zeros((self.devices, CHUNK, *x.shape[1:]), x.dtype)
            out[device, place] = x
            return out

        counts = np.bincount(device, minlength=self.devices).astype(np.int32)
        out = _chunks(self.f, jax.tree.map(spread, points), counts, self.mesh)
        return jax.tree.map(lambda x: np.asarray(x)[device, place], out)


class AtTheta(eqx.Module):
    """theta to `Evaluated`. Compiled once for one approximation and prior."""

    approximation: Approximation
    log_prior: LogPrior
    along: tuple[int, ...] | None = eqx.field(static=True)

    def __call__(self, theta: Float[Array, " p"]) -> Evaluated:
        return at_one(self.approximation, self.log_prior, self.along, theta)

    def after(
        self, last: Evaluated, known: Bool[Array, ""], theta: Float[Array, " p"]
    ) -> Evaluated:
        """The same, where the search of the mode begins at the mean of the last point, if that is
        known: three quarters of the time went into searches from the prior mean (NOTES 37)."""
        with begun_at(jnp.where(known, last.mean, jnp.nan)):
            return self(theta)


def devices_for(approximation: Approximation, p: int) -> int:
    """How many devices share the points: all, but one where a matrix is on several itself."""
    count = jax.local_device_count()
    if count == 1:
        return 1
    try:
        hash(approximation)
    except TypeError:  # a module that holds arrays, which is traced at every call
        shards = _shards.__wrapped__(approximation, p)
    else:
        shards = _shards(approximation, p)
    return count if shards == 1 else 1


@functools.lru_cache(maxsize=64)
def _shards(approximation: Approximation, p: int) -> int:
    """Into how many parts the matrices of an approximation are cut."""
    theta = jax.ShapeDtypeStruct((p,), jnp.result_type(float))
    fit = jax.eval_shape(lambda theta: fitted(approximation, theta), theta)
    return fit.design.plan.layout.shards
