"""Entries of a matrix from its products with a few vectors."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
import support

from padchol.interop.probes import Probes, colouring


def random_pattern(m, n, density, seed=0):
    return sp.random_array((m, n), density=density, rng=np.random.default_rng(seed), format="coo")


MATRICES = {
    "tall": random_pattern(30, 12, 0.15),
    "wide": random_pattern(8, 40, 0.1),
    "grid": support.grid(5, 6).tocoo(),
    "band": support.band(26).tocoo(),
    "diagonal": sp.eye_array(9).tocoo(),
    "dense row": sp.coo_array(np.eye(7) + np.eye(7)[[0] * 7].T),
    "no entries": sp.coo_array((3, 4)),
    "no columns": sp.coo_array((3, 0)),
}


@pytest.mark.parametrize("name", MATRICES)
def test_entries(name):
    A = MATRICES[name]
    probes = Probes(A.row, A.col, A.shape)
    products, seen = probes.products(lambda x: jnp.asarray(A.toarray()) @ x, np.float64)
    found = probes.entries(products)
    np.testing.assert_array_equal(found, A.data)
    assert products.shape == (A.shape[0], probes.count)
    assert probes.complete(seen, probes.times(found, jnp.asarray(probes.witness)))
    y = support.random_like(np.ones(A.shape[0]), 1)
    np.testing.assert_allclose(probes.t_times(found, jnp.asarray(y)), A.T @ y, atol=1e-14)


@pytest.mark.parametrize("name", MATRICES)
def test_columns_of_one_row_differ(name):
    A = MATRICES[name]
    colour = colouring(A.row, A.col, A.shape)
    for of_row in np.split(colour[A.tocsr().indices], A.tocsr().indptr[1:-1]):
        assert np.unique(of_row).size == of_row.size
    neighbours = (abs(A.T) @ abs(A)).tocsr()
    assert colour.max(initial=0) < max(np.diff(neighbours.indptr).max(initial=0), 1)


def test_colours_are_few():
    """Of a grid of any size, and the same from run to run."""
    for side in (10, 60):
        A = support.grid(side, side).tocoo()
        colour = colouring(A.row, A.col, A.shape)
        assert colour.max() + 1 <= 11
        np.testing.assert_array_equal(colour, colouring(A.row, A.col, A.shape))


def test_an_entry_outside_the_pattern_is_seen():
    A = MATRICES["tall"]
    full = A.toarray()
    probes = Probes(A.row, A.col, A.shape)
    i, j = np.argwhere(full == 0)[5]
    for extra, fits in ((1e-6, False), (np.nan, False), (0.0, True)):
        full[i, j] = extra
        products, seen = probes.products(lambda x: jnp.asarray(full) @ x, np.float64)
        known = probes.times(probes.entries(products), jnp.asarray(probes.witness))
        assert bool(probes.complete(seen, known)) is fits
