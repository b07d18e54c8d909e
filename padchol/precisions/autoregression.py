"""Stationary autoregressions, from their partial autocorrelations.

    x_t = phi_1 x_{t-1} + ... + phi_p x_{t-p} + e_t,    e_t ~ N(0, v_p), independent

is stationary exactly where its partial autocorrelations psi_1, ..., psi_p are each between -1 and
1 (Barndorff-Nielsen & Schou 1973, J. Multivariate Anal. 3, 408-419). The best predictors of order
m = 1, ..., p follow from them by the recursion of Durbin and Levinson (Durbin 1960, Rev. Int. Stat.
Inst. 28, 233-244),

    phi^(m) = (phi^(m-1) - psi_m reversed(phi^(m-1)), psi_m),    v_m = v_{m-1} (1 - psi_m^2),

from v_0 = 1 / tau, the variance of x_t. The joint law of x_1, ..., x_n predicts each value from
those before it, the first p from less than p of them: Q = L^T diag(1 / v) L, where row t of L is
(..., -phi^(m)_2, -phi^(m)_1, 1) up to its diagonal, m = min(t - 1, p). For p = 1, n = 3

    Q = tau / (1 - psi^2) [  1      -psi       0
                            -psi  1 + psi^2  -psi
                             0      -psi       1  ].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from padchol.precisions.domain import CORRELATION, POSITIVE, within
from padchol.precisions.precision import Precision, proper


def ar(n: int, p: int) -> Precision:
    """Stationary autoregression of order p, exact from the first value on.

    Parameters tau, psi1, ..., psip, `values(tau, *psi)`: tau > 0 is the *marginal* precision, 1 /
    var(x_t), and -1 < psi_m < 1 the partial autocorrelations. `ar_parameters` gives the
    coefficients. Values in a band of p beside the diagonal; of n <= p values psi_n and those after
    it say nothing. `ValueError` unless n >= 1 and p >= 1.
    """
    return _autoregression(n, _names(p))


def ar1(n: int) -> Precision:
    """Stationary autoregression, corr(x_i, x_j) = rho^|i - j|. Parameters tau, rho.

    tau > 0 is the *marginal* precision, 1 / var(x_i); the innovations have precision tau / (1 -
    rho^2), |rho| < 1.
    """
    return _autoregression(n, ("tau", "rho"))


def ar_parameters(tau: Any, *partial: Any) -> tuple[Float[Array, " p"], Float[Array, ""]]:
    """(phi, innovation precision) of `ar`: coefficients (p,), and 1 / v_p.

    The inverse of the map that the head of this file states. `ValueError` for what is known and
    outside of tau > 0, |psi| < 1; NaN for what is traced.
    """
    names = _names(len(partial))
    rows, precision = _predictors(within(_domain(names), names, (tau, *partial)))
    return -rows[-1, 1:], precision[-1]


def _names(p: int) -> tuple[str, ...]:
    return ("tau", *(f"psi{m}" for m in range(1, p + 1)))


def _domain(names: Sequence[str]) -> dict:
    return {name: CORRELATION for name in names} | {"tau": POSITIVE}


def _predictors(theta: Sequence[Array]) -> tuple[Float[Array, "p1 p1"], Float[Array, " p1"]]:
    """(1, -phi^(m)), filled up with zeros, and 1 / v_m, for m = 0, ..., p."""
    tau, *partial = theta
    orders, precision = [jnp.zeros(0, jnp.result_type(*theta))], [tau]
    for psi in partial:
        phi = orders[-1]
        orders.append(jnp.append(phi - psi * phi[::-1], psi))
        precision.append(precision[-1] / (1 - psi**2))
    rows = [jnp.pad(-phi, (1, len(partial) - phi.size)).at[0].set(1) for phi in orders]
    return jnp.stack(rows), jnp.stack(precision)


class _Rows(eqx.Module):
    """The entries of L^T diag(1 / v) L: products of two entries of each row, summed by place."""

    order: Int[np.ndarray, " terms"]  # of the predictor that the row is made of
    left: Int[np.ndarray, " terms"]
    right: Int[np.ndarray, " terms"]
    place: Int[np.ndarray, " terms"]
    size: int = eqx.field(static=True)
    names: tuple[str, ...] = eqx.field(static=True)

    def __call__(self, *parameters: Any) -> Float[Array, " entries"]:
        rows, precision = _predictors(within(_domain(self.names), self.names, parameters))
        products = precision[:, None, None] * rows[:, :, None] * rows[:, None, :]
        terms = products[self.order, self.left, self.right]
        return jnp.zeros(self.size, terms.dtype).at[self.place].add(terms)


def _autoregression(n: int, names: tuple[str, ...]) -> Precision:
    p = len(names) - 1
    if n < 1 or p < 1:
        raise ValueError(f"expected n >= 1 values and an order p >= 1; got n = {n}, p = {p}")
    t, left, right = (each.reshape(-1) for each in np.indices((n, p + 1, p + 1)))
    known = np.maximum(left, right) <= t  # a row begins at the first value
    t, left, right = t[known], left[known], right[known]
    keys, place = np.unique((t - left) * n + t - right, return_inverse=True)
    index = lambda x: x.astype(np.int32)
    tables = index(np.minimum(t, p)), index(left), index(right), index(place)
    entries = _Rows(*tables, keys.size, names)
    return proper(keys // n, keys % n, n, entries, names)
