"""Precision of a test: float64 under x64, unless it is marked to run in float32, x64 off, as well.

padchol never sets a JAX flag; here it is set around each test and taken back after it.
"""

from __future__ import annotations

import jax
import numpy as np
import pytest


@pytest.fixture(autouse=True)
def precision(request):
    """The float type of the test. Mark a test with `support.both_precisions` to run it in both."""
    name = getattr(request, "param", "float64")
    with jax.enable_x64(name == "float64"):
        yield np.dtype(name)
