"""Priors of hyperparameters: each call gives a function, the log density of the parameter it names.

    precision = priors.pc_precision(1.0, 0.01)
    log_prior = lambda theta: precision(jnp.exp(theta[0])) + theta[0]    # theta[0] = log(tau)

The density is that of tau, not of log(tau): whoever works in another parameter adds the logarithm
of the derivative, theta[0] in the example.

Penalised complexity (PC) priors (Simpson, Rue, Riebler, Martins & Sorbye 2017, Statistical Science
32, 1-28, section 3) put an exponential law on the distance d(x) = sqrt(2 KLD) of the model at x
from a simpler base model, KLD the Kullback-Leibler divergence:

    log pi(x) = log(lambda) - lambda d(x) + log|d'(x)|

The user gives a tail probability, from which the rate lambda follows. Where d has a largest value
the law is truncated there.

The functions take a number or an array, entry by entry, and answer in its precision, float32 or
float64. They are twice differentiable, -inf outside of the support, NaN at NaN. The arguments of
priors are numbers: `ValueError` for those that make no prior, or NaN where these are traced. The
functions are pytrees, and differentiable in the arguments of the priors as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.special import gammaln
from jax.tree_util import Partial
from jaxtyping import Array, ArrayLike, Float, Real

from padchol.inla._distances import (
    covariance_eigenvalues,
    from_one,
    from_zero,
    of_deviation,
    of_phi,
    of_precision,
    of_range,
)
from padchol.methods import WithMethods
from padchol.numeric.values import poisoned, real_array
from padchol.precisions.domain import CORRELATION, POSITIVE, PROPORTION, Interval, within

REAL, PROBABILITY = Interval(-math.inf, math.inf), Interval(0, 1)
HALVINGS = 100  # of an interval that holds a rate: to rounding of float64


def pc_precision(u: Any, alpha: Any) -> Prior:
    """A precision tau > 0 with P(1/sqrt(tau) > u) = alpha; u > 0, 0 < alpha < 1.

        pi(tau) = lambda/2 tau^(-3/2) exp(-lambda/sqrt(tau)),   lambda = -log(alpha)/u

    Base: no variance, d = 1/sqrt(tau), the standard deviation (Simpson et al. 2017, section 3.3).
    """
    u, alpha = _numbers(u=(POSITIVE, u), alpha=(PROBABILITY, alpha))
    return _pc(POSITIVE, Partial(of_precision), -jnp.log(alpha) / u)


def pc_range_sd(range0: Any, alpha_range: Any, sd0: Any, alpha_sd: Any) -> RangeAndDeviation:
    """The range and standard deviation of a Matern field in two dimensions, a function of the two.

        P(range < range0) = alpha_range,   P(sd > sd0) = alpha_sd
        pi(range, sd) = lambda_r range^-2 exp(-lambda_r/range) lambda_s exp(-lambda_s sd)
        lambda_r = -log(alpha_range) range0,   lambda_s = -log(alpha_sd)/sd0

    range, sd, range0, sd0 > 0, both probabilities between 0 and 1. Base: infinite range, no
    variance (Fuglstad, Simpson, Lindgren & Rue 2019, JASA 114, 445-452, section 2). The range is
    that of `padchol.precisions.matern_parameters`.
    """
    range0, alpha_range, sd0, alpha_sd = _numbers(
        range0=(POSITIVE, range0),
        alpha_range=(PROBABILITY, alpha_range),
        sd0=(POSITIVE, sd0),
        alpha_sd=(PROBABILITY, alpha_sd),
    )
    return RangeAndDeviation(
        _pc(POSITIVE, Partial(of_range), -jnp.log(alpha_range) * range0),
        _pc(POSITIVE, Partial(of_deviation), -jnp.log(alpha_sd) / sd0),
    )


def pc_bym2_phi(W: Any, u: Any, alpha: Any) -> Prior:
    """phi, 0 <= phi < 1, the part of the variance of `padchol.precisions.bym2(W)` that is spatial,
    with P(phi < u) = alpha; 0 < u, alpha < 1.

        KLD(phi) = (phi (tr Q^- - n) - log|(1 - phi) I + phi Q^-|) / 2,   d = sqrt(2 KLD)
        lambda = -log(1 - alpha)/d(u)

    Q^- (n, n) is the generalised inverse of `scaled_laplacian(W)`. Base: phi = 0, nothing spatial
    (Riebler, Sorbye, Simpson & Rue 2016, Stat. Methods Med. Res. 25, 1145-1165, appendix). All n
    eigenvalues count. Each component of two areas or more has a zero among them, by which d(1) is
    infinite and the law of d not truncated. Its tail is long: for 544 areas, u = 1/2 and alpha =
    2/3, 13% of the probability lie where phi is rounded to 1 in double precision.

    `ValueError` where no area has a neighbour, as d is then zero for all phi, and where double
    precision does not tell the zeros from other eigenvalues. Cost: the eigenvalues on the host, in
    double precision, from the matrix as a band of b diagonals, b ~ 4 sqrt(n) on a map: O(n^2 b)
    and n b numbers, 3 s for n = 3000, 100 s for 8000. Then O(n) for each value.
    """
    u, alpha = _numbers(u=(PROBABILITY, u), alpha=(PROBABILITY, alpha))
    distance = Partial(of_phi, covariance_eigenvalues(W))
    return _pc(PROPORTION, distance, -jnp.log1p(-alpha) / distance(u)[0])


def pc_ar1(u: Any, alpha: Any, *, base: int = 0) -> Prior:
    """rho, -1 < rho < 1, the correlation at lag one, shrunk to `base`, which is 0 or 1.

        base 0, independence:   P(|rho| > u) = alpha,   d = sqrt(-log(1 - rho^2)),   0 < u < 1
        base 1, no change:      P(rho > u) = alpha,     d = sqrt(1 - rho),          -1 < u < 1

    (Sorbye & Rue 2017, J. Time Series Analysis 38, 923-935; R-INLA's pc.cor0 and pc.cor1.) To base
    0 half of the law is on either side, lambda = -log(alpha)/d(u), and the density has a corner at
    0, where the derivative is given as 0, the mean of both sides. To base 1 the law is truncated at
    d = sqrt(2), and sqrt((1 - u)/2) < alpha < 1, as rates are positive.
    """
    if base == 0:
        u, alpha = _numbers(u=(PROBABILITY, u), alpha=(PROBABILITY, alpha))
        return _pc(CORRELATION, Partial(from_zero), -jnp.log(alpha) / from_zero(u)[0])
    if base != 1:
        raise ValueError(f"expected base 0 or 1; got {base}")
    u, alpha = _numbers(u=(CORRELATION, u), alpha=(PROBABILITY, alpha))
    least = jnp.sqrt((1 - u) / 2)
    if not isinstance(alpha > least, jax.core.Tracer) and not alpha > least:
        raise ValueError(f"expected sqrt((1 - u)/2) = {least:g} < alpha < 1; got {alpha:g}")
    rate = _truncated_rate(jnp.sqrt(1 - u), math.sqrt(2), poisoned(alpha, alpha > least))
    return Prior(CORRELATION, Partial(_penalised_from_one), (rate,))


def gamma(shape: Any, rate: Any) -> Prior:
    """x > 0 with mean shape/rate and variance shape/rate^2; shape, rate > 0."""
    return Prior(
        POSITIVE, Partial(_gamma), _numbers(shape=(POSITIVE, shape), rate=(POSITIVE, rate))
    )


def gaussian(mean: Any, precision: Any) -> Prior:
    """x ~ N(mean, 1/precision); precision > 0."""
    arguments = _numbers(mean=(REAL, mean), precision=(POSITIVE, precision))
    return Prior(REAL, Partial(_gaussian), arguments)


class _Prior(WithMethods):
    """Compared by identity, as functions are: `jax.jit` and the like ask for it."""

    __hash__ = WithMethods.__hash__

    def __eq__(self, other: Any) -> bool:
        return self is other


class Prior(_Prior):
    """A log density on its support, -inf elsewhere, and NaN where x is NaN."""

    support: Interval = eqx.field(static=True)
    log_density: Partial  # of x, *arguments
    arguments: Sequence[Array]

    def __call__(self, x: Real[ArrayLike, "*batch"]) -> Float[Array, "*batch"]:
        x = real_array(x, "parameter")
        x = poisoned(x, ~jnp.isnan(x))  # derivatives too
        held = self.support.holds(x) | jnp.isnan(x)
        arguments = (each.astype(x.dtype) for each in self.arguments)
        value = self.log_density(jnp.where(held, x, 0.5), *arguments)  # 0.5 lies in every support
        return value + jnp.where(held, 0.0, -jnp.inf)


class RangeAndDeviation(_Prior):
    """The sum of the log densities of the two."""

    range: Prior
    sd: Prior

    def __call__(
        self, range: Real[ArrayLike, "*batch"], sd: Real[ArrayLike, "*batch"]
    ) -> Float[Array, "*batch"]:
        return self.range(range) + self.sd(sd)


def _numbers(**arguments: tuple[Interval, Any]) -> list[Array]:
    """The arguments of a prior, each in its interval."""
    domain = {name: interval for name, (interval, _) in arguments.items()}
    return within(domain, list(arguments), [x for _, x in arguments.values()])


def _gamma(x: Array, shape: Array, rate: Array) -> Array:
    return shape * jnp.log(rate) - gammaln(shape) + (shape - 1) * jnp.log(x) - rate * x


def _gaussian(x: Array, mean: Array, precision: Array) -> Array:
    return (jnp.log(precision / (2 * math.pi)) - precision * (x - mean) ** 2) / 2


def _penalised(distance: Callable, x: Array, rate: Array) -> Array:
    """log(rate) - rate d(x) + log|d'(x)|, of a distance that has no largest value."""
    d, log_slope = distance(x)
    return jnp.log(rate) - rate * d + log_slope


def _penalised_from_one(rho: Array, rate: Array) -> Array:
    """That of the distance sqrt(1 - rho), truncated at its largest value."""
    return _penalised(from_one, rho, rate) - jnp.log(-jnp.expm1(-rate * math.sqrt(2)))


def _pc(support: Interval, distance: Partial, rate: Array) -> Prior:
    return Prior(support, Partial(_penalised, distance), (rate,))


def _truncated_rate(near: Array, far: float, probability: Array) -> Array:
    """The root lambda of (1 - exp(-lambda near)) / (1 - exp(-lambda far)) = probability.

    By bisection: the left side increases from near/far to 1, and passes the probability before
    1 - exp(-lambda near) does.
    """

    def excess(rate):
        return jnp.expm1(-rate * near) / jnp.expm1(-rate * far) - probability

    def bisect(f, high):
        def halve(_, ends):
            low, high = ends
            middle = (low + high) / 2
            below = f(middle) < 0
            return jnp.where(below, middle, low), jnp.where(below, high, middle)

        return lax.fori_loop(0, HALVINGS, halve, (jnp.zeros_like(high), high))[1]

    tangent = lambda slope, y: y / slope(jnp.ones_like(y))
    return lax.custom_root(excess, -jnp.log1p(-probability) / near, bisect, tangent)
