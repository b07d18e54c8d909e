"""Adaptive Gauss-Hermite quadrature over scalar random effects.

For one effect u_j ~ N(0, 1) a level, with mode m_j and curvature h_j of

    g_j(u) = sum over the rows i of level j of l_i(fixed_i + z_i u) - u^2 / 2

the likelihood is a product of integrals over the real line, each by K nodes about its mode:

    int exp(g_j(u)) du / sqrt(2 pi)  =  sum_k w_k exp(x_k^2 / 2 + g_j(m_j + x_k / s_j)) / s_j,

s_j = sqrt(h_j), and x_k, w_k the nodes and weights of the weight function exp(-x^2 / 2) / sqrt(2
pi) (Liu & Pierce 1994, Biometrika 81, 624-629; Pinheiro & Bates 1995, J. Comput. Graph. Stat. 4,
12-35). One node is Laplace's approximation; the error falls as n^-floor((K + 2) / 3), n the rows of
a level.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from padchol.likelihoods import Terms
from padchol.mixed.terms import Effects

MOST = 100  # nodes, whose weights are right to rounding up to there


def check_nodes(nagq: Any, effects: Effects) -> int:
    """The number of nodes; `ValueError` for a model whose integrals are not over single numbers."""
    if isinstance(nagq, bool) or not isinstance(nagq, int | np.integer) or not 1 <= nagq <= MOST:
        raise ValueError(f"expected nagq, a number of nodes from 1 to {MOST}; got {nagq!r}")
    if nagq > 1 and [(term.p, term.structured) for term in effects.terms] != [(1, False)]:
        found = ", ".join(f"{term.name} with {term.p}" for term in effects.terms) or "none"
        raise ValueError(
            "expected one random-effects term of one column, as (1 | g), for quadrature with "
            f"nagq={nagq}; got {found}. nagq=1, Laplace's approximation, is for all models"
        )
    return int(nagq)


@functools.cache
def nodes(count: int) -> tuple[np.ndarray, np.ndarray]:
    """x_k and log w_k + x_k^2 / 2, (count,) each."""
    x, w = np.polynomial.hermite_e.hermegauss(count)
    return x, np.log(w / np.sqrt(2 * np.pi)) + x**2 / 2


def log_marginal(
    terms: Terms,
    fixed: Float[Array, " n"],
    z: Float[Array, " n"],
    level: Int[np.ndarray, " n"],
    mode: Float[Array, " q"],
    count: int,
) -> Float[Array, ""]:
    """log p(y), with u ~ N(0, I) of q levels integrated out, from their modes. O(n count)."""
    eta = fixed + z * mode[level]
    slope = jax.grad(lambda eta: jnp.sum(terms(eta)))
    w = -jax.jvp(slope, (eta,), (jnp.ones_like(eta),))[1]
    s = jnp.sqrt(1 + jnp.zeros_like(mode).at[level].add(w * z**2))
    x, log_weights = (jnp.asarray(each) for each in nodes(count))
    u = mode + x[:, None] / s
    values = jax.vmap(lambda u: terms(fixed + z * u[level]))(u)
    g = jnp.zeros_like(u).at[:, level].add(values) - u**2 / 2
    return jnp.sum(jax.scipy.special.logsumexp(g + log_weights[:, None], 0) - jnp.log(s))
