"""The command: which unit comes next, what it is seeded by, and what is said of it."""

from __future__ import annotations

import argparse
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import jax
import numpy as np

from padchol.testing import _files, _formulas, _malformed, _sequences, _symbolic, _values

# Of each kind: its units, and its share of the cases.
KINDS: dict[str, tuple[Callable[[np.random.Generator, int], Iterator[str | None]], float]] = {
    "symbolic": (_symbolic.unit, 0.15),
    "values": (_values.unit, 0.5),
    "sequences": (_sequences.unit, 0.05),
    "files": (_files.unit, 0.1),
    "malformed": (_malformed.unit, 0.2),
    "formulas": (_formulas.unit, 0.05),
}
EVERY = 10.0  # seconds between two lines of progress


@dataclass
class Report:
    """What a run did: cases and seconds of each kind, and a line for each wrong case."""

    cases: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    units: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Cases of all kinds."""
        return sum(self.cases.values())

    def __str__(self) -> str:
        lines = [
            f"{kind:<10} {self.cases[kind]:>9,} cases in {self.units[kind]:,} units, "
            f"{self.seconds[kind]:.1f} s"
            for kind in self.cases
        ]
        matrices = (
            f"values: {_values.BATCH} matrices a unit, on {len(_values.PATTERNS):,} patterns, with "
            f"{_values.programs():,} compiled programs"
        )
        return "\n".join([*lines, matrices, f"{self.total:,} cases, {len(self.wrong)} wrong"])


def fuzz(
    kinds: Iterable[str] = tuple(KINDS),
    *,
    cases: int = 1000,
    seed: int = 0,
    seconds: float = np.inf,
    unit: int | None = None,
    say: Callable[[str], object] = print,
) -> Report:
    """Run random cases of the kinds, until there have been so many or the seconds are over.

    unit: only this one of the first kind, as a line about a wrong case names it. say gets a line
    for each wrong case, and progress. Sets no JAX flag but x64 while it runs.
    """
    report, started, told = Report(), time.perf_counter(), time.perf_counter()
    for kind in kinds:
        report.cases[kind], report.units[kind], report.seconds[kind] = 0, unit or 0, 0.0
    with jax.enable_x64(True):
        while True:
            kind = min(report.cases, key=lambda k: report.cases[k] / KINDS[k][1])
            _one(report, kind, seed, say)
            now = time.perf_counter()
            if unit is not None or report.total >= cases or now - started > seconds:
                break
            if now - told > EVERY:
                told = now
                say(f"{report.total:,} cases, {len(report.wrong)} wrong, {now - started:.0f} s")
    return report


def _one(report: Report, kind: str, seed: int, say: Callable[[str], object]) -> None:
    """One unit of one kind, whose own exceptions are wrong cases as well."""
    number, begun = report.units[kind], time.perf_counter()
    rng = np.random.default_rng([seed, [*KINDS].index(kind), number])
    repeat = f"--kinds {kind} --seed {seed} --unit {number}"

    def tell(text: str) -> None:
        report.wrong.append(f"WRONG {kind}: {text}\n    repeat: {repeat}")
        say(report.wrong[-1])

    try:
        for said in KINDS[kind][0](rng, number):
            report.cases[kind] += 1
            if said is not None:
                tell(said)
    except Exception:
        report.cases[kind] += 1
        tell(traceback.format_exc())
    report.units[kind] += 1
    report.seconds[kind] += time.perf_counter() - begun


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m padchol.testing`. Returns 1 where a case is wrong, else 0."""
    parser = argparse.ArgumentParser(
        prog="python -m padchol.testing", description="Random cases against brute force."
    )
    parser.add_argument("--cases", type=int, default=1000, help="how many, all kinds together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=np.inf, help="stop after so many")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--unit", type=int, help="only this one, to repeat a wrong case")
    args = parser.parse_args(argv)
    say = lambda text: print(text, flush=True)
    options = {"cases": args.cases, "seed": args.seed, "seconds": args.seconds, "unit": args.unit}
    report = fuzz(args.kinds, **options, say=say)
    say(str(report))
    return 1 if report.wrong else 0
