"""The text of a formula taken apart: left side, fixed part, and the terms (x | g).

Only text is read here, no data. Names may stand in backquotes (`my group`), and may then hold any
character. Between quotes nothing is an operator, and between the parentheses of a call, as in
I(a | b), a bar is Python's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from padchol.mixed.variables import parsed

OPENS, CLOSES, QUOTES = "([{", ")]}", "`'\""


class Mark(NamedTuple):
    """A character outside quotes."""

    at: int
    character: str
    depth: int  # brackets open around it
    code: bool  # inside a call, square brackets or braces, where Python is spoken


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
    tildes = [m.at for m in _marks(formula, formula) if m.character == "~" and m.depth == 0]
    if len(tildes) != 1 or not formula[: tildes[0]].strip():
        raise ValueError(f"expected a formula 'y ~ ...' with one ~; got {formula!r}")
    left, right = formula[: tildes[0]].strip(), formula[tildes[0] + 1 :]
    if not right.strip():
        raise ValueError(
            f"expected terms after the ~ of {formula!r}; an intercept alone is written 'y ~ 1'"
        )
    left, trials = _response(left)
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
        if not _has_bar(piece):
            fixed += (f" {sign} " if fixed else sign.strip("+")) + piece
            continue
        inside = _inside(piece)
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
    right = formula.strip().removeprefix("~").strip()
    if not right or _has_bar(right) or "~" in right:
        raise ValueError(f"expected a formula '~ x' of fixed effects for {what}; got {formula!r}")
    _refuse("", right)
    return right


def factors(group: str) -> list[str]:
    """The names of columns in a:b:c, without backquotes."""
    return [unquoted(name) for name in _parts(group, ":")]


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
        marks = list(_marks(side, side))
        bare = "".join(_bare(side))
        if re.search(r"(?<![\w.])offset\s*\(", bare) and not _only_summands("offset", side):
            raise ValueError(
                f"expected offset(...) as a summand of the right side; got {spaced(side)!r}"
            )
        if any(m.code and m.character == "^" for m in marks):
            raise ValueError(
                f"expected powers written as **, for example I(x ** 2); got ^ in {side.strip()!r}, "
                "which in Python is the exclusive or of integers"
            )
        if re.search(r"(?<![\w.)\]])\.(?![\w.])", bare):
            raise ValueError("expected the columns by name; '.' for all others is not supported")
    if any(not m.code and m.character in "+-*/:^%" for m in _marks(left, left)):
        raise ValueError(f"expected arithmetic of the response inside I(...); got {left!r}")


def _response(left: str) -> tuple[str, tuple[str, ...]]:
    """The response, and what adds up to the number of trials where the left side says so."""
    bars = [m.at for m in _marks(left, left) if m.character == "|" and not m.code]
    if bars:
        successes, trials = left[: bars[0]].strip(), left[bars[0] + 1 :].strip()
        if len(bars) > 1 or not successes or not trials:
            raise ValueError(f"expected 'successes | trials'; got {left!r}")
        return successes, (trials,)
    inside = _argument("cbind", left)
    if inside is None:
        return left, ()
    both = _parts(inside, ",")
    if len(both) != 2 or not all(both):
        raise ValueError(f"expected cbind(successes, failures); got {left!r}")
    return both[0], (both[0], both[1])


STRUCTURES = ("ar1", "ou", "cs", "matern")


def _structured(piece: str) -> tuple[str, str, str] | None:
    """(kind, positions, group) of a piece as ar1(t | g); None for others."""
    for kind in STRUCTURES:
        inside = _argument(kind, piece)
        bars = [] if inside is None else _bars(inside)
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
    return _inside(found[1]) if found else None


def _only_summands(name: str, side: str) -> bool:
    """Whether the calls of that name are summands of the side, every one."""
    calls = len(re.findall(rf"(?<![\w.]){name}\s*\(", "".join(_bare(side))))
    return calls == sum(_argument(name, piece) is not None for _, piece in _summands(side, side))


def _bare(text: str) -> list[str]:
    """The characters of the text, those between quotes made blank."""
    kept = {m.at for m in _marks(text, text)}
    return [c if k in kept else " " if c not in QUOTES else "`" for k, c in enumerate(text)]


def _marks(text: str, whole: str) -> Iterator[Mark]:
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


def _flattened(text: str, formula: str) -> Iterator[tuple[str, str]]:
    """(sign, piece) between the plus and minus signs, parentheses around terms (x | g) opened."""
    for sign, piece in _summands(text, formula):
        inside = _inside(piece)
        nested = inside is not None and _has_bar(inside) and not _bars(inside)
        if nested and sign == "+":
            yield from _flattened(inside or "", formula)
        else:
            yield sign, piece


def _summands(text: str, formula: str) -> list[tuple[str, str]]:
    """(sign, piece): what stands between the plus and minus signs outside parentheses."""
    signs = [m for m in _marks(text, formula) if m.character in "+-" and m.depth == 0]
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


def _inside(piece: str) -> str | None:
    """What stands in the parentheses around the whole piece, where there are such."""
    if not (piece.startswith("(") and piece.endswith(")")):
        return None
    outer = [m.at for m in _marks(piece, piece) if m.depth == 0]
    return piece[1:-1].strip() if outer == [0, len(piece) - 1] else None


def _has_bar(text: str) -> bool:
    return any(m.character == "|" and not m.code for m in _marks(text, text))


def _bars(text: str) -> list[int]:
    """Where bars stand outside all parentheses."""
    return [m.at for m in _marks(text, text) if m.character == "|" and m.depth == 0]


def _written_out(text: str, piece: str) -> list[tuple[str, str]]:
    """The terms of 'x | g', of 'x || g' and of 'x | a/b'."""
    bars = _bars(text)
    apart = len(bars) == 2 and bars[1] == bars[0] + 1
    inner, group = (text[: bars[0]].strip(), text[bars[-1] + 1 :].strip()) if bars else ("", "")
    if not inner or not group or len(bars) > 1 + apart or _has_bar(inner) or _has_bar(group):
        raise ValueError(f"expected a term (x | g); got {piece!r}")
    nested = [":".join(_names(part, piece)) for part in _parts(group, "/")]
    groups = [":".join(nested[: k + 1]) for k in range(len(nested))]
    inners = _separate(inner) if apart else [spaced(inner)]
    return [(each, group) for group in groups for each in inners]


def _names(text: str, piece: str) -> list[str]:
    """The names in a:b, each a word or in backquotes."""
    names = [name.strip() for name in _parts(text, ":")]
    for name in names:
        if not re.fullmatch(r"[\w.]+|`[^`]+`", name):
            raise ValueError(
                "expected names of columns after the bar, joined by : or / (every column counts as "
                f"a factor there; other names in backquotes); got {name!r} in {piece!r}"
            )
    return names


def _parts(text: str, sign: str) -> list[str]:
    at = [m.at for m in _marks(text, text) if m.character == sign and m.depth == 0]
    starts, ends = [0, *(k + 1 for k in at)], [*at, len(text)]
    return [text[start:end].strip() for start, end in zip(starts, ends, strict=True)]


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
    whole = method != "python" or (call and _inside(call[1]) is not None)
    return expression if whole else f"{{{expression}}}"
