"""Precisions along a line: random walks and seasonal effects.

Each has an overall precision tau. After Rue & Held (2005), sections 3.3 and 3.4. With scaled=True
its matrix is that of `padchol.precisions.scaling.scaled_precision`: tau is then the precision of a
typical value, whatever n and the positions are, and a prior of tau means the same in each of them.
"""

from __future__ import annotations

import warnings
from typing import Any

import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp

from padchol.precisions.precision import Precision
from padchol.precisions.scaling import intrinsic

# Sizes up to which float32 carries these fields, about: where `padchol.gmrf.intrinsic.LOST` lets
# them pass (tests/test_intrinsic.py). Its error grows with n^2, n^4 and n^2.
FLOAT32 = {"rw1": 900, "rw2": 50, "seasonal": 500}


def rw1(n: int, *, cyclic: bool = False, positions: Any = None, scaled: bool = False) -> Precision:
    """Random walk: x_{i+1} - x_i ~ N(0, 1 / tau), independent. Parameter tau.

    positions (n,), increasing: the variance of a step is its length over tau (their 3.3.1). cyclic:
    the last is followed by the first. Null space: constants. float32 carries some 900 steps.
    """
    _carried("rw1", n)
    step = _steps(n, positions, cyclic, 3 if cyclic else 2)
    D = _differences(n, cyclic)
    Q = D.T @ (D if cyclic else sp.diags_array(1 / step) @ D)
    return intrinsic(Q, np.ones((n, 1)), scaled)


def rw2(n: int, *, cyclic: bool = False, positions: Any = None, scaled: bool = False) -> Precision:
    """Second-order random walk: x_{i-1} - 2 x_i + x_{i+1} ~ N(0, 1 / tau). Parameter tau.

    positions (n,), increasing: the Galerkin approximation, lumped, of x'' = white noise of
    precision tau (Lindgren & Rue 2008, Scand. J. Stat. 35, 691-700, section 3). With steps d_i =
    s_{i+1} - s_i, independent for i from the second to the last but one,

        (x_{i+1} - x_i) / d_i - (x_i - x_{i-1}) / d_{i-1} ~ N(0, (d_{i-1} + d_i) / (2 tau)),

    which is the walk above at positions 0 to n - 1, and c^3 times as variable at c times those.
    Null space: straight lines in the positions, or constants where the walk is cyclic (their
    3.4.1). float32 carries some 50 steps, float64 5000: beyond, every output of the field is NaN.
    """
    _carried("rw2", n)
    step = _steps(n, positions, cyclic, 5 if cyclic else 3)
    if cyclic:
        D = _differences(n, True)
        return intrinsic((D.T @ D) @ (D.T @ D), np.ones((n, 1)), scaled)  # D^T D = D D^T
    H = _differences(n - 1, False) @ sp.diags_array(1 / step) @ _differences(n, False)
    Q = H.T @ sp.diags_array(2 / (step[:-1] + step[1:])) @ H
    at = np.concatenate([[0.0], np.cumsum(step)])
    line = (at - at.mean()) / at[-1]
    return intrinsic(Q, np.stack([np.ones(n), line], 1), scaled)


def seasonal(n: int, period: int, *, scaled: bool = False) -> Precision:
    """Every sum of `period` successive values ~ N(0, 1 / tau). Parameter tau.

    Null space: the `period - 1` dimensions of patterns that repeat and sum to zero (their 3.4.3).
    float32 carries some 500 values.
    """
    _carried("seasonal", n)
    if not 2 <= period <= n:
        raise ValueError(f"expected a period from 2 to n = {n}; got {period}")
    m = n - period + 1
    start = np.repeat(np.arange(m), period)
    at = (start, start + np.tile(np.arange(period), m))
    S = sp.csr_array((np.ones(m * period), at), shape=(m, n))
    contrasts = np.eye(period)[:, 1:] - np.eye(period)[:, :-1]
    return intrinsic(S.T @ S, contrasts[np.arange(n) % period], scaled)


def _steps(n: int, positions: Any, cyclic: bool, least: int) -> np.ndarray:
    """The n - 1 distances between positions, ones where none are given."""
    if n < least:
        raise ValueError(f"expected n >= {least}; got {n}")
    if positions is None:
        return np.ones(n - 1)
    positions = np.asarray(positions, float)
    if cyclic:
        raise ValueError("expected positions of a walk that is not cyclic; got cyclic=True")
    if positions.shape != (n,) or not np.isfinite(positions).all():
        raise ValueError(
            f"expected {n} increasing positions, all finite; got shape {positions.shape}"
        )
    step = np.diff(positions)
    if not (step > 0).all():
        i = int(np.argmin(step > 0))
        raise ValueError(
            f"expected {n} increasing positions; got {positions[i]:g} and then "
            f"{positions[i + 1]:g}, numbers {i} and {i + 1}"
        )
    return step


def _differences(n: int, cyclic: bool) -> sp.csr_array:
    """x_{i+1} - x_i"""
    rows = n if cyclic else n - 1
    i = np.arange(rows)
    entries = (np.repeat([-1.0, 1.0], rows), (np.tile(i, 2), np.concatenate([i, (i + 1) % n])))
    return sp.csr_array(entries, shape=(rows, n))


def _carried(name: str, n: int) -> None:
    if n > FLOAT32[name] and jnp.result_type(float) == jnp.float32:
        warnings.warn(
            f"float32 carries {name} up to n = {FLOAT32[name]} or so; got {n}: what it does not "
            "carry is NaN. Enable float64 (jax_enable_x64)",
            stacklevel=3,
        )
