"""What a fit found, and how it prints."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from padchol.mixed.optimise import Minimum
from padchol.mixed.refit import Refits, responses_of
from padchol.mixed.terms import Effects, Term


class Fit(NamedTuple):
    """Estimates; `converged` says whether they are the minimum. See `str(fit)`."""

    theta: np.ndarray
    theta_names: tuple[str, ...]
    beta: np.ndarray
    names: tuple[str, ...]
    covariance: np.ndarray  # of beta
    sigma: float | None  # None where the model has no residual variance
    deviance: float  # -2 log likelihood, or the REML criterion
    effects: dict[str, np.ndarray]  # conditional means, (levels, p) by term
    terms: Effects
    criterion: str
    n: int
    minimum: Minimum  # in the standard basis: see `padchol.mixed.basis`
    singular: tuple[str, ...] = ()  # terms whose covariance matrix has not full rank
    notes: tuple[str, ...] = ()  # in words: rows and columns left out, what is success
    model: Any = None

    @property
    def converged(self) -> bool:
        return self.minimum.converged

    @property
    def evaluations(self) -> int:
        """Of the deviance and its gradient."""
        return self.minimum.evaluations

    @property
    def standard_errors(self) -> np.ndarray:
        """Of beta."""
        return np.sqrt(np.diagonal(self.covariance))

    def random_covariance(self, name: str) -> np.ndarray:
        """sigma^2 T T^T of a term, (p, p); T T^T where there is no sigma."""
        T = (self.sigma or 1.0) * np.asarray(self._term(name).factor(jnp.asarray(self.theta)))
        return T @ T.T

    def labels(self, name: str) -> np.ndarray:
        """The labels of a term's levels, in the order of `effects[name]`."""
        return self._term(name).labels.values

    def _term(self, name: str) -> Term:
        found = [term for term in self.terms.terms if term.name == name]
        if not found:
            raise KeyError(f"no term {name!r}; there are {[t.name for t in self.terms.terms]}")
        return found[0]

    def simulate(self, key: Array, n: int) -> Float[np.ndarray, "n rows"]:
        """n responses drawn from the fitted model, random effects drawn anew, for a JAX key."""
        return np.asarray(responses_of(self, key, n)[1])

    def bootstrap(self, key: Array, n: int) -> Refits:
        """The model refitted to n simulated responses: see `padchol.mixed.refit`.

        One compiled loop; a refit costs 5 to 15 evaluations of the deviance and its gradient.
        """
        return self.model._refits(self, responses_of(self, key, n)[0])

    def __str__(self) -> str:
        end = "converged" if self.converged else f"NOT CONVERGED: {self.minimum.message}"
        lines = [f"{self.criterion} {self.deviance:.5f}, {self.n} observations; {end}"]
        if self.singular:
            lines.append(
                f"singular fit: the covariance matrix of {', '.join(self.singular)} has not full "
                "rank (a standard deviation of zero, or a correlation of one)"
            )
        lines.append("")
        lines.append(f"{'random effects':32}{'std. dev.':>12}  correlations")
        for term in self.terms.terms:
            V = self.random_covariance(term.name)
            deviation = np.sqrt(np.diagonal(V))
            for k, column in enumerate(term.columns):
                label = f"{term.name} ({term.levels}): {column}"
                with np.errstate(invalid="ignore"):
                    pairs = V[k, :k] / (deviation[k] * deviation[:k])
                shown = " ".join(f"{r:.2f}" for r in pairs)
                lines.append(f"{label:32}{deviation[k]:12.5g}  {shown}")
        if self.sigma is not None:
            lines.append(f"{'residual':32}{self.sigma:12.5g}")
        lines.append("")
        lines.append(f"{'fixed effects':32}{'estimate':>12}{'std. error':>12}")
        for row in zip(self.names, self.beta, self.standard_errors, strict=True):
            lines.append("{:32}{:12.5g}{:12.5g}".format(*row))
        lines += ["", *(f"note: {note}" for note in self.notes)] if self.notes else []
        return "\n".join(line.rstrip() for line in lines)
