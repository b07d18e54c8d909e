"""Where the search for a GLMM begins: the fit of the fixed effects without random effects."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
from jaxtyping import Array, Float

from padchol.mixed.families.predictors import Predictor
from padchol.mixed.held import Held

if TYPE_CHECKING:
    from padchol.mixed.glmm import GeneralizedLinearMixedModel

CONSTANTS = (0.0, 1.0, -1.0, 0.1, 10.0, -10.0)  # linear predictors tried for a finite likelihood
STEPS = 100
LEAST = 0.1  # of the mean curvature, that rows are taken to have: l' / w of others may be anything
SHOWN = 5  # rows named in a message


class Fixed(eqx.Module):
    """The likelihood without random effects, a function of c = (gamma, extra)."""

    terms: Held
    Q: Float[np.ndarray, "n p"]
    offset: Float[np.ndarray, " n"] | None
    parts: tuple[Predictor, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        return (self.Q.shape[1], *(len(part.names) for part in self.parts))

    def split(self, c: Any) -> list[Any]:
        return jnp.split(jnp.asarray(c), np.cumsum(self.sizes)[:-1])

    def terms_and_eta(self, c: Any) -> tuple[Any, Array]:
        gamma, *extra = self.split(c)
        eta = jnp.asarray(self.Q) @ gamma
        predictors = [part(each) for part, each in zip(self.parts, extra, strict=True)]
        terms = self.terms.at(predictors)
        return terms, eta if self.offset is None else eta + jnp.asarray(self.offset)

    def __call__(self, c: Any) -> Array:
        """The sum of the terms, negative."""
        terms, eta = self.terms_and_eta(c)
        return -jnp.sum(terms(eta))


def start(model: GeneralizedLinearMixedModel) -> tuple[np.ndarray, float, str]:
    """(theta~, gamma, extra) to begin with, the first two in a unit, the unit, and what makes the
    likelihood unusable. For a model in the standard basis.

    (gamma, extra) is the maximum likelihood fit of eta = Q gamma, by Newton's method in trust
    regions, with extra brought within reach of its first values: where a parameter has run to the
    end of its range, the search would not come back. The unit is the standard deviation of the
    working residuals l' / w, w = -l'', weighted by w (McCullagh & Nelder 1989, Generalized Linear
    Models, section 2.5), apart from rows of hardly any curvature: the scale on which random effects
    would matter, whatever the units of eta are.
    """
    fixed = Fixed(model.terms, model.Q, model.offset, model.parts)
    c = _maximum(fixed)
    p = fixed.sizes[0]
    if c is None:
        extra = [part.first for part in model.parts]
        return np.concatenate([model.first, np.zeros(p), *extra]), 1.0, _impossible(fixed)
    _, slope, w = (np.asarray(each) for each in _derivatives(fixed, jnp.asarray(c)))
    w = np.maximum(w, 0.0)
    with np.errstate(all="ignore"):
        unit = np.sqrt(np.sum(slope**2 / np.maximum(w, LEAST * np.mean(w))) / np.sum(w))
    unit = float(unit) if np.isfinite(unit) and unit > 0 else 1.0
    gamma, *extra = (np.asarray(each) for each in fixed.split(c))
    extra = [part.near(each) for part, each in zip(model.parts, extra, strict=True)]
    return np.concatenate([model.first, gamma / unit, *extra]), unit, ""


def _maximum(fixed: Fixed) -> np.ndarray | None:
    """c; None where no finite likelihood was found."""
    best: Any = (np.inf, None)
    objective, hessian = _functions(fixed)

    def counted(c: np.ndarray) -> tuple[float, np.ndarray]:
        total, gradient = objective(c)
        if not (np.isfinite(total) and np.isfinite(gradient).all()):
            return np.inf, np.full(c.size, np.nan)
        nonlocal best
        best = min(best, (total, c.copy()), key=lambda pair: pair[0])
        return total, gradient

    first = [part.first for part in fixed.parts]
    for constant in CONSTANTS:
        eta = np.full(len(fixed.Q), constant) - (0.0 if fixed.offset is None else fixed.offset)
        gamma = np.linalg.lstsq(fixed.Q, eta, rcond=None)[0]
        if np.isfinite(counted(np.concatenate([gamma, *first]))[0]):
            break
    if best[1] is None:
        return None
    if best[1].size:
        with np.errstate(all="ignore"):
            scipy.optimize.minimize(
                counted, best[1], jac=True, hess=hessian, method="trust-exact",
                options={"gtol": 1e-2, "maxiter": STEPS, "max_trust_radius": 1e12},
            )  # fmt: skip
    return best[1]


def _functions(fixed: Fixed) -> tuple[Callable, Callable]:
    """The function with its gradient, and its Hessian; without parts from the derivatives of each
    term, Q^T w Q."""

    def objective(c: np.ndarray) -> tuple[float, np.ndarray]:
        if fixed.parts:
            value, gradient = _value_and_grad(fixed, jnp.asarray(c))
            return float(value), np.asarray(gradient)
        value, slope, _ = _derivatives(fixed, jnp.asarray(c))
        return -float(np.sum(value)), -(fixed.Q.T @ np.asarray(slope))

    def hessian(c: np.ndarray) -> np.ndarray:
        if fixed.parts:
            H = np.asarray(_hessian(fixed, jnp.asarray(c)))
        else:
            w = np.asarray(_derivatives(fixed, jnp.asarray(c))[2])
            H = fixed.Q.T @ (w[:, None] * fixed.Q)
        return H if np.isfinite(H).all() else np.eye(c.size)

    return objective, hessian


def _impossible(fixed: Fixed) -> str:
    zero = np.concatenate([np.zeros(fixed.sizes[0]), *(part.first for part in fixed.parts)])
    value = np.asarray(_derivatives(fixed, jnp.asarray(zero))[0])
    rows = np.flatnonzero(~np.isfinite(value))
    shown = ", ".join(map(str, rows[:SHOWN])) + (", ..." if rows.size > SHOWN else "")
    return (
        f"the log-likelihood is not finite where the search begins, in {rows.size} rows of "
        f"{len(value)} (counted from 0: {shown}): the response cannot occur there; correct the "
        "data, or give a start"
    )


@eqx.filter_jit
def _derivatives(fixed: Fixed, c: Array) -> tuple[Array, Array, Array]:
    """l, l' and -l'' of each row."""
    terms, eta = fixed.terms_and_eta(c)
    slope = jax.grad(lambda eta: jnp.sum(terms(eta)))
    first, second = jax.jvp(slope, (eta,), (jnp.ones_like(eta),))
    return terms(eta), first, -second


@eqx.filter_jit
def _value_and_grad(fixed: Fixed, c: Array) -> tuple[Array, Array]:
    return jax.value_and_grad(lambda c: fixed(c))(c)


@eqx.filter_jit
def _hessian(fixed: Fixed, c: Array) -> Array:
    return jax.hessian(lambda c: fixed(c))(c)
