"""Plans on disk: one .npz of the index tables and a JSON text of the static facts. No pickle."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from padchol.errors import PlanFileError
from padchol.facts import Facts
from padchol.plan import FORMAT, Plan, fingerprint
from padchol.symbolic.layout import BinLayout, Blocks, Layout, Section, Tiles

ARRAYS = ("perm", "rows", "cols", "table", "copy_places")


def save(plan: Plan, path: Any) -> None:
    """Write a plan to `path`, exactly as named."""
    facts = {
        "format": FORMAT,
        "layout": asdict(plan.layout),
        "fingerprint": plan.fingerprint,
        "facts": plan.stats,
    }
    arrays: dict[str, Any] = {name: np.asarray(getattr(plan, name)) for name in ARRAYS}
    with Path(path).open("wb") as file:
        np.savez_compressed(file, padchol=np.array(json.dumps(facts)), **arrays)


def kept(folder: Any, key: tuple, analyse: Callable[[], Plan]) -> Plan:
    """The plan that `folder` holds under `key`; made and put there where it holds none.

    The file appears under its name when it is whole, so that processes may share a folder.
    """
    name = hashlib.sha256(repr(key).encode()).hexdigest()[:32]
    path = Path(folder) / f"padchol-{name}.npz"
    if path.exists():
        return load(path)
    plan = analyse()
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{uuid.uuid4().hex}.part")
    try:
        save(plan, part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return plan


def load(path: Any) -> Plan:
    """Read a plan that `Plan.save` wrote.

    Raises `FileNotFoundError`, or `PlanFileError` for a file that is foreign, damaged, or of
    another format version; a plan that loads is the one that was saved, by its fingerprint.
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
    except (FileNotFoundError, PlanFileError):
        raise
    except Exception as error:  # whatever a damaged archive makes zipfile, zlib, numpy or json say
        raise PlanFileError(f"expected a padchol plan; {path} cannot be read: {error}") from error
    if not intact:
        raise PlanFileError(f"{path} is damaged: its contents do not match its fingerprint")
    return plan


def _read(path: Any) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays and facts of a file of this format."""
    with np.load(path, allow_pickle=False) as stored:
        if "padchol" not in stored:
            raise PlanFileError(f"expected a padchol plan; {path} is another .npz file")
        facts = json.loads(str(stored["padchol"]))
        if facts["format"] != FORMAT:
            raise PlanFileError(
                f"expected a plan of format {FORMAT}; {path} has format {facts['format']}: "
                "analyse the pattern again"
            )
        return {name: stored[name] for name in ARRAYS}, facts


def _layout(stored: dict[str, Any]) -> Layout:
    """Layout from the lists and dicts that JSON makes of it."""
    shared = _sections({k: v for k, v in stored.items() if k not in ("bins", "tiles")})
    bins = []
    for bin in stored["bins"]:
        blocks = bin["blocks"] and Blocks(**_sections(bin["blocks"]))
        bins.append(BinLayout(**{**_sections(bin), "blocks": blocks}))
    return Layout(**shared, bins=tuple(bins), tiles=Tiles(**_sections(stored["tiles"])))


def _sections(stored: dict[str, Any]) -> dict[str, Any]:
    return {k: Section(*v) if isinstance(v, list) else v for k, v in stored.items()}
