"""Every notebook runs from top to bottom, and what is stored in it stays small."""

import json
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
SECONDS_A_CELL = 180  # a cell takes a few seconds; this only ends a hang
# Ten seconds each, or more.
SLOW = (
    "01_quickstart",
    "02_what_the_plan_is",
    "03_derivatives",
    "04_orderings_and_padding",
    "05_mixed_models",
    "06_spatial",
    "07_latent_gaussian",
    "08_pymc",
    "09_splines",
    "10_many_devices",
    "11_nested_laplace",
)
LARGEST = 300_000  # bytes, outputs included


def test_there_are_notebooks():
    assert NOTEBOOKS


# Minutes each, and of models that have tests of their own.
RELEASE = ("09_splines", "11_nested_laplace")


def marks_of(stem):
    return [pytest.mark.slow] * (stem in SLOW) + [pytest.mark.release] * (stem in RELEASE)


@pytest.mark.parametrize(
    "path",
    [pytest.param(p, marks=marks_of(p.stem), id=p.stem) for p in NOTEBOOKS],
)
def test_runs_from_top_to_bottom(path, monkeypatch):
    nbclient = pytest.importorskip("nbclient", reason="running a notebook needs nbclient")
    pytest.importorskip("ipykernel", reason="running a notebook needs ipykernel")
    import nbformat

    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    notebook = nbformat.read(path, as_version=4)
    client = nbclient.NotebookClient(
        notebook,
        timeout=SECONDS_A_CELL,
        kernel_name="python3",
        resources={"metadata": {"path": str(FOLDER)}},
    )
    client.execute()  # CellExecutionError names the cell and carries its traceback
    failed = [
        output.ename
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output.output_type == "error"
    ]
    assert failed == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_is_stored_executed_and_small(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert path.stat().st_size < LARGEST
