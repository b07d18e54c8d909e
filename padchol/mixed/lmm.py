"""Linear mixed models by maximum likelihood or REML, on one plan.

    y = X beta + Z b + e,    b = Lambda(theta) u,    u ~ N(0, s^2 I),    e ~ N(0, s^2 I)

Penalised least squares (Bates, Maechler, Bolker & Walker 2015, J. Stat. Softw. 67(1), section 3.4):

    A(theta) = Lambda^T Z^T Z Lambda + I             sparse, factored at each theta
    S(theta) = [X y]^T [X y] - R^T A^-1 R,    R = Lambda^T Z^T [X y]        dense, (p + 1, p + 1)

With S_X the leading (p, p) block of S and r^2 what is left of y after regressing y on X in S,

    ML    d(theta) = log|A| + n (1 + log(2 pi r^2 / n))                                 (their 34)
    REML  d(theta) = log|A| + log|S_X| + (n - p) (1 + log(2 pi r^2 / (n - p)))          (their 41)

X is replaced by Q of X = Q U, and y by what Q leaves of it in units of its standard deviation, so
that S does not cancel; the columns of a term by those of the standard basis, and T by R T (see
`padchol.mixed.basis`). The rows of the data enter only through Z^T Z, whose p_i x p_j blocks are
kept: an evaluation costs one factorisation, p + 1 solves and nnz(Z^T Z), whatever n is; its
gradient one sweep more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jaxtyping import Array, Float

from padchol.analysis import analyze
from padchol.assembly import Products
from padchol.factor import cholesky
from padchol.methods import WithMethods
from padchol.mixed import basis
from padchol.mixed.algebra import gram_blocks, orthonormal, regressed, residual
from padchol.mixed.boundary import ZERO, settled, singular
from padchol.mixed.data import Data
from padchol.mixed.optimise import Minimum, minimise
from padchol.mixed.profile import Profile, Solution
from padchol.mixed.refit import Refits, begin, refit_all
from padchol.mixed.report import Fit
from padchol.mixed.terms import Effects, Random, design_matrix, tables
from padchol.plan import Plan

# r^2 is a difference, and has lost nine of sixteen digits where sigma is this part of the deviation
# of y. Measured for n = 300: the deviance is off by 1e-5 at 1e-4, by 1e-4 at 1e-5.
EXHAUSTED = 3e-5
SIZES = (0.0, 0.25, 4.0)  # multiples of a term's T that are tried from the end of a search


class LinearMixedModel(WithMethods):
    """y = X beta + sum over terms of x_i b_i[group_i] + e; a pytree, on one plan.

    y (n,), X (n, p) dense of full column rank, random: terms (x_i, group_i); further options are
    those of `padchol.analyze`. Use float64 (`jax_enable_x64`): a deviance in float32 has six
    digits. Raises `ValueError` for shapes that do not fit, values that are not finite, a column of
    X that depends on those before it, a response that X fits exactly (a constant one, say), and a
    term with as many coefficients as observations.
    """

    plan: Plan
    effects: Effects
    place: Products
    blocks: tuple[Float[np.ndarray, "blocks p_i p_j"], ...]  # of Z^T Z, by pairs of terms
    ZtXy: Float[np.ndarray, "q p+1"]
    XytXy: Float[np.ndarray, "p+1 p+1"]
    bases: tuple[Float[np.ndarray, "p_i p_i"], ...]  # R of each term
    first: Float[np.ndarray, " theta"]  # where the search begins, in the standard basis
    U: Float[np.ndarray, "p p"]
    unit: Float[np.ndarray, ""]  # of y: the standard deviation of what Q leaves of it
    ols: Float[np.ndarray, " p"]  # Q^T y / unit
    data: Data | None  # for other responses; None inside a fit
    names: tuple[str, ...] = eqx.field(static=True)
    n: int = eqx.field(static=True)
    reml: bool = eqx.field(static=True)
    notes: tuple[str, ...] = eqx.field(static=True)

    def __init__(
        self,
        y: Any,
        X: Any,
        random: Sequence[Random],
        *,
        reml: bool = False,
        names: tuple[str, ...] = (),
        notes: tuple[str, ...] = (),
        **analysis: Any,
    ):
        y, X = np.asarray(y, float), np.asarray(X, float)
        if y.ndim != 1 or X.ndim != 2 or X.shape[0] != y.size:
            raise ValueError(f"expected y (n,) and X (n, p); got {y.shape} and {X.shape}")
        if not (np.isfinite(y).all() and np.isfinite(X).all()):
            raise ValueError("expected finite y and X; got NaN or infinity")
        self.n, self.reml, self.notes = y.size, reml, tuple(notes)
        self.names = tuple(names) or tuple(f"x{c}" for c in range(X.shape[1]))
        self.effects, rows, codes = tables(self.n, random)
        _check_identified(self.effects, self.n)
        Q, self.U = orthonormal(X, self.names)
        ols, r = residual(Q, y)
        rows, self.bases, self.first = basis.standard_terms(rows)
        self.data = Data(self.effects, Q, tuple(rows), tuple(codes))
        Z = sp.csc_array(design_matrix(self.effects, rows, codes, self.n))
        at, self.blocks = gram_blocks(self.effects, sp.csr_array(Z.T @ Z))
        low = at[0] >= at[1]
        self.plan = analyze((at[0][low], at[1][low], self.effects.q), lower=True, **analysis)
        self.place = Products.of(self.plan, at[0], at[1], [np.arange(at[0].size)], [at[0].size])
        self.unit = np.asarray(np.linalg.norm(r) / np.sqrt(self.n))
        self.ols = ols / self.unit
        Xy = np.column_stack([Q, r / self.unit])
        self.ZtXy, self.XytXy = Z.T @ Xy, Xy.T @ Xy

    @property
    def p(self) -> int:
        return len(self.names)

    @property
    def start(self) -> np.ndarray:
        """Where the search begins: every T the identity in the standard basis."""
        return basis.to_user(self.effects, self.bases, self.first)

    def deviance(self, theta: Any, sigma: Any = None) -> Float[Array, ""]:
        """-2 log likelihood, or the REML criterion, with beta (and sigma, where not given) profiled
        out. Differentiable to any order; NaN where theta is not finite."""
        return self._profile(theta).deviance(sigma)

    def solution(self, theta: Any) -> Solution:
        """Estimates at theta."""
        return self._profile(theta).solution()

    def value_and_grad(self, theta: Any) -> tuple[Float[Array, ""], Float[Array, " theta"]]:
        """The deviance and its gradient, compiled once for models of one shape."""
        (value, _), gradient = _value_and_grad(self._without_data(), self.effects.check(theta))
        return value, gradient

    def fit(self, start: Any = None, **options: Any) -> Fit:
        """Minimise the deviance over theta: see `padchol.mixed.Fit`.

        The search runs in the standard basis, where it does not see how the covariates and the
        response were shifted and scaled. start: theta; max_steps: of the search, at most.
        """
        inside, first = self._standard(), self.first
        if start is not None:
            start = np.asarray(self.effects.check(start))
            first = basis.to_standard(self.effects, self.bases, start)
        found = minimise(
            inside.value_and_grad, first, self.effects.on_diagonal,
            others=lambda x: basis.neighbours(self.effects, x, SIZES), **options,
        )  # fmt: skip
        found = settled(self.effects, found, inside.value_and_grad)
        theta = basis.to_user(self.effects, self.bases, found.x)
        (_, at), _ = _value_and_grad(self._without_data(), jnp.asarray(theta))
        if not at.sigma > EXHAUSTED * self.unit:
            found = found._replace(converged=False, message=_exhausted(float(at.sigma)))
        return _fit(self, found, theta, jax.tree.map(np.asarray, at))

    def theta_covariance(self, theta: Any) -> Float[np.ndarray, "theta theta"]:
        """2 H^-1, H the Hessian of the profiled deviance: the large-sample covariance of theta.

        NaN where H is not positive definite, and where a covariance matrix is singular: on the
        boundary there is no such approximation. H is formed and inverted in the standard basis:
        there d(theta(theta~)) has the Hessian J^T H J + sum_k (dd / dtheta_k) theta_k'', J the
        Jacobian of theta(theta~).
        """
        theta = np.asarray(self.effects.check(theta))
        nothing = np.full((theta.size, theta.size), np.nan)
        if not np.isfinite(theta).all():
            return nothing
        within = basis.to_standard(self.effects, self.bases, theta)
        if not np.all(within[self.effects.on_diagonal] > ZERO):
            return nothing
        inside = self._standard()
        slope = np.asarray(inside.value_and_grad(within)[1])
        J, bend = basis.user_jacobian(self.effects, self.bases, within, slope)
        H = np.asarray(_hessian(inside, jnp.asarray(within))) - bend
        if np.isfinite(H).all() and np.linalg.eigvalsh(H).min(initial=np.inf) > 0:
            return 2 * J @ np.linalg.solve(H, J.T)
        return nothing

    def _standard(self) -> LinearMixedModel:
        """The same model, whose theta is that of the standard basis."""
        bare = self._without_data()
        return eqx.tree_at(lambda model: model.bases, bare, basis.identities(self.bases))

    def _without_data(self) -> LinearMixedModel:
        """What the deviance needs: calls of compiled programs take every array along."""
        none = lambda x: x is None
        return eqx.tree_at(lambda model: model.data, self, None, is_leaf=none)

    def given(self, y: Float[Array, " n"]) -> LinearMixedModel:
        """The model of another response."""
        data, p = self.data, self.p
        assert data is not None
        Q = jnp.asarray(data.Q)
        ols, r = regressed(Q, y)
        unit = jnp.linalg.norm(r) / math.sqrt(self.n)
        r = r / unit
        Ztr = data.t_times(r)
        Qtr = Q.T @ r
        XytXy = jnp.asarray(self.XytXy).at[p, :p].set(Qtr).at[:p, p].set(Qtr).at[p, p].set(r @ r)
        new = (unit, ols / unit, jnp.asarray(self.ZtXy).at[:, p].set(Ztr), XytXy)
        return eqx.tree_at(lambda m: (m.unit, m.ols, m.ZtXy, m.XytXy), self, new)

    def objective(self, theta: Array) -> tuple[Array, tuple[Array, Array]]:
        """(deviance, (beta, sigma))"""
        at = self.solution(theta)
        return at.deviance, (at.beta, at.sigma)

    def simulated(self, key: Array, theta: Array, beta: Array, sigma: Array) -> Float[Array, " n"]:
        """A response of the model at these parameters, random effects drawn anew."""
        data = self.data
        assert data is not None
        of_u, of_e = jax.random.split(key)
        u = jax.random.normal(of_u, (self.effects.q,), theta.dtype)
        e = jax.random.normal(of_e, (self.n,), theta.dtype)
        pairs = zip(self.bases, self.effects.factors(theta), strict=True)
        b = self.effects.times([jnp.asarray(R) @ T for R, T in pairs], u)
        fixed = jnp.asarray(data.Q) @ (jnp.asarray(self.U) @ beta)
        return fixed + sigma * (data.times(b) + e)

    def response(self, y: Array) -> Array:
        """The response of what `given` takes: itself."""
        return y

    def _refits(self, fit: Fit, responses: Float[Array, "refits n"]) -> Refits:
        x, inverse = begin(fit.minimum.x, self.effects.on_diagonal, fit.minimum.curvature)
        inside = eqx.tree_at(lambda m: m.bases, self, basis.identities(self.bases))
        found = refit_all(inside, responses, x, inverse, jnp.ones(()))
        x, deviance, (beta, sigma), converged = jax.tree.map(np.asarray, found)
        theta = np.stack([basis.to_user(self.effects, self.bases, each) for each in x])
        return Refits(theta, beta, sigma, deviance, converged)

    def _profile(self, theta: Any) -> Profile:
        theta = self.effects.check(theta)
        pairs = zip(self.bases, self.effects.factors(theta), strict=True)
        M = [jnp.asarray(R) @ T for R, T in pairs]
        pairs = [(i, j) for i in range(len(M)) for j in range(i + 1)]
        scaled = [
            jnp.einsum("ca,bcd,de->bae", M[i], block, M[j]).reshape(-1)
            for (i, j), block in zip(pairs, self.blocks, strict=True)
        ]
        a = self.place(jnp.concatenate([jnp.zeros(0, theta.dtype), *scaled]))
        factor = cholesky(self.plan, self.plan.add_diagonal(a, jnp.ones(())))
        return Profile(self, theta, factor, self.effects.transposed(M, jnp.asarray(self.ZtXy)))


@eqx.filter_jit
def _value_and_grad(model: LinearMixedModel, theta: Array) -> tuple[tuple[Array, Solution], Array]:
    """((deviance, solution), gradient): one program for the search and for what it ends with."""

    def value(theta):
        at = model.solution(theta)
        return at.deviance, at

    return jax.value_and_grad(value, has_aux=True)(theta)


@eqx.filter_jit
def _hessian(model: LinearMixedModel, theta: Array) -> Array:
    return jax.hessian(model.deviance)(theta)


def _check_identified(effects: Effects, n: int) -> None:
    for term in effects.terms:
        if term.size >= n:
            raise ValueError(
                f"expected fewer coefficients in {term.name} than the {n} observations; got "
                f"{term.size}, whose variance could not be told from the residual one"
            )


def _exhausted(sigma: float) -> str:
    return (
        f"the random effects fit the response: sigma {sigma:.2g} is less than {EXHAUSTED:.0e} of "
        "the response's deviation, where the deviance has lost its digits or falls without end"
    )


def _fit(model: LinearMixedModel, found: Minimum, theta: np.ndarray, at: Any) -> Fit:
    return Fit(
        theta=theta,
        theta_names=model.effects.names,
        beta=at.beta,
        names=model.names,
        covariance=at.covariance,
        sigma=float(at.sigma),
        deviance=float(at.deviance),
        effects=model.effects.split(at.b),
        terms=model.effects,
        criterion="REML criterion" if model.reml else "deviance",
        n=model.n,
        notes=model.notes,
        minimum=found,
        singular=singular(model.effects, found.x),
        model=model,
    )
