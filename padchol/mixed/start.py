"""Where the search for a GLMM begins: the fit of the fixed effects without random effects."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
from jaxtyping import Array, Float

from padchol.likelihoods import Terms

CONSTANTS = (0.0, 1.0, -1.0, 0.1, 10.0, -10.0)  # linear predictors tried for a finite likelihood
STEPS = 100
SHOWN = 5  # rows named in a message


def start(
    terms: Terms, Q: Float[np.ndarray, "n p"], first: Float[np.ndarray, " theta"]
) -> tuple[np.ndarray, float, str]:
    """(theta~, gamma) to begin with in a unit, the unit, and what makes the likelihood unusable.

    gamma is the maximum likelihood fit of eta = Q gamma, by Newton's method in trust regions. The
    unit is the standard deviation of the working residuals l' / w, w = -l'', weighted by w
    (McCullagh & Nelder 1989, Generalized Linear Models, section 2.5): the scale on which random
    effects would matter, whatever the units of eta are.
    """
    gamma, slope, w = _fixed(terms, Q)
    if gamma is None:
        return np.concatenate([first, np.zeros(Q.shape[1])]), 1.0, _impossible(terms, Q)
    w = np.maximum(w, 0.0)
    some = w > 0
    with np.errstate(all="ignore"):
        unit = np.sqrt(np.sum(slope[some] ** 2 / w[some]) / np.sum(w))
    unit = float(unit) if np.isfinite(unit) and unit > 0 else 1.0
    return np.concatenate([first, gamma / unit]), unit, ""


def _fixed(terms: Terms, Q: np.ndarray) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
    """gamma, and l' and -l'' of each row there; None where no finite likelihood was found."""
    best = np.inf, None

    def objective(gamma: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope, _ = _derivatives(terms, jnp.asarray(Q @ gamma))
        total, gradient = -float(np.sum(value)), -(Q.T @ np.asarray(slope))
        if not (np.isfinite(total) and np.isfinite(gradient).all()):
            return np.inf, np.full(gamma.size, np.nan)
        nonlocal best
        best = min(best, (total, gamma.copy()), key=lambda pair: pair[0])
        return total, gradient

    def hessian(gamma: np.ndarray) -> np.ndarray:
        w = np.asarray(_derivatives(terms, jnp.asarray(Q @ gamma))[2])
        return Q.T @ (w[:, None] * Q) if np.isfinite(w).all() else np.eye(gamma.size)

    for constant in CONSTANTS:
        begin = np.linalg.lstsq(Q, np.full(len(Q), constant), rcond=None)[0]
        if np.isfinite(objective(begin)[0]):
            break
    if best[1] is None:
        return None, np.zeros(0), np.zeros(0)
    if Q.shape[1]:
        with np.errstate(all="ignore"):
            scipy.optimize.minimize(
                objective, best[1], jac=True, hess=hessian, method="trust-exact",
                options={"gtol": 1e-2, "maxiter": STEPS, "max_trust_radius": 1e12},
            )  # fmt: skip
    _, slope, w = _derivatives(terms, jnp.asarray(Q @ best[1]))
    return best[1], np.asarray(slope), np.asarray(w)


def _impossible(terms: Terms, Q: np.ndarray) -> str:
    value = np.asarray(_derivatives(terms, jnp.zeros(len(Q)))[0])
    rows = np.flatnonzero(~np.isfinite(value))
    shown = ", ".join(map(str, rows[:SHOWN])) + (", ..." if rows.size > SHOWN else "")
    return (
        f"the log-likelihood is not finite where the search begins, in {rows.size} rows of "
        f"{len(value)} (counted from 0: {shown}): the response cannot occur there; correct the "
        "data, or give a start"
    )


@eqx.filter_jit
def _derivatives(terms: Terms, eta: Array) -> tuple[Array, Array, Array]:
    """l, l' and -l'' of each row."""
    slope = jax.grad(lambda eta: jnp.sum(terms(eta)))
    first, second = jax.jvp(slope, (eta,), (jnp.ones_like(eta),))
    return terms(eta), first, -second
