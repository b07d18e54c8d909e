"""README.md keeps its promises: the quickstart runs, the set-up commands are the agreed ones."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import padchol

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
SETUP = (
    "python3 -m venv .venv && .venv/bin/pip install -e '.[examples]' "
    "&& .venv/bin/python -m padchol demo",
    "python3 -m venv .venv && .venv/bin/pip install -e '.[test]' && .venv/bin/pytest",
)
SECTIONS = (  # in this order, each a heading of the second level
    "Set up",
    "Quickstart",
    "Why",
    "Shapes",
    "Measured speed",
    "Where it loses",
    "When not to use it",
    "What bad input gets",
    "Citing",
    "References",
)


def fenced(language: str, section: str) -> list[str]:
    """Fenced code blocks of a language under a second-level heading."""
    _, _, rest = README.partition(f"\n## {section}\n")
    body = rest.split("\n## ")[0]
    return re.findall(rf"^```{language}\n(.*?)^```", body, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("command", SETUP, ids=["demo", "tests"])
def test_setup_command_stands_word_for_word(command):
    lines = "".join(fenced("sh", "Set up")).splitlines()
    assert command in lines


def test_sections_stand_in_order():
    found = re.findall(r"^## (.*)$", README, re.MULTILINE)
    assert [name for name in found if name in SECTIONS] == list(SECTIONS)


@pytest.mark.parametrize(
    "x64", [pytest.param(False, marks=pytest.mark.slow), True], ids=["float32", "float64"]
)
def test_quickstart_runs(x64):
    blocks = fenced("python", "Quickstart")
    assert blocks, "the section holds no python"
    scope: dict = {}
    with jax.enable_x64(x64):
        exec(compile("\n".join(blocks), "README.md", "exec"), scope)
        assert isinstance(scope["F"], padchol.Factor)
        A, b, x = scope["A"].toarray(), scope["b"], np.asarray(scope["x"])
        tolerance = 1e-12 if x64 else 1e-4
        np.testing.assert_allclose(A @ x, b, atol=tolerance)
        expected = np.linalg.slogdet(A)[1]
        np.testing.assert_allclose(scope["F"].logdet(), expected, rtol=tolerance)
        assert scope["gradient"].shape == (scope["plan"].nnz,)
        assert bool(jnp.all(jnp.isfinite(scope["gradient"])))


def test_figure_exists():
    for target in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README):
        assert (Path(__file__).parents[1] / target).is_file(), target


def test_every_public_name_is_in_the_shape_table():
    _, _, rest = README.partition("\n## Shapes\n")
    table = rest.split("\n## ")[0]
    methods = [name for name in vars(padchol.Factor) if callable(getattr(padchol.Factor, name))]
    public = [f"F.{name}(" for name in methods if not name.startswith("_")]
    called = [name for name in padchol.__all__ if callable(getattr(padchol, name))]
    public += [f"padchol.{name}(" for name in called if name[0].islower()]
    public += [f"padchol.assembly.{name}(" for name in ("gram", "kron", "blocks")]
    public += ["plan.add_diagonal(", "padchol.gmrf.GMRF("]
    assert [name for name in public if name not in table] == []
