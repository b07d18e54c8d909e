"""Predictions at data, and single smooths on grids, with intervals.

Intervals are those of the predictor eta, eta +- q se, given the smoothing parameters; on the scale
of the response both ends are taken there. Their coverage is near the nominal one on average over
the data (Marra & Wood 2012, Scand. J. Stat. 39(1), 53-74).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy import stats

from padchol.mixed import columns as read

if TYPE_CHECKING:
    from padchol.splines.fit import AdditiveFit


class Prediction(NamedTuple):
    """Each (m,); the standard error is of the predictor, whatever the type."""

    fit: np.ndarray
    se: np.ndarray
    lower: np.ndarray
    upper: np.ndarray


class Curve(NamedTuple):
    """A smooth on a grid: x (points,) or (points, variables), the rest (points,)."""

    x: np.ndarray
    fit: np.ndarray
    se: np.ndarray
    lower: np.ndarray
    upper: np.ndarray


def predict(
    fit: AdditiveFit,
    data: Any,
    se: bool,
    interval: float | None,
    type: str,
    terms: Any,
    offset: Any,
    new_levels: str,
) -> Any:
    """See `AdditiveFit.predict`."""
    if type not in ("link", "response"):
        raise ValueError(f"expected type 'link' or 'response'; got {type!r}")
    own = data is None
    data = fit.model.data if own else data
    rows = fit.model.design(data, new_levels=new_levels)
    if terms is None:
        shift = fit.model.offset_of(data) + (fit.model.outer_offset if own else 0)
        if offset is not None:
            scalar = np.ndim(offset) == 0
            shift = shift + (offset if scalar else read.given_numbers(offset, "offset", data))
        elif not own:
            shift = shift + fit.model.offset_beside(data)
    else:
        rows, shift = _only(fit, rows, terms), 0.0
    eta = rows @ fit.coefficients + shift
    scaled = (lambda x: x) if type == "link" else fit.mean
    if not se and interval is None:
        return scaled(eta)
    error = np.sqrt(fit.variances(rows))
    width = quantile(0.95 if interval is None else interval) * error
    return Prediction(scaled(eta), error, scaled(eta - width), scaled(eta + width))


def _only(fit: AdditiveFit, rows: Any, terms: Any) -> sp.csr_array:
    kept = np.zeros(rows.shape[1])
    columns = list(fit.model.parametric.names)
    for name in [terms] if isinstance(terms, str) else terms:
        if name in columns:
            kept[columns.index(name)] = 1
        else:
            kept[fit.columns(name)] = 1
    return sp.csr_array(rows @ sp.diags_array(kept))


def curve(fit: AdditiveFit, name: str, x: Any, points: int, level: float, with_mean: bool) -> Curve:
    """See `AdditiveFit.smooth`."""
    where = fit.columns(name)
    term = fit.model.terms[fit.smooths.index(name)]
    x, rows = _grid(term, fit.model.data, x, points)
    wide: Any = sp.csr_array(
        (rows.data, rows.indices + where.start, rows.indptr),
        shape=(rows.shape[0], fit.coefficients.size),
    )
    values = wide @ fit.coefficients
    if with_mean:
        others = fit.model.design(fit.model.data).mean(0)
        others[where] = 0
        wide = sp.csr_array(wide + sp.csr_array(np.ones((wide.shape[0], 1)) * others))
    error = np.sqrt(fit.variances(wide))
    width = quantile(level) * error
    return Curve(x, values, error, values - width, values + width)


def _grid(term: Any, data: Any, x: Any, points: int) -> tuple[np.ndarray, Any]:
    """Where a smooth is drawn, and its design there, as if `by` were 1."""
    smooth = term.smooth
    if term.effects is not None:
        k = smooth.size
        return np.arange(k), smooth.rows((np.arange(k), np.ones(k)))
    seen = term.seen
    if x is None and len(seen) == 1:
        x = np.linspace(seen[0].min(), seen[0].max(), points)
    elif x is None:
        side = max(round(points ** (1 / len(seen))), 12)
        axes = np.meshgrid(*(np.linspace(v.min(), v.max(), side) for v in seen), indexing="ij")
        x = np.stack([axis.ravel() for axis in axes], 1)
    x = np.asarray(x, float)
    wanted = (x.shape[0],) if len(seen) == 1 else (x.shape[0], len(seen))
    if x.shape != wanted:
        raise ValueError(f"expected x of shape {wanted} for {term.label}; got {x.shape}")
    return x, smooth.rows(x if len(seen) == 1 and term.call.kind == "s" else tuple(x.T))


def quantile(level: float) -> float:
    if not 0 < level < 1:
        raise ValueError(f"expected a probability between 0 and 1, such as 0.95; got {level!r}")
    return float(stats.norm.ppf((1 + level) / 2))
