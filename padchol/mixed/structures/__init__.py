"""Random effects whose coefficients are correlated with each other, by a sparse precision.

    b = s v,   v ~ N(0, Q(rho)^-1)      over all levels of a term (1 | g), s its standard deviation

    ar1(t | g)      autoregression of order one over the whole numbers t, one series for each level
                    of g: correlations rho^|t - t'|
    ou(t | g)       Ornstein-Uhlenbeck process over any numbers t: exp(-|t - t'| / range)
    cs(f | g)       compound symmetry: rho between any two levels of f within a level of g
    matern(x + y | g)   Matern correlation of smoothness nu over points: see `correlations`
    known           a precision that is given, as the inverse relationship matrix of animals
    field           a precision with parameters, of `padchol.precisions` or your own

The first two have tridiagonal precisions (Rue & Held 2005, section 1.1; chains of Markov), cs and
matern the inverses of their correlation matrices, dense within a level of g. v has variances of
one, but for `known` and `field`. The standard deviation s stays a factor Lambda = s I, so that zero
is a point like any other; rho is sought as artanh(rho), or a logarithm of a range.
"""

from typing import Any

from padchol.mixed.structures.blocks import Cs, Matern
from padchol.mixed.structures.given import Field, Known
from padchol.mixed.structures.series import Ar1, Ou
from padchol.mixed.structures.structure import Levelled, Prior, Structure, pattern, plan_of

KINDS: dict[str, Any] = {"ar1": Ar1, "ou": Ou, "cs": Cs, "matern": Matern}

__all__ = [
    "KINDS",
    "Ar1",
    "Cs",
    "Field",
    "Known",
    "Levelled",
    "Matern",
    "Ou",
    "Prior",
    "Structure",
    "pattern",
    "plan_of",
]
