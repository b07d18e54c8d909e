"""Residuals of a fit, given its random effects at their conditional means.

    response   y - mu,  mu = E[y | b]
    pearson    (y - mu) / sqrt(V(mu) / w)            in a linear model sqrt(w) (y - mu), as in lme4
    scaled     pearson over sigma, where there is one
    working    (y - mu) d eta / d mu
    deviance   sign(y - mu) sqrt(2 (l_i(saturated) - l_i(eta_i)))

McCullagh & Nelder (1989), Generalized Linear Models, section 2.4.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

KINDS = ("response", "pearson", "scaled", "working", "deviance")


def residuals(fit: Any, kind: str) -> Float[np.ndarray, " n"]:
    """See `Fit.residuals`."""
    if kind not in KINDS:
        raise ValueError(f"expected a kind of residuals of {KINDS}; got {kind!r}")
    if fit.sigma is None:
        return fit.model.residuals_of(fit, kind)
    left = fit.model.observed - fit.predict()
    root = fit.model.data.root
    if kind in ("pearson", "deviance"):
        return root * left
    return root * left / fit.sigma if kind == "scaled" else left
