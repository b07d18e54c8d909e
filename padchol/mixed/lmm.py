"""Linear mixed models by maximum likelihood or REML, on one plan.

    y = X beta + Z b + e,    b = Lambda(theta) u,    u ~ N(0, s^2 I),    e ~ N(0, s^2 I)

Penalised least squares (Bates, Maechler, Bolker & Walker 2015, J. Stat. Softw. 67(1), section 3.4):

    A(theta) = Lambda^T Z^T Z Lambda + I             sparse, factored at each theta
    S(theta) = [X y]^T [X y] - R^T A^-1 R,    R = Lambda^T Z^T [X y]        dense, (p + 1, p + 1)

With S_X the leading (p, p) block of S and r^2 what is left of y after regressing y on X in S,

    ML    d(theta) = log|A| + n (1 + log(2 pi r^2 / n))                                 (their 34)
    REML  d(theta) = log|A| + log|S_X| + (n - p) (1 + log(2 pi r^2 / (n - p)))          (their 41)

Of terms with a structure u ~ N(0, s^2 P(theta)^-1): A has P for I, and d is less by log|P|. With
weights w rows are times sqrt(w), and d is less by sum log w.

X is replaced by Q of X = Q U, for which REML gains 2 log|U|, and y by what Q leaves of it in units
of its standard deviation, so that S does not cancel; the columns of a term by those of the standard
basis, and T by R T (see `padchol.mixed.basis`). The rows of the data enter only through Z^T Z,
whose p_i x p_j blocks are kept: an evaluation costs one factorisation, p + 1 solves and nnz(Z^T Z),
whatever n is; its gradient one sweep more.
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

from padchol.assembly import Products
from padchol.factor import cholesky
from padchol.methods import WithMethods
from padchol.mixed import basis
from padchol.mixed import linear_estimates as estimates
from padchol.mixed import linear_inference as inference
from padchol.mixed.algebra import gram_blocks, orthonormal, regressed, residual
from padchol.mixed.data import Data, offset_of, weights_of
from padchol.mixed.moments import relative_deviations
from padchol.mixed.profile import Profile, Solution
from padchol.mixed.reading import Reading, Rows
from padchol.mixed.refit import Refits
from padchol.mixed.report import Fit
from padchol.mixed.structures import Prior, plan_of
from padchol.mixed.terms import Effects, Random, design_matrix, in_short, tables
from padchol.plan import Plan


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
    log_weights: Float[np.ndarray, ""]  # the sum of their logarithms
    prior: Prior  # the precision of u
    data: Data | None  # the rows; None inside a fit
    names: tuple[str, ...] = eqx.field(static=True)
    n: int = eqx.field(static=True)
    reml: bool = eqx.field(static=True)
    notes: tuple[str, ...] = eqx.field(static=True)
    reading: Reading | None = eqx.field(static=True)

    def __init__(
        self,
        y: Any,
        X: Any,
        random: Sequence[Random],
        *,
        reml: bool = False,
        names: tuple[str, ...] = (),
        notes: tuple[str, ...] = (),
        weights: Any = None,
        offset: Any = None,
        reading: Reading | None = None,
        **analysis: Any,
    ):
        y, X = np.asarray(y, float), np.asarray(X, float)
        if y.ndim != 1 or X.ndim != 2 or X.shape[0] != y.size:
            raise ValueError(f"expected y (n,) and X (n, p); got {y.shape} and {X.shape}")
        if not (np.isfinite(y).all() and np.isfinite(X).all()):
            raise ValueError("expected finite y and X; got NaN or infinity")
        self.n, self.reml, self.notes, self.reading = y.size, reml, tuple(notes), reading
        self.names = tuple(names) or tuple(f"x{c}" for c in range(X.shape[1]))
        self.effects, rows, codes, structures = tables(self.n, random)
        _check_identified(self.effects, self.n)
        w, offset = weights_of(weights, self.n), offset_of(offset, self.n)
        self.log_weights, root = np.asarray(np.sum(np.log(w))), np.sqrt(w)
        Q, self.U = orthonormal(root[:, None] * X, self.names)
        ols, r = residual(Q, root * (y - offset))
        rows = [root[:, None] * x for x in rows]
        rows, self.bases, self.first = basis.standard_terms(rows)
        self.data = Data(self.effects, y, Q, tuple(rows), tuple(codes), root, offset)
        Z = sp.csc_array(design_matrix(self.effects, rows, codes, self.n))
        ZtZ = sp.csr_array(Z.T @ Z)
        at, self.blocks = gram_blocks(self.effects, ZtZ)
        low = at[0] >= at[1]
        starts = [term.start for term in self.effects.terms]
        self.plan = plan_of(at[0][low], at[1][low], self.effects.q, starts, structures, analysis)
        self.prior = Prior.of(self.plan, starts, structures)
        self.first = np.concatenate([self.first, *(s.first for s in self.prior.structures)])
        self.place = Products.of(self.plan, at[0], at[1], [np.arange(at[0].size)], [at[0].size])
        self.unit = np.asarray(np.linalg.norm(r) / np.sqrt(self.n))
        self.ols = ols / self.unit
        Xy = np.column_stack([Q, r / self.unit])
        self.ZtXy, self.XytXy = Z.T @ Xy, Xy.T @ Xy
        deviations = relative_deviations(self.effects, ZtZ, self.ZtXy, self.n)
        self.first[np.flatnonzero(self.effects.on_diagonal)] *= deviations

    def __repr__(self) -> str:
        return in_short(self)

    @property
    def p(self) -> int:
        """How many fixed effects there are."""
        return len(self.names)

    @property
    def start(self) -> np.ndarray:
        """Where the search begins: see `padchol.mixed.moments`."""
        return basis.to_user(self.effects, self.bases, self.first)

    def deviance(self, theta: Any, sigma: Any = None) -> Float[Array, ""]:
        """-2 log likelihood, or the REML criterion, with beta (and sigma, where not given) profiled
        out. Differentiable to any order; NaN where theta is not finite."""
        return self.profile(theta).deviance(sigma)

    def solution(self, theta: Any) -> Solution:
        """Estimates at theta."""
        return self.profile(theta).solution()

    def value_and_grad(self, theta: Any) -> tuple[Float[Array, ""], Float[Array, " theta"]]:
        """The deviance and its gradient, compiled once for models of one shape."""
        (value, _), gradient = evaluated(self.without_data(), self.effects.check(theta))
        return value, gradient

    def fit(self, start: Any = None, **options: Any) -> Fit:
        """Minimise the deviance over theta: see `padchol.mixed.Fit`.

        The search runs in the standard basis, where it does not see how the covariates and the
        response were shifted and scaled. start: theta; max_steps: of the search, at most.
        """
        return estimates.fit(self, start, **options)

    def theta_covariance(self, theta: Any) -> Float[np.ndarray, "theta theta"]:
        """The large-sample covariance of theta: see `linear_estimates.theta_covariance`."""
        return estimates.theta_covariance(self, self.effects.check(theta))

    def standard(self) -> LinearMixedModel:
        """The same model without data, whose theta is that of the standard basis."""
        bare = self.without_data()
        return eqx.tree_at(lambda model: model.bases, bare, basis.identities(self.bases))

    def without_data(self) -> LinearMixedModel:
        """What the deviance needs: calls of compiled programs take every array along."""
        none = lambda x: x is None
        return eqx.tree_at(lambda model: model.data, self, None, is_leaf=none)

    def given(self, y: Float[Array, " n"]) -> LinearMixedModel:
        """The model of another response."""
        data, p = self.data, self.p
        assert data is not None
        Q = jnp.asarray(data.Q)
        ols, r = regressed(Q, data.weighted(y))
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
        u = self.prior.sample(of_u, self.effects.rho(theta))
        e = jax.random.normal(of_e, (self.n,), theta.dtype)
        pairs = zip(self.bases, self.effects.factors(theta), strict=True)
        b = self.effects.times([jnp.asarray(R) @ T for R, T in pairs], u)
        fixed = jnp.asarray(data.Q) @ (jnp.asarray(self.U) @ beta)
        return data.unweighted(fixed + sigma * (data.times(b) + e))

    def response(self, y: Array) -> Array:
        """The response of what `given` takes: itself."""
        return y

    @property
    def observed(self) -> Float[np.ndarray, " n"]:
        """y, as it was given."""
        assert self.data is not None
        return self.data.y

    def own_rows(self) -> Rows:
        """The rows of the data, in the user's units."""
        return inference.own_rows(self)

    @property
    def inference(self) -> Any:
        """The functions of models and fits that intervals, predictions and the like call."""
        return inference

    def _refits(self, fit: Fit, responses: Float[Array, "refits n"]) -> Refits:
        return estimates.refits(self, fit, responses)

    def profile(self, theta: Any) -> Profile:
        """The factored system at theta."""
        theta = self.effects.check(theta)
        pairs = zip(self.bases, self.effects.factors(theta), strict=True)
        M = [jnp.asarray(R) @ T for R, T in pairs]
        pairs = [(i, j) for i in range(len(M)) for j in range(i + 1)]
        scaled = [
            jnp.einsum("ca,bcd,de->bae", M[i], block, M[j]).reshape(-1)
            for (i, j), block in zip(pairs, self.blocks, strict=True)
        ]
        a = self.place(jnp.concatenate([jnp.zeros(0, theta.dtype), *scaled]))
        factor = cholesky(self.plan, a + self.prior(self.effects.rho(theta)))
        return Profile(self, theta, factor, self.effects.transposed(M, jnp.asarray(self.ZtXy)))


@eqx.filter_jit
def evaluated(model: LinearMixedModel, theta: Array) -> tuple[tuple[Array, Solution], Array]:
    """((deviance, solution), gradient): one program for the search and for what it ends with."""

    def value(theta):
        at = model.solution(theta)
        return at.deviance, at

    return jax.value_and_grad(value, has_aux=True)(theta)


def _check_identified(effects: Effects, n: int) -> None:
    for term in effects.terms:
        if term.size >= n and not term.structured:
            raise ValueError(
                f"expected fewer coefficients in {term.name} than the {n} observations; got "
                f"{term.size}, whose variance could not be told from the residual one"
            )
