"""Special functions whose values and derivatives keep their digits where the usual ones cancel.

Their derivatives are given in closed form: what automatic differentiation makes of log(1 + e^x),
for example, has 1 - sigmoid(x) in its second derivative, which is 0 in floating point from x = 37
on, where sigmoid(-x) is not.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array

FROM = 8.0  # where Stirling's series is used: its eight terms below leave 1e-16 there


@jax.custom_jvp
def softplus(x: Array) -> Array:
    """log(1 + exp(x)), with the derivative sigmoid(x)"""
    return jnp.maximum(x, 0.0) + jnp.log1p(jnp.exp(-jnp.abs(x)))


softplus.defjvps(lambda dx, _, x: sigmoid(x) * dx)


@jax.custom_jvp
def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), with the derivative sigmoid(x) sigmoid(-x)"""
    small = jnp.exp(-jnp.abs(x))
    return jnp.where(x < 0, small, 1.0) / (1 + small)


sigmoid.defjvps(lambda dx, value, x: value * sigmoid(-x) * dx)


@jax.custom_jvp
def log1pmx(v: Array) -> Array:
    """log(1 + v) - v, v > -1

    For |v| < 1/2 by log(1 + v) = 2 atanh(w), w = v / (2 + v), |w| < 1/3, whose series has its first
    term taken out: 2 w - v = -v w.
    """
    near = jnp.abs(v) < 0.5
    inner = jnp.where(near, v, 0.0)
    w = inner / (2 + inner)
    series = jnp.zeros_like(w)
    for k in range(16, 0, -1):  # 3^-32 / 33 is below the rounding
        series = series * w**2 + 1 / (2 * k + 1)
    outer = jnp.where(near, 1.0, v)
    return jnp.where(near, 2 * w**3 * series - inner * w, jnp.log1p(outer) - outer)


log1pmx.defjvps(lambda dv, _, v: -v / (1 + v) * dv)


@jax.custom_jvp
def scaled_log1p(x: Array, r: Array) -> Array:
    """r log(1 + x / r), x >= 0, r > 0: x in the limit of large r, its derivative in r as well"""
    return r * jnp.log1p(x / r)


scaled_log1p.defjvps(lambda dx, _, x, r: dx / (1 + x / r), lambda dr, _, x, r: _curved(x / r) * dr)


@jax.custom_jvp
def _curved(v: Array) -> Array:
    """log(1 + v) - v / (1 + v), v >= 0, which is v^2 / 2 for small v"""
    small = jnp.minimum(v, 1.0)
    return jnp.where(v < 1, log1pmx(small) + small**2 / (1 + small), jnp.log1p(v) - v / (1 + v))


_curved.defjvps(lambda dv, _, v: v / (1 + v) / (1 + v) * dv)


def log1mexp(x: Array) -> Array:
    """log(1 - exp(-x)), x > 0 (Maechler 2012, Accurately computing log(1 - exp(-|a|)))"""
    near = x < math.log(2)
    inner, outer = jnp.where(near, x, 1.0), jnp.where(near, 1.0, x)
    return jnp.where(near, jnp.log(-jnp.expm1(-inner)), jnp.log1p(-jnp.exp(-outer)))


# B_2k / (2k (2k - 1)), k = 1 to 8 (Abramowitz & Stegun 1964, 6.1.41)
STIRLING = (1/12, -1/360, 1/1260, -1/1680, 1/1188, -691/360360, 1/156, -3617/122400)  # fmt: skip


def stirling_remainder(z: Array, log_z: Array) -> Array:
    """log Gamma(z) - ((z - 1/2) log(z) - z + log(2 pi) / 2), z >= 0

    Differences of log Gamma at large arguments are differences of this small number and of terms
    that can be arranged so that they do not cancel. By Stirling's series, below `FROM` at z + FROM
    and by recurrence. log(z) is given, as a caller may know it where z has underflowed.
    """
    small = z < FROM
    at = jnp.where(small, z + FROM, z)
    inverse = 1 / at
    series = jnp.zeros_like(at)
    for c in reversed(STIRLING):
        series = series * inverse**2 + c
    series = series * inverse
    below = jnp.where(small, z, 0.0)
    k = jnp.arange(1, FROM, dtype=at.dtype).reshape(-1, *(1,) * at.ndim)
    shift = (below + FROM - 0.5) * jnp.log(below + FROM) - FROM - jnp.sum(jnp.log(below + k), 0)
    return series + jnp.where(small, shift - (below + 0.5) * log_z, 0.0)


def log_rising(y: Array, r: Array) -> Array:
    """log(Gamma(r + y) / (Gamma(r) r^y)), y >= 0, r > 0

    y (y - 1) / (2 r) for large r, where the logarithms of Gamma are r times as large and more. With
    u = y / r and Stirling's remainder R it is

        r ((1 + u) log(1 + u) - u) - log(1 + u) / 2 + R(r + y) - R(r)
    """
    u = y / r
    log_1pu = jnp.log1p(u)
    z = jnp.stack(jnp.broadcast_arrays(r + y, r))  # one call, which compiles in half the time
    of_sum, of_r = stirling_remainder(z, jnp.log(z))
    value = r * (u * log_1pu + log1pmx(u)) - log_1pu / 2 + of_sum - of_r
    return jnp.where(y == 0, 0.0, value)  # without rounding, beside terms that may be e^-40


def divergence(p: Array, difference: Array, log_ratio: Array) -> Array:
    """p (x / p - 1 - log(x / p)) >= 0 from x - p and log(x / p)

    Poisson, gamma and binomial laws at their means are made of it (Loader 2000, Fast and accurate
    computation of binomial probabilities). The logarithm is used where x is not near p.
    """
    near = jnp.abs(difference) < p / 2
    v = jnp.where(near, difference, 0.0) / jnp.where(near, p, 1.0)
    far = difference - p * jnp.where(near, 0.0, log_ratio)
    return jnp.where(near, -p * log1pmx(v), far)
