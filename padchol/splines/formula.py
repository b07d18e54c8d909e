"""Formulas with smooth terms, as mgcv writes them: y ~ z + s(x, k=20) + te(x1, x2) + s(g, bs="re").

    s(x)            a smooth of x; k functions, basis bs, m the order of its penalty
    s(x, by=z)      z times a smooth of x; of a factor, a smooth of x for each of its levels
    s(g, bs="re")   independent effects of the levels of g, or of a slope on a number; of several
                    columns, of their product
    te(x1, x2)      a smooth of both, with a penalty along each (tensor product)
    ti(x1, x2)      the same without main effects, to stand beside s(x1) + s(x2)
    offset(x)       a column added to the predictor
    s | n ~         successes in n trials, or cbind(s, f): successes and failures
    s(x, bs="cp", ends=(0, 24))  a cyclic smooth whose circle closes there, not at the data's ends
    `my x`          a name that is no plain word

bs is "ps" (B-splines on equal intervals; the default), "cp" (cyclic), "cr" (natural cubic
splines on quantiles) or "re". Of te and ti, bs, k and m may be tuples, one entry for each margin,
and np=False sums penalties over coefficients instead of values. R's c(5, 5), TRUE and FALSE are
read as well. The other terms are formulaic's, as in `padchol.mixed.formula`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from padchol.mixed.scanner import has_bar, marks
from padchol.mixed.syntax import response_parts

BASES = ("ps", "cp", "cr", "re")
KINDS = ("s", "te", "ti")
_CALL = re.compile(r"(?<![\w.])(s|te|ti|t2|offset)\s*\(")


class Call(NamedTuple):
    """One smooth term as it is written; bs, k and m one for each margin, k or m None for their
    defaults."""

    kind: str
    variables: tuple[str, ...]
    bs: tuple[str, ...]
    k: tuple[int | None, ...]
    m: tuple[int | None, ...]
    by: str | None
    points: bool
    ends: tuple[float, float] | None = None

    @property
    def label(self) -> str:
        return f"{self.kind}({','.join(self.variables)})"


class Parts(NamedTuple):
    """A formula taken apart."""

    left: str
    fixed: str
    offsets: tuple[str, ...]
    smooths: tuple[Call, ...]
    trials: tuple[str, ...] = ()  # what adds up to the number of trials


def split(formula: str) -> Parts:
    """The parts; `ValueError` for what cannot be read, naming the part."""
    if not isinstance(formula, str):
        raise TypeError(f"expected a formula as text, 'y ~ ...'; got {type(formula).__name__}")
    outside = [m.at for m in marks(formula, formula) if m.character == "~" and m.depth == 0]
    if len(outside) != 1 or not formula[: outside[0]].strip():
        raise ValueError(f"expected a formula 'y ~ ...' with one ~; got {formula!r}")
    right = formula[outside[0] + 1 :]
    left, trials = response_parts(formula[: outside[0]].strip())
    if not right.strip():
        raise ValueError(f"expected terms after the ~ of {formula!r}")
    fixed, offsets, smooths = "", [], []
    for sign, piece in _summands(right):
        if has_bar(piece):
            raise ValueError(
                f"expected the effects of levels as s(g, bs='re'), slopes as s(g, x, bs='re'); got "
                f"{piece!r}, which is for padchol.mixed"
            )
        found = _CALL.match(piece)
        if not _CALL.search(piece):
            fixed += (f" {sign} " if fixed else sign.strip("+")) + piece
            continue
        if not found or sign == "-" or not _is_whole(piece):
            raise ValueError(
                f"expected smooths and offsets joined by + alone; got {sign + ' ' + piece!r}. "
                "Products are written s(x, by=z)"
            )
        if found[1] == "offset":
            offsets.append(piece[found.end() : -1].strip())
        else:
            smooths.append(_call(piece))
    labels = [(call.label, call.by) for call in smooths]
    twice = {label for label, by in labels if labels.count((label, by)) > 1}
    if twice:
        raise ValueError(f"expected each smooth once; got several of {sorted(twice)}")
    return Parts(left, fixed or "1", tuple(offsets), tuple(smooths), trials)


def _summands(text: str) -> Iterator[tuple[str, str]]:
    """(sign, piece) between the plus and minus signs outside brackets."""
    found = [m for m in marks(text, text) if m.character in "+-" and m.depth == 0]
    signs = [(m.at, m.character) for m in found]
    starts, ends = [0, *(at + 1 for at, _ in signs)], [*(at for at, _ in signs), len(text)]
    for sign, start, end in zip(["+", *(c for _, c in signs)], starts, ends, strict=True):
        piece = text[start:end].strip()
        if piece:
            yield sign, piece
        elif start:
            raise ValueError(f"expected a term after each sign; got {text.strip()!r}")


def _is_whole(piece: str) -> bool:
    """Whether the piece is one call and no more."""
    closed = [m.at for m in marks(piece, piece) if m.character == ")" and m.depth == 0]
    return closed == [len(piece) - 1]


def _call(piece: str) -> Call:
    names: dict[str, str] = {}

    def alias(found: re.Match) -> str:
        return names.setdefault(found[1], f"_backquoted_{len(names)}")

    try:
        read: Any = ast.parse(re.sub(r"`([^`]+)`", alias, piece), mode="eval").body
        real = {value: name for name, value in names.items()}
        return _checked(read, real, piece)
    except SyntaxError:
        raise ValueError(f"cannot read {piece!r}") from None


def _checked(read: ast.Call, real: dict[str, str], piece: str) -> Call:
    kind = ast.unparse(read.func)
    if kind not in KINDS:
        raise ValueError(f"expected a smooth s, te or ti; got {piece!r}")
    variables = tuple(_name(node, real, piece) for node in read.args)
    if not variables or len(set(variables)) < len(variables):
        raise ValueError(f"expected names of different columns in {piece!r}")
    given = {str(each.arg): each.value for each in read.keywords}
    known = {"bs", "k", "m", "by", "np", "ends"}
    if unknown := set(given) - known:
        raise ValueError(f"expected {', '.join(sorted(known))} in {piece!r}; got {sorted(unknown)}")
    by = _name(given.pop("by"), real, piece) if "by" in given else None
    options = {name: _value(node, piece) for name, node in given.items()}
    count = 1 if kind == "s" else len(variables)
    bs = _each(options.get("bs", "ps"), count, "bs", piece)
    if wrong := [b for b in bs if b not in BASES]:
        raise ValueError(f"expected bs one of {', '.join(BASES)} in {piece!r}; got {wrong[0]!r}")
    if kind == "s" and len(variables) > 1 and bs != ("re",):
        raise ValueError(f"expected one variable in {piece!r}; a smooth of several is te(...)")
    if kind != "s" and count < 2:
        raise ValueError(f"expected two variables or more in {piece!r}; a smooth of one is s(x)")
    k, m = (_each(options.get(name), count, name, piece) for name in ("k", "m"))
    for name, values in (("k", k), ("m", m)):
        if any(v is not None and (isinstance(v, bool) or not isinstance(v, int)) for v in values):
            raise ValueError(f"expected whole numbers {name} in {piece!r}; got {values}")
    points, ends = bool(options.get("np", True)), options.get("ends")
    if ends is not None and (kind != "s" or bs != ("cp",) or not _is_interval(ends)):
        raise ValueError(
            f"expected ends=(low, high) of a cyclic smooth s(x, bs='cp', ...); got {piece!r}"
        )
    return Call(kind, variables, bs, k, m, by, points, ends)


def _is_interval(ends: Any) -> bool:
    numbers = isinstance(ends, tuple) and all(isinstance(v, int | float) for v in ends)
    return numbers and len(ends) == 2 and ends[0] < ends[1]


def _name(node: ast.expr, real: dict[str, str], piece: str) -> str:
    if not isinstance(node, ast.Name):
        raise ValueError(
            f"expected names of columns in {piece!r}; got {ast.unparse(node)!r}, which has to be "
            "computed in the data first"
        )
    return real.get(node.id, node.id)


def _value(node: ast.expr, piece: str) -> Any:
    """A number, a text, a truth value, or a tuple of them; R's c(...), TRUE, FALSE and NA too."""
    words = {"TRUE": True, "FALSE": False, "NA": None}
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "c" and not node.keywords:
        return tuple(_value(each, piece) for each in node.args)
    if isinstance(node, ast.Tuple | ast.List):
        return tuple(_value(each, piece) for each in node.elts)
    if isinstance(node, ast.Name) and node.id in words:
        return words[node.id]
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise ValueError(f"cannot read {ast.unparse(node)!r} in {piece!r}") from None


def _each(value: Any, count: int, name: str, piece: str) -> tuple:
    """One for each margin."""
    if not isinstance(value, tuple):
        return (value,) * count
    if len(value) != count:
        raise ValueError(f"expected {count} values of {name} in {piece!r}; got {value}")
    return value
