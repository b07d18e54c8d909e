"""Random formulas: read, or refused with a `ValueError`; never another error.

The fixed parts are read where formulaic and pandas are installed; splitting needs neither.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

import numpy as np

from padchol.mixed.formula import frame, split
from padchol.splines.formula import split as split_smooths
from padchol.testing._patterns import Rng

CASES = 20  # of one unit
NAMES = ("y", "x", "z", "g", "h", "f", "my x", "missing", "1", "0", "2", "-1", "1.5", "", "é", "λ")
SIGNS = ("+", "-", "*", ":", "/", "**", "|", "||", "~", ",", "=", "<", "%", "\\", "@", "$", ";")
BRACKETS = ("(", ")", "[", "]", "{", "}", "`", "'", '"', "#", "\n", "\t", " ", "\x00", "...")
CALLS = (
    *("I(", "C(", "log(", "np.sqrt(", "offset(", "cbind(", "s(", "te(", "ti(", "ar1(", "ou("),
    *("cs(", "matern(", "poly(", "bs(", "Q(", "scale(", "s(x, k=", "s(x, bs=", "s(x, by="),
)
TEMPLATES = (
    "y ~ {}",
    "y ~ x + {}",
    "y ~ 1 + ({} | {})",
    "y ~ x + ({} || {})",
    "y ~ s({}, k={})",
    "y ~ te({}, {})",
    "y ~ ar1({} | {})",
    "y ~ offset({}) + {}",
    "{} | {} ~ x",
    "cbind({}, {}) ~ x",
    "{} ~ x + (1 | g)",
    "{}",
)


def unit(rng: Rng, number: int) -> Iterator[str | None]:
    """Formulas of tokens, as they come or in the places of a formula."""
    for _ in range(CASES):
        text = _formula(rng)
        for reader in _readers():
            wrong = _wrong(reader, text)
            if wrong:
                break
        yield f"{text!r}: {wrong}" if wrong else None


def _formula(rng: Rng) -> str:
    template = TEMPLATES[rng.integers(len(TEMPLATES))]
    text = template.format(*(_piece(rng) for _ in range(template.count("{}"))))
    if rng.random() < 0.1 and text:  # a character less, or twice
        at = int(rng.integers(len(text)))
        text = text[:at] + text[at + 1 :] if rng.random() < 0.5 else text[:at] + text[at:] * 2
    return text


def _piece(rng: Rng) -> str:
    """A few tokens, mostly names and signs in turn; rarely many brackets."""
    if rng.random() < 0.01:
        return "(" * int(rng.integers(1, 400)) + "x" + ")" * int(rng.integers(1, 400))
    found = [NAMES[rng.integers(len(NAMES))]]
    for _ in range(rng.integers(4)):
        pool = (SIGNS, SIGNS, BRACKETS, CALLS)[rng.integers(4)]
        found += [pool[rng.integers(len(pool))], NAMES[rng.integers(len(NAMES))]]
    text = " ".join(found) if rng.random() < 0.7 else "".join(found)
    missing = text.count("(") - text.count(")")
    return text + ")" * missing if missing > 0 and rng.random() < 0.8 else text


@lru_cache(maxsize=1)
def _readers() -> tuple[Callable[[str], Any], ...]:
    readers: list[Callable[[str], Any]] = [split, split_smooths]
    if find_spec("formulaic") and find_spec("pandas"):
        data = _data()
        readers.append(lambda text: frame(text, data))
    return tuple(readers)


def _data() -> Any:
    import pandas

    rng, n = np.random.default_rng(0), 30
    numbers: dict[str, Any] = {name: rng.normal(size=n) for name in ("y", "x", "z", "my x")}
    return pandas.DataFrame(
        numbers | {"g": np.arange(n) % 5, "h": [*"abc"] * 10, "f": np.arange(n) % 2 == 0}
    )


def _wrong(reader: Callable[[str], Any], text: str) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reader(text)
    except (ValueError, TypeError) as error:
        return "" if len(str(error).split()) >= 3 else f"an error without words: {error!r}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""
