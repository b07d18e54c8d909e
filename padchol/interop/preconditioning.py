"""A posterior of (theta, x) in coordinates z in which it is about N(0, I).

    theta = theta* + R z1                                 R R^T = S^-1
    x     = x* + J (theta - theta*) + P^T L^-T z2         L L^T = P H P^T

theta* (p,) is the mode of the Laplace marginal p(y, theta), S (p, p) minus its Hessian there; x*
(n,) the mode of x given theta*, and J (n, p) its derivative in theta; H the precision of x given
theta and y. With H at theta* these are the blocks of the joint precision Q of (theta, x) at the
mode, eliminated x first, so that z ~ N(0, I) makes (theta, x) ~ N((theta*, x*), Q^-1):

    Q = [ S + J^T H J   -J^T H ]
        [ -H J           H     ]

Monnahan, Kristensen, Thorson & Carpenter (2026), arXiv 2603.02437; the joint precision is that of
Kristensen et al. (2016), J. Stat. Softw. 70(5). Q is never formed: H has a plan already.

Under a precision Q(theta) of x that is not known well, x given theta changes its scale: the funnel
that one fixed Q cannot straighten. With H at theta, its curvature taken at x* + J (theta - theta*),
the map does (`varying`). It is one to one all the same, and log |dx/dz2| = -log|H| / 2.

Where x is held on a plane C x = e, the directions in which z2 would leave it are the span of V =
L^-1 P C^T, c of them. They are taken out of z2, z2 - B^T B z2 with an orthonormal basis B, and get
a standard normal density of their own, which changes nothing about (theta, x).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float

from padchol.factor import Factor, cholesky
from padchol.inla._mode import find_mode
from padchol.interop.joint import Approximation, Joint, LogPrior, Marginal, prior_of
from padchol.laplace import Laplace
from padchol.methods import WithMethods
from padchol.numeric.values import multiply

LogJoint = Callable[[Array, Array], Any]


class Frame(WithMethods):
    """The part of the map that z2 takes: L, B, and log |dx/dz2| on the plane."""

    factor: Factor
    off_plane: Float[Array, "c n"]
    log_volume: Float[Array, ""]

    def beside(self, z2: Float[Array, " n"]) -> Float[Array, " c"]:
        """B z2, which has no part in x."""
        return self.off_plane @ z2

    def __call__(self, z2: Float[Array, " n"]) -> Float[Array, " n"]:
        z2 = z2 - self.beside(z2) @ self.off_plane
        return self.factor.apply_Pt(self.factor.solve_Lt(z2))

    def inverse(self, v: Float[Array, " n"]) -> Float[Array, " n"]:
        """L^T P v = L^-1 P H v, from solves and products alone."""
        F = self.factor
        return F.solve_L(F.apply_P(multiply(F.plan, F.values, v[:, None])))[:, 0]


def frame(factor: Factor, C: Float[Array, "c n"]) -> Frame:
    """|Z^T H Z| = |H| |V^T V| for an orthonormal basis Z of the plane and orthonormal rows of C."""
    if not len(C):
        return Frame(factor, C, -factor.logdet() / 2)
    basis, R = jnp.linalg.qr(factor.solve_L(factor.apply_P(C.T)))
    log_volume = -factor.logdet() / 2 - jnp.sum(jnp.log(jnp.abs(jnp.diagonal(R))))
    return Frame(factor, basis.T, log_volume)


class Whitening(WithMethods):
    """z (p + n,) to (theta, x) and back."""

    theta: Float[Array, " p"]  # theta*
    root: Float[Array, "p p"]  # R, lower triangular
    mode: Float[Array, " n"]  # x*
    jacobian: Float[Array, "n p"]
    constraints: Float[Array, "c n"]
    frame: Frame  # at theta*
    approximation: Approximation | None  # where H is that at theta

    def __call__(self, z: Float[Array, " z"]) -> tuple[Float[Array, " p"], Float[Array, " n"]]:
        return self.with_density(z)[0]

    def with_density(self, z: Float[Array, " z"]) -> tuple[tuple[Array, Array], Array]:
        """(theta, x), and log |d(theta, x)/dz| with the log density of what has no part in x."""
        z1, z2 = z[: self.theta.size], z[self.theta.size :]
        theta = self.theta + self.root @ z1
        centre, frame = self._at(theta)
        beside = frame.beside(z2)
        own = beside @ beside + beside.size * math.log(2 * math.pi)
        volume = jnp.sum(jnp.log(jnp.diagonal(self.root))) + frame.log_volume
        return (theta, centre + frame(z2)), volume - own / 2

    def inverse(self, theta: Float[Array, " p"], x: Float[Array, " n"]) -> Float[Array, " p+n"]:
        """The z of (theta, x)."""
        centre, frame = self._at(theta)
        z1 = solve_triangular(self.root, theta - self.theta, lower=True)
        return jnp.concatenate([z1, frame.inverse(x - centre)])

    def _at(self, theta: Array) -> tuple[Array, Frame]:
        centre = self.mode + self.jacobian @ (theta - self.theta)
        if self.approximation is None:
            return centre, self.frame
        # Without what would make it indefinite: where H were, no z would lead to this theta.
        a = self.approximation(theta).problem.curvature(centre, exact=False)
        return centre, frame(cholesky(self.frame.factor.plan, a), self.constraints)


class Preconditioned(WithMethods):
    """The log density of z: its integral is p(y), and it is about that of N(0, I)."""

    log_joint: LogJoint
    whitening: Whitening

    def __call__(self, z: Float[Array, " z"]) -> Float[Array, ""]:
        point, own = self.whitening.with_density(z)
        return self.log_joint(*point) + own


def preconditioned(
    approximation: Approximation,
    log_prior: LogPrior,
    start: Any,
    *,
    varying: bool = False,
    log_joint: LogJoint | None = None,
) -> Preconditioned:
    """The log density of (theta, x) given y in the coordinates z, and the map from them.

    approximation: theta (p,) to `padchol.laplace.laplace` of the model given theta. log_prior:
    theta to the log density of its prior. start: (p,), where the search of theta* begins. varying:
    H at each theta, not at theta* alone; that costs a factorisation and its derivative each time.
    log_joint: (theta, x) to log p(y, theta, x), by default made from the first two, see
    `padchol.interop.joint`.

    Cost: the search of theta*, some 10 to 30 evaluations of the marginal with gradient, and 2 p for
    its curvature; then two triangular sweeps for each evaluation of the density with gradient,
    beside log_joint. Raises `ValueError` where theta* is not found, or the constraints of x depend
    on theta.
    """
    start = start_of(start)
    found = find_mode(_Evaluate(Marginal(approximation, log_prior), start.dtype), start)
    if found.message:
        raise ValueError(found.message)
    theta = jnp.asarray(found.theta, start.dtype)
    fit, jacobian = _at_mode(approximation, theta)
    if log_joint is None:
        prior = prior_of(fit, _slope_of_prior(approximation, theta))
        log_joint = Joint(approximation, log_prior, prior)
    root = jnp.asarray(np.linalg.cholesky(np.linalg.inv(found.precision)), fit.mode.dtype)
    C = _constraints(fit, jacobian)
    at_mode, each = eqx.filter_jit(frame)(fit.factor, C), approximation if varying else None
    return Preconditioned(log_joint, Whitening(theta, root, fit.mode, jacobian, C, at_mode, each))


def _constraints(fit: Laplace, jacobian: Array) -> Float[Array, "c n"]:
    """C, where x is held on a plane; `ValueError` where the mode does not stay on it."""
    held = fit.posterior.constraint
    if held is None:
        return jnp.zeros((0, fit.mode.size), fit.mode.dtype)
    C = jnp.asarray(held.C)
    moved, size = jnp.abs(C @ jacobian), jnp.abs(C) @ jnp.abs(jacobian)
    if bool(jnp.any(moved > jnp.finfo(moved.dtype).eps ** 0.5 * size)):
        raise ValueError("expected constraints on x that do not depend on theta; got some that do")
    return C


@eqx.filter_jit
def _at_mode(approximation: Approximation, theta: Array) -> tuple[Laplace, Float[Array, "n p"]]:
    """The approximation, and the derivative of its mode in theta."""

    def moving(theta):
        fit = approximation(theta)
        return fit.mode, fit

    jacobian, fit = jax.jacfwd(moving, has_aux=True)(theta)
    return fit, jacobian


@eqx.filter_jit
def _slope_of_prior(approximation: Approximation, theta: Array) -> Float[Array, "nnz p"]:
    """The derivative in theta of the values of the prior's precision."""
    return jax.jacfwd(lambda theta: approximation(theta).problem.a)(theta)


class _Evaluated(NamedTuple):
    """What the search of theta* asks for."""

    log_density: Float[np.ndarray, " k"]
    gradient: Float[np.ndarray, "k p"]
    converged: Any


class _Evaluate:
    """theta (k, p) to log density and gradient, one after the other, by one compiled program."""

    def __init__(self, density: Marginal, dtype: Any):
        self.density, self.dtype = density, dtype

    def __call__(self, thetas: Float[np.ndarray, "k p"]) -> Any:
        found = [_with_gradient(self.density, jnp.asarray(theta, self.dtype)) for theta in thetas]
        values, gradients = (np.stack(each) for each in zip(*found, strict=True))
        return _Evaluated(values, gradients, np.isfinite(values))


@eqx.filter_jit
def _with_gradient(density: Marginal, theta: Array) -> tuple[Array, Array]:
    return jax.value_and_grad(density)(theta)


def start_of(start: Any) -> np.ndarray:
    """A start of theta, checked: (p,), p > 0, finite."""
    start = np.asarray(start, np.dtype(jnp.result_type(float)))
    if start.ndim != 1 or not start.size:
        raise ValueError(f"expected a start of shape (p,), p > 0; got shape {start.shape}")
    if not np.isfinite(start).all():
        raise ValueError(f"expected a finite start; got {start}")
    return start
