"""padchol in NumPyro: Gaussian Markov random fields, proper and intrinsic, as distributions.

    x = numpyro.sample("x", GMRF(plan, tau * a))
    u = numpyro.sample("u", IntrinsicGMRF(plan, a, null))

The plan is static data of the distribution: it is neither batched nor differentiated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Real
from numpyro.distributions import Distribution, constraints
from numpyro.distributions.batch_util import vmap_over
from numpyro.distributions.constraints import dependent_property
from numpyro.distributions.util import validate_sample

from padchol import gmrf
from padchol.factor import cholesky
from padchol.interop.held import held_plan, hold
from padchol.interop.plane import Plane, reflections
from padchol.numeric.values import as_shape, real_array
from padchol.plan import Plan


class _Field(Distribution):
    """What the distributions share: a plan, batches of values (..., nnz) and of means (..., n)."""

    arg_constraints = {"a": constraints.real_vector, "loc": constraints.real_vector}  # noqa: RUF012
    reparametrized_params = ["a", "loc"]  # noqa: RUF012
    pytree_data_fields: tuple[str, ...] = ("a", "loc", "_traced")
    pytree_aux_fields = ("_held",)

    def __init__(self, plan: Plan, a: Any, loc: Any, validate_args: bool | None):
        self._traced, self._held = hold(plan)
        a = real_array(a, "values")
        dtype = jnp.result_type(a, loc)  # a number takes the type of the values
        loc = real_array(loc, "a mean").astype(dtype)
        if a.shape[-1:] != (plan.nnz,):
            raise ValueError(
                f"expected values of shape (..., {plan.nnz}), the plan's canonical order; got "
                f"shape {a.shape}"
            )
        if loc.ndim and loc.shape[-1] != plan.n:
            raise ValueError(
                f"expected loc a number or of shape (..., {plan.n}); got shape {loc.shape}"
            )
        self.a = a
        self.loc = loc if loc.ndim else jnp.broadcast_to(loc, (plan.n,))
        try:
            batch = self._batch
        except ValueError:
            raise ValueError(
                "expected batch axes of values and loc that broadcast; got shapes "
                f"{a.shape} and {loc.shape}"
            ) from None
        super().__init__(batch, (plan.n,), validate_args=validate_args)

    @property
    def plan(self) -> Plan:
        """The plan of the pattern."""
        return held_plan(self._traced, self._held)

    @property
    def _batch(self) -> tuple[int, ...]:
        """As the parameters have it here: inside a vmap over the distribution they have less."""
        return np.broadcast_shapes(self.a.shape[:-1], self.loc.shape[:-1])

    def _field(self, a: Float[Array, " nnz"]) -> Any:
        """The field of one precision, with mean zero."""
        raise NotImplementedError

    @validate_sample
    def log_prob(self, value: Real[ArrayLike, "*batch n"], intermediates: Any = None) -> Array:
        """(log |A| - r log 2 pi - (x - loc)^T A (x - loc)) / 2: r the rank, |A| as of the field."""
        value = real_array(value, "a point")
        if value.shape[-1:] != (self.plan.n,):
            raise ValueError(
                f"expected a value of shape (..., {self.plan.n}); got shape {value.shape}"
            )
        return self._each(lambda a, x: self._field(a).log_prob(x), value - self.loc)

    def sample(self, key: Any, sample_shape: int | Sequence[int] = ()) -> Array:
        """loc + P^T L^-T z, z standard normal, of shape sample_shape + batch_shape + (n,)."""
        shape = (*as_shape(sample_shape), *self._batch, self.plan.n)
        dtype = jnp.promote_types(self.a.dtype, self.loc.dtype)
        z = jax.random.normal(key, shape, dtype)

        def draws(a, z):
            field = self._field(a)
            F = field.factor
            return field.on_plane(F.apply_Pt(F.solve_Lt(z.T)).T)

        return self.loc + self._each(draws, z)

    @property
    def mean(self) -> Array:
        return jnp.broadcast_to(self.loc, (*self._batch, self.plan.n))

    @property
    def mode(self) -> Array:
        return self.mean

    @property
    def variance(self) -> Array:
        """The marginal variances, by the selected inverse: one down sweep."""
        return self._expanded(lambda a: self._field(a).marginal_variances(), 1)

    def _each(self, f: Callable, x: Float[Array, "*shape n"]) -> Array:
        """f(a, points (k, n)) -> (k, ...), with every precision handed over once."""
        x = jnp.broadcast_to(x, (*np.broadcast_shapes(x.shape[:-1], self._batch), x.shape[-1]))
        lead = x.shape[:-1]
        own = self.a.shape[:-1]
        if math.prod(own) == 1:
            found = f(self.a.reshape(-1), x.reshape(math.prod(lead), x.shape[-1]))
            return found.reshape(*lead, *found.shape[1:])
        split = len(lead) - len(own)
        a = jnp.broadcast_to(self.a, (*lead[split:], self.a.shape[-1]))
        k, count = math.prod(lead[:split]), math.prod(lead[split:])
        points = x.reshape(k, count, x.shape[-1]).swapaxes(0, 1)
        found = jax.vmap(f)(a.reshape(count, a.shape[-1]), points).swapaxes(0, 1)
        return found.reshape(*lead, *found.shape[2:])

    def _expanded(self, f: Callable, ndim: int) -> Array:
        """f(a) for each precision, of ndim axes, in the batch shape."""
        for _ in self.a.shape[:-1]:
            f = jax.vmap(f)
        found = f(self.a)
        return jnp.broadcast_to(found, self._batch + found.shape[found.ndim - ndim :])


class GMRF(_Field):
    """x ~ N(loc, A^-1), A the sparse precision with canonical values a on a plan.

    a (..., nnz), loc a number or (..., n): their leading axes are the batch. Event shape (n,). A
    gradient with respect to an off-diagonal value counts both entries of its symmetric pair. Cost:
    one factorisation for each precision in the batch and each call; none when it is made, unless
    `validate_args=True` asks for a proof, outside jit, that A is positive definite.

    Where it is not, densities, draws and variances are NaN. Raises `ValueError` for shapes that do
    not fit, and, where NumPyro validates, for values or means that are not finite;
    `NotPositiveDefiniteError` with `validate_args=True`.
    """

    support = constraints.real_vector  # pyright: ignore

    def __init__(self, plan: Plan, a: Any, loc: Any = 0.0, *, validate_args: bool | None = None):
        super().__init__(plan, a, loc, validate_args)
        if validate_args and not isinstance(self.a, jax.core.Tracer) and self._held is not None:
            with jax.ensure_compile_time_eval():
                for values in self.a.reshape(-1, plan.nnz):
                    cholesky(plan, values, throw=True)

    def _field(self, a: Float[Array, " nnz"]) -> gmrf.GMRF:
        return gmrf.GMRF(self.plan, a, jnp.zeros((), a.dtype))

    def entropy(self) -> Array:
        """(n log 2 pi e - log |A|) / 2"""
        logdet = self._expanded(lambda a: cholesky(self.plan, a).logdet(), 0)
        return (self.plan.n * (1 + math.log(2 * math.pi)) - logdet) / 2

    @classmethod
    def infer_shapes(cls, plan: Plan, a: tuple, loc: tuple = ()):  # pyright: ignore
        """(batch shape, event shape) from the shapes of a and loc."""
        return np.broadcast_shapes(a[:-1], loc[:-1]), (plan.n,)


class IntrinsicGMRF(_Field):
    """The field of a precision A with null space N, held on the plane C (x - loc) = 0.

        u = numpyro.sample("u", IntrinsicGMRF(plan, a, np.ones(n)))        a Besag field, sum zero

    plan, a, loc: as of `GMRF`. null (n, k) or (n,): a basis of the null space of A; constraints
    (k, n), by default null^T; both known when the model is traced. NUTS moves in the n - k
    dimensions of the plane (`padchol.interop.plane`), and the density is that on it. See
    `padchol.gmrf.IntrinsicGMRF` for what is computed, where it is NaN, and what is raised.
    """

    pytree_data_fields = (*_Field.pytree_data_fields, "null", "C", "_reflections", "_pins")

    def __init__(
        self,
        plan: Plan,
        a: Any,
        null: Any,
        loc: Any = 0.0,
        *,
        constraints: Any = None,
        validate_args: bool | None = None,
    ):
        if any(isinstance(x, jax.core.Tracer) for x in (null, constraints)):
            raise ValueError(
                "expected a null space and constraints that are known when the model is traced "
                "(numpy arrays)"
            )
        self.null, self.C = gmrf.null_space(plan, null, constraints)
        self._pins, self._reflections = gmrf.pins(self.null.T), reflections(self.C)
        super().__init__(plan, a, loc, validate_args)

    @dependent_property(event_dim=1)  # pyright: ignore
    def support(self) -> Plane:  # pyright: ignore
        dtype = self.loc.dtype
        return Plane(jnp.asarray(self.C, dtype), self.loc, jnp.asarray(self._reflections, dtype))

    def _field(self, a: Float[Array, " nnz"]) -> gmrf.IntrinsicGMRF:
        return gmrf.IntrinsicGMRF(
            self.plan, a, self.null, jnp.zeros((), a.dtype), constraints=self.C, pins=self._pins
        )


@vmap_over.register
def _vmap_over_field(dist: _Field, a: int | None = None, loc: int | None = None):
    """The axes of a vmap over a field: those of a and loc; the plan has none."""
    return vmap_over.dispatch(Distribution)(dist, a=a, loc=loc)
