"""Arguments that no function should take, by what it asks for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jax.experimental import sparse as jsparse

N = 12  # order of the plan that targets are called with
Pool = dict[str, Callable[[np.random.Generator], Any]]


def _thing(rng: np.random.Generator) -> Any:
    return object()


def less(pool: Pool, *names: str) -> Pool:
    """A pool without some of its kinds, which are of use for an argument after all."""
    return {name: make for name, make in pool.items() if name not in names}


# Of no use anywhere.
OBJECTS: Pool = {
    "None": lambda rng: None,
    "an object": _thing,
    "a text": lambda rng: str(rng.choice(["x", "", "1.0", "\x00", "NaN"])),
    "bytes": lambda rng: b"\x01\x02",
    "a dict": lambda rng: {"a": 1.0},
    "a set": lambda rng: {1, 2},
    "a function": lambda rng: _thing,
    "a type": lambda rng: np.float64,
    "texts": lambda rng: np.array(["a"] * N),
    "objects": lambda rng: np.array([object()] * N),
    "None in an array": lambda rng: np.array([None] * N),
    "ragged": lambda rng: [[1.0, 2.0], [3.0]],
    "dates": lambda rng: np.zeros(N, "datetime64[s]"),
}
# Arrays that are no vector (n,) or (nnz,), nor (n, k).
SHAPES: Pool = {
    "too long": lambda rng: np.ones(rng.integers(200, 300)),
    "too short": lambda rng: np.ones(rng.choice([0, 2])),
    "three axes": lambda rng: np.ones((N, 2, 2)),
    "an empty matrix": lambda rng: np.ones((0, N + 1)),
    "a short list": lambda rng: [1.0, 2.0],
}
TYPES: Pool = {
    "complex": lambda rng: np.ones(N, complex),
    "half precision": lambda rng: np.ones(N, np.float16),
    "a structure": lambda rng: np.zeros(N, [("a", float)]),
}
SPARSE: Pool = {
    "a scipy matrix": lambda rng: sp.eye_array(N, format="csc"),
    "a JAX matrix": lambda rng: jsparse.BCOO((jnp.ones(1), jnp.zeros((1, 2), int)), shape=(N, N)),
}
VECTOR: Pool = OBJECTS | SHAPES | TYPES | SPARSE | {"a number": lambda rng: 2.0}
NUMBERS: Pool = less(VECTOR, "a number")  # one for all is of use
ROWS: Pool = less(VECTOR, "None", "half precision", "a scipy matrix")
TERMS: Pool = OBJECTS | TYPES | {"a scipy matrix": SPARSE["a scipy matrix"]}
POSITIVE: Pool = OBJECTS | {
    "complex": lambda rng: 1j,
    "negative": lambda rng: -float(rng.exponential()) - 1e-12,
    "minus infinity": lambda rng: -np.inf,
    "a matrix": lambda rng: sp.eye_array(3),
}
PARAMETER: Pool = POSITIVE | {
    "NaN": lambda rng: np.nan,
    "zero": lambda rng: 0.0,
    "infinity": lambda rng: np.inf,
    "a vector": lambda rng: np.ones(3),
}
# Parameters outside of the interval (-1, 1), and of (0, 1).
NUMBER: Pool = less(PARAMETER, "a vector")
CORRELATION: Pool = less(PARAMETER, "zero", "negative") | {"one": lambda rng: 1.0}
PROBABILITY: Pool = PARAMETER | {"one": lambda rng: 1.0, "two": lambda rng: 2}
COUNT: Pool = OBJECTS | {
    "a fraction": lambda rng: 2.5,
    "NaN": lambda rng: np.nan,
    "negative": lambda rng: -int(rng.integers(1, 5)),
    "zero": lambda rng: 0,
    "complex": lambda rng: 3j,
    "a vector": lambda rng: np.ones(3, int),
}


# ---- matrices ---------------------------------------------------------------------------------


def _unsymmetric(rng: np.random.Generator) -> Any:
    A = sp.lil_array(sp.eye_array(N))
    A[int(rng.integers(5, N)), int(rng.integers(4))] = 1.0
    return A.tocsr()


def _unequal(rng: np.random.Generator) -> Any:
    A = sp.lil_array(sp.eye_array(N))
    i, j = int(rng.integers(5, N)), int(rng.integers(4))
    A[i, j], A[j, i] = 1.0, 1.0 + float(rng.choice([1, -1, 1e-3, 1e30]))
    return A.tocsr()


INDEX = np.arange(N)
INDICES: Pool = {
    "a pair": lambda rng: (INDEX, INDEX),
    "four items": lambda rng: (INDEX, INDEX, N, N),
    "negative order": lambda rng: (INDEX, INDEX, -N),
    "an order of text": lambda rng: (INDEX, INDEX, "12"),
    "no order": lambda rng: (INDEX, INDEX, None),
    "a fractional order": lambda rng: (INDEX, INDEX, N + 0.5),
    "an order of NaN": lambda rng: (INDEX, INDEX, np.nan),
    "an infinite order": lambda rng: (INDEX, INDEX, np.inf),
    "an order beyond 32 bits": lambda rng: (INDEX, INDEX, 2**40),
    "an order of arrays": lambda rng: (INDEX, INDEX, INDEX),
    "index out of range": lambda rng: (INDEX + int(rng.integers(1, 9)), INDEX, N),
    "negative index": lambda rng: (INDEX - 1, INDEX, N),
    "NaN indices": lambda rng: (np.full(N, np.nan), INDEX, N),
    "floating indices": lambda rng: (INDEX.astype(float), INDEX, N),
    "texts as indices": lambda rng: (["a"] * N, INDEX, N),
    "None as indices": lambda rng: (None, None, N),
    "indices of other lengths": lambda rng: (INDEX, INDEX[1:], N),
    "matrices of indices": lambda rng: (np.zeros((2, 2), int), np.zeros((2, 2), int), N),
    "huge indices": lambda rng: (np.full(1, 2**63, np.uint64), np.zeros(1, int), N),
    "one triangle": lambda rng: (INDEX[1:], INDEX[:-1], N),
}
MATRIX: Pool = (
    OBJECTS
    | INDICES
    | {
        "not square": lambda rng: sp.csr_array((N, N + int(rng.integers(1, 9)))),
        "unsymmetric": _unsymmetric,
        "unequal": _unequal,
        "a numpy matrix": lambda rng: np.eye(N),
        "a JAX array": lambda rng: jnp.eye(N),
        "one axis": lambda rng: sp.coo_array(np.ones(N)),
        "objects inside": lambda rng: _of_objects(),
        "three axes": lambda rng: np.ones((N, 2, 2)),
        "a list of texts": lambda rng: ["a", "b"],
        "a list of lists": lambda rng: [[1.0, 0.0], [0.0, 1.0]],
        "an empty list": lambda rng: [],
        "an empty tuple": lambda rng: (),
        "orders that differ": lambda rng: [sp.eye_array(3), sp.eye_array(4)],
        "a number": lambda rng: 3,
        "batched": lambda rng: jsparse.BCOO.fromdense(jnp.ones((2, N, N)), n_batch=1),
    }
)


def _of_objects() -> Any:
    A = sp.csr_array(sp.eye_array(N))
    A.data = A.data.astype(object)
    return A


# What has values, on the plan of the targets: other orders and patterns, and complex numbers too.
VALUED: Pool = MATRIX | {
    "index arrays": lambda rng: (INDEX, INDEX, N),
    "another order": lambda rng: sp.eye_array(N + int(rng.integers(1, 4)), format="csc"),
    "outside of the pattern": lambda rng: sp.csr_array(np.ones((N, N))),
    "complex": lambda rng: sp.csr_array(sp.eye_array(N) * 1j),
}
ANALYSED: Pool = less(VALUED, "another order", "outside of the pattern")
# Any sparse matrix with N columns and values will do: not these.
OBLONG: Pool = OBJECTS | {
    "a pair": INDICES["a pair"],
    "negative order": INDICES["negative order"],
    "floating indices": INDICES["floating indices"],
    "an order of text": INDICES["an order of text"],
    "index arrays": VALUED["index arrays"],
    "too wide": lambda rng: sp.csr_array((3, N + int(rng.integers(1, 9)))),
    "one axis": VALUED["one axis"],
    "objects inside": VALUED["objects inside"],
    "a number": lambda rng: 3.0,
}
ADJACENCY: Pool = OBJECTS | {
    "not square": MATRIX["not square"],
    "unsymmetric": _unsymmetric,
    "negative": lambda rng: sp.csr_array(np.array([[0.0, -1.0], [-1.0, 0.0]])),
    "next to itself": lambda rng: sp.eye_array(N, format="csr"),
    "NaN": lambda rng: sp.csr_array(np.array([[0.0, np.nan], [np.nan, 0.0]])),
    "empty": lambda rng: sp.csr_array((0, 0)),
    "a number": lambda rng: 3,
    "one axis": lambda rng: np.ones(N),
}
PARTS: Pool = OBJECTS | {
    "too large": lambda rng: [[sp.eye_array(N + 1)]],
    "the upper triangle": lambda rng: [
        [sp.eye_array(3), sp.csr_array((3, N - 3))],
        [None, sp.eye_array(N - 3)],
    ],
    "sizes that differ": lambda rng: [
        [sp.eye_array(3)],
        [sp.csr_array((N - 3, 4)), sp.eye_array(N - 3)],
    ],
    "a number": lambda rng: 3,
    "numbers": lambda rng: [[1.0]],
    "nothing": lambda rng: [],
}
ORDER: Pool = OBJECTS | {
    "an unknown name": lambda rng: str(rng.choice(["best", "ND", "amd", ""])),
    "a number": lambda rng: 3,
    "a short permutation": lambda rng: np.arange(N - 1),
    "a repeated index": lambda rng: np.zeros(N, int),
    "negative indices": lambda rng: np.arange(N) - 1,
    "floats": lambda rng: np.arange(float(N)),
    "NaN": lambda rng: np.full(N, np.nan),
    "booleans": lambda rng: np.ones(N, bool),
    "a matrix": lambda rng: np.arange(N).reshape(3, 4),
    "a list of names": lambda rng: ["nd", "mmd"],
    "beyond 64 bits": lambda rng: np.full(N, 2**64 - 1, np.uint64),
}
NAME: Pool = OBJECTS | {
    "another": lambda rng: "cuda",
    "a number": lambda rng: 0,
    "names": lambda rng: ["cpu"],
}
PLAN: Pool = OBJECTS | {
    "a number": lambda rng: 1.0,
    "a matrix": SPARSE["a scipy matrix"],
    "an array": lambda rng: np.ones(N),
}
SHAPE: Pool = less(OBJECTS, "a dict") | {
    "negative": lambda rng: -1,
    "negative inside": lambda rng: (2, -1),
    "a fraction": lambda rng: (2.5,),
    "NaN": lambda rng: np.nan,
}
KEY: Pool = OBJECTS | {
    "a fraction": lambda rng: 0.5,
    "floats": lambda rng: np.ones(2),
    "three": lambda rng: np.zeros(3, np.uint32),
}
PATH: Pool = less(OBJECTS, "a text") | {
    "no file": lambda rng: "there is no such file.npz",
    "a folder": lambda rng: ".",
    "a number": lambda rng: 2.5,
    "a zero byte": lambda rng: "a\x00b",
}
FUNCTION: Pool = less(OBJECTS, "a function", "a type") | {"a number": lambda rng: 1.0}
