"""Precision matrices of the usual Gaussian Markov random fields.

Each builder gives a `Precision`: the pattern for `padchol.analyze`, and the map from parameters to
values on the plan. See `padchol.precisions.precision`. `padchol.precisions.mesh` has meshes for
Matern fields.
"""

from padchol.precisions import mesh
from padchol.precisions.areas import bym2, icar, leroux, proper_car
from padchol.precisions.autoregression import ar, ar1, ar_parameters
from padchol.precisions.domain import Interval
from padchol.precisions.effects import correlated, correlation_matrix, iid
from padchol.precisions.joint import grouped, independent, kronecker, replicated
from padchol.precisions.matern import matern, matern_parameters
from padchol.precisions.precision import Precision, Values, combination
from padchol.precisions.scaling import scaled_laplacian, scaled_precision
from padchol.precisions.walks import rw1, rw2, seasonal

__all__ = [
    "Interval",
    "Precision",
    "Values",
    "ar",
    "ar1",
    "ar_parameters",
    "bym2",
    "combination",
    "correlated",
    "correlation_matrix",
    "grouped",
    "icar",
    "iid",
    "independent",
    "kronecker",
    "leroux",
    "matern",
    "matern_parameters",
    "mesh",
    "proper_car",
    "replicated",
    "rw1",
    "rw2",
    "scaled_laplacian",
    "scaled_precision",
    "seasonal",
]
