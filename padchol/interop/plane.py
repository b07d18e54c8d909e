"""NumPyro's view of a plane C (x - loc) = 0: a constraint, and the map of R^(n - k) onto it.

    x = loc + Q [0; z],    Q = H_1 ... H_k orthogonal, C^T = Q R by Householder's reflections

(Golub & Van Loan 2013, Matrix Computations, section 5.2). An isometry: a density on the plane is
that of z, whatever basis the reflections happen to give. Cost: 4 n k for a point.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Array, Bool, Float
from numpyro.distributions import biject_to, constraints
from numpyro.distributions.transforms import Transform

from padchol.gmrf.kriging import is_rounding


def reflections(C: Any) -> Float[np.ndarray, "k n"]:
    """Vectors v with H = I - v v^T, of the QR factorisation of C^T; C (k, n) of full rank."""
    C = np.asarray(C, float)
    factored: Any = scipy.linalg.qr(C.T, mode="raw")
    (below, tau), _ = factored
    v = np.tril(below, -1) + np.eye(*C.T.shape)
    return (v * np.sqrt(tau)).T


class Plane(constraints.Constraint):
    """C (x - loc) = 0, up to rounding of sums of as many terms as large as those of x and loc."""

    event_dim = 1

    def __init__(self, C: Any, loc: Any, v: Any):
        self.C, self.loc, self.v = C, loc, v

    def __call__(self, x: Float[Array, "*batch n"]) -> Bool[Array, "*batch"]:
        largest = jnp.max(jnp.abs(x), -1) + jnp.max(jnp.abs(self.loc), -1)
        size = largest[..., None] * jnp.sum(jnp.abs(self.C), 1)
        return is_rounding((x - self.loc) @ self.C.T, size, jnp.finfo(jnp.result_type(x)).eps)

    def feasible_like(self, prototype: Array) -> Array:
        return jnp.broadcast_to(self.loc, prototype.shape).astype(prototype.dtype)

    def eq(self, other: object, static: bool = False) -> Any:
        if not isinstance(other, Plane) or self.C.shape != other.C.shape:
            return False
        pairs = ((self.C, other.C), (self.loc, other.loc))
        if static:
            return all(np.array_equal(a, b) for a, b in pairs)
        return jnp.all(jnp.stack([jnp.array_equal(a, b) for a, b in pairs]))

    def tree_flatten(self) -> tuple:
        return (self.C, self.loc, self.v), (("C", "loc", "v"), {})


class OntoPlane(Transform):
    """z (n - k) to the point x (n) of a plane."""

    domain = constraints.real_vector  # pyright: ignore

    def __init__(self, plane: Plane):
        self.plane = plane

    @property
    def codomain(self) -> Plane:  # pyright: ignore
        return self.plane

    def __call__(self, x: Float[Array, "*batch m"]) -> Float[Array, "*batch n"]:
        point = jnp.concatenate([jnp.zeros((*x.shape[:-1], len(self.plane.v)), x.dtype), x], -1)
        return self.plane.loc + _reflected(point, self.plane.v[::-1])

    def _inverse(self, y: Float[Array, "*batch n"]) -> Float[Array, "*batch m"]:
        return _reflected(y - self.plane.loc, self.plane.v)[..., len(self.plane.v) :]

    def log_abs_det_jacobian(self, x: Array, y: Array, intermediates: Any = None) -> Array:
        return jnp.zeros(jnp.broadcast_shapes(x.shape[:-1], y.shape[:-1]), y.dtype)

    def forward_shape(self, shape: tuple) -> tuple:
        return (*shape[:-1], shape[-1] + len(self.plane.v))

    def inverse_shape(self, shape: tuple) -> tuple:
        return (*shape[:-1], shape[-1] - len(self.plane.v))

    def eq(self, other: object, static: bool = False) -> Any:
        return self.plane.eq(other.plane, static) if isinstance(other, OntoPlane) else False

    def tree_flatten(self) -> tuple:
        return (self.plane,), (("plane",), {})


def _reflected(x: Float[Array, "*batch n"], v: Float[Array, "k n"]) -> Float[Array, "*batch n"]:
    """One reflection after the other."""
    for each in v:
        x = x - (x @ each)[..., None] * each
    return x


biject_to.register(Plane, OntoPlane)
