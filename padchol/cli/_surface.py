"""A random field on a cortical surface: sulcal depth, seen at few vertices, predicted at the rest.

    x ~ N(0, Q^-1),   Q = tau^2 (kappa^4 M + 2 kappa^2 K + K M^-1 K)
    y = B x + e,      e ~ N(0, sigma^2 I)

Q is the finite element form of the stochastic differential equation tau (kappa^2 - Laplacian) x =
white noise, whose solution has Matern covariance of smoothness 1, range sqrt(8) / kappa and, in the
plane, standard deviation 1 / (sqrt(4 pi) kappa tau): Lindgren, Rue & Lindstrom (2011), J. R. Stat.
Soc. B 73(4), 423-498, section 2. M (lumped mass) and K (stiffness) come from the triangles; B picks
the vertices seen. With Q' = Q + B^T B / sigma^2, which has the same pattern, and the posterior mean
m = Q'^-1 B^T y / sigma^2,

    2 log p(y) = log|Q| - log|Q'| - m^T Q m - |y - B m|^2 / sigma^2 - k log(2 pi sigma^2)

for k values y. As m minimises what it stands in, its own derivative does not count: the gradient
takes the selected inverses of Q and Q', and m as a constant.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
import scipy.sparse as sp

import padchol
from padchol.precisions.mesh import Mesh

SEEN = 1000  # vertices whose depth the model is given
NOISE = 0.05  # sigma, in units of depth; estimated, it goes to nought: the map is a smooth average
START = (20.0, 0.5)  # range in millimetres, deviation in units of depth: round values to begin at


class Surface(NamedTuple):
    """The white surface of the left hemisphere (fsaverage5) and its sulcal depth."""

    points: np.ndarray  # (n, 3), millimetres
    triangles: np.ndarray  # (T, 3)
    depth: np.ndarray  # (n,), FreeSurfer's units


class Prediction(NamedTuple):
    """One Gaussian N(mean, Q^-1): its mean, standard deviations and a draw, all (n,)."""

    mean: Any
    deviation: Any
    draw: Any


def load() -> Surface:
    """fsaverage5 as nilearn ships it: 10,242 vertices, no download."""
    from nilearn import datasets

    mesh = datasets.load_fsaverage("fsaverage5")["white_matter"].parts["left"]
    depth = datasets.load_fsaverage_data("fsaverage5", data_type="sulcal").data.parts["left"]
    points = np.asarray(mesh.coordinates, float)
    return Surface(points, np.asarray(mesh.faces, np.int64), np.asarray(depth, float))


def finite_elements(
    points: np.ndarray, triangles: np.ndarray
) -> tuple[sp.csc_array, sp.csc_array, sp.csc_array]:
    """(M, K, K M^-1 K): lumped mass, cotangent stiffness, and the square of their operator."""
    surface = Mesh(points, triangles)
    M, K = surface.C, surface.G
    return M, K, sp.csc_array(K @ sp.diags_array(1 / surface.areas) @ K)


def precisions(theta: Any, data: dict[str, Any]) -> tuple[Any, Any]:
    """Canonical values of Q and of Q + B^T B / sigma^2; theta = (log kappa, log tau)."""
    kappa, tau = jnp.exp(theta)
    prior = tau**2 * (kappa**4 * data["M"] + 2 * kappa**2 * data["K"] + data["KMK"])
    return prior, prior + data["seen"] / NOISE**2


def evidence(theta: Any, plan: padchol.Plan, data: dict[str, Any], key: Any) -> tuple[Any, Any]:
    """log p(y), and the field (before, after) the data: two `Prediction`s stacked, (2, n) each.

    Prior and posterior go through one compiled factorisation, one after the other.
    """
    values = jnp.stack(precisions(theta, data))
    h = jnp.stack([jnp.zeros_like(data["y"]), data["y"] / NOISE**2])

    def one(a, h, key):
        factor = padchol.cholesky(plan, a)
        fixed = jax.lax.stop_gradient(factor)
        mean = fixed.solve(h)
        deviation = jnp.sqrt(fixed.marginal_variances())
        return factor.logdet(), Prediction(mean, deviation, mean + fixed.sample(key))

    logdet, fields = jax.lax.map(lambda each: one(*each), (values, h, jax.random.split(key)))
    m = fields.mean[1]
    pairs = jnp.where(plan.rows == plan.cols, 1.0, 2.0) * m[plan.rows] * m[plan.cols]
    misfit = jnp.sum((data["y"] - data["mask"] * m) ** 2)
    gaussian = misfit / NOISE**2 + jnp.sum(data["mask"]) * jnp.log(2 * jnp.pi * NOISE**2)
    return 0.5 * (logdet[0] - logdet[1] - values[0] @ pairs - gaussian), fields


class Model(NamedTuple):
    """The surface analysed: its plan, and the constant parts of values and likelihood."""

    plan: padchol.Plan
    data: dict[str, Any]
    seen: np.ndarray  # (m,) vertices
    centre: float  # mean of the depths seen, taken off


def build(surface: Surface, rng: np.random.Generator) -> Model:
    """Assemble, analyse, and choose the vertices to be seen."""
    n = surface.depth.size
    M, K, KMK = finite_elements(surface.points, surface.triangles)
    plan = padchol.analyze(KMK)
    seen = np.sort(rng.choice(n, SEEN, replace=False))
    centre = float(surface.depth[seen].mean())
    mask = np.zeros(n)
    mask[seen] = 1.0
    data = {
        "M": plan.values(M),
        "K": plan.values(K),
        "KMK": plan.values(KMK),
        "seen": plan.values(sp.diags_array(mask)),
        "mask": mask,
        "y": mask * (surface.depth - centre),
    }
    return Model(plan, jax.tree.map(jnp.asarray, data), seen, centre)


def parameters(reach: float, deviation: float) -> tuple[float, float]:
    """(kappa, tau) of a field with this range and standard deviation."""
    kappa = np.sqrt(8) / reach
    return kappa, 1 / (np.sqrt(4 * np.pi) * kappa * deviation)


def describe(kappa: float, tau: float) -> tuple[float, float]:
    """(range, standard deviation): the inverse of `parameters`."""
    return np.sqrt(8) / kappa, 1 / (np.sqrt(4 * np.pi) * kappa * tau)


def fit(model: Model, seed: int, report: Any) -> tuple[np.ndarray, Prediction, Prediction]:
    """theta of the greatest evidence, and the field there before and after the data.

    `report(evaluation, log p(y), gradient)` is called as it goes.
    """
    value_and_grad = jax.jit(jax.value_and_grad(evidence, has_aux=True))
    key = jax.random.key(seed)
    evaluations = itertools.count(1)

    def objective(theta: np.ndarray) -> tuple[float, np.ndarray]:
        (value, _), gradient = value_and_grad(jnp.asarray(theta), model.plan, model.data, key)
        report(next(evaluations), float(value), np.asarray(gradient))
        return -float(value), -np.asarray(gradient)

    found = scipy.optimize.minimize(
        objective,
        np.log(parameters(*START)),
        jac=True,
        method="L-BFGS-B",
        options={"ftol": 1e-8, "gtol": 0.05},
    )
    (_, fields), _ = value_and_grad(jnp.asarray(found.x), model.plan, model.data, key)
    before, after = (jax.tree.map(lambda x, i=i: np.asarray(x[i]), fields) for i in (0, 1))
    return found.x, before, after
