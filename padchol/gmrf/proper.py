"""Gaussian Markov random fields: N(loc, A^-1) with a sparse precision A, and their conditionals.

After Rue & Held (2005), Gaussian Markov Random Fields, chapter 2; equation numbers are theirs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Real

from padchol import assembly
from padchol.factor import Factor, cholesky
from padchol.factor import log_determinants as of_factors
from padchol.gmrf.constraint import plane
from padchol.gmrf.kriging import Constraint, Plane
from padchol.methods import WithMethods
from padchol.numeric.values import as_shape, multiply, real_array
from padchol.plan import Plan


class GMRF(WithMethods):
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

    @classmethod
    def of(
        cls, factor: Factor, loc: Float[Array, " n"], constraint: Constraint | None = None
    ) -> GMRF:
        """The field whose precision has this factor."""
        field = object.__new__(cls)
        for name, value in (("factor", factor), ("loc", loc), ("constraint", constraint)):
            object.__setattr__(field, name, value)
        return field

    @property
    def plan(self) -> Plan:
        """The plan of the precision."""
        return self.factor.plan

    @property
    def n(self) -> int:
        """How many variables the field has."""
        return self.plan.n

    @property
    def values(self) -> Float[Array, " nnz"]:
        """The canonical values of A."""
        return self.factor.values

    def log_determinant(self) -> Float[Array, ""]:
        """log |A|; with constraints log |Z^T A Z|, Z an orthonormal basis of the plane C x = 0."""
        return log_determinants(self)[0]

    def _beyond(self) -> Array | float:
        """What is added to the log determinant of the factor's matrix."""
        return 0.0 if self.constraint is None else self.constraint.log_determinant()

    @property
    def mean(self) -> Float[Array, " n"]:
        """loc - A^-1 C^T (C A^-1 C^T)^-1 (C loc - e) (2.28)."""
        return self.on_plane(self.loc)

    def log_prob(self, x: Real[ArrayLike, "*batch n"]) -> Float[Array, "*batch"]:
        """The log density at x: (log |A| - n log 2 pi - (x - loc)^T A (x - loc)) / 2.

        With constraints, the density of x given C x = e on the plane C x = e (2.31), and -inf where
        x is off it by more than rounding, in the type of x. Cost: one product with A a point.
        """
        x, eps = points(self, x), jnp.finfo(real_array(x, "a point").dtype).eps
        held = self.constraint
        rank = self.n if held is None else self.n - held.e.size
        value = self.log_determinant() - rank * math.log(2 * math.pi) - square(self, x)
        if held is None:
            return value / 2
        white = held.white(self.loc)
        density = (value + white @ white) / 2
        on = held.holds(x, self.loc, eps) | jnp.isnan(density)  # a failure stays NaN
        return jnp.where(on, density, -jnp.inf)

    def sample(self, key: Array, shape: int | Sequence[int] = ()) -> Float[Array, "*shape n"]:
        """Draws, for an explicit key; constraints by kriging (2.30)."""
        return self.on_plane(self.loc + self.factor.sample(key, as_shape(shape)))

    def marginal_variances(self) -> Float[Array, " n"]:
        """The diagonal of the covariance (2.29), by the selected inverse."""
        variances, held = self.factor.marginal_variances(), self.constraint
        return variances if held is None else jnp.maximum(variances - held.lost_variances(), 0)

    def condition(self, B: Any, y: Any, noise_precision: Any) -> GMRF:
        """The field given y = B x + e, e ~ N(0, diag(1 / noise_precision)), noise_precision > 0.

        B (m, n) sparse, y (m,), noise_precision a number or (m,). The posterior precision is
        A + B^T diag(noise_precision) B (2.26), on the same plan: analyse the union with
        `padchol.analyze([Q, padchol.assembly.gram_pattern(B)])`. Constraints stay. Differentiable
        in y and the noise. Raises `ValueError` where the plan lacks an entry of B^T B.
        """
        posterior = given_observations(self, B, y, noise_precision)
        held = self.constraint
        return posterior if held is None else posterior.on(held.plane)

    def constrain(self, C: Any, e: Any = 0.0) -> GMRF:
        """The field given C x = e: C (c, n) or (n,), dense or sparse, e a number or (c,).

        Sum to zero is `constrain(jnp.ones(n))`. Further constraints are added to those there are.
        The rows, those there are among them, need to be linearly independent, by the standard of
        `padchol.gmrf.constraint.DEPENDENT`: `ValueError` where C is known; every output is NaN
        where it is traced. Cost: c solves, and c^2 numbers (Rue & Held 2005, section 2.3.3).
        """
        before = None if self.constraint is None else self.constraint.plane
        held = plane(C, e, self.n, self.loc.dtype, before)
        return self.on(held) if held.e.size else self

    def on(self, plane: Plane) -> GMRF:
        """The field on a plane, in place of the constraints there are."""
        held, none = plane.under(self.factor), lambda x: x is None
        return eqx.tree_at(lambda g: g.constraint, self, held, is_leaf=none)

    def on_plane(self, x: Float[Array, "*batch n"]) -> Float[Array, "*batch n"]:
        """x moved onto the plane C x = e by kriging, where there are constraints (2.30)."""
        return x if self.constraint is None else self.constraint.moved(x)


def log_determinants(*fields: Any) -> tuple[Float[Array, ""], ...]:
    """`log_determinant` of each, see `padchol.factor.log_determinants`."""
    found = of_factors(*(field.factor for field in fields))
    return tuple(x + field._beyond() for x, field in zip(found, fields, strict=True))


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
