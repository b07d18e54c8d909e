"""The deviance over all parameters of a fit, and the quantities that are reported, as functions of
the parameters of the search.

    x = (theta~, log sigma, c)     of a linear model, c the coefficients of X in the standard basis
    x = (theta~, c, extra~)        of a generalised one

The quantities are, in this order, of each term the standard deviations and correlations of its
coefficients, column by column of the lower triangle of T; sigma; the fixed effects; and the
coefficients of further parts. Standard deviations are handed on as variances, which are smooth
where they are zero.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from padchol.mixed.objective import curvature
from padchol.mixed.terms import Effects

# What a parameter of a structure is, of what theta has, by its kind.
OF_KIND = {"correlation": np.tanh, "scale": np.exp}
FLOOR = 1e-3  # least curvature, relative to the largest, by which a step is measured


class Surface(NamedTuple):
    """A deviance and its minimum."""

    value_and_grad: Callable[[Any], tuple[Any, Any]]
    quantities: Callable[[Any], tuple[np.ndarray, np.ndarray]]  # (k,) and their Jacobian (k, x)
    names: tuple[str, ...]
    kinds: tuple[str, ...]  # of each quantity: "variance", "correlation", "scale", "coefficient"
    x: Float[np.ndarray, " x"]
    value: float

    def root(self) -> tuple[Float[np.ndarray, "x x"], bool]:
        """B of B B^T = 2 H^-1, in which the deviance is about value + |z|^2 at x + B z, and whether
        H is positive definite; where it is not, its eigenvalues are made so."""
        H = curvature(self.value_and_grad, self.x)
        scale = np.sqrt(np.maximum(np.abs(np.diagonal(H)), FLOOR))
        values, vectors = np.linalg.eigh(H / scale[:, None] / scale)
        sound = bool(values.min(initial=np.inf) > FLOOR * values.max(initial=0.0))
        values = np.maximum(np.abs(values), FLOOR * np.abs(values).max(initial=0.0))
        return np.sqrt(2) * vectors / np.sqrt(values) / scale[:, None], sound


def of_terms(
    effects: Effects, bases: tuple[Any, ...], theta: Float[Array, " theta"], unit: Any
) -> list[Array]:
    """Variances and correlations of each term, unit^2 T T^T, from theta in the standard basis."""
    found = []
    for term, R in zip(effects.terms, bases, strict=True):
        T = jax.scipy.linalg.solve_triangular(jnp.asarray(R), term.factor(theta))
        V = unit**2 * T @ T.T
        variance = jnp.diagonal(V)
        product = variance[:, None] * variance
        size = jnp.where(product > 0, jnp.sqrt(jnp.where(product > 0, product, 1.0)), jnp.inf)
        for j, i in zip(*np.triu_indices(term.p), strict=True):
            found.append(V[i, i] if i == j else V[i, j] / size[i, j])
    tanh = {"correlation": jnp.tanh}
    rho = zip(effects.kinds, effects.rho(theta), strict=True)
    return [*found, *(tanh.get(kind, lambda r: r)(r) for kind, r in rho)]


def kinds_of(effects: Effects) -> list[str]:
    of_T = ["variance" if d else "correlation" for d in effects.on_diagonal[: effects.n_cov]]
    return [*of_T, *effects.kinds]


@eqx.filter_jit
def _with_jacobian(f: Callable, x: Array) -> tuple[Array, Array]:
    return f(x), jax.jacrev(f)(x)


def with_jacobian(f: Any) -> Callable[[Any], tuple[np.ndarray, np.ndarray]]:
    """x to f(x) and its Jacobian, on the host; f a pytree, compiled once for all of one shape."""

    def both(x: Any) -> tuple[np.ndarray, np.ndarray]:
        value, slope = _with_jacobian(f, jnp.asarray(x, float))
        return np.asarray(value), np.asarray(slope)

    return both


def of_covariance(V: Float[np.ndarray, "p p"]) -> list[tuple[int, int, float]]:
    """(i, j, value) of the lower triangle, column by column: standard deviations on the diagonal,
    correlations beneath."""
    deviation = shown("variance", np.diagonal(V))
    with np.errstate(invalid="ignore", divide="ignore"):
        R = V / deviation / deviation[:, None]
    pairs = zip(*np.triu_indices(len(V)), strict=True)
    return [(int(i), int(j), float(deviation[i] if i == j else R[i, j])) for j, i in pairs]


def shown(kind: str, value: Any) -> Any:
    """The quantity as it is reported: a standard deviation for a variance, sigma for its log."""
    if kind == "variance":
        return np.sqrt(np.maximum(value, 0.0))
    return np.exp(value) if kind == "scale" else value
