"""The table of confidence intervals of a fit; the methods are in `padchol.mixed.intervals`."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from padchol.mixed import intervals
from padchol.mixed.surface import OF_KIND, of_covariance


def confint(fit: Any, level: float, method: str, key: Any, n: int) -> Any:
    """See `Fit.confint`."""
    import pandas

    intervals.check(level, method)
    if method == "bootstrap":
        key = jax.random.key(0) if key is None else key
        names, draws = _draws(fit, fit.bootstrap(key, n))
        found = intervals.quantiles(draws, level)
    elif method == "wald" and fit.sigma is not None:
        names, found = _wald_of_linear(fit, level)
    else:
        surface = fit.by_maximum_likelihood().surface()
        names = surface.names
        found = getattr(intervals, method)(surface, level)
    return pandas.DataFrame(found, index=list(names), columns=pandas.Index(["lower", "upper"]))


def _wald_of_linear(fit: Any, level: float) -> tuple[tuple[str, ...], np.ndarray]:
    """Variances by the Hessian of the likelihood, fixed effects given theta and sigma."""
    surface = fit.by_maximum_likelihood().surface()
    found = intervals.wald(surface, level)
    fixed = np.array(surface.kinds) == "coefficient"
    half = intervals.z_of(level) * fit.standard_errors
    found[fixed] = np.stack([fit.beta - half, fit.beta + half], 1)
    return surface.names, found


def _draws(fit: Any, refits: Any) -> tuple[tuple[str, ...], np.ndarray]:
    """The quantities of each refit; NaN of those that did not converge."""
    rows = []
    for k, converged in enumerate(refits.converged):
        sigma = None if refits.sigma is None else float(refits.sigma[k])
        extra = np.zeros(0) if refits.extra is None else refits.extra[k]
        row = _reported(fit, refits.theta[k], refits.beta[k], sigma, extra)
        rows.append(row if converged else np.full(row.size, np.nan))
    scale = () if fit.sigma is None else ("sigma",)
    names = (*fit.theta_names, *scale, *fit.names, *fit.extra_names)
    return names, np.stack(rows)


def _reported(
    fit: Any, theta: np.ndarray, beta: np.ndarray, sigma: float | None, extra: np.ndarray
) -> np.ndarray:
    """Standard deviations, correlations, sigma, fixed effects and further parameters."""
    unit = 1.0 if sigma is None else sigma
    found: list[Any] = []
    for term in fit.terms.terms:
        T = unit * np.asarray(term.factor(jax.numpy.asarray(theta)))
        found += [value for *_, value in of_covariance(T @ T.T)]
    rho = zip(fit.terms.kinds, fit.terms.rho(theta), strict=True)
    found += [OF_KIND.get(kind, float)(r) for kind, r in rho]
    return np.array([*found, *([] if sigma is None else [sigma]), *beta, *extra])
