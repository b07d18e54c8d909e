"""padchol in PyTensor graphs and PyMC models (extra `pymc`).

    logdet(plan, a)              log |A|
    solve(plan, a, b)            A^-1 b
    unwhiten(plan, a, z)         P^T L^-T z, of covariance A^-1 where z is white noise
    gmrf_logp(plan, a, x, loc)   log N(x; loc, A^-1)
    GMRF("x", plan, a, loc)      the same as a random variable of a PyMC model

`a` is a PyTensor vector (nnz,) of canonical values (`Plan.values`), usually a function of the
model's parameters: one value per symmetric pair, so that a gradient with respect to an off-diagonal
value counts both entries. Leading axes of `a` are batches, as everywhere in PyTensor.

Gradients are PyTensor graphs of these operations again, to any order. All that a graph asks of one
`a` shares one factorisation. Under PyTensor's JAX backend (`nuts_sampler="numpyro"` or "blackjax")
the graph becomes padchol's own JAX functions, with no callback; under the others each operation
calls the compiled JAX function, in the precision of its inputs whatever JAX's own setting is.

Where A is not positive definite, every output is NaN.
"""

# pyright: reportPrivateImportUsage=false

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pymc.distributions.dist_math import check_parameters
from pymc.distributions.shape_utils import implicit_size_from_params, rv_size_is_none
from pytensor import config
from pytensor.tensor import TensorVariable

from padchol.interop import routines
from padchol.interop.operation import Factored, apply
from padchol.plan import Plan


def logdet(plan: Plan, a: Any) -> TensorVariable:
    """log |A|, a scalar (or the batch shape of `a`), with the selected inverse as its gradient.

    a (nnz,). NaN where A is not positive definite. Cost: one factorisation, and one down sweep for
    the gradient. Raises `ValueError` for a shape that does not fit the plan.
    """
    return Factored(plan, _values(plan, a))(routines.LOGDET)


def selected_inverse(plan: Plan, a: Any) -> TensorVariable:
    """(nnz,): the entries of A^-1 on the pattern of A, in canonical order. See `logdet`."""
    return Factored(plan, _values(plan, a))(routines.SELECTED_INVERSE)


def solve(plan: Plan, a: Any, b: Any) -> TensorVariable:
    """x with A x = b; a (nnz,), b (n,) or (n, k), both in the user's order.

    The gradient is another solve, b_bar = A^-1 x_bar, and a_bar = -(b_bar x^T + x b_bar^T) on the
    pattern (once on the diagonal). NaN where A is not positive definite. Cost: one factorisation
    and two triangular sweeps, two more for the gradient.
    """
    return _columns(plan, a, b, "a right-hand side", routines.SOLVE)


def unwhiten(plan: Plan, a: Any, z: Any) -> TensorVariable:
    """P^T L^-T z: a draw of N(0, A^-1) for standard normal z, (n,) or (n, k).

    For non-centred models: z ~ N(0, I) is sampled, x = unwhiten(plan, a, z) is the field.
    Differentiable in `a` and z. NaN where A is not positive definite.
    """
    return _columns(plan, a, z, "noise", routines.UNWHITEN)


def gmrf_logp(plan: Plan, a: Any, x: Any, loc: Any = 0.0) -> TensorVariable:
    """log N(x; loc, A^-1) = (log |A| - n log 2 pi - (x - loc)^T A (x - loc)) / 2.

    a (nnz,), x (n,), loc a number or (n,); leading axes of any of them are batches. NaN where A is
    not positive definite (`GMRF` says how a model takes that). Raises `ValueError` for shapes that
    do not fit the plan. Cost: one factorisation, one down sweep for the gradient.
    """
    return _log_density(plan, a, x, loc)[0]


class GMRF:
    """x ~ N(loc, A^-1) in a PyMC model: `GMRF("x", plan, a, loc)`, inside `with pm.Model()`.

    plan, a: the plan and the canonical values (nnz,) of the precision A; loc: a number or (n,).
    Further keywords are PyMC's: `observed=`, `dims=`, `shape=`, `initval=`. Draws of the prior and
    of the posterior predictive are `unwhiten` of standard normals. The search starts at loc.

    Where A is not positive definite this does what `pm.MvNormal` does. Evaluating the density
    raises PyMC's `ParameterValueError`; in a compiled model the log density is -inf (NaN under the
    JAX samplers), which rejects the draw, or counts as a divergence. A draw is NaN.

    Samplers outside JAX that run chains in processes must not fork a process that has used JAX:
    `pm.sample(..., mp_ctx="forkserver")`, or `cores=1`. A forked one raises `RuntimeError`.
    """

    def __new__(cls, name: str, plan: Plan, a: Any, loc: Any = 0.0, **kwargs: Any):
        parameters, rest = _parameters(plan, a, loc)
        return pm.CustomDist(name, *parameters, **rest, **kwargs)

    @classmethod
    def dist(cls, plan: Plan, a: Any, loc: Any = 0.0, **kwargs: Any) -> TensorVariable:
        """The variable by itself, outside a model: for `pm.draw`, `pm.logp` and as a component."""
        parameters, rest = _parameters(plan, a, loc)
        return pm.CustomDist.dist(*parameters, **rest, **kwargs)


def _parameters(plan: Plan, a: Any, loc: Any) -> tuple[list, dict]:
    """The parameters of `pm.CustomDist`, and what it has to know."""
    a, loc = _values(plan, a), _vector(plan, loc, "loc")

    def draw(a, loc, size):
        if rv_size_is_none(size):
            size = implicit_size_from_params(a, loc, ndims_params=(1, 1))
        z = pm.Normal.dist(shape=(*size, plan.n))
        x = Factored(plan, a)(routines.UNWHITEN, z[..., None])
        return loc + x[..., 0]

    def logp(x, a, loc):
        value, info = _log_density(plan, a, x, loc)
        succeeded: Any = pt.eq(info, 0)
        return check_parameters(value, succeeded, msg="a: a positive definite precision")

    def start(x, size, a, loc):
        return pt.broadcast_to(loc, x.shape)

    about = {"signature": "(k),(n)->(n)", "class_name": "GMRF"}
    return [a, loc], {"dist": draw, "logp": logp, "support_point": start, **about}


def _log_density(plan: Plan, a: Any, x: Any, loc: Any) -> tuple[TensorVariable, TensorVariable]:
    """The log density, and the failure index of the factorisation."""
    x = _last(plan, _floating(x, "a point"), "x")
    apart = (x - _vector(plan, loc, "loc"))[..., None]
    factored = Factored(plan, _values(plan, a))
    square = pt.sum(factored.a * apply(plan, routines.PAIRS, apart, apart), -1)
    value = (factored(routines.LOGDET) - plan.n * math.log(2 * math.pi) - square) / 2
    return value, factored.info


def _columns(plan: Plan, a: Any, b: Any, what: str, routine: routines.Routine) -> TensorVariable:
    """A routine that takes columns, for b (n,) or (n, k)."""
    b = _floating(b, what)
    if b.ndim not in (1, 2) or b.type.shape[0] not in (None, getattr(plan, "n", None)):
        n = getattr(plan, "n", "n")
        raise ValueError(f"expected {what} of shape ({n},) or ({n}, k); got shape {b.type.shape}")
    factored = Factored(plan, _values(plan, a))
    return factored(routine, b) if b.ndim == 2 else factored(routine, b[:, None])[..., 0]


def _values(plan: Plan, a: Any) -> TensorVariable:
    if not isinstance(plan, Plan):
        raise TypeError(f"expected a Plan, as made by padchol.analyze; got {type(plan).__name__}")
    a = _floating(a, "values")
    if a.ndim < 1 or a.type.shape[-1] not in (None, plan.nnz):
        raise ValueError(
            f"expected values of shape ({plan.nnz},), the plan's canonical order; "
            f"got shape {a.type.shape}"
        )
    return a


def _vector(plan: Plan, v: Any, what: str) -> TensorVariable:
    """A number or (..., n) as (..., n)."""
    v = _floating(v, what)
    return pt.broadcast_to(v, (plan.n,)) if v.ndim == 0 else _last(plan, v, what)


def _last(plan: Plan, v: TensorVariable, what: str) -> TensorVariable:
    if v.ndim < 1 or v.type.shape[-1] not in (None, plan.n):
        raise ValueError(f"expected {what} of shape (..., {plan.n}); got shape {v.type.shape}")
    return v


def _floating(x: Any, what: str) -> TensorVariable:
    """A float tensor; integers and booleans become PyTensor's floatX."""
    x = pt.as_tensor_variable(x)
    if np.issubdtype(x.dtype, np.integer) or x.dtype == "bool":
        return pt.cast(x, config.floatX)
    if x.dtype not in ("float32", "float64"):
        raise TypeError(f"expected float32 or float64 {what}; got dtype {x.dtype}")
    return x
