"""Precisions along a line: random walks, autoregression, seasonal effects.

Each has an overall precision tau. After Rue & Held (2005), sections 1.1, 3.3 and 3.4.
"""

from __future__ import annotations

import warnings
from typing import Any

import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp

from padchol.precisions.domain import CORRELATION, POSITIVE
from padchol.precisions.precision import Precision, combination

# Sizes up to which float32 carries these fields, about: where `padchol.gmrf.intrinsic.LOST` lets
# them pass (tests/test_intrinsic.py). Its error grows with n^2, n^4 and n^2.
FLOAT32 = {"rw1": 900, "rw2": 50, "seasonal": 500}


def rw1(n: int, *, cyclic: bool = False, positions: Any = None) -> Precision:
    """Random walk: x_{i+1} - x_i ~ N(0, 1 / tau), independent. Parameter tau.

    positions (n,), increasing: the variance of a step is its length over tau (their 3.3.1). cyclic:
    the last is followed by the first. Null space: constants. float32 carries some 900 steps.
    """
    _carried("rw1", n)
    _at_least(n, 3 if cyclic else 2)
    step = np.ones(n - 1)
    if positions is not None:
        positions = np.asarray(positions, float)
        if cyclic or positions.shape != (n,) or not (np.diff(positions) > 0).all():
            raise ValueError(f"expected {n} increasing positions, of a walk that is not cyclic")
        step = np.diff(positions)
    D = _differences(n, cyclic)
    Q = D.T @ (D if cyclic else sp.diags_array(1 / step) @ D)
    return _scaled(Q, np.ones((n, 1)))


def rw2(n: int, *, cyclic: bool = False) -> Precision:
    """Second-order random walk: x_{i-1} - 2 x_i + x_{i+1} ~ N(0, 1 / tau). Parameter tau.

    Null space: straight lines, or constants where the walk is cyclic (their 3.4.1). float32 carries
    some 50 steps, float64 5000: beyond, every output of the field is NaN.
    """
    _carried("rw2", n)
    _at_least(n, 5 if cyclic else 3)
    if cyclic:
        D = _differences(n, True)
        return _scaled((D.T @ D) @ (D.T @ D), np.ones((n, 1)))  # D^T D = D D^T
    D = _differences(n - 1, False) @ _differences(n, False)
    line = np.arange(n) - (n - 1) / 2
    return _scaled(D.T @ D, np.stack([np.ones(n), line / n], 1))


def ar1(n: int) -> Precision:
    """Stationary autoregression, corr(x_i, x_j) = rho^|i - j|. Parameters tau, rho.

    tau > 0 is the *marginal* precision, 1 / var(x_i); the innovations have precision tau / (1 -
    rho^2), |rho| < 1.
    """
    _at_least(n, 1)
    ends = np.zeros(n)
    np.add.at(ends, [0, n - 1], 1.0)
    parts = [sp.eye_array(n), sp.diags_array(ends), _neighbours(n)]

    def weights(tau, rho):
        innovation = tau / (1 - rho**2)
        return innovation * (1 + rho**2), -innovation * rho**2, -innovation * rho

    domain = {"tau": POSITIVE, "rho": CORRELATION}
    return combination(parts, weights, ("tau", "rho"), domain=domain)


def seasonal(n: int, period: int) -> Precision:
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
    return _scaled(S.T @ S, contrasts[np.arange(n) % period])


def _scaled(Q: Any, null: np.ndarray) -> Precision:
    return combination([Q], lambda tau: (tau,), ("tau",), null, {"tau": POSITIVE})


def _differences(n: int, cyclic: bool) -> sp.csr_array:
    """x_{i+1} - x_i"""
    rows = n if cyclic else n - 1
    i = np.arange(rows)
    entries = (np.repeat([-1.0, 1.0], rows), (np.tile(i, 2), np.concatenate([i, (i + 1) % n])))
    return sp.csr_array(entries, shape=(rows, n))


def _neighbours(n: int) -> sp.coo_array:
    i = np.arange(n - 1)
    both = (np.concatenate([i, i + 1]), np.concatenate([i + 1, i]))
    return sp.coo_array((np.ones(2 * n - 2), both), shape=(n, n))


def _at_least(n: int, least: int) -> None:
    if n < least:
        raise ValueError(f"expected n >= {least}; got {n}")


def _carried(name: str, n: int) -> None:
    if n > FLOAT32[name] and jnp.result_type(float) == jnp.float32:
        warnings.warn(
            f"float32 carries {name} up to n = {FLOAT32[name]} or so; got {n}: what it does not "
            "carry is NaN. Enable float64 (jax_enable_x64)",
            stacklevel=3,
        )
