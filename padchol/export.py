"""L on the host: the exact CSC factor, and the pivot that failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from padchol.symbolic.unfold import of_shards, panel_places

if TYPE_CHECKING:
    from padchol.factor import Factor


def lower_factor(factor: Factor) -> sp.csc_array:
    """L in the plan's order on its exact pattern; all NaN where the factorisation failed."""
    n = factor.plan.n
    indices, indptr = factor.plan.factor_pattern()
    keys, values = _entries(factor)
    order = np.argsort(keys)
    wanted = np.repeat(np.arange(n), np.diff(indptr)) * n + indices
    data = values[order][np.searchsorted(keys[order], wanted)] if n else values
    if int(factor.info) != 0:
        data = np.full_like(data, np.nan)
    return sp.csc_array((data, indices, indptr), shape=(n, n))


def pivot_squared(factor: Factor) -> float:
    """The value of the pivot that `info` names: A_jj - sum L_jk^2 over the columns before it."""
    plan = factor.plan
    index = int(factor.info) - 1
    j = int(np.flatnonzero(np.asarray(plan.perm) == index)[0])
    keys, values = _entries(factor)
    row = values[(keys % plan.n == j) & (keys // plan.n < j)].astype(float)
    diagonal = (np.asarray(plan.rows) == index) & (np.asarray(plan.cols) == index)
    return float(np.asarray(factor.values)[diagonal][0] - np.sum(row**2))


def _entries(factor: Factor) -> tuple[np.ndarray, np.ndarray]:
    """All stored entries of L, relaxation zeros included: keys column * n + row, and values."""
    layout, n = factor.plan.layout, factor.plan.n
    panels = np.asarray(factor.panels).reshape(layout.shards, -1)
    keys, values = [], []
    for s, table in enumerate(of_shards(layout, factor.plan.table)):
        place, row, column = panel_places(layout, table)
        real = (row < n) & (column < n) & (row >= column)
        real &= (place < layout.storage.top[0]) | (s == 0)  # all shards have the top
        keys.append(column[real] * n + row[real])
        values.append(panels[s, place[real]])
    return np.concatenate(keys), np.concatenate(values)
