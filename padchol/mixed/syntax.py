"""The text of a formula taken apart: left side, fixed part, and the terms (x | g).

Only text is read here, no data. Names may stand in backquotes (`my group`), and may then hold any
character. Between quotes nothing is an operator, and between the parentheses of a call, as in
I(a | b), a bar is Python's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from padchol.mixed.scanner import (
    bare,
    bars_of,
    has_bar,
    inside_of,
    marks,
    parts_of,
    summands,
)
from padchol.mixed.variables import parsed


class Parts(NamedTuple):
    """A formula taken apart: expressions as text."""

    left: str  # the response
    fixed: str
    bars: list[tuple[str, str]]  # (x, group) of each random-effects term
    offsets: tuple[str, ...] = ()
    trials: tuple[str, ...] = ()  # what adds up to the number of trials
    structured: tuple[tuple[str, str, str], ...] = ()  # (kind, positions, group)


def split(formula: str) -> Parts:
    """The parts of 'y ~ fixed + offset(o) + (x | group)'.

    `ar1(t | g)` and the like are structured terms: see `padchol.mixed.structures`. `(x || g)` and
    `a / b` are written out: one term for each term of x, and for a and a:b. Minus
    signs belong to the fixed part: '(x | g) - 1' is '-1' and (x | g). A left side `s | n` is s
    successes in n trials, `cbind(s, f)` s successes and f failures. Raises `ValueError` for what
    cannot be read, naming the part.
    """
    if not isinstance(formula, str):
        raise TypeError(f"expected a formula as text, 'y ~ ...'; got {type(formula).__name__}")
    tildes = [m.at for m in marks(formula, formula) if m.character == "~" and m.depth == 0]
    if len(tildes) != 1 or not formula[: tildes[0]].strip():
        raise ValueError(f"expected a formula 'y ~ ...' with one ~; got {formula!r}")
    left, right = formula[: tildes[0]].strip(), formula[tildes[0] + 1 :]
    if not right.strip():
        raise ValueError(
            f"expected terms after the ~ of {formula!r}; an intercept alone is written 'y ~ 1'"
        )
    left, trials = response_parts(left)
    _refuse(left, right)
    fixed, bars, offsets, structured = "", [], [], []
    for sign, piece in _flattened(right, formula):
        inside = _argument("offset", piece)
        if inside is not None:
            offsets.append(inside if sign == "+" else f"-({inside})")
            continue
        found = _structured(piece)
        if found is not None and sign == "+":
            structured.append(found)
            continue
        if not has_bar(piece):
            fixed += (f" {sign} " if fixed else sign.strip("+")) + piece
            continue
        inside = inside_of(piece)
        if inside is None or sign == "-":
            got = piece if sign == "+" else f"- {piece}"
            raise ValueError(
                f"expected a term (x | g) in parentheses; got {got!r}, and a plus sign is all that "
                "may join such terms"
            )
        bars += _written_out(inside, piece)
    return Parts(left, fixed or "1", bars, tuple(offsets), trials, tuple(structured))


def one_sided(formula: str, what: str) -> str:
    """The right side of '~ x' or 'x', without random effects."""
    if not isinstance(formula, str):
        raise TypeError(
            f"expected a formula '~ x' as text for {what}; got {type(formula).__name__}"
        )
    right = formula.strip().removeprefix("~").strip()
    if not right or has_bar(right) or "~" in right:
        raise ValueError(f"expected a formula '~ x' of fixed effects for {what}; got {formula!r}")
    _refuse("", right)
    return right


def factors(group: str) -> list[str]:
    """The names of columns in a:b:c, without backquotes."""
    return [unquoted(name) for name in parts_of(group, ":")]


def unquoted(name: str) -> str:
    """A name without its backquotes."""
    name = name.strip()
    return name[1:-1] if len(name) > 1 and name[0] == name[-1] == "`" else name


def quoted(name: str) -> str:
    """A name as it has to be written in a formula: in backquotes unless it is a plain word."""
    return name if re.fullmatch(r"[^\W\d][\w.]*", name) else f"`{name}`"


def spaced(text: str) -> str:
    """The text with each run of spaces and line ends made one space."""
    return " ".join(text.split())


def _refuse(left: str, right: str) -> None:
    """What other programs read and this one does not, with what to write instead."""
    for side in (left, right):
        found = list(marks(side, side))
        plain = "".join(bare(side))
        if re.search(r"(?<![\w.])offset\s*\(", plain) and not _only_summands("offset", side):
            raise ValueError(
                f"expected offset(...) as a summand of the right side; got {spaced(side)!r}"
            )
        if any(m.code and m.character == "^" for m in found):
            raise ValueError(
                f"expected powers written as **, for example I(x ** 2); got ^ in {side.strip()!r}, "
                "which in Python is the exclusive or of integers"
            )
        if re.search(r"(?<![\w.)\]])\.(?![\w.])", plain):
            raise ValueError("expected the columns by name; '.' for all others is not supported")
    if any(not m.code and m.character in "+-*/:^%" for m in marks(left, left)):
        raise ValueError(f"expected arithmetic of the response inside I(...); got {left!r}")


def response_parts(left: str) -> tuple[str, tuple[str, ...]]:
    """The response, and what adds up to the number of trials where the left side says so."""
    bars = [m.at for m in marks(left, left) if m.character == "|" and not m.code]
    if bars:
        successes, trials = left[: bars[0]].strip(), left[bars[0] + 1 :].strip()
        if len(bars) > 1 or not successes or not trials:
            raise ValueError(f"expected 'successes | trials'; got {left!r}")
        return successes, (trials,)
    inside = _argument("cbind", left)
    if inside is None:
        return left, ()
    both = parts_of(inside, ",")
    if len(both) != 2 or not all(both):
        raise ValueError(f"expected cbind(successes, failures); got {left!r}")
    return both[0], (both[0], both[1])


STRUCTURES = ("ar1", "ou", "cs", "matern")


def _structured(piece: str) -> tuple[str, str, str] | None:
    """(kind, positions, group) of a piece as ar1(t | g); None for others."""
    for kind in STRUCTURES:
        inside = _argument(kind, piece)
        bars = [] if inside is None else bars_of(inside)
        if inside is None or not bars:
            continue
        inner, group = inside[: bars[0]].strip(), inside[bars[-1] + 1 :].strip()
        if len(bars) > 1 or not inner or not group:
            raise ValueError(f"expected {kind}(positions | group); got {piece!r}")
        return kind, spaced(inner), ":".join(_names(group, piece))
    return None


def _argument(name: str, piece: str) -> str | None:
    """What stands in the parentheses of a piece that is a call of that name and nothing else."""
    found = re.fullmatch(rf"{name}\s*(\(.*\))", piece.strip(), re.DOTALL)
    return inside_of(found[1]) if found else None


def _only_summands(name: str, side: str) -> bool:
    """Whether the calls of that name are summands of the side, every one."""
    calls = len(re.findall(rf"(?<![\w.]){name}\s*\(", "".join(bare(side))))
    return calls == sum(_argument(name, piece) is not None for _, piece in summands(side, side))


def _flattened(text: str, formula: str) -> Iterator[tuple[str, str]]:
    """(sign, piece) between the plus and minus signs, parentheses around terms (x | g) opened."""
    for sign, piece in summands(text, formula):
        inside = inside_of(piece)
        nested = inside is not None and has_bar(inside) and not bars_of(inside)
        if nested and sign == "+":
            yield from _flattened(inside or "", formula)
        else:
            yield sign, piece


def _written_out(text: str, piece: str) -> list[tuple[str, str]]:
    """The terms of 'x | g', of 'x || g' and of 'x | a/b'."""
    bars = bars_of(text)
    apart = len(bars) == 2 and bars[1] == bars[0] + 1
    inner, group = (text[: bars[0]].strip(), text[bars[-1] + 1 :].strip()) if bars else ("", "")
    if not inner or not group or len(bars) > 1 + apart or has_bar(inner) or has_bar(group):
        raise ValueError(f"expected a term (x | g); got {piece!r}")
    nested = [":".join(_names(part, piece)) for part in parts_of(group, "/")]
    groups = [":".join(nested[: k + 1]) for k in range(len(nested))]
    inners = _separate(inner) if apart else [spaced(inner)]
    return [(each, group) for group in groups for each in inners]


def _names(text: str, piece: str) -> list[str]:
    """The names in a:b, each a word or in backquotes."""
    names = [name.strip() for name in parts_of(text, ":")]
    for name in names:
        if not re.fullmatch(r"[\w.]+|`[^`]+`", name):
            raise ValueError(
                "expected names of columns after the bar, joined by : or / (every column counts as "
                f"a factor there; other names in backquotes); got {name!r} in {piece!r}"
            )
    return names


def _separate(inner: str) -> list[str]:
    """One formula for each term of the inner one."""
    found = []
    for term in parsed(inner):
        shown = [_as_written(f.expr, f.eval_method.value) for f in term.factors]
        found.append("1" if shown == ["1"] else f"0 + {':'.join(shown)}")
    return found


def _as_written(expression: str, method: str) -> str:
    """A factor of formulaic's as it has to be written to be read as that factor again."""
    if method == "lookup":
        return quoted(expression)
    call = re.fullmatch(r"[\w.]+(\(.*\))", expression, re.DOTALL)
    whole = method != "python" or (call and inside_of(call[1]) is not None)
    return expression if whole else f"{{{expression}}}"
