"""Compiled programs kept from one run of a command to the next, in the user's cache folder."""

from __future__ import annotations

import os
from pathlib import Path

import jax

WORTH_KEEPING = 0.2  # seconds of compilation; a program comes back from disk in some 0.05


def folder() -> Path:
    """Where they lie: `$XDG_CACHE_HOME/padchol`, by default `~/.cache/padchol`."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "padchol" / "programs"


def keep() -> None:
    """Switch JAX's cache on for this process, unless the user has chosen a folder of their own."""
    if jax.config.jax_compilation_cache_dir is None:
        jax.config.update("jax_compilation_cache_dir", str(folder()))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", WORTH_KEEPING)
