"""Precision matrices of the usual Gaussian Markov random fields.

Each builder gives a `Precision`: the pattern for `padchol.analyze`, and the map from parameters to
values on the plan. See `padchol.precisions.precision`.
"""

from padchol.precisions.areas import bym2, icar, leroux, proper_car
from padchol.precisions.domain import Interval
from padchol.precisions.matern import matern, matern_parameters
from padchol.precisions.precision import Precision, Values, combination, independent, kronecker
from padchol.precisions.scaling import scaled_laplacian
from padchol.precisions.walks import ar1, rw1, rw2, seasonal

__all__ = [
    "Interval",
    "Precision",
    "Values",
    "ar1",
    "bym2",
    "combination",
    "icar",
    "independent",
    "kronecker",
    "leroux",
    "matern",
    "matern_parameters",
    "proper_car",
    "rw1",
    "rw2",
    "scaled_laplacian",
    "seasonal",
]
