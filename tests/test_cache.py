"""Row 25: a second process finds every program on disk, whatever the plan's contents."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from padchol.cli import _programs

SCRIPT = """
import sys
import jax
import numpy as np
import scipy.sparse as sp

jax.config.update("jax_enable_x64", True)
found = {"cache_hits": 0, "cache_misses": 0}

def listen(event, **what):
    name = event.rsplit("/", 1)[-1]
    if name in found:
        found[name] += 1

jax.monitoring.register_event_listener(listen)
import padchol

n = 40
order = np.random.default_rng(int(sys.argv[1])).permutation(n)  # another matrix of the same size
line = sp.csc_array(sp.diags_array([-1.0, 2.5, -1.0], offsets=[-1, 0, 1], shape=(n, n)))
A = sp.csc_array(line[order][:, order])
plan = padchol.analyze([A, sp.eye_array(n)])
a = plan.values(A)
design = padchol.laplace.design(plan, sp.csr_array(sp.eye_array(n)))

def evidence(scale, plan, a, design, terms):
    return padchol.laplace.laplace(design, terms, scale * a).log_marginal

y = np.random.default_rng(0).poisson(2.0, n)
value, gradient = jax.jit(jax.value_and_grad(evidence))(
    1.0, plan, a, design, padchol.likelihoods.poisson(y)
)
assert np.isfinite([value, gradient]).all()
F = padchol.cholesky(plan, a)
F.solve(np.ones(n)), F.logdet(), F.marginal_variances()
print(found["cache_hits"], found["cache_misses"])
"""


def run(folder: Path, seed: int) -> tuple[int, int]:
    kept = {
        "JAX_COMPILATION_CACHE_DIR": str(folder),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    command = [sys.executable, "-c", SCRIPT, str(seed)]
    done = subprocess.run(
        command, env={**os.environ, **kept}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    hits, misses = done.stdout.split()[-2:]
    return int(hits), int(misses)


@pytest.mark.slow
def test_a_second_process_compiles_nothing(tmp_path):
    """The same matrix, and then one with other rows joined, whose plan is of the same layout."""
    _, first = run(tmp_path, 0)
    assert first > 5
    hits, misses = run(tmp_path, 0)
    assert misses == 0
    assert hits >= first
    assert run(tmp_path, 1)[1] == 0


def test_the_folder_of_the_command_line(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert _programs.folder() == tmp_path / "padchol" / "programs"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert _programs.folder() == tmp_path / ".cache" / "padchol" / "programs"
