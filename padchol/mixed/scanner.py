"""The characters of a formula that count: those outside quotes, with the brackets around them.

Names may stand in backquotes and hold any character there. Between the parentheses of a call, as in
I(a | b), a bar is Python's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

OPENS, CLOSES, QUOTES = "([{", ")]}", "`'\""


class Mark(NamedTuple):
    """A character outside quotes."""

    at: int
    character: str
    depth: int  # brackets open around it
    code: bool  # inside a call, square brackets or braces, where Python is spoken


def bare(text: str) -> list[str]:
    """The characters of the text, those between quotes made blank."""
    kept = {m.at for m in marks(text, text)}
    return [c if k in kept else " " if c not in QUOTES else "`" for k, c in enumerate(text)]


def marks(text: str, whole: str) -> Iterator[Mark]:
    """The characters outside quotes, each with the brackets around it."""
    quote, escaped, before = "", False, ""
    stack: list[tuple[str, bool]] = []  # what closes the brackets that are open; whether code
    for at, c in enumerate(text):
        if quote:
            quote, escaped = ("" if c == quote and not escaped else quote), c == "\\"
            before = c
            continue
        if c in QUOTES:
            quote, before = c, c
            continue
        if c in CLOSES and (not stack or stack.pop()[0] != c):
            raise ValueError(f"expected matching parentheses; got {whole!r}")
        code = bool(stack) and stack[-1][1]
        yield Mark(at, c, len(stack), code)
        if c in OPENS:
            call = c != "(" or bool(re.match(r"[\w.`\])]", before))
            stack.append((CLOSES[OPENS.index(c)], code or call))
        before = c if not c.isspace() else before
    if quote:
        raise ValueError(f"expected matching quotes; got {whole!r}")
    if stack:
        raise ValueError(f"expected matching parentheses; got {whole!r}")


def summands(text: str, formula: str) -> list[tuple[str, str]]:
    """(sign, piece): what stands between the plus and minus signs outside parentheses."""
    signs = [m for m in marks(text, formula) if m.character in "+-" and m.depth == 0]
    starts = [0, *(m.at + 1 for m in signs)]
    ends = [*(m.at for m in signs), len(text)]
    found, sign = [], "+"
    for k, (start, end) in enumerate(zip(starts, ends, strict=True)):
        if k and signs[k - 1].character == "-":
            sign = "-" if sign == "+" else "+"
        piece = text[start:end].strip()
        if piece:
            found.append((sign, piece))
            sign = "+"
        elif k == len(signs):
            raise ValueError(f"expected a term after the last sign; got {formula!r}")
    return found


def inside_of(piece: str) -> str | None:
    """What stands in the parentheses around the whole piece, where there are such."""
    if not (piece.startswith("(") and piece.endswith(")")):
        return None
    outer = [m.at for m in marks(piece, piece) if m.depth == 0]
    return piece[1:-1].strip() if outer == [0, len(piece) - 1] else None


def has_bar(text: str) -> bool:
    return any(m.character == "|" and not m.code for m in marks(text, text))


def bars_of(text: str) -> list[int]:
    """Where bars stand outside all parentheses."""
    return [m.at for m in marks(text, text) if m.character == "|" and m.depth == 0]


def parts_of(text: str, sign: str) -> list[str]:
    at = [m.at for m in marks(text, text) if m.character == sign and m.depth == 0]
    starts, ends = [0, *(k + 1 for k in at)], [*at, len(text)]
    return [text[start:end].strip() for start, end in zip(starts, ends, strict=True)]
