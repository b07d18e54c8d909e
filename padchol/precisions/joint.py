"""Joint precisions made of others: separable, grouped, independent and replicated fields."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Array

from padchol.errors import check_type
from padchol.precisions.precision import Fixed, Precision


class _Kronecker(eqx.Module):
    left: Precision
    right: Precision

    def __call__(self, left: Sequence[Any], right: Sequence[Any]) -> Array:
        a, b = self.left.entries(*left), self.right.entries(*right)
        return (a[:, None] * b).reshape(-1)


def kronecker(left: Precision, right: Precision) -> Precision:
    """left (x) right, the precision of a separable field, space by time say: x is (left, right)
    row by row. Parameters: a tuple for each, `values((tau,), (1.0, rho))`.

    Its null space, that of left (x) R^n + R^m (x) that of right, is large where there is any: k_1 n
    + m k_2 - k_1 k_2 dimensions, as in the interactions of Knorr-Held (2000, Statistics in Medicine
    19, 2555-2567). It must not depend on the parameters.
    """
    check_precisions(left, right)
    m, n = left.n, right.n
    p, q = (index.reshape(-1) for index in np.indices((left.rows.size, right.rows.size)))
    rows, cols = left.rows[p] * n + right.rows[q], left.cols[p] * n + right.cols[q]
    U, V = _basis(left), _basis(right)
    orthogonal = np.linalg.qr(U, mode="complete")[0] if U.size else np.eye(m)
    rest = orthogonal[:, U.shape[1] :]
    null = np.concatenate([np.kron(U, np.eye(n)), np.kron(rest, V)], 1)
    names = ("parameters of the left", "parameters of the right")
    return Precision(rows, cols, null.T, _Kronecker(left, right), Fixed(null), names)


class _Grouped(eqx.Module):
    """The parameters of `grouped` to those of `kronecker`, which `function` takes."""

    function: Callable
    within: int = eqx.field(static=True)  # how many are those of Q
    scale: int = eqx.field(static=True)  # where R has its tau

    def __call__(self, *parameters: Any) -> Any:
        between = list(parameters[self.within :])
        between.insert(self.scale, 1.0)
        return self.function(tuple(between), parameters[: self.within])


def grouped(Q: Precision, R: Precision) -> Precision:
    """R (x) Q: a field Q in each group, the groups tied together by R, `grouped(icar(W), ar1(12))`.

    x is group by group, `x.reshape(R.n, Q.n)`. Parameters, one after the other: those of Q, then
    those of R without its tau, which is 1, as only its product with that of Q counts:
    `values(tau, rho)` of the example, tau the precision of an area given its neighbours and rho the
    correlation between successive months. `ValueError` for an R without a tau. Null space: see
    `kronecker`, which this is.
    """
    check_precisions(Q, R)
    if "tau" not in R.names:
        raise ValueError(
            f"expected a precision between groups with a parameter tau, which is set to 1; got "
            f"parameters {R.names}: see kronecker"
        )
    both, scale = kronecker(R, Q), R.names.index("tau")
    names = (*Q.names, *(f"{name} between" for name in R.names if name != "tau"))
    reordered = lambda function: _Grouped(function, len(Q.names), scale)
    return Precision(
        both.rows, both.cols, both.constraints, reordered(both.entries), both.null, names
    )


class _Independent(eqx.Module):
    fields: tuple[Precision, ...]

    def __call__(self, *parameters: Sequence[Any]) -> Array:
        pairs = zip(self.fields, parameters, strict=True)
        return jnp.concatenate([field.entries(*each) for field, each in pairs])


class _BlockNull(eqx.Module):
    fields: tuple[Precision, ...]

    def __call__(self, *parameters: Sequence[Any]) -> Any:
        found = [f.null(*each) for f, each in zip(self.fields, parameters, strict=True)]
        if all(isinstance(each, np.ndarray) for each in found):
            return scipy.linalg.block_diag(*found)
        width, rows, at = sum(each.shape[1] for each in found), [], 0
        for each in found:
            rows.append(jnp.pad(each, ((0, 0), (at, width - at - each.shape[1]))))
            at += each.shape[1]
        return jnp.concatenate(rows)


def independent(*fields: Precision) -> Precision:
    """The joint precision of independent fields, one after the other: block diagonal.

    Parameters: a tuple for each field, `values((tau,), (tau, rho))`. Copies of one field that share
    their parameters: `replicated`.
    """
    check_precisions(*fields)
    start = np.cumsum([0, *(field.n for field in fields)])
    rows = np.concatenate([field.rows + at for field, at in zip(fields, start, strict=False)])
    cols = np.concatenate([field.cols + at for field, at in zip(fields, start, strict=False)])
    constraints = scipy.linalg.block_diag(*(field.constraints for field in fields))
    names = tuple(f"parameters of field {k}" for k in range(len(fields)))
    return Precision(rows, cols, constraints, _Independent(fields), _BlockNull(fields), names)


class _Copies(eqx.Module):
    field: Precision
    count: int = eqx.field(static=True)

    def __call__(self, *parameters: Any) -> Array:
        return jnp.tile(self.field.entries(*parameters), self.count)


class _CopiesNull(eqx.Module):
    field: Precision
    count: int = eqx.field(static=True)

    def __call__(self, *parameters: Any) -> Any:
        null = self.field.null(*parameters)
        xp = np if isinstance(null, np.ndarray) else jnp
        return xp.kron(xp.eye(self.count, dtype=null.dtype), null)


def replicated(Q: Precision, count: int) -> Precision:
    """I (x) Q: independent copies of one field with the same parameters, those of Q.

    x is copy by copy, `x.reshape(count, Q.n)`. Null space: that of Q in each copy. `ValueError`
    for a count below 1.
    """
    check_precisions(Q)
    if count < 1:
        raise ValueError(f"expected at least one copy of the field; got {count}")
    start = np.repeat(np.arange(count) * Q.n, Q.rows.size)
    rows, cols = np.tile(Q.rows, count) + start, np.tile(Q.cols, count) + start
    constraints = np.kron(np.eye(count), Q.constraints)
    return Precision(rows, cols, constraints, _Copies(Q, count), _CopiesNull(Q, count), Q.names)


def check_precisions(*given: Any) -> None:
    """Raise `TypeError` for what is not a precision."""
    for each in given:
        check_type(each, Precision, "precisions as padchol.precisions makes them")


def _basis(precision: Precision) -> np.ndarray:
    if not isinstance(precision.null, Fixed):
        raise ValueError("expected a precision whose null space does not depend on its parameters")
    return precision.null.basis
