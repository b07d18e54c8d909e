"""`python -m padchol inspect FILE`: what the analysis of a matrix finds, before any numbers."""

from __future__ import annotations

import argparse
import zipfile
from pathlib import Path

import scipy.io
import scipy.sparse as sp

from padchol.analysis import analyze
from padchol.cli._errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `inspect`."""
    parser.add_argument(
        "file", type=Path, help="MatrixMarket .mtx (or .mtx.gz), or .npz of scipy.sparse.save_npz"
    )
    parser.add_argument(
        "--order", default="auto", help="auto (default), natural, rcm, mmd, nd, ..."
    )
    parser.add_argument("--lower", action="store_true", help="the file holds one triangle only")
    parser.add_argument("--plot", type=Path, metavar="OUT.png", help="draw A, L and the tree")


def main(args: argparse.Namespace) -> int:
    """Print the report of the file's matrix; draw it where asked."""
    matrix = read(args.file)
    try:
        plan = analyze(matrix, order=args.order, lower=args.lower)
    except (ValueError, TypeError, OverflowError) as error:
        text = str(error).replace("say lower=True", "pass --lower")
        raise InputError(f"{args.file}: {text}") from error
    except ModuleNotFoundError:
        raise
    except ImportError as error:  # an ordering that needs an optional package
        raise InputError(str(error)) from error
    print(plan)
    if args.plot:
        draw(plan, args.plot)
    return 0


def read(path: Path) -> sp.coo_array:
    """The matrix in a file, by its suffix. Raises `InputError`."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        if path.suffix == ".npz":
            return sp.coo_array(sp.load_npz(path))
        if path.suffix == ".mtx" or path.name.endswith((".mtx.gz", ".mtx.bz2")):
            return sp.coo_array(scipy.io.mmread(path))
    except (ValueError, KeyError, TypeError, OSError, EOFError, zipfile.BadZipFile) as error:
        kind = "scipy.sparse.save_npz" if path.suffix == ".npz" else "MatrixMarket"
        raise InputError(f"{path}: expected a {kind} file; {error}") from error
    raise InputError(f"{path}: expected a name ending in .mtx or .npz")


def draw(plan, path: Path) -> None:
    """Save the plan's picture; the format follows the suffix. Raises `InputError`."""
    from padchol import plot

    figure = plot.picture(plan)
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot write {path}: {error}") from error
    print(f"picture written to {path}")
