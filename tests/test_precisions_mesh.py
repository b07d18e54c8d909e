"""Meshes: their matrices, projections and weights, by dense algebra and known integrals."""

import numpy as np
import pytest
from precisions_oracle import scattered_mesh

from padchol.precisions import mesh
from padchol.precisions.mesh import finite_elements

RNG = np.random.default_rng(0)
SQUARE = np.array([[0.0, 0.0], [1.0, 0.5]])


def dense_stiffness(m):
    """From the gradients of the hat functions, element by element, and the areas."""
    G, areas = np.zeros((m.n, m.n)), np.zeros(m.n)
    for corners in m.simplices:
        at = np.column_stack([np.ones(len(corners)), m.nodes[corners]])
        size = abs(np.linalg.det(at)) / (len(corners) - 1)
        gradients = np.linalg.inv(at)[1:]  # a column for each corner
        G[np.ix_(corners, corners)] += size * gradients.T @ gradients
        areas[corners] += size / len(corners)
    return G, areas


@pytest.mark.parametrize("which", ["scattered", "rectangle", "line"])
def test_mass_and_stiffness(which):
    m = {
        "scattered": scattered_mesh,
        "rectangle": lambda: mesh.rectangle(SQUARE, 0.2, margin=0.5),
        "line": lambda: mesh.line([0.0, 1.0], 0.15, margin=1.0),
    }[which]()
    G, areas = dense_stiffness(m)
    np.testing.assert_allclose(m.G.toarray(), G, atol=1e-12 * abs(G).max())
    np.testing.assert_allclose(m.areas, areas, rtol=1e-12)
    np.testing.assert_allclose(m.C.toarray(), np.diag(areas), rtol=1e-12)
    np.testing.assert_allclose(m.G @ np.ones(m.n), 0, atol=1e-12 * abs(G).max())
    size = np.ptp(m.nodes, 0).prod()
    np.testing.assert_allclose(m.areas.sum(), size, rtol=1e-12)
    slope = m.nodes @ np.arange(1.0, m.nodes.shape[1] + 1)  # of squared gradient 1 or 1 + 4
    np.testing.assert_allclose(slope @ m.G @ slope, {1: 1, 2: 5}[m.dimension] * size, rtol=1e-11)


def test_a_rectangle_is_even_within_and_coarser_in_its_margin():
    m = mesh.rectangle(SQUARE, 0.1, margin=0.4)
    x = np.unique(m.nodes[:, 0])
    np.testing.assert_allclose(
        np.diff(x), [0.3375, 0.225, 0.15, *[0.1] * 10, 0.15, 0.225, 0.3375], rtol=1e-9
    )
    assert x[0] <= -0.4
    assert x[-1] >= 1.4
    np.testing.assert_allclose(m.longest_edge, 0.1 * np.sqrt(2))
    centres = m.nodes[m.simplices].mean(1)
    np.testing.assert_array_equal(m.inner, ((centres > 0) & (centres < SQUARE[1])).all(1))
    assert m.triangles.shape == (2 * (x.size - 1) * (np.unique(m.nodes[:, 1]).size - 1), 3)
    five = m.G[[np.argmin(abs(m.nodes - [0.5, 0.3]).sum(1))]].toarray()
    np.testing.assert_allclose(np.unique(np.round(five, 12)), [-1, 0, 4])  # the 5-point Laplacian
    assert m.G.nnz < 5 * m.n


@pytest.mark.parametrize("which", ["scattered", "rectangle", "line"])
def test_projection_is_exact_for_straight_lines_and_the_identity_at_nodes(which):
    m = {
        "scattered": scattered_mesh,
        "rectangle": lambda: mesh.rectangle(SQUARE, 0.05, margin=3.0, growth=2.0),
        "line": lambda: mesh.line([0.0, 1.0], 0.1, margin=1.0),
    }[which]()
    low, high = m.nodes.min(0), m.nodes.max(0)
    points = RNG.uniform(low, high, (300, m.dimension))
    B = m.projector(points)
    assert B.shape == (300, m.n)
    assert np.diff(B.indptr).max() <= m.dimension + 1
    assert B.data.min() > 0
    np.testing.assert_allclose(B.sum(1), 1, rtol=1e-13)
    np.testing.assert_allclose(B @ m.nodes, points, atol=1e-12)
    np.testing.assert_allclose(m.projector(m.nodes).toarray(), np.eye(m.n), atol=1e-9)


def test_points_are_found_where_the_nearest_centroids_are_of_others():
    """A fan of thin triangles beside a wide one, whose centroid is far away."""
    edge = np.stack([np.linspace(0, 1, 41), np.zeros(41)], 1)
    nodes = np.concatenate([edge, [[0.5, 0.01], [0.5, -8.0]]])
    thin = [(i, i + 1, 41) for i in range(40)]
    wide = mesh.Mesh(nodes, np.array([*thin, (0, 40, 42)]))
    at = np.array([[0.5, -0.001], [0.3, -0.01], [0.5, -7.9], [0.31, 0.001]])
    B = wide.projector(at)
    np.testing.assert_allclose(B @ nodes, at, atol=1e-12)
    assert B[[0]].indices.max() == 42


def test_points_outside_are_refused():
    m = mesh.rectangle(SQUARE, 0.25, margin=0.0)
    points = np.array([[0.5, 0.25], [0.5, 0.6], [np.pi, 0.1], [1.0, 0.5]])
    with pytest.raises(ValueError, match=r"got 2 outside of it, the first \(0.5, 0.6\), number 1"):
        m.projector(points)
    with pytest.raises(ValueError, match="got 1 outside"):
        m.projector(points[1:2] - [0, 0.0999999])


def test_weights_integrate_over_a_domain():
    m = mesh.rectangle(SQUARE, 0.05, margin=0.2)
    np.testing.assert_array_equal(m.weights(), m.areas)
    disk = lambda xy: ((xy - [0.5, 0.25]) ** 2).sum(1) < 0.2**2
    w = m.weights(disk)
    assert (w >= 0).all()
    assert (w <= m.areas * (1 + 1e-12)).all()
    np.testing.assert_allclose(w.sum(), np.pi * 0.04, rtol=5e-3)
    np.testing.assert_allclose(w @ m.nodes / w.sum(), [0.5, 0.25], atol=1e-3)
    r2 = ((m.nodes - [0.5, 0.25]) ** 2).sum(1)
    np.testing.assert_allclose(w @ np.exp(-r2 / 0.08), 0.08 * np.pi * (1 - np.exp(-0.5)), rtol=1e-2)
    box = m.weights(lambda xy: ((xy > 0) & (xy < SQUARE[1])).all(1))
    np.testing.assert_allclose(box.sum(), 0.5, rtol=1e-12)
    line = mesh.line([0.0, 1.0], 0.1, margin=0.5)
    middle = line.weights(lambda x: abs(x[:, 0] - 0.5) < 0.2)
    np.testing.assert_allclose([middle.sum(), middle @ line.nodes[:, 0]], [0.4, 0.2], rtol=1e-12)


def test_domains_that_are_none_are_refused():
    m = mesh.rectangle(SQUARE, 0.1, margin=0.0)
    with pytest.raises(ValueError, match=r"within the mesh; got one that goes on at \(.*\)"):
        m.weights(lambda xy: xy[:, 0] > 0.5)
    with pytest.raises(ValueError, match="that the mesh covers; got none of 6400 points"):
        m.weights(lambda xy: xy[:, 0] > 2)
    with pytest.raises(ValueError, match=r"booleans .* got shape \(\) of bool"):
        m.weights(lambda xy: True)


def test_a_surface_has_the_matrices_of_its_triangles():
    """A regular octahedron: no border, no projection, the cotangents of its angles."""
    nodes = np.concatenate([np.eye(3), -np.eye(3)])
    m = mesh.Mesh(nodes, np.array([(a, b, c) for a in (0, 3) for b in (1, 4) for c in (2, 5)]))
    assert finite_elements.border(m.simplices)[0].size == 0
    np.testing.assert_allclose(m.areas, 4 * np.sqrt(3) / 6)
    joined = np.abs(nodes @ nodes.T) < 0.5
    np.testing.assert_allclose(m.G.toarray(), 4 / 3**0.5 * np.eye(6) - joined / 3**0.5, atol=1e-14)
    np.testing.assert_allclose(m.weights(lambda x: x[:, 2] > 0).sum(), 2 * np.sqrt(3), rtol=1e-12)
    with pytest.raises(ValueError, match="got nodes in 3 dimensions with simplices of 2"):
        m.projector(nodes)


TRIANGLE = np.array([[0.0, 0], [1, 0], [0, 1], [1, 1]])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: mesh.rectangle(SQUARE, 0.0, margin=1.0), "spacing > 0.*got spacing 0"),
        (lambda: mesh.rectangle(SQUARE, 0.1, margin=-1.0), "got .*margin -1"),
        (lambda: mesh.rectangle(SQUARE, 0.1, margin=1.0, growth=0.9), "got .*growth 0.9"),
        (lambda: mesh.rectangle([[0, 1], [2, 1]], 0.1, margin=1.0), "span the mesh; got 1 for all"),
        (lambda: mesh.rectangle([0.0, 1.0], 0.1, margin=1.0), r"points of shape \(m, 2\)"),
        (lambda: mesh.line([0.0, np.nan], 0.1, margin=1.0), "finite points; got .*number 1"),
        (lambda: mesh.Mesh(TRIANGLE, np.array([[0, 1, 2]])), "got 1 in none, the first number 3"),
        (lambda: mesh.Mesh(TRIANGLE, np.array([[0, 1, 4]])), "from 0 to 3; got 0 to 4"),
        (lambda: mesh.Mesh(TRIANGLE, np.array([[0.0, 1, 2]])), "integers.*of float64"),
        (lambda: mesh.Mesh(TRIANGLE, np.array([[0, 1, 2, 3]])), r"\(T, 2\) or \(T, 3\)"),
        (
            lambda: mesh.Mesh(TRIANGLE[:3] * [1, 0], np.array([[0, 1, 2]])),
            "of nodes 0, 1, 2, number 0",
        ),
        (
            lambda: mesh.Mesh(TRIANGLE, np.array([[0, 1, 2], [0, 1, 3], [1, 0, 2]])),
            "got 3 on that of nodes 0, 1",
        ),
        (lambda: mesh.Mesh(TRIANGLE[:3], np.array([[0, 1, 2]]), np.array([1])), "inner 1 booleans"),
        (lambda: mesh.Mesh([0.0, 1.0], np.array([[0, 1]])).triangles, "a mesh of triangles"),
        (lambda: mesh.line([0, 1], 0.1, margin=0.0).matern(3), "alpha 1 or 2; got 3"),
        (lambda: mesh.line([0, 1], 0.1, margin=0.0).shortest_range(3), "alpha 1 or 2; got 3"),
        (
            lambda: mesh.Mesh(TRIANGLE * np.nan, np.array([[0, 1, 2]])),
            r"finite nodes of .*\(4, 2\)",
        ),
    ],
)
def test_what_is_no_mesh_is_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()
