"""Which columns of the data a formula's parts name, and formulaic's reading of the parts."""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterable
from typing import Any


def parsed(text: str) -> Any:
    """formulaic's reading of one side of a formula; `ValueError` naming it where there is none."""
    import formulaic
    from formulaic.errors import FormulaicError

    read: Any = formulaic.Formula
    try:
        found = read(text)
    except (FormulaicError, SyntaxError) as error:
        raise ValueError(f"cannot read {text!r}: {without_colours(error)}") from None
    if not isinstance(found, formulaic.SimpleFormula):
        raise ValueError(f"cannot read {text!r}: expected one side of a formula, without ~ and |")
    return found


def named(text: str, data: Any) -> tuple[set[str], set[str]]:
    """(columns that stand alone or in products, columns inside Python) of one side of a formula."""
    alone, inside = set(), set()
    for factor in (factor for term in parsed(text) for factor in term.factors):
        if factor.eval_method.value == "lookup":
            alone.add(factor.expr)
        elif factor.eval_method.value == "python":
            inside |= _names_in(factor.expr, data)
    return alone, inside


def all_named(texts: Iterable[str], data: Any) -> tuple[set[str], set[str]]:
    """The same of several."""
    alone, inside = set(), set()
    for text in texts:
        one, other = named(text, data)
        alone, inside = alone | one, inside | other
    return alone, inside


def response_column(left: str) -> str | None:
    """The column that the left side is, where it is one and no expression."""
    terms = list(parsed(f"0 + {left}"))
    factors = [factor for term in terms for factor in term.factors]
    alone = len(factors) == 1 and factors[0].eval_method.value == "lookup"
    return str(factors[0].expr) if alone else None


def _names_in(code: str, data: Any) -> set[str]:
    """The columns of the data that Python code uses."""
    from formulaic.transforms import TRANSFORMS

    aliases: dict[str, str] = {}

    def alias(found: re.Match) -> str:
        return aliases.setdefault(found[1], f"_backquoted_{len(aliases)}")

    try:
        tree = ast.parse(re.sub(r"`([^`]+)`", alias, code).strip(), mode="eval")
    except SyntaxError:
        raise ValueError(f"cannot read {code!r} as Python") from None
    real = {value: name for name, value in aliases.items()}
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    called = {id(call.func) for call in calls}
    with_bar = {id(call.func) for call in calls if any(map(_is_bar, call.args))}
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            _check_dotted(ast.unparse(node), data)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Q":
            names |= {str(a.value) for a in node.args if isinstance(a, ast.Constant)}
        if not isinstance(node, ast.Name):
            continue
        known = node.id in TRANSFORMS or hasattr(builtins, node.id)
        if id(node) in called and not known:
            if id(node) in with_bar:
                raise ValueError(
                    f"unknown structure {node.id!r} in {code!r}: there are (x | g), (x || g) "
                    "without correlations, and ar1, ou, cs and matern(positions | g)"
                )
            raise ValueError(
                f"unknown function {node.id!r} in {code!r}: there are "
                f"{', '.join(sorted(TRANSFORMS))} and np's; C(x) makes a factor of x. Others are "
                "computed in the data first"
            )
        if not (known and (id(node) in called or node.id not in data.columns)):
            names.add(real.get(node.id, node.id))
    return names


def _is_bar(node: ast.AST) -> bool:
    return isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr)


def _check_dotted(name: str, data: Any) -> None:
    if name in data.columns and name.partition(".")[0] not in data.columns:
        raise ValueError(
            f"expected `{name}` in backquotes, for in Python the dot means an attribute"
        )


def without_colours(error: BaseException) -> str:
    """The message without the colours of a terminal."""
    return re.sub(r"\x1b\[[0-9;]*m|[⧛⧚]", "", f"{error}").strip()
