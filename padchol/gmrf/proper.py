"""Gaussian Markov random fields: N(loc, A^-1) with a sparse precision A, and their conditionals.

After Rue & Held (2005), Gaussian Markov Random Fields, chapter 2; equation numbers are theirs.
"""

from __future__ import annotations

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from padchol import assembly
from padchol.factor import Factor, cholesky
from padchol.numeric.values import multiply, real_array
from padchol.plan import Plan

OFF_CONSTRAINT = 1e3  # roundings by which C x may miss e, relative to the largest |C| |x| + |e|


class Constraint(eqx.Module):
    """C x = e, with what kriging needs: W = A^-1 C^T and the Cholesky factor of C W."""

    C: Float[Array, "c n"]
    e: Float[Array, " c"]
    W: Float[Array, "n c"]
    chol: Float[Array, "c c"]

    def log_determinant(self) -> Float[Array, ""]:
        """log |C A^-1 C^T| - log |C C^T|: what is added to log |A| on the plane."""
        within = 2 * jnp.sum(jnp.log(jnp.diagonal(self.chol)))
        return within - jnp.linalg.slogdet(self.C @ self.C.T)[1]

    def correction(self, gap: Float[Array, "*batch c"]) -> Float[Array, "*batch n"]:
        """A^-1 C^T (C A^-1 C^T)^-1 gap."""
        solved = jax.scipy.linalg.cho_solve((self.chol, True), gap.reshape(-1, self.e.size).T)
        return (self.W @ solved).T.reshape(*gap.shape[:-1], self.W.shape[0])


class GMRF(eqx.Module):
    """x ~ N(loc, A^-1), given C x = e where there are constraints.

    plan, a: the plan and the canonical values of the precision A. loc: a number or (n,), the mean
    before constraints. A pytree, differentiable in `a` and `loc` throughout, under jit and vmap.
    Where A is not positive definite every output is NaN. Cost: one factorisation when it is made.
    """

    factor: Factor
    loc: Float[Array, " n"]
    constraint: Constraint | None

    def __init__(self, plan: Plan, a: Any, loc: Any = 0.0):
        self.factor = cholesky(plan, a)
        self.loc = mean_of(plan, loc, self.factor.values.dtype)
        self.constraint = None

    @property
    def plan(self) -> Plan:
        return self.factor.plan

    @property
    def n(self) -> int:
        return self.plan.n

    @property
    def values(self) -> Float[Array, " nnz"]:
        """The canonical values of A."""
        return self.factor.values

    def log_determinant(self) -> Float[Array, ""]:
        """log |A|; with constraints log |Z^T A Z|, Z an orthonormal basis of the plane C x = 0,
        which is log |A| + log |C A^-1 C^T| - log |C C^T|."""
        whole, held = self.factor.logdet(), self.constraint
        if held is None:
            return whole
        return whole + held.log_determinant()

    @property
    def mean(self) -> Float[Array, " n"]:
        """loc - A^-1 C^T (C A^-1 C^T)^-1 (C loc - e) (2.28)."""
        return self.on_plane(self.loc)

    def log_prob(self, x: Float[Array, "*batch n"]) -> Float[Array, "*batch"]:
        """The log density at x: (log |A| - n log 2 pi - (x - loc)^T A (x - loc)) / 2.

        With constraints, the density of x given C x = e on the plane C x = e (2.31), and -inf off
        it. Cost: one product with A a point.
        """
        x = points(self, x)
        value = self.factor.logdet() - self.n * math.log(2 * math.pi) - square(self, x)
        value = value / 2
        if self.constraint is None:
            return value
        held = self.constraint
        C, gap = held.C, held.e - held.C @ self.loc
        white = jax.scipy.linalg.solve_triangular(held.chol, gap, lower=True)
        given = -(C.shape[0] * math.log(2 * math.pi) + white @ white) / 2
        size = jnp.abs(x) @ jnp.abs(C).T + jnp.abs(held.e)
        on = is_rounding(x @ C.T - held.e, size, x) | jnp.isnan(value)  # a failure stays NaN
        density = value + held.log_determinant() / 2 - given
        return jnp.where(on, density, -jnp.inf)

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> Float[Array, "*shape n"]:
        """Draws, for an explicit key; constraints by kriging (2.30)."""
        return self.on_plane(self.loc + self.factor.sample(key, shape))

    def marginal_variances(self) -> Float[Array, " n"]:
        """The diagonal of the covariance (2.29), by the selected inverse."""
        variances = self.factor.marginal_variances()
        if self.constraint is None:
            return variances
        held = self.constraint
        root = jax.scipy.linalg.solve_triangular(held.chol, held.W.T, lower=True)
        return variances - jnp.sum(root**2, 0)

    def condition(self, B: Any, y: Any, noise_precision: Any) -> GMRF:
        """The field given y = B x + e, e ~ N(0, diag(1 / noise_precision)), noise_precision > 0.

        B (m, n) sparse, y (m,), noise_precision a number or (m,). The posterior precision is
        A + B^T diag(noise_precision) B (2.26), on the same plan: analyse the union with
        `padchol.analyze([Q, padchol.assembly.gram_pattern(B)])`. Constraints stay. Differentiable
        in y and the noise. Raises `ValueError` where the plan lacks an entry of B^T B.
        """
        posterior = given_observations(self, B, y, noise_precision)
        held = self.constraint
        return posterior if held is None else posterior.constrain(held.C, held.e)

    def constrain(self, C: Any, e: Any = 0.0) -> GMRF:
        """The field given C x = e: C (c, n) or (n,) dense, of full row rank, e a number or (c,).

        Sum to zero is `constrain(jnp.ones(n))`. Further constraints are added to those there are.
        Cost: c solves, and c^2 numbers (Rue & Held 2005, section 2.3.3).
        """
        C = jnp.atleast_2d(real_array(C, "constraints"))
        if C.shape[1:] != (self.n,):
            raise ValueError(f"expected C of shape (c, {self.n}) or ({self.n},); got {C.shape}")
        e = real_array(e, "constraint values")
        if e.shape not in ((), (C.shape[0],)):
            raise ValueError(f"expected e a number or of shape ({C.shape[0]},); got {e.shape}")
        e = jnp.broadcast_to(e, C.shape[:1])
        if self.constraint is not None:
            C = jnp.concatenate([self.constraint.C, C])
            e = jnp.concatenate([self.constraint.e, e])
        W = self.factor.solve(C.T)
        held = Constraint(C, e, W, jnp.linalg.cholesky(C @ W))
        none = lambda x: x is None
        return eqx.tree_at(lambda g: g.constraint, self, held, is_leaf=none)

    def on_plane(self, x: Float[Array, "*batch n"]) -> Float[Array, "*batch n"]:
        """x moved onto the plane C x = e by kriging, where there are constraints (2.30)."""
        if self.constraint is None:
            return x
        held = self.constraint
        return x - held.correction(x @ held.C.T - held.e)


def given_observations(field: Any, B: Any, y: Any, noise_precision: Any) -> GMRF:
    """The posterior of a field with `plan`, `values` and `loc`, without its constraints.

    Precision A + B^T D B and mean loc + (A + B^T D B)^-1 B^T D (y - B loc), D the noise precisions.
    """
    plan, loc = field.plan, field.loc
    product = assembly.gram(plan, B)
    m = product.shape[0]
    y, noise = real_array(y, "observations"), real_array(noise_precision, "precisions")
    if y.shape != (m,) or noise.shape not in ((), (m,)):
        raise ValueError(
            f"expected y of shape ({m},), the rows of B, and noise_precision a number or of "
            f"that shape; got {y.shape} and {noise.shape}"
        )
    noise = jnp.broadcast_to(noise, (m,))
    pull = product.t_times(noise * (y - product.times(loc))).astype(loc.dtype)
    posterior = GMRF(plan, field.values + product(noise))
    return eqx.tree_at(lambda g: g.loc, posterior, loc + posterior.factor.solve(pull))


def is_rounding(miss: Float[Array, "*batch c"], size: Float[Array, "*batch c"], of: Array) -> Array:
    """Whether what C x misses e by is no more than rounding of terms of that size, in the type of
    the points `of`."""
    eps = jnp.finfo(jnp.result_type(of)).eps
    return jnp.all(jnp.abs(miss) <= OFF_CONSTRAINT * eps * size, axis=-1)


def points(field: Any, x: Any) -> Float[Array, "*batch n"]:
    """x as an array of points of the field."""
    x = real_array(x, "a point")
    if x.shape[-1:] != (field.plan.n,):
        raise ValueError(f"expected x of shape (..., {field.plan.n}); got shape {np.shape(x)}")
    return x.astype(jnp.promote_types(x.dtype, field.loc.dtype))


def square(field: Any, x: Float[Array, "*batch n"]) -> Float[Array, "*batch"]:
    """(x - loc)^T A (x - loc)"""
    apart = (x - field.loc).reshape(-1, field.plan.n).T
    product = multiply(field.plan, field.values, apart)
    return jnp.sum(apart * product, 0).reshape(x.shape[:-1])


def mean_of(plan: Plan, loc: Any, dtype: Any) -> Float[Array, " n"]:
    """loc as (n,), in the wider of its type and that of the values."""
    loc = real_array(loc, "a mean")
    if loc.shape not in ((), (plan.n,)):
        raise ValueError(f"expected loc a number or of shape ({plan.n},); got {loc.shape}")
    return jnp.broadcast_to(loc, (plan.n,)).astype(jnp.promote_types(dtype, loc.dtype))
