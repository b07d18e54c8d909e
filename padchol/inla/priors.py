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
import numpy as np
import scipy.linalg
import scipy.sparse as sp
from jax import lax
from jax.scipy.special import gammaln
from jax.tree_util import Partial
from jaxtyping import Array, Float
from scipy.sparse import csgraph

from padchol.methods import WithMethods
from padchol.numeric.values import poisoned, real_array
from padchol.precisions.domain import CORRELATION, POSITIVE, PROPORTION, Interval, within
from padchol.precisions.scaling import scaled_laplacian

REAL, PROBABILITY = Interval(-math.inf, math.inf), Interval(0, 1)
HALVINGS = 100  # of an interval that holds a rate: to rounding of float64
SERIES = 1 / np.arange(3.0, 21.0, 2)  # 1/3 + y/5 + y^2/7 + ...: to rounding of float64 at y = 1/64


def pc_precision(u: Any, alpha: Any) -> Prior:
    """A precision tau > 0 with P(1/sqrt(tau) > u) = alpha; u > 0, 0 < alpha < 1.

        pi(tau) = lambda/2 tau^(-3/2) exp(-lambda/sqrt(tau)),   lambda = -log(alpha)/u

    Base: no variance, d = 1/sqrt(tau), the standard deviation (Simpson et al. 2017, section 3.3).
    """
    u, alpha = _numbers(u=(POSITIVE, u), alpha=(PROBABILITY, alpha))
    return _pc(POSITIVE, Partial(_of_precision), -jnp.log(alpha) / u)


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
        _pc(POSITIVE, Partial(_of_range), -jnp.log(alpha_range) * range0),
        _pc(POSITIVE, Partial(_of_deviation), -jnp.log(alpha_sd) / sd0),
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
    distance = Partial(_of_phi, _covariance_eigenvalues(W))
    return _pc(PROPORTION, distance, -jnp.log1p(-alpha) / distance(u)[0])


def pc_ar1(u: Any, alpha: Any) -> Prior:
    """rho, -1 < rho < 1, the correlation at lag one, with P(rho > u) = alpha.

        pi(rho) = lambda exp(-lambda d) / (1 - exp(-sqrt(2) lambda)) / (2 d),   d = sqrt(1 - rho)
        P(rho > u) = (1 - exp(-lambda sqrt(1 - u))) / (1 - exp(-sqrt(2) lambda))

    -1 < u < 1 and sqrt((1 - u)/2) < alpha < 1, as rates are positive. Base: rho = 1, no change in
    time (Sorbye & Rue 2017, J. Time Series Analysis 38, 923-935).
    """
    u, alpha = _numbers(u=(CORRELATION, u), alpha=(PROBABILITY, alpha))
    least = jnp.sqrt((1 - u) / 2)
    if not isinstance(alpha > least, jax.core.Tracer) and not alpha > least:
        raise ValueError(f"expected sqrt((1 - u)/2) = {least:g} < alpha < 1; got {alpha:g}")
    rate = _truncated_rate(jnp.sqrt(1 - u), math.sqrt(2), poisoned(alpha, alpha > least))
    return Prior(CORRELATION, Partial(_penalised_from_one), (rate,))


def pc_cor0(u: Any, alpha: Any) -> Prior:
    """rho, -1 < rho < 1, a correlation, with P(|rho| > u) = alpha; 0 < u, alpha < 1.

        pi(rho) = lambda/2 exp(-lambda d) |rho| / ((1 - rho^2) d),   d = sqrt(-log(1 - rho^2))
        lambda = -log(alpha)/d(u)

    Base: rho = 0, independence (Sorbye & Rue 2017). The density has a corner at 0; there the
    derivative is given as 0, the mean of both sides.
    """
    u, alpha = _numbers(u=(PROBABILITY, u), alpha=(PROBABILITY, alpha))
    return _pc(CORRELATION, Partial(_from_zero), -jnp.log(alpha) / _from_zero(u)[0])


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

    def __call__(self, x: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
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
        self, range: Float[Array, "*batch"], sd: Float[Array, "*batch"]
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
    return _penalised(_from_one, rho, rate) - jnp.log(-jnp.expm1(-rate * math.sqrt(2)))


def _pc(support: Interval, distance: Partial, rate: Array) -> Prior:
    return Prior(support, Partial(_penalised, distance), (rate,))


# ---- distances: x -> (d(x), log|d'(x)|) --------------------------------------------------------


def _of_precision(tau: Array) -> tuple[Array, Array]:
    return tau**-0.5, -1.5 * jnp.log(tau) - math.log(2)


def _of_range(range: Array) -> tuple[Array, Array]:
    return 1 / range, -2 * jnp.log(range)


def _of_deviation(sd: Array) -> tuple[Array, Array]:
    return sd, jnp.zeros_like(sd)


def _from_one(rho: Array) -> tuple[Array, Array]:
    return jnp.sqrt(1 - rho), -jnp.log(1 - rho) / 2 - math.log(2)


def _from_zero(rho: Array) -> tuple[Array, Array]:
    """d^2 = rho^2 m. Half of the law is on either side, hence log(2)."""
    square, rest = rho**2, (1 - rho) * (1 + rho)
    m = 1 + square * _log_remainder(-square, rest)
    return jnp.sign(rho) * rho * jnp.sqrt(m), -jnp.log(m) / 2 - jnp.log(rest) - math.log(2)


def _of_phi(g: Array, phi: Array) -> tuple[Array, Array]:
    """With g the eigenvalues of Q^- and x = phi (g - 1), a sum of terms that are not negative:

        d^2 = sum(x - log(1 + x)) = phi^2 sum((g - 1)^2 k(x)),   k(x) = (x - log(1 + x))/x^2
        d d' = phi/2 sum((g - 1)^2/(1 + x))

    so that nothing cancels near phi = 0, and 1 + x = (1 - phi) + phi g does not near 1.
    """
    g, phi = jnp.asarray(g, phi.dtype), phi[..., None]
    square, one_x = (g - 1) ** 2, (1 - phi) + phi * g
    s = jnp.sqrt(jnp.sum(square * _log_remainder(phi * (g - 1), one_x), -1))
    return phi[..., 0] * s, jnp.log(jnp.sum(square / one_x, -1) / (2 * s))


@jax.jit
def _log_remainder(x: Array, one_x: Array) -> Array:
    """(x - log(1 + x))/x^2 for x > -1, given 1 + x as well; 1/2 at zero.

    Near zero by log(1 + x) = 2 (s + s^3/3 + s^5/5 + ...), s = x/(2 + x).
    """
    w = 1 / (2 + x)
    s = x * w
    near = jnp.abs(s) < 1 / 8
    series = w - 2 * w**2 * s * jnp.polyval(jnp.asarray(SERIES[::-1], x.dtype), s**2)
    x, one_x = jnp.where(near, 1, x), jnp.where(near, 2, one_x)
    return jnp.where(near, series, (x - jnp.log(one_x)) / x**2)


def _covariance_eigenvalues(W: Any) -> Float[np.ndarray, " n"]:
    """Those of Q^-, zeros first: as many as the null space has dimensions, the others inverted.

    `scaled_laplacian` refuses weights of which double precision cannot tell them apart.
    """
    Q, null = scaled_laplacian(W)
    Q, (n, zeros) = sp.csr_array(Q), null.shape
    if not zeros:
        raise ValueError(f"expected areas with neighbours; got {n} without any")
    order = csgraph.reverse_cuthill_mckee(Q, symmetric_mode=True)
    row, col = Q[order][:, order].nonzero()
    lower = row >= col
    row, col = row[lower], col[lower]
    band = np.zeros((np.max(row - col) + 1, n))
    band[row - col, col] = Q[order[row], order[col]]
    values = np.asarray(scipy.linalg.eigvals_banded(band, lower=True, overwrite_a_band=True))
    return np.concatenate([np.zeros(zeros), 1 / values[zeros:]])


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
