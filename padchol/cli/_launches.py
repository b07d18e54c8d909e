"""Kernels that a compiled program launches: operations of its text, loops times their trips.

XLA for GPUs says the trips of its loops, and for TPUs of none: there loops count up from zero to a
constant. The only loop of `numeric` whose length nobody can know repeats a factorisation that has
failed; by its name, `1_trips`, it is counted once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

NOTHING = {
    "parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "opt-barrier",
    "partition-id", "replica-id", "while", "call", "conditional", "copy-done", "async-done",
}  # fmt: skip
CALLED = re.compile(r"(?:to_apply|true_computation|false_computation)=%([\w.\-]+)")
BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
KNOWN = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
SCOPE = re.compile(r'op_name="[^"]*[/(](\d+)_trips\)*/while"')  # vmap puts parentheses around it
BOUND = re.compile(r"ROOT .* compare\(%[\w.\-]+, %([\w.\-]+)\), direction=LT")
CONSTANT = re.compile(r"%([\w.\-]+) = s32\[\]\S* constant\((\d+)\)")


@dataclass
class _Computation:
    launches: int = 0
    constants: dict[str, int] = field(default_factory=dict)
    bound: int | None = None  # of a counter, in a loop's condition
    calls: list[str] = field(default_factory=list)
    loops: list[tuple[str, str, str]] = field(default_factory=list)  # condition, body, its line


def launches(text: str) -> int:
    """Kernels launched by one run of a program. `ValueError` for a loop of unknown length."""
    computations, entry = _computations(text)

    def count(name: str, times: int) -> int:
        """In so many runs of a computation; a loop's condition runs once more than its body."""
        here = computations[name]
        total = here.launches * times + sum(count(x, times) for x in here.calls)
        for condition, body, line in here.loops:
            inside = times * _trips(line, computations[condition].bound)
            total += count(body, inside) + count(condition, inside + times)
        return total

    return count(entry, 1)


def _trips(line: str, bound: int | None) -> int:
    """Of the loop in this line, whose counter ends at `bound` where that is known."""
    if scope := SCOPE.search(line):
        return int(scope[1])
    if known := KNOWN.search(line):
        return int(known[1])
    if bound is None:
        raise ValueError(f"expected loops of known length; got {line.strip()[:200]}")
    return bound


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
