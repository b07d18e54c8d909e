"""Likelihood ratio tests of nested models, as R's anova of several fits."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.stats


def anova(*fits: Any) -> Any:
    """A DataFrame with a row for each fit, from the fewest parameters on.

    Columns: npar, AIC, BIC, logLik, deviance; and Chisq, Df and p of the ratio of likelihoods to
    the row before, 2 (l - l_before) against chi-squared, which holds for nested models whose
    smaller one is not on the boundary of the larger. Linear models fitted by REML are fitted again
    by maximum likelihood, as lme4 does. Rows are named by the formula, and where that is missing or
    the same by their place among the fits. p is NaN between models of as many parameters. Needs
    pandas. Raises `ValueError` for fewer than two fits, and for fits of other data, `TypeError` for
    what is none.
    """
    import pandas

    if len(fits) < 2:
        raise ValueError(f"expected two fits or more; got {len(fits)}")
    for fit in fits:
        if not hasattr(fit, "by_maximum_likelihood"):
            raise TypeError(f"expected fits of mixed models; got {type(fit).__name__}")
    first = fits[0].model.observed
    for k, fit in enumerate(fits[1:], 1):
        other = fit.model.observed
        if other.shape != first.shape or not np.array_equal(other, first):
            raise ValueError(
                f"expected fits to the same observations; the response of fit {k} is not that of "
                f"fit 0 ({other.shape[0]} and {first.shape[0]} rows)"
            )
    fits = tuple(fit.by_maximum_likelihood() for fit in fits)
    order = sorted(range(len(fits)), key=lambda k: fits[k].df)
    rows, labels = [], []
    for at, k in enumerate(order):
        fit, before = fits[k], fits[order[at - 1]] if at else None
        row = {"npar": fit.df, "AIC": fit.aic, "BIC": fit.bic, "logLik": fit.loglik}
        row["deviance"] = -2 * fit.loglik
        more = fit.df - before.df if before is not None else 0
        chisq = 2 * (fit.loglik - before.loglik) if before is not None else np.nan
        row["Chisq"], row["Df"] = chisq, more if before is not None else np.nan
        row["p"] = float(scipy.stats.chi2.sf(max(chisq, 0.0), more)) if more else np.nan
        rows.append(row)
        name = fit.formula or f"fit {k}"
        labels.append(f"{name} (fit {k})" if name in labels else name)
    return pandas.DataFrame(rows, index=labels)
