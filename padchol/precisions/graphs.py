"""Graphs of areas: what they need to be, their Laplacians and connected components."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp


def matrix(x: Any, what: str) -> sp.csr_array:
    """x as a sparse matrix of floats, a copy; `TypeError` or `ValueError` for what is none."""
    try:
        found = sp.csr_array(x, dtype=float, copy=True)
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"expected {what}, a matrix; got {type(x).__name__}: {error}") from error
    if found.ndim != 2:
        raise ValueError(f"expected {what}, a matrix; got shape {found.shape}")
    return found


def adjacency(W: Any) -> sp.csr_array:
    """W checked: square, symmetric, not negative, zero on the diagonal; `ValueError` otherwise."""
    W = matrix(W, "an adjacency matrix")
    W.sum_duplicates()
    W.eliminate_zeros()
    if W.shape[0] != W.shape[1] or not W.shape[0]:
        raise ValueError(f"expected a square adjacency matrix; got shape {W.shape}")
    for wrong, what in (
        (abs(W - W.T).tocoo().data > 0, "symmetric weights"),
        (W.data < 0, "weights that are not negative"),
        (W.diagonal() != 0, "no area next to itself"),
    ):
        if wrong.any():
            raise ValueError(f"expected an adjacency matrix with {what}; got {wrong.sum()} others")
    if not np.isfinite(W.data).all():
        raise ValueError("expected finite weights; got NaN or infinity")
    return W


def laplacian(W: sp.csr_array) -> sp.csr_array:
    return sp.csr_array(sp.diags_array(W.sum(1)) - W)


def indicators(component: np.ndarray) -> np.ndarray:
    """A column for each component, constant on it, of norm one."""
    at = component[:, None] == np.arange(component.max(initial=-1) + 1)
    return at / np.sqrt(np.maximum(at.sum(0), 1))
