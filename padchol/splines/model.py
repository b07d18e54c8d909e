"""Smooths and columns put together: the symbolic work of an additive model, on the host."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float

from padchol import assembly
from padchol.analysis import analyze
from padchol.splines.families import Family
from padchol.splines.restricted import Penalties, Restricted
from padchol.splines.smooths import Smooth
from padchol.symbolic.pattern import positions

INDEPENDENT = 1e-6  # least singular value of columns of length one, over the largest


def restricted(
    X: Float[np.ndarray, "m p"],
    names: Sequence[str],
    smooths: Sequence[Smooth],
    weights: Float[np.ndarray, " m"],
    family: Family,
) -> Restricted:
    """The model with the columns X, unpenalised, before the columns of the smooths.

    Raises `ValueError` where the data do not determine what no penalty sees.
    """
    check_identifiable(X, names, smooths, weights)
    B = sp.csr_array(sp.hstack([sp.csr_array(X), *(s.columns for s in smooths)]))
    starts = np.cumsum([X.shape[1], *(s.size for s in smooths)])
    pairs = list(zip(smooths, starts[:-1], strict=True))
    blocks = [[_placed(D.T @ D, at, starts[-1]) for D in s.roots] for s, at in pairs]
    flat = [block for several in blocks for block in several]
    plan = analyze([assembly.gram_pattern(B), *flat])
    free = X.shape[1] + sum(s.null.shape[1] for s in smooths)
    return Restricted(plan, assembly.gram(plan, B), _penalties(plan, pairs, flat), family, free)


def _penalties(plan: Any, pairs: list[tuple[Smooth, Any]], blocks: list[Any]) -> Penalties:
    place: list[Any] = [np.zeros(0, int)]
    which: list[Any] = [np.zeros(0, int)]
    value: list[Any] = [np.zeros(0)]
    for k, block in enumerate(blocks):
        t: Any = sp.coo_array(block)
        low = t.row >= t.col
        place.append(positions(plan.pattern, t.row[low], t.col[low]))
        which.append(np.full(place[-1].size, k))
        value.append(t.data[low])
    roots = [(D, at) for s, at in pairs for D in s.roots]
    shifted = [_wide(D, at, plan.n) for D, at in roots] or [sp.csr_array((0, plan.n))]
    stacked: Any = sp.coo_array(sp.vstack(shifted))
    table = _diagonal([s.table for s, _ in pairs])
    return Penalties(
        np.concatenate(place).astype(np.int32),
        np.concatenate(which).astype(np.int32),
        np.concatenate(value),
        (stacked.row.astype(np.int32), stacked.col.astype(np.int32), stacked.data),
        np.repeat(np.arange(len(roots)), [len(D.indptr) - 1 for D, _ in roots]).astype(np.int32),
        table,
        np.concatenate([np.zeros(0), *(s.times for s, _ in pairs)]),
        np.asarray(float(sum(s.constant for s, _ in pairs))),
    )


def check_identifiable(
    X: np.ndarray, names: Sequence[str], smooths: Sequence[Smooth], weights: np.ndarray
) -> None:
    """Whether the rows of positive weight determine the columns X and all that no penalty sees."""
    seen = np.asarray(weights) > 0
    parts = [("the columns " + ", ".join(names), X)] if X.shape[1] else []
    parts += [(s.label, s.columns @ s.null) for s in smooths if s.null.shape[1]]
    so_far = np.zeros((int(seen.sum()), 0))
    for k, (label, part) in enumerate(parts):
        so_far = np.hstack([so_far, np.asarray(part)[seen]])
        if not independent(so_far):
            alone = not independent(np.asarray(part)[seen])
            others = ", ".join(name for name, _ in parts[:k])
            raise ValueError(
                f"the model is not identifiable: the {len(so_far)} rows of positive weight do not "
                f"determine what no penalty sees of {label}"
                + ("" if alone else f" beside that of {others}")
                + ". Leave a term out, or write main effects and interactions as s(x) + s(z) + "
                "ti(x, z), or penalise everything with select=True"
            )
    if (left := int(seen.sum())) <= so_far.shape[1]:
        raise ValueError(
            f"expected more than {so_far.shape[1]} rows of positive weight, the parameters that no "
            f"penalty sees; got {left}"
        )


def independent(columns: np.ndarray) -> bool:
    """Whether normal equations can tell the columns apart in double precision."""
    length = np.linalg.norm(columns, axis=0)
    if columns.shape[0] < columns.shape[1] or not (length > 0).all():
        return False
    singular = np.linalg.svd(columns / length, compute_uv=False)
    return bool(singular[-1:].min(initial=1.0) > INDEPENDENT * singular.max(initial=0.0))


def _placed(block: Any, first: int, n: int) -> sp.csc_array:
    """A diagonal block in a matrix of order n."""
    t: Any = sp.coo_array(block)
    return sp.csc_array((t.data, (t.row + first, t.col + first)), shape=(n, n))


def _wide(D: Any, first: int, n: int) -> sp.csr_array:
    """The columns of D among n."""
    t: Any = sp.coo_array(D)
    return sp.csr_array((t.data, (t.row, t.col + first)), shape=(t.shape[0], n))


def _diagonal(tables: Sequence[np.ndarray]) -> np.ndarray:
    """Blocks along a diagonal; (0, 0) of none."""
    return sp.block_diag(tables).toarray() if tables else np.zeros((0, 0))
