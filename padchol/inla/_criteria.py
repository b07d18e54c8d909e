"""Model criteria: DIC, WAIC, CPO and PIT, from the marginals of the predictor at each theta.

With eta_i ~ N(m_i, s_i^2) given theta and the likelihood p(y_i | eta_i), averages over theta with
the weights of the integration points:

    DIC      D(E eta) + 2 p_D,  p_D = E D - D(E eta),  D = -2 sum log p(y_i | eta_i), parameters
             of the likelihood at the mode of theta (Spiegelhalter, Best, Carlin & van der Linde
             2002, JRSS B 64, 583-639)
    WAIC     -2 sum (log E p_i - var log p_i) (Watanabe 2010, JMLR 11, 3571-3594; Gelman, Hwang &
             Vehtari 2014, Stat. Comput. 24, 997-1016, eq. 11 to 13)
    CPO_i    p(y_i | y_-i) = 1 / E[1 / p(y_i | y_-i, theta)] (Held, Schrodle & Rue 2010, in
             Statistical Modelling and Regression Structures, Springer, 91-110)
    PIT_i    P(Y_i <= y_i | y_-i), theta with weights in proportion to 1 / p(y_i | y_-i, theta)

Given theta, eta_i without y_i is about normal: what y_i adds to the precision, its -l'' at the
mode, and to the linear term, E l', is taken away again,

    1/v = 1/s^2 + l''(mode),   c = m - v E l'(eta_i),   p(y_i | y_-i, theta) = E p(y_i | N(c, v))

(Vehtari, Mononen, Tolvanen, Sivula & Winther 2016, JMLR 17(103), section 3). Nothing is divided by
p(y_i | eta_i), whose inverse no normal law integrates where counts are Poisson. Where 1/v is not
well above zero `failure` is 1, as it is 0 where all is well.
"""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from padchol.inla._correction import expected, hermite
from padchol.inla._evaluation import Approximation, fitted
from padchol.laplace import LogLikelihood

NODES = 31


class Criteria(NamedTuple):
    """dic, waic: lower is better. cpo, pit, failure: (m,), failure from 0 to 1."""

    dic: float
    effective_dic: float  # p_D
    waic: float
    effective_waic: float
    cpo: Float[np.ndarray, " m"]
    pit: Float[np.ndarray, " m"]
    failure: Float[np.ndarray, " m"]


class Terms(eqx.Module):
    """(theta, and mean, sd and -l'' at the mode of eta) to what the criteria are made of."""

    approximation: Approximation

    def __call__(self, point: tuple[Array, Array, Array, Array]) -> tuple[Array, ...]:
        theta, mean, sd, curvature = point
        log_p = fitted(self.approximation, theta).log_likelihood
        value = expected(log_p, mean, sd, NODES)
        square = expected(lambda eta: log_p(eta) ** 2, mean, sd, NODES)
        density = expected(lambda eta: jnp.exp(log_p(eta)), mean, sd, NODES)
        return value, square, density, *left_out(log_p, mean, sd, curvature), log_p(mean)


def left_out(
    log_p: LogLikelihood,
    mean: Float[Array, " m"],
    sd: Float[Array, " m"],
    curvature: Float[Array, " m"],
) -> tuple[Float[Array, " m"], Float[Array, " m"], Float[Array, " m"]]:
    """log p(y_i | y_-i, theta), P(Y_i <= y_i | y_-i, theta), and 1 where there is no law without
    y_i."""
    tau = 1 / sd**2
    # What is left of the precision without y_i; as a part of it, rounding is all there is below.
    failed = ~(tau - curvature > jnp.finfo(mean.dtype).eps ** 0.5 * tau)
    v = 1 / jnp.where(failed, tau, tau - curvature)
    force = jax.grad(lambda eta: jnp.sum(expected(log_p, eta, sd, NODES)))(mean)
    centre = mean - v * force
    # Nodes where p times the law without y_i is large, which is near the law with it.
    ratio = lambda eta: (eta - mean) ** 2 * tau / 2 - (eta - centre) ** 2 / v / 2
    z, w = (jnp.asarray(x, mean.dtype)[:, None] for x in hermite(NODES))
    eta = mean + sd * z
    terms = jnp.log(w) + jax.vmap(log_p)(eta) + jax.vmap(ratio)(eta)
    density = jax.scipy.special.logsumexp(terms, 0) + jnp.log(v * tau) * -0.5
    cdf = getattr(log_p, "cdf", lambda eta: jnp.full(eta.shape, jnp.nan, eta.dtype))
    return density, expected(cdf, centre, jnp.sqrt(v), NODES), failed.astype(mean.dtype)


def criteria(
    weights: Float[np.ndarray, " k"], terms: tuple[np.ndarray, ...], at_mean: np.ndarray
) -> Criteria:
    """From the terms at each theta (k, m), and log p(y_i | E eta_i) (m,) at the mode of theta."""
    value, square, density, left, below, failed, _ = terms
    mean = weights @ value
    deviance, plug_in = -2 * mean.sum(), -2 * at_mean.sum()
    spread = weights @ square - mean**2
    # The harmonic mean over theta, by the least of the logarithms so that none overflows.
    least = left.min(0)
    share = weights[:, None] * np.exp(least - left)
    cpo = np.exp(least) / share.sum(0)
    share = share / share.sum(0)
    return Criteria(
        dic=float(2 * deviance - plug_in),
        effective_dic=float(deviance - plug_in),
        waic=float(-2 * (np.log(weights @ density) - spread).sum()),
        effective_waic=float(spread.sum()),
        cpo=np.where(np.sum(share * failed, 0) < 1, cpo, np.nan),
        pit=np.sum(share * below, 0),
        failure=np.sum(share * failed, 0),
    )
