"""Precision of a test: float64 under x64, unless it is marked to run in float32, x64 off, as well.

padchol never sets a JAX flag; here it is set around each test and taken back after it. Compiled
programs are dropped every so often: the suite's are several gigabytes together.

Most of the suite's time is compilation of small programs that run once. LLVM's optimiser and the
dearest passes of XLA are left out, unless XLA_FLAGS says otherwise, which halves it. Tests of what
the compiler makes of a program are marked `optimised`, and run alone, by `pytest -m optimised`,
without these flags.

PADCHOL_SHAPES=1 checks the shapes in padchol's type hints whenever one of its functions is called.
Modules marked `shapes` run so in .ci/run.
"""

from __future__ import annotations

import itertools
import os
import re

import jax
import jaxtyping
import numpy as np
import pytest

if os.environ.get("PADCHOL_SHAPES") == "1":
    jaxtyping.install_import_hook("padchol", "shapes.checked")  # before a test imports padchol

jax.config.update(
    "jax_num_cpu_devices", 4
)  # for tests of devices and shards; before JAX looks for any

TESTS_A_CACHE = 60
UNOPTIMISED = (
    "--xla_backend_optimization_level=0 "
    "--xla_disable_hlo_passes=while-loop-invariant-code-motion,tree_reduction_rewriter"
)
if jax.version.__version_info__ < (0, 11):  # later ones do not know the flag, and abort
    UNOPTIMISED += " --xla_cpu_use_fusion_emitters=false"
_count = itertools.count(1)


def pytest_configure(config):
    """Before JAX reads the flags, which it does when it compiles for the first time."""
    if not re.search(r"(?<!not )\boptimised\b", config.option.markexpr):
        os.environ.setdefault("XLA_FLAGS", UNOPTIMISED)


@pytest.fixture(autouse=True)
def precision(request):
    """The float type of the test. Mark a test with `support.both_precisions` to run it in both."""
    name = getattr(request, "param", "float64")
    with jax.enable_x64(name == "float64"):
        yield np.dtype(name)


@pytest.fixture(autouse=True)
def memory():
    """Forget compiled programs after every TESTS_A_CACHE tests of a worker."""
    yield
    if next(_count) % TESTS_A_CACHE == 0:
        jax.clear_caches()
