"""Families of generalised linear mixed models: laws, links, and parameters of their own.

padchol.mixed.generalized("y ~ x + (1 | g)", data, families.nbinom2, zero="~ x")
padchol.mixed.generalized("y ~ x + (1 | g)", data, families.tweedie(power=1.5))
"""

from __future__ import annotations

from typing import Any

from padchol.mixed.families.family import Data, Family, Observed
from padchol.mixed.families.laws import (
    beta,
    binomial,
    gamma,
    gaussian,
    nbinom1,
    nbinom2,
    ordinal,
    poisson,
    truncated_nbinom1,
    truncated_nbinom2,
    truncated_poisson,
    tweedie,
)
from padchol.mixed.families.predictors import Part, Predictor

FAMILIES = {
    each.__name__: each
    for each in (
        gaussian, binomial, poisson, nbinom1, nbinom2, truncated_poisson, truncated_nbinom1,
        truncated_nbinom2, gamma, beta, tweedie, ordinal,
    )
}  # fmt: skip


def family_of(given: Any) -> Family | None:
    """The family that is meant by itself, by one of the functions here, or by its name; None for
    what is none. `ValueError` for an unknown name."""
    if isinstance(given, str):
        if given not in FAMILIES:
            raise ValueError(f"expected one of the families {', '.join(FAMILIES)}; got {given!r}")
        return FAMILIES[given]()
    if isinstance(given, Family):
        return given
    return given() if any(given is each for each in FAMILIES.values()) else None


__all__ = [
    "Data",
    "Family",
    "Observed",
    "Part",
    "Predictor",
    "beta",
    "binomial",
    "family_of",
    "gamma",
    "gaussian",
    "nbinom1",
    "nbinom2",
    "ordinal",
    "poisson",
    "truncated_nbinom1",
    "truncated_nbinom2",
    "truncated_poisson",
    "tweedie",
]
