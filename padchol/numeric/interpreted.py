"""Whether this XLA compiles our loops on CPUs as one function, as every version up to KNOWN does.

The mark of `padchol.numeric.verbs.loops` is not documented by XLA. A version that drops it runs the
same loops operation by operation: results are the same, and a factorisation takes 4 to 11 times as
long (tests/bench/NOTES.md, section 40). That is the fallback, for the other engine would be no
better: on a CPU levels take 50 to 75 times as long. All that is left to do is to say so, once.
"""

from __future__ import annotations

import functools
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import jaxlib.version
import numpy as np

from padchol.numeric.verbs.loops import get, loop, one_function, put

KNOWN = (0, 12)  # the last jaxlib whose loops were seen to be compiled, in tests
TRIPS, OPERATIONS, WIDTH = 1000, 8, 16
SECONDS = 4e-8  # an operation of a trip: compiled it takes 10 ns, else 70 to 200
MESSAGE = (
    "jaxlib {version} does not compile the loops of padchol as one function: results are right, "
    "but on CPUs they take several times as long as with jaxlib 0.12"
)


@functools.cache
def warn_once() -> None:
    """Warn where the loops of this process are not compiled."""
    version = jaxlib.version.__version__
    if tuple(map(int, version.split(".")[:2])) > KNOWN and interpreted():
        warnings.warn(MESSAGE.format(version=version), stacklevel=2)


def interpreted() -> bool:
    """Measured: the mark makes no loop faster, and an operation takes long. 0.1 s."""
    with ThreadPoolExecutor(1) as apart:  # JAX may be tracing in this thread
        marked, plain = apart.submit(lambda: (_measured(one_function), _measured(jax.jit))).result()
    return marked > plain / 2 and marked > SECONDS


def _measured(compiled_by) -> float:
    """Seconds for an operation on a few entries, in a loop over an array too large for XLA to
    compile the loop by itself; the least of five times."""

    def trip(i, x):
        for k in range(OPERATIONS):
            x = put(x, get(x, (i + 64 * k,), (WIDTH,)) + 1, (i + 100 * k + 1,))
        return x

    with jax.default_device(jax.devices("cpu")[0]):
        f = jax.jit(compiled_by(lambda x, n: loop(0, n, trip, x)))
        x, n = jnp.zeros(1 << 17, np.int32), jnp.asarray(TRIPS, np.int32)
        times = []
        for _ in range(6):  # the first compiles
            started = time.perf_counter()
            jax.block_until_ready(f(x, n))
            times.append(time.perf_counter() - started)
    return min(times[1:]) / (TRIPS * OPERATIONS)
