"""What people read agrees with what is there: docstrings, examples, and the pages in docs."""

import ast
import doctest
import importlib
import inspect
import re
import runpy
import tomllib
from functools import cached_property
from pathlib import Path
from types import FunctionType

import pytest

import padchol

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "padchol"
INTEROP = "padchol.interop."  # modules named after the library that they need


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


# The script that builds the API reference: its list of public modules, and of their names.
reference = runpy.run_path(str(ROOT / "docs" / "build.py"))
PUBLIC, public_names = reference["PUBLIC"], reference["public_names"]


# ---- docstrings -------------------------------------------------------------------------------


METHODS = (FunctionType, property, classmethod, staticmethod, cached_property)


def undocumented(name: str, x) -> list[str]:
    """Of a class or function, with the methods and properties that are defined in padchol."""
    found = [name] if not (inspect.getdoc(x) or "").strip() else []
    if not inspect.isclass(x):
        return found
    if (x.__doc__ or "").startswith(f"{x.__name__}("):  # what a dataclass or NamedTuple makes
        found.append(name)
    for owner in x.__mro__:
        if not owner.__module__.startswith("padchol"):
            continue
        for key, value in vars(owner).items():
            is_method = isinstance(value, METHODS) and getattr(value, "__name__", "") != "<lambda>"
            if not key.startswith("_") and is_method and not inspect.getdoc(getattr(x, key)):
                found.append(f"{name}.{key}")
    return found


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_has_a_docstring(name):
    if name.startswith(INTEROP):
        pytest.importorskip(name.removeprefix(INTEROP))
    module = importlib.import_module(name)
    assert module.__doc__
    missing = []
    for each in public_names(module):
        x = getattr(module, each)
        if inspect.isclass(x) or inspect.isfunction(x):
            missing += undocumented(each, x)
    assert missing == []


def test_the_reference_has_every_module_with_public_names():
    """Those with an `__all__`, but for modules that are re-exported by a package."""
    declared = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in PACKAGE.rglob("*.py")
        if re.search(r"^__all__", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert declared - set(PUBLIC) <= {"padchol.mixed.formula"}


EXAMPLES = [p for p in sorted(PACKAGE.rglob("*.py")) if ">>>" in p.read_text(encoding="utf-8")]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_in_docstrings(path):
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0
    assert result.failed == 0


# ---- the picture of the imports ---------------------------------------------------------------


def layers() -> list[list[str]]:
    """docs/architecture.md, from the top to the bottom."""
    (picture,) = re.findall(r"^```layers\n(.*?)^```", page("docs/architecture.md"), re.M | re.S)
    return [line.split("  ")[0].split() for line in picture.splitlines() if line.strip()]


def imported(tree: ast.AST, inside: bool = False):
    """(name of a part of padchol, whether it is imported inside a function)"""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "padchol":
            yield from ((alias.name, inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("padchol."):
            yield node.module.split(".")[1], inside
        elif isinstance(node, ast.Import):
            yield from (
                (alias.name.split(".")[1], inside)
                for alias in node.names
                if alias.name.startswith("padchol.")
            )
        later = isinstance(node, ast.FunctionDef) or (
            isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        )
        yield from imported(node, inside or later)


def test_imports_go_down_the_layers():
    """At import time every part imports from lines below its own; inside functions, also what the
    page lists."""
    place = {name: k for k, line in enumerate(layers()) for name in line}
    parts = {p.stem for p in PACKAGE.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    assert set(place) == parts - {"__init__", "__main__"}
    text = page("docs/architecture.md")
    allowed = set(re.findall(r"^\| `(\w+)` \| `(\w+)` \|", text, re.MULTILINE))
    wrong, needed = [], set()
    for path in PACKAGE.rglob("*.py"):
        part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if part in ("__init__", "__main__", "cli"):  # the command line is a user of the package
            continue
        for name, inside in imported(ast.parse(path.read_text(encoding="utf-8"))):
            if name != part and place[name] <= place[part]:
                if inside and (part, name) in allowed:
                    needed.add((part, name))
                else:
                    wrong.append((str(path.relative_to(ROOT)), name))
    assert wrong == []
    assert needed == allowed


# ---- pages ------------------------------------------------------------------------------------


def test_glossary_names_files_that_are_there():
    rows = re.findall(r"^\| \*\*(.+?)\*\* \| (.+?) \| (.+?) \|$", page("docs/glossary.md"), re.M)
    assert len(rows) > 20
    terms = [term for term, _, _ in rows]
    assert terms == sorted(terms, key=str.lower)
    files = [path for _, _, cell in rows for path in re.findall(r"`(padchol/[^`]+)`", cell)]
    assert len(files) >= len(rows)
    assert [path for path in files if not (ROOT / path).exists()] == []


def test_architecture_names_files_that_are_there():
    files = re.findall(r"`(padchol/[^`]+)`", page("docs/architecture.md"))
    assert len(files) > 20
    assert [path for path in files if not (ROOT / path).exists()] == []


def test_links_in_pages_lead_somewhere():
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("notebooks/*.md")]
    broken = [
        (path.name, target)
        for path in pages
        for target in re.findall(r"\]\((?!https?:)([^)#\s]+)", path.read_text(encoding="utf-8"))
        if not (path.parent / target).exists()
    ]
    assert broken == []


def test_notebooks_are_listed_in_order():
    listed = re.findall(r"\]\((\d\d_\w+\.ipynb)\)", page("notebooks/README.md"))
    assert listed == sorted(p.name for p in (ROOT / "notebooks").glob("*.ipynb"))


def test_every_case_of_the_reliability_table_is_named_by_a_test():
    """docs/reliability.md: "Row 7", or "Rows 7, 8 and 9", in a docstring of a test file."""
    rows = [int(k) for k in re.findall(r"^\| (\d+) \|", page("docs/reliability.md"), re.MULTILINE)]
    assert rows == list(range(1, 46))
    named = set()
    for path in (ROOT / "tests").glob("test_*.py"):
        if path == Path(__file__):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef):
                text = ast.get_docstring(node) or ""
                for numbers in re.findall(r"\bRows? (\d+(?:(?:,| and) \d+)*)", text):
                    named |= {int(k) for k in re.findall(r"\d+", numbers)}
    assert [row for row in rows if row not in named] == []
    assert named <= set(rows)


def test_types_are_packaged_and_versions_agree():
    assert (PACKAGE / "py.typed").exists()
    project = tomllib.loads(page("pyproject.toml"))
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == ["padchol"]
    assert project["project"]["version"] == padchol.__version__
    assert re.search(r"^version: (.+)$", page("CITATION.cff"), re.M)[1] == padchol.__version__
