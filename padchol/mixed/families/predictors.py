"""Linear predictors of a likelihood's own parameters, and what a fit says of them.

    predictor = X c,    X (n, k) of a formula, (1, 1) of one for all rows, or the identity

Like the fixed effects they are held in a basis of orthogonal columns of unit mean square, X = Q U,
so that a search does not see how the covariates were shifted and scaled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Array, Float

from padchol.mixed.algebra import orthonormal


class Predictor(eqx.Module):
    """X c, and where a search for c begins."""

    Q: Float[np.ndarray, "m k"]
    U: Float[np.ndarray, "k k"]
    first: Float[np.ndarray, " k"]  # in the standard basis
    title: str = eqx.field(static=True)
    formula: str = eqx.field(static=True)  # the argument whose formula made X; "" for none
    names: tuple[str, ...] = eqx.field(static=True)
    scale: str = eqx.field(static=True)  # "log", "logit": what the predictor is of its parameter
    about: str = eqx.field(static=True)  # in words, what the parameter is
    reach: float = eqx.field(static=True)  # how far from `first` a search may begin
    shown: Callable[[Array], Array] | None = eqx.field(static=True)  # c to what a fit shows

    def __call__(self, c: Float[Array, " k"]) -> Float[Array, " m"]:
        return jnp.asarray(self.Q) @ (jnp.asarray(self.U) @ c)

    def standard(self) -> Predictor:
        """The same, whose coefficients are those of Q."""
        return eqx.tree_at(lambda p: p.U, self, np.eye(len(self.U)))

    def to_user(self, c: np.ndarray) -> np.ndarray:
        """From the coefficients of the search to those of the user's columns."""
        return scipy.linalg.solve_triangular(self.U, c, check_finite=False)

    def near(self, c: np.ndarray) -> np.ndarray:
        """Coefficients of Q whose predictor is, as nearly as can be, within reach of the first."""
        at, begin = self.Q @ c, self.Q @ self.first
        if not np.isfinite(at).all():
            return self.first
        if np.max(np.abs(at - begin)) <= self.reach:
            return c
        inside = np.clip(at, begin - self.reach, begin + self.reach)
        return self.Q.T @ inside / len(self.Q)


class Part(NamedTuple):
    """The estimates of one predictor's coefficients, or of what is shown in their place."""

    title: str
    names: tuple[str, ...]
    estimates: np.ndarray
    covariance: np.ndarray
    scale: str  # of the estimates: "log", "logit", or "" for parameters as they are
    about: str
    parameters: np.ndarray  # as they stand in the vector of parameters

    @property
    def standard_errors(self) -> np.ndarray:
        """Of the estimates."""
        return np.sqrt(np.diagonal(self.covariance))

    def lines(self) -> list[str]:
        """A table, with the parameter itself where one coefficient stands for it."""
        inverse: Any = {"log": np.exp, "logit": lambda x: 1 / (1 + np.exp(-x))}.get(self.scale)
        inverse = inverse if len(self.names) == 1 else None
        kind = f", {self.scale}" if self.scale else ""
        head = f"{self.title + kind:32}{'estimate':>12}{'std. error':>12}"
        found = [head + (f"{'parameter':>12}" if inverse else "")]
        for row in zip(self.names, self.estimates, self.standard_errors, strict=True):
            value = f"{inverse(row[1]):12.5g}" if inverse else ""
            found.append("{:32}{:12.5g}{:12.5g}".format(*row) + value)
        return [*found, f"  {self.about}"] if self.about else found


def predictor(
    title: str,
    X: Any,
    names: tuple[str, ...],
    first: Any,
    *,
    formula: str = "",
    scale: str = "",
    about: str = "",
    reach: float = np.inf,
    shown: Callable[[Array], Array] | None = None,
) -> Predictor:
    """first: the predictor where a search begins, a number or one for each row of X.

    Raises `ValueError` for columns of X that depend on those before them.
    """
    X = np.asarray(X, float)
    Q, U = orthonormal(X, names)
    Q, U = Q * np.sqrt(len(X)), U / np.sqrt(len(X))
    begin = Q.T @ np.broadcast_to(np.asarray(first, float), (len(X),)) / len(X)
    return Predictor(Q, U, begin, title, formula, tuple(names), scale, about, reach, shown)


def constant(title: str, first: float, **options: Any) -> Predictor:
    """One coefficient for all rows."""
    return predictor(title, np.ones((1, 1)), ("Intercept",), first, **options)


def part(found: Predictor, c: np.ndarray, covariance: np.ndarray) -> Part:
    """What a fit shows of coefficients c (of X) with their covariance: by the delta method."""
    estimates, V = c, covariance
    if found.shown is not None:
        J = np.asarray(jax.jacobian(found.shown)(jnp.asarray(c)))
        estimates, V = np.asarray(found.shown(jnp.asarray(c))), J @ covariance @ J.T
    scale = "" if found.shown is not None else found.scale
    return Part(found.title, found.names, estimates, V, scale, found.about, c)
