"""Meshes, and all that a Matern field on one takes.

    mesh = precisions.mesh.rectangle(points, spacing=0.15, margin=2.0)
    Q = mesh.matern(shortest_range=1.0)              # a Precision, of kappa and tau
    B = mesh.projector(points)                       # (m, n): from the nodes to the points
    plan = padchol.analyze([Q.pattern, padchol.assembly.gram_pattern(B)])
    a = Q.on(plan)(*precisions.matern_parameters(reach, sigma))

The field is sum_i x_i phi_i, phi_i the hat function of node i: linear between the nodes. Matrices
as in `padchol.precisions.matern`, notation as in `padchol.precisions.mesh.finite_elements`.
"""

from padchol.precisions.mesh.grids import line, rectangle
from padchol.precisions.mesh.simplicial import Mesh

__all__ = ["Mesh", "line", "rectangle"]
