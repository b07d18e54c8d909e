"""A random field on a cortical surface: sulcal depth, seen at few vertices, predicted at the rest.

    x ~ N(0, Q^-1),   Q = tau^2 (kappa^4 M + 2 kappa^2 K + K M^-1 K)
    y = B x + e,      e ~ N(0, sigma^2 I)

Q is the finite element form of the stochastic differential equation tau (kappa^2 - Laplacian) x =
white noise, whose solution has Matern covariance of smoothness 1, range sqrt(8) / kappa and, in the
plane, standard deviation 1 / (sqrt(4 pi) kappa tau): Lindgren, Rue & Lindstrom (2011), J. R. Stat.
Soc. B 73(4), 423-498, section 2. M (lumped mass) and K (stiffness) come from the triangles; B picks
the m vertices seen.
With Q' = Q + B^T B / sigma^2, on the same pattern, and h = B^T y / sigma^2,

    2 log p(y) = log|Q| - log|Q'| + h^T Q'^-1 h - y^T y / sigma^2 - m log(2 pi sigma^2)
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
import scipy.sparse as sp

import padchol

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

    mean: np.ndarray
    deviation: np.ndarray
    draw: np.ndarray


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
    n = points.shape[0]
    corner = points[triangles]
    rows, cols, weights = [], [], []
    for k in range(3):
        i, j = (k + 1) % 3, (k + 2) % 3
        u, v = corner[:, i] - corner[:, k], corner[:, j] - corner[:, k]
        doubled_area = np.linalg.norm(np.cross(u, v), axis=1)
        rows.append(triangles[:, i])
        cols.append(triangles[:, j])
        weights.append(-0.5 * np.sum(u * v, 1) / doubled_area)  # -cot(angle at k) / 2
    off = sp.coo_array(
        (np.concatenate(weights), (np.concatenate(rows), np.concatenate(cols))), shape=(n, n)
    ).tocsr()
    off = off + off.T
    K = sp.csc_array(off - sp.diags_array(off.sum(1)))
    mass = np.bincount(triangles.ravel(), np.repeat(doubled_area / 6, 3), minlength=n)
    return sp.csc_array(sp.diags_array(mass)), K, sp.csc_array(K @ sp.diags_array(1 / mass) @ K)


def precisions(theta: Any, data: dict[str, Any]) -> tuple[Any, Any]:
    """Canonical values of Q and of Q + B^T B / sigma^2; theta = (log kappa, log tau)."""
    kappa, tau = jnp.exp(theta)
    prior = tau**2 * (kappa**4 * data["M"] + 2 * kappa**2 * data["K"] + data["KMK"])
    return prior, prior + data["seen"] / NOISE**2


def evidence(theta: Any, plan: padchol.Plan, data: dict[str, Any]) -> Any:
    """log p(y): both precisions through one compiled factorisation, one after the other."""
    m, h = data["m"], data["h"]

    def parts(a):
        factor = padchol.cholesky(plan, a)
        return factor.logdet(), h @ factor.solve(h)

    logdet, explained = jax.lax.map(parts, jnp.stack(precisions(theta, data)))
    unexplained = NOISE**2 * (h @ h) - explained[1]
    return 0.5 * (logdet[0] - logdet[1] - unexplained - m * jnp.log(2 * jnp.pi * NOISE**2))


@jax.jit
def predict(plan: padchol.Plan, a: Any, h: Any, key: Any) -> Prediction:
    """N(A^-1 h, A^-1) for canonical values a: the prior or the posterior, by what is passed."""
    factor = padchol.cholesky(plan, a)
    mean = factor.solve(h)
    return Prediction(mean, jnp.sqrt(factor.marginal_variances()), mean + factor.sample(key))


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
    at_seen = np.zeros(n)
    at_seen[seen] = 1.0
    data = {
        "M": plan.values(M),
        "K": plan.values(K),
        "KMK": plan.values(KMK),
        "seen": plan.values(sp.diags_array(at_seen)),
        "h": at_seen * (surface.depth - centre) / NOISE**2,
        "m": float(SEEN),
    }
    return Model(plan, jax.tree.map(jnp.asarray, data), seen, centre)


def parameters(reach: float, deviation: float) -> tuple[float, float]:
    """(kappa, tau) of a field with this range and standard deviation."""
    kappa = np.sqrt(8) / reach
    return kappa, 1 / (np.sqrt(4 * np.pi) * kappa * deviation)


def describe(kappa: float, tau: float) -> tuple[float, float]:
    """(range, standard deviation): the inverse of `parameters`."""
    return np.sqrt(8) / kappa, 1 / (np.sqrt(4 * np.pi) * kappa * tau)


def fit(model: Model, value_and_grad: Any, report: Any) -> scipy.optimize.OptimizeResult:
    """Maximise the evidence; `report(evaluation, value, gradient)` is called as it goes."""
    count = 0

    def objective(theta: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal count
        value, gradient = value_and_grad(jnp.asarray(theta), model.plan, model.data)
        count += 1
        report(count, float(value), np.asarray(gradient))
        return -float(value), -np.asarray(gradient)

    return scipy.optimize.minimize(
        objective,
        np.log(parameters(*START)),
        jac=True,
        method="L-BFGS-B",
        options={"ftol": 1e-8, "gtol": 0.05},
    )
