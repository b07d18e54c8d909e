"""Arguments that public functions should refuse: a documented error, with words, and soon."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.sparse as sp

from padchol.testing._patterns import Rng, compressed, contents
from padchol.testing._targets import Target, targets

CASES = 50  # of one unit
SOON = 3.0  # seconds
WORDS = 3
# `PlanFileError` and `NotPositiveDefiniteError` are ValueErrors; OSError is of paths.
DOCUMENTED = (ValueError, TypeError, OverflowError, MemoryError, FileNotFoundError, PermissionError)


def unit(rng: Rng, number: int) -> Iterator[str | None]:
    """Calls with one bad argument each, of any of the functions."""
    every = targets()
    for _ in range(CASES):
        target = every[rng.integers(len(every))]
        if target.untouched and rng.random() < 0.2:
            yield _changed(rng, target)
            continue
        name = [*target.bad][rng.integers(len(target.bad))]
        pool = target.bad[name]
        kind = [*pool][rng.integers(len(pool))]
        wrong = _wrong(target, name, pool[kind](rng))
        yield f"{target.name}({name}: {kind}): {wrong}" if wrong else None


def _changed(rng: Rng, target: Target) -> str | None:
    """Whether a call that is right changes a matrix of its caller's."""
    messy = {k: shuffled(rng, x) for k, x in target.good.items() if sp.issparse(x)}
    before = [contents(x) for x in messy.values()]
    target.call(**{**target.good, **messy})
    same = before == [contents(x) for x in messy.values()]
    return None if same else f"{target.name}: the caller's arrays were changed"


def shuffled(rng: Rng, A: Any) -> sp.csr_array:
    """The same matrix, unsorted, in parts, and with a zero for each entry."""
    coo: Any = sp.coo_array(A)
    data = np.concatenate([coo.data / 2, coo.data / 2, 0 * coo.data])
    rows, cols, order = np.tile(coo.row, 3), np.tile(coo.col, 3), rng.permutation(data.size)
    return compressed(
        "unsorted csr", coo.shape[0], rows[order], cols[order], data[order], coo.shape
    )


def _wrong(target: Target, name: str, bad: Any) -> str:
    """What is wrong with what a call does."""
    before, started = contents(bad), time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = target.call(**{**target.good, name: bad})
    except DOCUMENTED as error:
        wrong = "" if len(str(error).split()) >= WORDS else f"an error without words: {error!r}"
    except Exception as error:
        wrong = f"{type(error).__name__}: {error}"
    else:
        wrong = f"no error, but a {type(found).__name__}"
    if time.perf_counter() - started > SOON:
        wrong += f" after {time.perf_counter() - started:.1f} s"
    return wrong if contents(bad) == before else f"{wrong}, arguments changed"
