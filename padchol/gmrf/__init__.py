"""Gaussian Markov random fields, proper and intrinsic, with a sparse precision.

    GMRF(plan, a, loc)                       N(loc, A^-1), and A^-1 given linear constraints
    IntrinsicGMRF(plan, a, null, loc)        exp(-(x - loc)^T A (x - loc) / 2), A N = 0

Precisions of the usual models are made by `padchol.precisions`.
"""

from padchol.gmrf.constraint import plane
from padchol.gmrf.intrinsic import IntrinsicGMRF
from padchol.gmrf.kriging import Constraint, Plane
from padchol.gmrf.nullspace import null_space, pins
from padchol.gmrf.proper import GMRF, log_determinants

__all__ = [
    "GMRF",
    "Constraint",
    "IntrinsicGMRF",
    "Plane",
    "log_determinants",
    "null_space",
    "pins",
    "plane",
]
