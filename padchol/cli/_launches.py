"""Kernels that a compiled program launches: operations of its text, loops times their trips.

XLA for GPUs says the trips of some loops, and for TPUs of none. `numeric` gives its loops names:
`8_trips`, or one by which the plan tells the trips. XLA's own, which scatters and gathers become on
a TPU, count up from zero to a constant.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from padchol.plan import Plan
from padchol.symbolic.unfold import read

NOTHING = {
    "parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "opt-barrier",
    "partition-id", "replica-id", "while", "call", "conditional", "copy-done", "async-done",
}  # fmt: skip
CALLED = re.compile(r"(?:to_apply|true_computation|false_computation)=%([\w.\-]+)")
BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
KNOWN = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
SCOPE = re.compile(r'op_name="[^"]*/(rounds|(?:chunks|tiles)_of_bin_\d+|\d+_trips)/while"')
BOUND = re.compile(r"ROOT .* compare\(%[\w.\-]+, %([\w.\-]+)\), direction=LT")
CONSTANT = re.compile(r"%([\w.\-]+) = s32\[\]\S* constant\((\d+)\)")


@dataclass
class _Computation:
    launches: int = 0
    constants: dict[str, int] = field(default_factory=dict)
    bound: int | None = None  # of a counter, in a loop's condition
    calls: list[str] = field(default_factory=list)
    loops: list[tuple[str, str, str]] = field(default_factory=list)  # condition, body, its line


def trips(plan: Plan) -> dict[str, int]:
    """Trips of the named loops in one sweep."""
    found = {"rounds": plan.layout.rounds}
    for bin in plan.layout.bins:
        found[f"chunks_of_bin_{bin.index}"] = bin.chunks
        if bin.blocks is not None:
            found[f"tiles_of_bin_{bin.index}"] = int(read(plan.table, bin.blocks.ptr)[-1])
    return found


def launches(text: str, named: dict[str, int]) -> int:
    """Kernels launched by one run of a program. `ValueError` for a loop of unknown length."""
    computations, entry = _computations(text)

    def count(name: str, times: int, sweeps: int) -> int:
        """In `times` runs of a computation, within so many sweeps."""
        here = computations[name]
        total = here.launches * times + sum(count(x, times, sweeps) for x in here.calls)
        for condition, body, line in here.loops:
            scope, known = SCOPE.search(line), KNOWN.search(line)
            if scope and scope[1] == "rounds":
                sweeps = times
            if scope and scope[1] in named:
                inside = sweeps * named[scope[1]]
            elif scope:
                inside = times * int(scope[1].split("_")[0])
            elif known:
                inside = times * int(known[1])
            elif (bound := computations[condition].bound) is not None:
                inside = times * bound
            else:
                raise ValueError(f"expected loops of known length; got {line.strip()[:200]}")
            total += count(body, inside, sweeps) + count(condition, inside + times, sweeps)
        return total

    return count(entry, 1, 1)


def _computations(text: str) -> tuple[dict[str, _Computation], str]:
    """All computations by name, and which one is the program."""
    found: dict[str, _Computation] = {}
    entry, here = "", _Computation()
    for line in text.splitlines():
        head = re.match(r"(ENTRY )?%?([\w.\-]+) \(.*\{$", line)
        if head:
            here = found[head[2]] = _Computation()
            entry = head[2] if head[1] else entry
        elif " = " in line and line.startswith(" "):
            operation = _operation(line)
            here.launches += operation not in NOTHING
            if constant := CONSTANT.search(line):
                here.constants[constant[1]] = int(constant[2])
            if bound := BOUND.search(line):
                here.bound = here.constants.get(bound[1])
            if operation == "while":
                parts = (re.search(rf"{part}=%?([\w.\-]+)", line) for part in ("condition", "body"))
                condition, body = (part[1] for part in parts if part)
                here.loops.append((condition, body, line))
            elif operation in ("call", "conditional"):
                here.calls += CALLED.findall(line)
                for branches in BRANCHES.findall(line):
                    here.calls += [name.strip().lstrip("%") for name in branches.split(",")]
    return found, entry


def _operation(line: str) -> str:
    """The name of the operation of `%x = type name(...)`; types may hold parentheses."""
    rest, depth = line.split(" = ", 1)[1], 0
    for at, letter in enumerate(rest):
        depth += (letter == "(") - (letter == ")")
        if letter == " " and depth == 0:
            return rest[at + 1 :].split("(", 1)[0].strip()
    return ""
