"""What a fit found, and how it prints."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from padchol.mixed import conditional, confint, predict, residuals, summary
from padchol.mixed.conditional import Ranef
from padchol.mixed.families.predictors import Part
from padchol.mixed.optimise import Minimum
from padchol.mixed.refit import Refits, responses_of
from padchol.mixed.satterthwaite import Satterthwaite
from padchol.mixed.surface import OF_KIND
from padchol.mixed.terms import Effects, Term
from padchol.mixed.wald import Hypothesis, wald


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
    extras: tuple[Part, ...] = ()  # the likelihood's own parameters

    @property
    def converged(self) -> bool:
        """Whether a smaller deviance was looked for and not found."""
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

    def structure(self, name: str) -> dict[str, float]:
        """The parameters of a term's structure: correlations, ranges; theta has artanh and log."""
        term = self._term(name)
        before = self.terms.terms[: self.terms.terms.index(term)]
        at = self.terms.n_cov + sum(len(each.rho) for each in before)
        values = zip(term.rho, term.kinds, self.theta[at:], strict=False)
        return {rho: float(OF_KIND.get(kind, float)(value)) for rho, kind, value in values}

    def labels(self, name: str) -> np.ndarray:
        """The labels of a term's levels, in the order of `effects[name]`."""
        return self._term(name).labels.values

    def _term(self, name: str) -> Term:
        found = [term for term in self.terms.terms if term.name == name]
        if not found:
            raise KeyError(f"no term {name!r}; there are {[t.name for t in self.terms.terms]}")
        return found[0]

    @property
    def formula(self) -> str:
        """Of the model; empty where it was made from matrices."""
        reading = getattr(self.model, "reading", None)
        return reading.formula if reading is not None else ""

    @property
    def df(self) -> int:
        """How many parameters were estimated: theta, beta, sigma, and the likelihood's own."""
        own = sum(part.parameters.size for part in self.extras)
        return self.theta.size + self.beta.size + own + (self.sigma is not None)

    @property
    def loglik(self) -> float:
        """log p(y), or the restricted one of a REML fit."""
        return -self.deviance / 2

    @property
    def aic(self) -> float:
        """Akaike's information criterion, deviance + 2 df."""
        return self.deviance + 2 * self.df

    @property
    def bic(self) -> float:
        """Schwarz's information criterion, deviance + log(n) df."""
        return self.deviance + np.log(self.n) * self.df

    @property
    def fitted(self) -> Float[np.ndarray, " n"]:
        """E[y] given the random effects at their conditional means."""
        return self.predict(type="response")

    def predict(
        self,
        data: Any = None,
        *,
        random: bool = True,
        new_levels: str = "error",
        se: bool = False,
        type: str = "link",
    ) -> Any:
        """Predictions (n,) for the rows of a DataFrame, or of the model's own data.

        random: with the random effects, at their conditional means. new_levels: what to do with
        levels that the model has not seen: "error", or "zero", the mean of their law. type: "link",
        eta, or "response", E[y], for one trial of a binomial. se: a `Prediction`, (value, se),
        whose standard errors are of eta given theta, or by the delta method of E[y]; they are those
        of the mean, without the noise of an observation, and take the likelihood's own parameters
        (zeros, dispersion) as known. See `padchol.mixed.predict`. Cost: with
        se, a solve for each row. Raises `ValueError` for data that cannot be read, levels that the
        model does not know, and models made from matrices where data are given.
        """
        return predict.predict(self, data, random, new_levels, se, type)

    def ranef(self, variances: bool = False) -> Any:
        """The conditional means of the random effects: a DataFrame for each term, by its name.

        With variances: a `Ranef` of these, `.effects`, and of their covariance matrices given
        theta, `.variances`, (levels, p, p) for each term. See `padchol.mixed.conditional`.
        """
        effects = conditional.means(self)
        return Ranef(effects, conditional.covariances(self)) if variances else effects

    def residuals(self, kind: str = "response") -> Float[np.ndarray, " n"]:
        """Of each row, given the random effects at their conditional means.

        kind: "response", y - E[y]; "pearson", that over its standard deviation, but for sigma in a
        linear model; "scaled", Pearson's over sigma; "working", on the scale of eta; "deviance",
        the signed roots of each row's part of the deviance. See `padchol.mixed.residuals`.
        """
        return residuals.residuals(self, kind)

    def confint(
        self, level: float = 0.95, method: str = "wald", *, key: Array | None = None, n: int = 500
    ) -> Any:
        """Intervals of all parameters: a DataFrame with the columns lower and upper.

        Rows are named like the parameters: of each term `g[x]` a standard deviation, `g[x, z]` a
        correlation; sigma; fixed effects; the likelihood's own parameters. method: "wald",
        "profile" (of the likelihood) or "bootstrap" (quantiles of `n` refits, with a JAX key). See
        `padchol.mixed.intervals`. NaN where an interval is not defined or was not found.
        """
        return confint.confint(self, level, method, key, n)

    def hypothesis(self, L: Any, r: Any = 0.0) -> Hypothesis:
        """The test of L beta = r, L (p,) or (rows, p).

        L may be the name of a fixed effect, or a list of names: all of them are r. Degrees of
        freedom are Satterthwaite's in linear models, see `padchol.mixed.satterthwaite`, and
        infinite in generalised ones: Wald's test, for large samples.
        """
        df = None if self.sigma is None else Satterthwaite(self).df
        return wald(self.beta, self.covariance, self._rows_of(L), r, df)

    def _rows_of(self, L: Any) -> Any:
        """L, or of names the rows that pick these fixed effects."""
        names = [L] if isinstance(L, str) else L
        if not (isinstance(names, list | tuple) and any(isinstance(n, str) for n in names)):
            return L
        unknown = [name for name in names if name not in self.names]
        if unknown:
            raise ValueError(f"expected names of fixed effects, {self.names}; got {unknown}")
        return np.eye(len(self.names))[[self.names.index(name) for name in names]]

    def by_maximum_likelihood(self) -> Fit:
        """The fit, or where it was by REML that of its model by maximum likelihood."""
        return self.model.inference.by_maximum_likelihood(self.model, self)

    def refit(self, y: Any) -> Fit:
        """The fit of the same model to another response (n,), as `simulate` gives them; of a
        binomial the successes. A search of its own: for many responses see `bootstrap`.

        Raises `ValueError` for another shape, numbers that are not finite, and responses that the
        family cannot have.
        """
        y = np.asarray(y, float)
        if y.shape != (self.n,) or not np.isfinite(y).all():
            raise ValueError(f"expected a response ({self.n},), finite; got shape {y.shape}")
        return self.model.inference.of_response(self.model, y).fit()

    def surface(self) -> Any:
        """The deviance over all parameters: see `padchol.mixed.surface`."""
        return self.model.inference.surface(self.model, self)

    @property
    def extra_names(self) -> tuple[str, ...]:
        """Of the likelihood's own parameters: `dispersion[x]`."""
        return tuple(f"{part.title}[{name}]" for part in self.extras for name in part.names)

    def to_frame(self, level: float = 0.95) -> Any:
        """A DataFrame with a row for each parameter: effect, group, term, estimate, std_error,
        statistic, p_value (of the normal law), and Wald's lower and upper."""
        return summary.to_frame(self, level)

    def summary(self, *, correlation: bool = False, satterthwaite: bool = False) -> str:
        """The fit as text. correlation: of the fixed effects, too; satterthwaite: degrees of
        freedom and p of the fixed effects of a linear model, which costs an exact Hessian."""
        return summary.summary(self, correlation=correlation, satterthwaite=satterthwaite)

    def simulate(self, key: Array, n: int) -> Float[np.ndarray, "n rows"]:
        """n responses drawn from the fitted model, random effects drawn anew, for a JAX key."""
        return np.asarray(responses_of(self, key, n)[1])

    def bootstrap(self, key: Array, n: int) -> Refits:
        """The model refitted to n simulated responses: see `padchol.mixed.refit`.

        One compiled loop; a refit costs 5 to 15 evaluations of the deviance and its gradient.
        """
        return self.model._refits(self, responses_of(self, key, n)[0])

    def __str__(self) -> str:
        return self.summary()

    def __repr__(self) -> str:
        return self.summary()
