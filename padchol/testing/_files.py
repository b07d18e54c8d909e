"""Saved plans with bytes flipped, cut, and members swapped: a clear error, or the same plan."""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import padchol
from padchol.testing._patterns import Rng, draw, order_of, stored

CASES = 60  # of one unit
CHARACTERS = '0123456789-e."[]{}:,nulltrue'


def unit(rng: Rng, number: int) -> Iterator[str | None]:
    """Two plans in files, and the first of them in many damaged ones."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plan.npz"
        plan, other = _saved(rng, path), _saved(rng, path.with_suffix(".other"))
        content, foreign = path.read_bytes(), path.with_suffix(".other").read_bytes()
        if not is_same(plan, padchol.load(path)):
            yield "the plan that was saved does not come back"
        for _ in range(CASES):
            name = [*MUTATIONS][rng.integers(len(MUTATIONS))]
            changed = MUTATIONS[name](rng, content, foreign)
            path.write_bytes(changed)
            wrong = _wrong(path, (plan, other) if name == "members of another plan" else (plan,))
            yield f"{name}: {wrong}" if wrong else None


def _saved(rng: Rng, path: Path) -> padchol.Plan:
    given = stored(rng, draw(rng))
    options: dict[str, Any] = {"order": order_of(rng, given.expected.n), "lower": given.lower}
    options |= {"device": str(rng.choice(["cpu", "gpu"])), "shards": int(rng.choice([1, 1, 2]))}
    plan = padchol.analyze(given.A, **options)
    plan.save(path)
    return plan


def is_same(plan: padchol.Plan, found: padchol.Plan) -> bool:
    """Whether two plans are equal, tables and facts."""
    tables = ("perm", "rows", "cols", "table", "copy_places")
    alike = all(np.array_equal(getattr(plan, k), getattr(found, k)) for k in tables)
    facts = [(p.fingerprint, p.nnz, p.nnz_L, str(p).splitlines()[0]) for p in (plan, found)]
    return alike and plan.layout == found.layout and facts[0] == facts[1]


def _wrong(path: Path, plans: tuple[padchol.Plan, ...]) -> str:
    """What is wrong with what `load` makes of a file."""
    try:
        found = padchol.load(path)
    except padchol.PlanFileError as error:
        return "" if len(str(error).split()) > 3 else f"an error without words: {error!r}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "" if any(is_same(plan, found) for plan in plans) else "another plan was loaded"


# ---- mutations of the bytes of one file; foreign: those of another plan's ---------------------


def flipped(rng: Rng, content: bytes, foreign: bytes) -> bytes:
    out = np.frombuffer(content, np.uint8).copy()
    at = rng.integers(out.size, size=rng.choice([1, 1, 2, 20]))
    out[at] ^= rng.integers(1, 256, size=at.size).astype(np.uint8)
    return out.tobytes()


def cut(rng: Rng, content: bytes, foreign: bytes) -> bytes:
    return content[: rng.integers(len(content))]


def joined(rng: Rng, content: bytes, foreign: bytes) -> bytes:
    """The head of one file and the tail of another, or bytes in between."""
    at = int(rng.integers(len(content)))
    middle = (b"", bytes(rng.integers(256, size=5, dtype=np.uint8)))[rng.integers(2)]
    tail = (foreign, content)[rng.integers(2)]
    return content[:at] + middle + tail[rng.integers(len(tail)) :]


def shifted(rng: Rng, content: bytes, foreign: bytes) -> bytes:
    """Bytes before the file, which zip readers allow, or behind it."""
    more = bytes(rng.integers(256, size=rng.integers(1, 200), dtype=np.uint8))
    return more + content if rng.random() < 0.5 else content + more


def _repacked(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
        for name, data in members.items():
            out.writestr(name, data)
    return file.getvalue()


def _members(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        return {name: file.read(name) for name in file.namelist()}


def swapped(rng: Rng, content: bytes, foreign: bytes) -> bytes:
    """Two members change places, or one is missing."""
    members = _members(content)
    a, b = rng.choice([*members], size=2, replace=False)
    members[a], members[b] = members[b], members[a]
    if rng.random() < 0.3:
        del members[a]
    return _repacked(members)


def mixed(rng: Rng, content: bytes, foreign: bytes) -> bytes:
    """Some members of another plan."""
    members, others = _members(content), _members(foreign)
    for name in members:
        if rng.random() < 0.4:
            members[name] = others[name]
    return _repacked(members)


def damaged_member(rng: Rng, content: bytes, foreign: bytes) -> bytes:
    """A member is flipped or cut, and its checksum is right."""
    members = _members(content)
    name = rng.choice([*members])
    change = (flipped, cut)[rng.integers(2)]
    members[name] = change(rng, members[name], b"") if members[name] else b"x"
    return _repacked(members)


def _with_facts(content: bytes, text: str) -> bytes:
    members, file = _members(content), io.BytesIO()
    np.save(file, np.array(text))
    members["padchol.npy"] = file.getvalue()
    return _repacked(members)


def _facts(content: bytes) -> str:
    return str(np.load(io.BytesIO(_members(content)["padchol.npy"])))


def misspelt(rng: Rng, content: bytes, foreign: bytes) -> bytes:
    """One character of the facts."""
    text, new = _facts(content), CHARACTERS[rng.integers(len(CHARACTERS))]
    at = int(rng.integers(len(text)))
    return _with_facts(content, text[:at] + new + text[at + 1 :])


def altered(rng: Rng, content: bytes, foreign: bytes) -> bytes:
    """One of the facts has another value."""
    facts = json.loads(_facts(content))
    part = facts
    while True:
        keys = [*part] if isinstance(part, dict) else [*range(len(part))]
        key = keys[rng.integers(len(keys))]
        if not isinstance(part[key], dict | list) or not part[key]:
            break
        part = part[key]
    new = (0, -1, 1, 2**31, 2**70, 1.5, None, "text", [], {}, [1, 2], True)
    part[key] = new[rng.integers(len(new))]
    return _with_facts(content, json.dumps(facts))


MUTATIONS: dict[str, Callable[[Rng, bytes, bytes], bytes]] = {
    "flipped": flipped,
    "cut": cut,
    "joined": joined,
    "shifted": shifted,
    "swapped members": swapped,
    "members of another plan": mixed,
    "damaged member": damaged_member,
    "a character of the facts": misspelt,
    "a fact": altered,
}
