"""Times analyses of patterns on which one slow ordering once took all the time.

    python tests/bench/cliffs.py [NAME...]

Prints one line a pattern: CPU seconds, nnz(L), flops and the ordering chosen, or the error.
"""

from __future__ import annotations

import sys
import time

import numpy as np

import padchol


def band(n, width, dense=0):
    """So many diagonals on each side, and dense rows at random places."""
    r = np.random.default_rng(0)
    i = np.concatenate([np.arange(k, n) for k in range(1, width + 1)])
    j = np.concatenate([np.arange(n - k) for k in range(1, width + 1)])
    at = np.repeat(r.choice(n, dense, replace=False), n)
    return symmetric(n, np.append(i, at), np.append(j, np.tile(np.arange(n), dense)))


def star(leaves):
    every = np.arange(1, leaves + 1)
    return symmetric(leaves + 1, every, 0 * every)


def random_graph(n, degree):
    r = np.random.default_rng(0)
    return symmetric(n, *r.integers(0, n, (2, n * degree // 2)))


def grid(side):
    k = np.arange(side * side).reshape(side, side)
    i, j = np.append(k[1:], k[:, 1:].T), np.append(k[:-1], k[:, :-1].T)
    return symmetric(side * side, i, j)


def symmetric(n, i, j):
    keep = i != j
    i, j = i[keep], j[keep]
    return np.append(i, j), np.append(j, i), n


CASES = {
    "path of 200,000, 1 dense row": lambda: band(200_000, 1, 1),
    "path of 200,000, 3 dense rows": lambda: band(200_000, 1, 3),
    "path of 200,000, 20 dense rows": lambda: band(200_000, 1, 20),
    "band of 5, 200,000, 20 dense rows": lambda: band(200_000, 5, 20),
    "star of 100,000": lambda: star(100_000),
    "path of 1,000,000": lambda: band(1_000_000, 1),
    "grid of 300 x 300": lambda: grid(300),
    **{f"random 70,000, degree {d}": lambda d=d: random_graph(70_000, d) for d in (3, 4, 5, 8)},
}


def main(names):
    for name in names or CASES:
        A, started = CASES[name](), time.process_time()
        try:
            plan = padchol.analyze(A, device="cpu", progress=False)
            s = plan.stats
            found = f"nnz(L) {s['nnz_L']:,}, {s['flops']:.2e} flops, {s['ordering']}"
        except (MemoryError, OverflowError) as error:
            found = f"{type(error).__name__}: {error}"
        print(f"{name:34s} {time.process_time() - started:6.2f} s, {found}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
