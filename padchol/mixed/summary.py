"""How a fit prints, and its table of parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.stats

from padchol.mixed.surface import of_covariance

if TYPE_CHECKING:
    from padchol.mixed.report import Fit


def summary(fit: Fit, *, correlation: bool = False, satterthwaite: bool = False) -> str:
    """The text of `Fit.summary`."""
    blocks = [_head(fit), _criteria(fit), _residuals(fit), _random(fit)]
    blocks.append(_fixed(fit, satterthwaite))
    blocks += [part.lines() for part in fit.extras]
    blocks.append(_correlation(fit) if correlation else [])
    blocks.append(_said(fit))
    lines = [line for block in blocks if block for line in ("", *block)]
    return "\n".join(line.rstrip() for line in lines[1:])


def _head(fit: Fit) -> list[str]:
    how = "linear mixed model" if fit.sigma is not None else "generalised linear mixed model"
    end = "converged" if fit.converged else f"NOT CONVERGED: {fit.minimum.message}"
    lines = [how, f"{fit.criterion} {fit.deviance:.5f}, {fit.n} observations; {end}"]
    if fit.singular:
        lines.append(
            f"singular fit: the covariance matrix of {', '.join(fit.singular)} has not full "
            "rank (a standard deviation of zero, or a correlation of one)"
        )
    shown = [f"formula: {fit.formula}"] if fit.formula else []
    if fit.sigma is None and fit.model.has_family:
        family = fit.model.terms.whole().family
        shown.append(f"family: {family.name}, link {family.link}")
    return [*lines[:1], *shown, *lines[1:]]


def _criteria(fit: Fit) -> list[str]:
    shown = {"AIC": fit.aic, "BIC": fit.bic, "logLik": fit.loglik, "df.resid": fit.n - fit.df}
    values = (f"{v:12.1f}" if isinstance(v, float) else f"{v:12d}" for v in shown.values())
    return ["".join(f"{name:>12}" for name in shown), "".join(values)]


def _residuals(fit: Fit) -> list[str]:
    """Quartiles of Pearson's residuals, over sigma where there is one; none where not defined."""
    try:
        r = fit.residuals("scaled")
    except NotImplementedError:
        return []
    if not np.isfinite(r).all():
        return []
    names = ("min", "1Q", "median", "3Q", "max")
    values = np.quantile(r, [0, 0.25, 0.5, 0.75, 1])
    return [
        "scaled residuals",
        "".join(f"{name:>10}" for name in names),
        "".join(f"{value:10.4f}" for value in values),
    ]


def _random(fit: Fit) -> list[str]:
    lines = [f"{'random effects':32}{'variance':>12}{'std. dev.':>12}  correlations"]
    for term in fit.terms.terms:
        V = fit.random_covariance(term.name)
        deviation = np.sqrt(np.diagonal(V))
        for k, column in enumerate(term.columns):
            label = f"{term.name} ({term.levels}): {column}"
            with np.errstate(invalid="ignore", divide="ignore"):
                pairs = V[k, :k] / (deviation[k] * deviation[:k])
            shown = " ".join(f"{r:.2f}" for r in pairs)
            lines.append(f"{label:32}{V[k, k]:12.5g}{deviation[k]:12.5g}  {shown}")
        lines += [f"{name:44}{value:12.5g}" for name, value in fit.structure(term.name).items()]
    if fit.sigma is not None:
        lines.append(f"{'residual':32}{fit.sigma**2:12.5g}{fit.sigma:12.5g}")
    return lines


def _fixed(fit: Fit, satterthwaite: bool) -> list[str]:
    """Estimates with z and p; of a linear model t, and p where its degrees of freedom are asked."""
    linear = fit.sigma is not None
    lines = [f"{'fixed effects':32}{'estimate':>12}{'std. error':>12}"]
    statistic, df, p = _tests(fit, satterthwaite)
    if satterthwaite and linear:
        lines[0] += f"{'df':>10}"
    lines[0] += f"{'t' if linear else 'z':>10}" + (f"{'p':>12}" if p is not None else "")
    rows = zip(fit.names, fit.beta, fit.standard_errors, strict=True)
    for k, row in enumerate(rows):
        line = "{:32}{:12.5g}{:12.5g}".format(*row)
        line += f"{df[k]:10.2f}" if df is not None else ""
        line += f"{statistic[k]:10.3f}" + (f"{p[k]:12.4g}" if p is not None else "")
        lines.append(line)
    return lines


def _tests(fit: Fit, satterthwaite: bool) -> tuple[np.ndarray, Any, Any]:
    """z or t of each fixed effect, its degrees of freedom, and the probability beyond."""
    with np.errstate(invalid="ignore", divide="ignore"):
        statistic = fit.beta / fit.standard_errors
    if fit.sigma is None:
        return statistic, None, 2 * scipy.stats.norm.sf(np.abs(statistic))
    if not satterthwaite:
        return statistic, None, None
    found = [fit.hypothesis(row) for row in np.eye(fit.beta.size)]
    df = np.array([each.df_denominator for each in found])
    return statistic, df, np.array([each.p_value for each in found])


def _correlation(fit: Fit) -> list[str]:
    error = fit.standard_errors
    with np.errstate(invalid="ignore", divide="ignore"):
        R = fit.covariance / error / error[:, None]
    lines = ["correlation of fixed effects"]
    for k, name in enumerate(fit.names):
        lines.append(f"{name:32}" + "".join(f"{r:8.3f}" for r in R[k, :k]))
    return lines


def _said(fit: Fit) -> list[str]:
    return [f"note: {note}" for note in fit.notes]


def to_frame(fit: Fit, level: float) -> Any:
    """The table of `Fit.to_frame`."""
    import pandas

    z = scipy.stats.norm.ppf((1 + level) / 2)
    statistic, _, p = _tests(fit, False)
    p = 2 * scipy.stats.norm.sf(np.abs(statistic)) if p is None else p
    rows = []
    for k, name in enumerate(fit.names):
        rows.append(("fixed", "", name, fit.beta[k], fit.standard_errors[k], statistic[k], p[k]))
    for part in fit.extras:
        for name, value, error in zip(
            part.names, part.estimates, part.standard_errors, strict=True
        ):
            with np.errstate(invalid="ignore", divide="ignore"):
                ratio = value / error
            beyond = 2 * scipy.stats.norm.sf(abs(ratio))
            rows.append((part.title, "", name, value, error, ratio, beyond))
    none = (np.nan, np.nan, np.nan)
    for term in fit.terms.terms:
        for i, j, value in of_covariance(fit.random_covariance(term.name)):
            what = f"sd({term.columns[i]})"
            what = what if i == j else f"cor({term.columns[j]}, {term.columns[i]})"
            rows.append(("random", term.name, what, value, *none))
        own = fit.structure(term.name)
        rows += [("random", term.name, name, value, *none) for name, value in own.items()]
    if fit.sigma is not None:
        rows.append(("random", "residual", "sd", fit.sigma, *none))
    columns = ["effect", "group", "term", "estimate", "std_error", "statistic", "p_value"]
    table = pandas.DataFrame(rows, columns=pandas.Index(columns))
    table["lower"] = table["estimate"] - z * table["std_error"]
    table["upper"] = table["estimate"] + z * table["std_error"]
    return table
