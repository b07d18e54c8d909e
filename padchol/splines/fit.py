"""What a fitted additive model says: estimates, predictions, curves, tests, pictures."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from padchol.splines import curves, report, significance
from padchol.splines.covariance import Covariance
from padchol.splines.curves import Curve
from padchol.splines.restricted import Data, Estimate, Restricted

if TYPE_CHECKING:
    from padchol.splines.additive_model import AdditiveModel


class AdditiveFit:
    """Estimates of an additive model; `print` shows a summary like mgcv's.

    coefficients (n,) and their names; `log_smoothing` by smooth; `parameters` of the family;
    `reml`: minus the restricted log likelihood, as in mgcv; `fitted`: means at the data.
    """

    def __init__(self, model: AdditiveModel, z: np.ndarray, found: Estimate):
        self.model, self._estimate = model, found
        self.coefficients: Float[np.ndarray, " n"] = np.asarray(found.coefficients)
        self.z = z
        self.reml = -float(found.log_restricted)
        self.scale = float(found.theta[0]) if model.family.dispersed else 1.0
        self.theta: Float[np.ndarray, " q"] = np.asarray(found.theta)
        eta, edf, variances = _summary(found, model.restricted, model.observed)
        self.linear_predictor: Float[np.ndarray, " m"] = np.asarray(eta)
        self.se: Float[np.ndarray, " m"] = np.sqrt(np.asarray(variances))
        self._degrees: Float[np.ndarray, " n"] = np.asarray(edf)
        self._y, self._w = np.asarray(model.observed.y), np.asarray(model.observed.weights)
        self._others = tuple(map(np.asarray, model.observed.columns))

    # ---- names ----------------------------------------------------------------------------------

    @property
    def names(self) -> list[str]:
        """Of the coefficients."""
        smooths = [name for term in self.model.terms for name in term.coefficient_names]
        return [*self.model.parametric.names, *smooths]

    @property
    def smooths(self) -> list[str]:
        """The labels of the smooth terms."""
        return [term.label for term in self.model.terms]

    @property
    def log_smoothing(self) -> dict[str, np.ndarray]:
        """log lambda of each smooth, one for each of its penalties."""
        where = self.model.penalties_of()
        return {t.label: self.z[at] for t, at in zip(self.model.terms, where, strict=True)}

    @property
    def parameters(self) -> dict[str, float]:
        """Of the family, estimated."""
        names = self.model.family.parameters or ("dispersion",) * len(self.theta)
        return dict(zip(names, self.theta.tolist(), strict=True))

    def columns(self, name: str) -> slice:
        """Where the coefficients of a smooth are."""
        if name not in self.smooths:
            raise KeyError(f"no smooth {name!r}; there are {self.smooths}")
        k, starts = self.smooths.index(name), self.model.starts
        return slice(int(starts[k]), int(starts[k + 1]))

    # ---- numbers --------------------------------------------------------------------------------

    @property
    def edf(self) -> dict[str, float]:
        """Effective degrees of freedom of each smooth: the trace of its part of H^-1 B^T W B."""
        return {name: float(self._degrees[self.columns(name)].sum()) for name in self.smooths}

    @property
    def edf_total(self) -> float:
        """Effective degrees of freedom of all terms together."""
        return float(self._degrees.sum())

    @property
    def n(self) -> int:
        """Data, of positive weight."""
        return int(np.sum(self._w > 0))

    @property
    def fitted(self) -> Float[np.ndarray, " m"]:
        """Means at the data, of one trial or unit of exposure."""
        return self.mean(self.linear_predictor)

    @functools.cached_property
    def loglik(self) -> float:
        """Of the data at the estimates."""
        y, w, _, others = self.model.observed
        made = self.model.family.make(y, w, jnp.asarray(self.theta), *others)
        return float(jnp.sum(made(jnp.asarray(self.linear_predictor))))

    @property
    def df(self) -> float:
        """Effective degrees of freedom, and the parameters of the family."""
        return self.edf_total + len(self.theta)

    @property
    def aic(self) -> float:
        """-2 loglik + 2 df, given the smoothing parameters."""
        return -2 * self.loglik + 2 * self.df

    def _deviances(self, mu: np.ndarray) -> np.ndarray:
        family = self.model.family
        if family.deviance is None:
            return np.full(mu.shape, np.nan)
        outcome = family.outcome(self._y, *self._others)
        weight = self._w * family.counted(self._y, *self._others)
        with np.errstate(all="ignore"):
            return weight * family.deviance(outcome, mu, self.theta)

    @property
    def deviance(self) -> float:
        """Twice what the saturated model has more of log likelihood, times the dispersion; NaN for
        families of which it is not known."""
        return float(np.sum(self._deviances(self.fitted)))

    @functools.cached_property
    def null_deviance(self) -> float:
        """That of the model with an intercept and the offset alone."""
        eta = self.model.constant_predictor() + np.asarray(self.model.observed.offset)
        return float(np.sum(self._deviances(self.mean(eta))))

    @property
    def deviance_explained(self) -> float:
        """The share of the null deviance that the model explains."""
        return 1 - self.deviance / self.null_deviance

    @property
    def r_squared(self) -> float:
        """Adjusted: the share of the variance, on the response scale, that is explained."""
        y = self.model.family.outcome(self._y, *self._others)
        root = np.sqrt(self._w)
        mean = np.average(y, weights=self._w) if self._w.any() else 0.0
        left = np.var(root * (y - self.fitted), ddof=1) * (self.n - 1)
        whole = np.var(root * (y - mean), ddof=1) * (self.n - self.edf_total)
        return float(1 - left / whole)

    def residuals(self, kind: str = "deviance") -> Float[np.ndarray, " m"]:
        """ "deviance"; "response", y - mu; or "pearson", sqrt(w / V(mu)) (y - mu), V over the
        dispersion. NaN where the family does not say."""
        family, mu = self.model.family, self.fitted
        apart = family.outcome(self._y, *self._others) - mu
        if kind == "pearson":
            if family.variance is None:
                return np.full(mu.shape, np.nan)
            weight = self._w * family.counted(self._y, *self._others)
            return apart * np.sqrt(weight / family.variance(mu, self.theta))
        if kind == "response":
            return apart
        if kind == "deviance":
            return np.sign(apart) * np.sqrt(np.maximum(self._deviances(mu), 0))
        raise ValueError(f"expected residuals 'deviance', 'response' or 'pearson'; got {kind!r}")

    # ---- covariances, predictions, curves -------------------------------------------------------

    @functools.cached_property
    def _covariance(self) -> Covariance:
        return Covariance(self._estimate.factor, float(self._estimate.scale))

    @property
    def covariance(self) -> Float[np.ndarray, "n n"]:
        """Of the coefficients, given the smoothing parameters. Dense."""
        return self._covariance.dense()

    def variances(self, rows: Any) -> Float[np.ndarray, " m"]:
        """Of rows @ coefficients, rows (m, n) sparse, given the smoothing parameters."""
        return self._covariance.variances(rows)

    def mean(self, eta: np.ndarray) -> np.ndarray:
        """E[y | eta], of one trial or unit of exposure."""
        return self.model.family.mean(eta, self.theta)

    def predict(
        self,
        data: Any = None,
        *,
        se: bool = False,
        interval: float | None = None,
        type: str = "link",
        terms: Any = None,
        offset: Any = None,
        new_levels: str = "error",
    ) -> Any:
        """The predictor eta (m,) of new data, or of the model's own; its mean for "response".

        With `se`, or an `interval` of probability 0.95, say, a `Prediction`: see `curves`.
        terms: names of smooths and columns, of which alone the predictor is to be the sum, without
        offset. offset (m,): that of new data, where it was not in the formula; by default the
        column that was the model's. new_levels: "zero"
        gives levels of random effects that the model has not seen an effect of zero.
        """
        return curves.predict(self, data, se, interval, type, terms, offset, new_levels)

    def smooth(
        self,
        name: str,
        x: Any = None,
        *,
        points: int = 100,
        level: float = 0.95,
        with_mean: bool = False,
    ) -> Curve:
        """One smooth with a band, on a grid over the data or at x: (points,), or (points,
        variables) for several. Of random effects: one for each level.

        with_mean: the band includes how uncertain the mean of the predictor is, by which its
        coverage comes closer to nominal (Marra & Wood 2012, section 3).
        """
        return curves.curve(self, name, x, points, level, with_mean)

    def plot(self, axes: Any = None, **options: Any) -> Any:
        """Every smooth with its band: see `padchol.splines.picture.draw`. Needs matplotlib."""
        from padchol.splines.picture import draw

        return draw(self, axes, **options)

    # ---- tests ----------------------------------------------------------------------------------

    def test_smooths(self) -> dict[str, significance.Test]:
        """Of f = 0 for each smooth: see `padchol.splines.significance`."""
        return {name: significance.of_smooth(self, name) for name in self.smooths}

    def test_columns(self) -> dict[str, significance.Wald]:
        """Of each unpenalised coefficient."""
        return significance.of_columns(self)

    def __str__(self) -> str:
        return report.summary(self)

    def __repr__(self) -> str:
        return report.summary(self)


@jax.jit
def _summary(found: Estimate, model: Restricted, data: Data) -> tuple[Array, Array, Array]:
    """eta (m,); diag(H^-1 B^T W B) (n,); the variances of eta (m,): one selected inverse."""
    plan = model.plan
    inverse = found.factor.selected_inverse()
    rows, cols = jnp.asarray(plan.rows), jnp.asarray(plan.cols)
    products = inverse * model.gram(found.information)
    apart = jnp.where(rows == cols, 0, products)
    diagonal = jnp.zeros(plan.n, products.dtype).at[rows].add(products).at[cols].add(apart)
    eta = model.gram.times(found.coefficients) + data.offset
    return eta, diagonal, found.scale * model.gram.diagonal(plan, inverse)
