"""Plans on disk: one .npz of the index tables and a JSON text of the static facts. No pickle."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import uuid
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from padchol.errors import PlanFileError
from padchol.facts import Facts
from padchol.plan import FORMAT, Plan, fingerprint
from padchol.symbolic.layout import Layout, Levels, Section, Stage, Storage, Tiles

ARRAYS = ("perm", "rows", "cols", "table", "copy_places")
LARGEST_HEADER = 1 << 20  # bytes: those of plans are some 4 kilobytes
LARGEST_RATIO = 50  # of bytes unpacked and packed: 3 to 9 on 24 plans, of paths to dense matrices


def save(plan: Plan, path: Any) -> None:
    """Write a plan to `path`, exactly as named."""
    facts = {
        "format": FORMAT,
        "layout": asdict(plan.layout),
        "nnz": plan.nnz,
        "fingerprint": plan.fingerprint,
        "facts": plan.stats,
    }
    facts["digest"] = digest(facts)
    arrays: dict[str, Any] = {name: np.asarray(getattr(plan, name)) for name in ARRAYS}
    with Path(path).open("wb") as file:
        np.savez_compressed(file, padchol=np.array(json.dumps(facts)), **arrays)


def digest(facts: dict[str, Any]) -> str:
    """SHA-256 of the facts of a file. The fingerprint covers the tables, and not what is counted of
    them for people."""
    rest = {name: value for name, value in facts.items() if name != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def kept(folder: Any, key: tuple, analyse: Callable[[], Plan]) -> Plan:
    """The plan that `folder` holds under `key`; made and put there where it holds none.

    The file appears under its name when it is whole, so that processes may share a folder. A folder
    that cannot be read from or written to costs a warning, not the plan.
    """
    name = hashlib.sha256(repr(key).encode()).hexdigest()[:32]
    path = Path(folder) / f"padchol-{name}.npz"
    with contextlib.suppress(OSError):  # none there, or nothing to be seen of it
        path.stat()
        return load(path)
    plan = analyse()
    try:
        _put(plan, path)
    except OSError as error:
        warnings.warn(
            f"expected a cache folder that can be written to; the plan was made, but {folder} "
            f"does not hold it: {error}",
            stacklevel=3,
        )
    return plan


def _put(plan: Plan, path: Path) -> None:
    """Write a plan under a name of its own, then rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{uuid.uuid4().hex}.part")
    try:
        save(plan, part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def load(path: Any) -> Plan:
    """Read a plan that `Plan.save` wrote.

    Raises `FileNotFoundError`, or `PlanFileError` for a file that is foreign, damaged, or of
    another format version; a plan that loads is the one that was saved, by its fingerprint. What
    the file would unpack to is known before it is unpacked.
    """
    try:
        arrays, facts = _read(path)
        layout = _layout(facts["layout"])
        plan = Plan(
            **arrays,
            layout=layout,
            nnz=arrays["rows"].size,
            facts=Facts(facts["facts"], str(facts["fingerprint"])),
        )
        intact = plan.fingerprint == fingerprint(arrays, layout, plan.nnz_L)
    except (FileNotFoundError, PermissionError, PlanFileError):
        raise
    except Exception as error:  # whatever a damaged archive makes zipfile, zlib, numpy or json say
        raise PlanFileError(f"expected a padchol plan; {path} cannot be read: {error}") from error
    if not intact:
        raise PlanFileError(f"{path} is damaged: its contents do not match its fingerprint")
    return plan


def _read(path: Any) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays and facts of a file of this format."""
    with zipfile.ZipFile(path) as stored:
        if "padchol.npy" not in stored.namelist():
            raise PlanFileError(f"expected a padchol plan; {path} is another .npz file")
        if stored.getinfo("padchol.npy").file_size > LARGEST_HEADER:
            raise PlanFileError(f"{path} is damaged: its header has more than {LARGEST_HEADER}")
        facts = json.loads(str(_array(stored, "padchol")))
        if facts["format"] != FORMAT:
            raise PlanFileError(
                f"expected a plan of format {FORMAT}; {path} has format {facts['format']}: "
                "analyse the pattern again"
            )
        if facts["digest"] != digest(facts):
            raise PlanFileError(f"{path} is damaged: its facts do not match their digest")
        _check_sizes(path, stored, _layout(facts["layout"]), facts["nnz"])
        return {name: _array(stored, name) for name in ARRAYS}, facts


def _array(stored: zipfile.ZipFile, name: str) -> np.ndarray:
    with stored.open(f"{name}.npy") as member:
        return np.lib.format.read_array(member, allow_pickle=False)


def _check_sizes(path: Any, stored: zipfile.ZipFile, layout: Layout, nnz: int) -> None:
    """Refuse a file whose arrays are not those of its layout, by the sizes it gives of them."""
    lengths = {"perm": layout.n, "rows": nnz, "cols": nnz, "copy_places": nnz}
    expected: dict[str, tuple[int, ...]] = {name: (size,) for name, size in lengths.items()}
    end = max(s.start + s.size for s in _all_sections(layout))
    expected["table"] = (end,) if layout.shards == 1 else (layout.shards, end)
    total = 0
    for name, wanted in expected.items():
        size = math.prod(wanted)
        with stored.open(f"{name}.npy") as member:
            version = np.lib.format.read_magic(member)
            if version != (1, 0):
                raise PlanFileError(f"{path} is damaged: {name} is of .npy version {version}")
            shape, _, dtype = np.lib.format.read_array_header_1_0(member)
            found = stored.getinfo(f"{name}.npy").file_size - member.tell()
        if shape != wanted or dtype != np.int32 or found != 4 * size:
            raise PlanFileError(
                f"{path} is damaged: expected {name} of shape {wanted} and {4 * size:,} bytes; "
                f"got {dtype} of shape {shape} and {found:,} bytes"
            )
        total += found
    there = Path(path).stat().st_size
    if total > LARGEST_RATIO * there:
        raise PlanFileError(
            f"{path} is damaged: {there:,} bytes would unpack to {total:,}, more than a plan can"
        )


def _all_sections(part: Any) -> Iterator[Section]:
    """Every table that a layout speaks of."""
    if isinstance(part, Section):
        yield part
    elif is_dataclass(part):
        for field in fields(part):
            yield from _all_sections(getattr(part, field.name))
    elif isinstance(part, tuple):
        for each in part:
            yield from _all_sections(each)


def _layout(stored: dict[str, Any]) -> Layout:
    """Layout from the lists and dicts that JSON makes of it."""
    tables: Any = stored["tables"]
    if "stages" in tables:
        stages = tuple(Stage(**_sections(stage)) for stage in tables["stages"])
        tables = Levels(**{**tables, "stages": stages})
    else:
        tables = Tiles(**_sections(tables))
    storage = {**stored["storage"]}
    top, which = (tuple(storage.pop(name)) for name in ("top", "which"))
    which = tuple(Section(*each) for each in which)
    storage = Storage(top=top, which=which, **_sections(storage))
    return Layout(stored["n"], stored["shards"], storage, tables)


def _sections(stored: dict[str, Any]) -> dict[str, Any]:
    return {k: Section(*v) if isinstance(v, list) else v for k, v in stored.items()}
