"""Regularised incomplete gamma and beta functions, by continued fractions.

Those of JAX take their first factor from differences of log Gamma: their errors grow with the
parameters, to 1e-3 for a beta law of precision 1e12, or in float32 for counts of a thousand. Here
it is taken from Stirling's remainder and from divergences, which do not cancel.

Values only: the loops end by what they have reached, so that reverse mode does not pass them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from padchol.likelihoods._base import log
from padchol.likelihoods._functions import divergence, stirling_remainder
from padchol.numeric.devices import alike

LOG_2PI = math.log(2 * math.pi)
MOST = 20_000  # steps, about the square root of the largest parameter; then the value is NaN


def gammainc(a: Array, x: Array) -> tuple[Array, Array]:
    """(P, Q): P = int_0^x t^(a-1) e^-t dt / Gamma(a), Q = 1 - P, a > 0, x >= 0

    The smaller of the two by a continued fraction, the other as what is left to 1: Q by DLMF 8.9.2,
    P by the limit of that of `betainc` for b x fixed and b large.
    """
    a, x = jnp.broadcast_arrays(a, jnp.asarray(x, a.dtype))
    a = jnp.maximum(a, jnp.finfo(a.dtype).tiny ** 0.5)
    x = jnp.minimum(x, jnp.finfo(a.dtype).max / 4)  # infinity as well, where the factor is 0
    log_factor = (jnp.log(a) - LOG_2PI) / 2 - stirling_remainder(a, jnp.log(a))
    factor = jnp.exp(log_factor - divergence(a, x - a, log(x) - jnp.log(a)))
    lower = x < a + 1

    def term(n):
        ratio = x / (a + 2 * n - 1)
        of_p = (a + (n - 1)) * n * ratio**2, n * (1 + ratio) + _last(a, a - x + 2 * n, n)
        of_q = n * (a - n), x - a + 2 * n + 1
        return jnp.where(lower, of_p[0], of_q[0]), jnp.where(lower, of_p[1], of_q[1])

    first = jnp.where(lower, _last(a, a - x, 0), x - a + 1)
    small = jnp.minimum(factor / _continued_fraction(first, term), 1.0)
    return jnp.where(lower, small, 1 - small), jnp.where(lower, 1 - small, small)


def betainc(a: Array, b: Array, x: Array, rest: Array) -> Array:
    """int_0^x t^(a-1) (1-t)^(b-1) dt / B(a, b), a, b > 0, of x and rest = 1 - x, both given

    By the continued fraction of DiDonato & Morris 1992, ACM TOMS 18, 360-373, eq. 9 or, beyond the
    mean, as 1 minus that of the other side.
    """
    a, b, x, rest = jnp.broadcast_arrays(a, b, x, rest)
    tiny = jnp.finfo(x.dtype).tiny ** 0.5
    a, b = jnp.maximum(a, tiny), jnp.maximum(b, tiny)
    other = x * (a + b + 2) > a + 1
    a, b = jnp.where(other, b, a), jnp.where(other, a, b)
    x, rest = jnp.where(other, rest, x), jnp.where(other, x, rest)
    distance = a * rest - b * x

    def term(n):
        ratio = x / (a + 2 * n - 1)
        numerator = (a + (n - 1)) * n * ((a + b + n - 1) * ratio) * ((b - n) * ratio)
        return numerator, n * (1 + (b - n) * ratio) + _last(a, distance + n * (1 + rest), n)

    fraction = _continued_fraction(_last(a, distance, 0), term)
    small = jnp.minimum(_beta_factor(a, b, x, rest) / fraction, 1.0)
    return jnp.where(other, 1 - small, small)


def _last(a: Array, distance: Array, n: Any) -> Array:
    return (a + n) / (a + 2 * n + 1) * (distance + 1)


def _beta_factor(a: Array, b: Array, x: Array, rest: Array) -> Array:
    """x^a rest^b / B(a, b)"""
    n = a + b
    difference = jnp.where(x < 0.5, x - a / n, b / n - rest) * n
    log_n, log_a, log_b = jnp.log(n), jnp.log(a), jnp.log(b)
    value = (log_a + log_b - log_n - LOG_2PI) / 2 + stirling_remainder(n, log_n)
    value = value - stirling_remainder(a, log_a) - stirling_remainder(b, log_b)
    value = value - divergence(a, difference, log(x) + log_n - log_a)
    return jnp.exp(value - divergence(b, -difference, log(rest) + log_n - log_b))


def _continued_fraction(first: Array, term: Callable[[Array], tuple[Array, Array]]) -> Array:
    """first + a_1 / (b_1 + a_2 / (b_2 + ...)), term(n) = (a_n, b_n); NaN where it does not end

    By the method of Lentz (Thompson & Barnett 1986, J. Comput. Phys. 64, 490-509).
    """
    dtype = first.dtype
    zero, enough = jnp.finfo(dtype).tiny ** 0.75, 2 * jnp.finfo(dtype).eps

    def not_zero(x):
        return jnp.where(x == 0, zero, x)

    def one(carry):
        n, f, c, d, ended = carry
        numerator, denominator = term(n.astype(dtype))
        d = 1 / not_zero(denominator + numerator * d)
        c = not_zero(denominator + numerator / c)
        f = jnp.where(ended, f, f * c * d)
        return n + 1, f, c, d, ended | ~(jnp.abs(c * d - 1) > enough)

    def going(carry):
        return (carry[0] <= MOST) & jnp.any(~carry[-1])

    # Inside `shard_map` the loop varies over the devices as its terms do.
    none = jnp.zeros_like(first)
    f, d, ended, *_ = alike(not_zero(first), none, none != 0, *term(jnp.ones((), dtype)))
    _, f, _, _, ended = lax.while_loop(going, one, (jnp.asarray(1), f, f, d, ended))
    return jnp.where(ended, f, jnp.nan)
