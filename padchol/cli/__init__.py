"""The command line: `python -m padchol inspect | demo | bench | fit`.

Each command is a module of this package with `add_arguments(parser)` and `main(args)`; only the one
asked for is imported. Exit codes: 0, or 2 for bad input or a missing optional package.
"""

from __future__ import annotations

import argparse
import importlib
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import version

import padchol
from padchol.cli._errors import InputError, missing_package

COMMANDS = {
    "inspect": "analyse a matrix file: the plan's report, and its picture",
    "demo": "fit a mixed model and a random field on a cortical surface, on real data",
    "bench": "time padchol against the sparse solvers installed here",
    "fit": "fit the prices of the cost model to this machine",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; `argv` without the program's name. Returns the exit code."""
    own_process = argv is None
    argv = sys.argv[1:] if own_process else list(argv)
    name = argv[0] if argv and argv[0] in COMMANDS else ""
    try:
        command = importlib.import_module(f"padchol.cli.{name}") if name else None
        parser = _parser(name, command)
        args = parser.parse_args(argv)
        if command is None:  # no command: parse_args has dealt with --help and with unknown words
            parser.print_help()
            return 2
        if own_process and name == "demo":  # the others measure
            from padchol.cli import _programs

            _programs.keep()
        return command.main(args) or 0
    except InputError as error:
        message = str(error)
    except ModuleNotFoundError as error:
        message = missing_package(error)
        if not message:
            raise
    print(f"padchol {name}: error: {message}", file=sys.stderr)
    return 2


def _versions() -> str:
    """What a report of a defect should say."""
    needed = ", ".join(f"{name} {version(name)}" for name in ("jax", "jaxlib", "numpy", "scipy"))
    return f"padchol {padchol.__version__} ({needed}, Python {platform.python_version()})"


def _parser(name: str, command) -> argparse.ArgumentParser:
    """All commands by name; the arguments of the one that was asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m padchol", description="Sparse Cholesky in pure JAX."
    )
    parser.add_argument("--version", action="version", version=_versions())
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for each, text in COMMANDS.items():
        subparser = commands.add_parser(each, help=text, description=text)
        if each == name:
            command.add_arguments(subparser)
    return parser
