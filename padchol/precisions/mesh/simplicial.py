"""A mesh of intervals or triangles, and the matrices and weights of its hat functions."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool, Float, Int

from padchol.precisions.domain import POSITIVE, Interval
from padchol.precisions.matern import matern, smoothness
from padchol.precisions.mesh import finite_elements
from padchol.precisions.mesh.checks import asked, check_mesh, points_of
from padchol.precisions.precision import Precision

# Longest edges in the shortest range, by dimension and alpha: with as many, the standard deviation
# is wrong by 7 % at most, at nodes and between them; see `Mesh.check`.
EDGES_IN_A_RANGE = {(1, 1): 8, (1, 2): 4, (2, 2): 4}


@dataclasses.dataclass(frozen=True, eq=False)
class Mesh:
    """Nodes and the simplices between them, for your own mesh: `Mesh(nodes, triangles)`.

    nodes (n, d), or (n,) on a line. simplices (T, k + 1): the nodes at the ends of each interval (k
    = 1) or the corners of each triangle (k = 2), of which any orientation will do; d > k is a curve
    or a surface in space. inner (T,): which simplices belong to the domain, all by default; the
    others are a margin, which may be coarse. `ValueError` for simplices that are no such, without
    volume or three on a side, and for nodes in none of them.
    """

    nodes: Float[np.ndarray, "n d"]
    simplices: Int[np.ndarray, "T k1"]
    inner: Bool[np.ndarray, " T"]

    def __init__(self, nodes: Any, simplices: Any, inner: Any = None):
        nodes, simplices = np.asarray(nodes, float), np.asarray(simplices)
        nodes = nodes[:, None] if nodes.ndim == 1 else nodes
        inner = np.ones(len(simplices), bool) if inner is None else np.asarray(inner)
        check_mesh(nodes, simplices, inner)
        for name, value in (("nodes", nodes), ("simplices", simplices), ("inner", inner)):
            object.__setattr__(self, name, value)

    @property
    def n(self) -> int:
        """How many nodes there are."""
        return self.nodes.shape[0]

    @property
    def dimension(self) -> int:
        """1 of a line or curve, 2 of the plane or a surface: for `matern_parameters`."""
        return self.simplices.shape[1] - 1

    @property
    def triangles(self) -> Int[np.ndarray, "T 3"]:
        """The simplices of a mesh of triangles, as matplotlib's `triplot` takes them."""
        if self.dimension != 2:
            raise ValueError("expected a mesh of triangles; got one of intervals, see simplices")
        return self.simplices

    @functools.cached_property
    def areas(self) -> Float[np.ndarray, " n"]:
        """Integrals of the hat functions: the area, or length, of the dual cell of each node."""
        each = finite_elements.volumes(self.nodes, self.simplices) / (self.dimension + 1)
        return np.bincount(
            self.simplices.reshape(-1), np.repeat(each, self.dimension + 1), minlength=self.n
        )

    @functools.cached_property
    def C(self) -> sp.csc_array:
        """The mass matrix, lumped: diag(areas)."""
        return sp.csc_array(sp.diags_array(self.areas))

    @functools.cached_property
    def G(self) -> sp.csc_array:
        """The stiffness matrix, G_ij the integral of grad phi_i . grad phi_j."""
        return finite_elements.stiffness(self.nodes, self.simplices)

    @functools.cached_property
    def longest_edge(self) -> float:
        """Of the inner simplices."""
        inner = self.simplices[self.inner]
        return float(finite_elements.longest_edges(self.nodes, inner).max())

    def shortest_range(self, alpha: int = 2) -> float:
        """The shortest range of a Matern field that the mesh is fine enough for; see `check`."""
        smoothness(self.dimension, alpha)
        if (self.dimension, alpha) not in EDGES_IN_A_RANGE:
            raise ValueError(f"expected alpha 1 or 2; got {alpha}")
        return EDGES_IN_A_RANGE[self.dimension, alpha] * self.longest_edge

    def check(self, shortest_range: float, alpha: int = 2) -> None:
        """`ValueError` where an inner edge is longer than a fourth of the range, an eighth of it
        for alpha = 1: then the field on the mesh is not the Matern field.

        By how much its variance is wrong, in percent, at the nodes and where it is worst between
        them, far from the border and for longest edges of range / r (from the spectrum of regular
        meshes; the second number is about -95 / r for alpha = 1, and quadratic in 1 / r else):

            r                               2         4         6         8
            right-angled triangles     13  -25    8  -10    5   -5    3   -3
            equilateral triangles      19  -32   15  -12    9   -6    6   -4
            line, alpha = 2             8  -24    6   -8    4   -4    2   -2
            line, alpha = 1           -11  -38   -3  -22   -1  -15   -1  -12
        """
        least = self.shortest_range(alpha)
        if not shortest_range >= least * (1 - 1e-9):
            raise ValueError(
                f"expected a mesh with edges of at most {shortest_range:g} / "
                f"{EDGES_IN_A_RANGE[self.dimension, alpha]}, a part of the shortest range; got an "
                f"edge of length {self.longest_edge:g}, fine enough for ranges from {least:g} on"
            )

    def matern(self, alpha: int = 2, *, shortest_range: float | None = None) -> Precision:
        """The Matern field's precision, as `padchol.precisions.matern`. Parameters kappa, tau.

        shortest_range: what the model will ask for, `ValueError` where the mesh is too coarse for
        it. Of any other kappa too whose range `check` would refuse the values are NaN where it is
        traced, and a `ValueError` where it is known. In the plane a field of alpha = 1 has no
        range, and is not checked; `padchol.precisions.matern(mesh.C, mesh.G)` checks none.
        """
        if shortest_range is not None:
            self.check(shortest_range, alpha)
        if (self.dimension, alpha) not in EDGES_IN_A_RANGE:
            return matern(self.C, self.G, alpha)
        least = self.shortest_range(alpha)
        reason = f": a range of {least:g}, which edges up to {self.longest_edge:g} carry, or more"
        largest = math.sqrt(8 * smoothness(self.dimension, alpha)) / least
        kappa = Interval(POSITIVE.low, largest * (1 + 1e-6), reason=reason)
        return matern(self.C, self.G, alpha, kappa=kappa)

    def projector(self, points: Any) -> sp.csr_array:
        """B (m, n): the values of the hat functions at points (m, d), the field there is B x.

        Rows sum to 1, with d + 1 entries at most. `ValueError` for points outside of the mesh,
        naming the first, and for a mesh of a curve or a surface: pick nodes there.
        """
        if self.dimension != self.nodes.shape[1]:
            raise ValueError(
                f"expected a mesh of the plane or of a line; got nodes in {self.nodes.shape[1]} "
                f"dimensions with simplices of {self.dimension}"
            )
        points = points_of(points, self.dimension)
        simplex, lam, found = finite_elements.locate(self.nodes, self.simplices, points)
        if not found.all():
            first = int(np.argmin(found))
            at = ", ".join(f"{x:g}" for x in points[first])
            raise ValueError(
                f"expected points within the mesh; got {np.sum(~found)} outside of it, the first "
                f"({at}), number {first}"
            )
        rows = np.repeat(np.arange(len(points)), self.dimension + 1)
        cells = self.simplices[simplex].reshape(-1)
        B = sp.csr_array((lam.reshape(-1), (rows, cells)), shape=(len(points), self.n))
        B.eliminate_zeros()
        return B

    def weights(
        self, inside: Callable[[np.ndarray], Any] | None = None, *, parts: int = 8
    ) -> Float[np.ndarray, " n"]:
        """w_i = integral of phi_i over a domain: sum_i w_i f(node i) integrates f over it.

        With them the integral of the intensity of a Cox process is a sum over the nodes (Simpson,
        Illian, Lindgren, Sorbye & Rue 2016, Biometrika 103, 49-70, who cut dual cells along the
        border of the domain; this integrates what is linear between nodes exactly). inside: (q, d)
        to (q,) booleans, whether each of q points is in the domain, asked at the centres of the
        parts^k pieces of each simplex; None for the whole mesh, whose weights are the `areas`.
        `ValueError` for a domain that has none of these points or goes on beyond the mesh.
        """
        if inside is None:
            return self.areas
        corners = self.nodes[self.simplices]
        across, corner = finite_elements.border(self.simplices)
        centre = corners.mean(1)[across]
        beyond = centre + (centre - self.nodes[self.simplices[across, corner]]) * (
            (1 + 1e-6) / self.dimension
        )
        out = asked(inside, beyond)
        if out.any():
            at = ", ".join(f"{x:g}" for x in beyond[np.argmax(out)])
            raise ValueError(f"expected a domain within the mesh; got one that goes on at ({at})")
        lam = finite_elements.subdivided(self.dimension, parts)
        points = np.einsum("qk,tkd->tqd", lam, corners)
        holds = asked(inside, points.reshape(-1, points.shape[2])).reshape(points.shape[:2])
        if not holds.any():
            raise ValueError(
                f"expected a domain that the mesh covers; got none of {holds.size} points"
            )
        piece = finite_elements.volumes(self.nodes, self.simplices) / len(lam)
        each = piece[:, None] * (holds @ lam)
        return np.bincount(self.simplices.reshape(-1), each.reshape(-1), minlength=self.n)
