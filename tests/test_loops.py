"""What padchol needs of XLA's loops, pinned where versions of XLA got it wrong."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from padchol.numeric.verbs.loops import get, loop, one_function, put

pytestmark = [pytest.mark.compiler, pytest.mark.canary]

MARKS = {"marked": one_function, "unmarked": jax.jit}


# openxla/xla#49176: an update in place of x that overlaps what it reads of x has wrong values, and
# has in jaxlib 0.10.2 as well. `put` forbids it; these are the two ways in which our kernels read
# and write one array: in the same place, and apart.


@pytest.mark.parametrize("mark", MARKS)
def test_an_update_where_it_is_read(mark):
    def added(x, at):
        def one(i, x):
            at = 8 * i + 3
            return put(x, get(x, (at,), (16,)) + get(x, (at,), (16,)), (at,))

        return loop(0, at, one, x + 1).reshape(4, 16)

    x = np.arange(64, dtype=np.int32)
    expected = x + 1
    for i in range(5):
        expected[8 * i + 3 : 8 * i + 19] *= 2
    found = jax.jit(MARKS[mark](added))(jnp.asarray(x), jnp.asarray(5, np.int32))
    np.testing.assert_array_equal(found, expected.reshape(4, 16))


@pytest.mark.parametrize("mark", MARKS)
def test_a_mirror_image(mark):
    """Squares below the diagonal, transposed, to their places above it."""

    def mirrored(x):
        def row(i, x):
            def square(j, x):
                return put(x, get(x, (4 * i, 4 * j), (4, 4)).T, (4 * j, 4 * i))

            return loop(0, i, square, x)

        return loop(1, 4, row, x + 1).reshape(1, 16, 16)

    x = np.arange(256, dtype=np.int32).reshape(16, 16)
    expected = x + 1
    for i in range(4):
        for j in range(i):
            expected[4 * j : 4 * j + 4, 4 * i : 4 * i + 4] = expected[
                4 * i : 4 * i + 4, 4 * j : 4 * j + 4
            ].T
    np.testing.assert_array_equal(jax.jit(MARKS[mark](mirrored))(jnp.asarray(x))[0], expected)


def seconds(size: int, trips: int = 2000) -> float:
    """A loop that writes a few entries of an array a trip; the least of five times."""

    def trip(i, x):
        return put(x, get(x, (i,), (8,)) + 1, (i + 9,))

    f = jax.jit(one_function(lambda x: loop(0, trips, trip, x)), donate_argnums=0)
    x, times = f(jnp.zeros(size, np.float32)), []
    for _ in range(5):
        started = time.perf_counter()
        x = jax.block_until_ready(f(x))
        times.append(time.perf_counter() - started)
    return min(times) / trips


@pytest.mark.optimised
@pytest.mark.slow
def test_an_update_costs_what_it_writes():
    """jax#40101: jaxlib 0.11.1 rewrote all of an array for an update of less than 256 bytes, which
    for four million entries takes a millisecond a trip. A trip takes some ten nanoseconds."""
    assert seconds(1 << 22) < 20 * seconds(1 << 13) + 1e-6
