"""PyMC models with a sparse latent vector, by Laplace approximation and by NUTS (extras `pymc`,
`blackjax`).

    trace = sample(model, "x", plan)                     theta and x, jointly, preconditioned
    trace = sample(model, "x", plan, marginal=True)      theta with x integrated out by Laplace
    approximation = LatentModel(model, "x", plan)        theta to padchol.laplace.Laplace

x is a variable of the model, or several numbers of one, and `plan` holds the pattern of the Hessian
of the model's log density in x: `padchol.analyze([Q.pattern, padchol.assembly.gram_pattern(B)])`
for a field of precision Q that is seen through B x. theta is all other variables, one after the
other, as PyMC transforms them to the real line. The Hessian is found from products with a few
vectors, one for each colour of the pattern (`padchol.interop.probes`).
"""

# pyright: reportPrivateImportUsage=false

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import arviz
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pymc as pm
import pytensor.link.jax  # what JAX does for each operation
import pytensor.tensor as pt
import scipy.sparse as sp
from jax import lax
from jaxtyping import Array, Bool, Float
from pymc.util import get_default_varnames
from pytensor.compile import SharedVariable
from pytensor.compile.mode import get_mode
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.replace import clone_replace
from pytensor.graph.traversal import graph_inputs
from pytensor.link.jax.dispatch import jax_funcify

from padchol.factor import same_factor
from padchol.gmrf import GMRF
from padchol.interop.blackjax import Draws, marginal_nuts, nuts
from padchol.interop.held import Held
from padchol.interop.probes import Probes
from padchol.laplace import Design, Laplace, design
from padchol.laplace._mode import Problem, mode, search
from padchol.methods import WithMethods
from padchol.numeric.values import poisoned
from padchol.plan import Plan


def sample(
    model: pm.Model,
    latent: str,
    plan: Plan,
    *,
    draws: int = 1000,
    tune: int = 200,
    chains: int = 4,
    random_seed: int | None = None,
    marginal: bool = False,
    target_accept: float = 0.8,
) -> arviz.InferenceData:
    """Draws of the posterior of a model, as `pm.sample` gives them.

    latent, plan: the name of the latent vector, and a plan of the Hessian in it. marginal: NUTS
    over the other variables, on the Laplace approximation of their marginal, see
    `padchol.interop.blackjax.marginal_nuts`; otherwise over all, exactly, preconditioned by the
    joint precision at the mode, see `nuts` there. Raises `ValueError` for a latent vector or a plan
    that does not fit, and where no mode is found.
    """
    at = LatentModel(model, latent, plan)
    seed = np.random.SeedSequence(random_seed).generate_state(1)[0]
    options: Any = {"draws": draws, "warmup": tune, "chains": chains}
    options["target_acceptance"] = target_accept
    if marginal:
        found = marginal_nuts(jax.random.key(seed), at, no_prior, at.start, **options)
    else:
        joint = at.log_joint
        found = nuts(jax.random.key(seed), at, no_prior, at.start, log_joint=joint, **options)
    return _trace(model, at, found)


def no_prior(theta: Array) -> float:
    """The log density of a `LatentModel` has the priors already."""
    del theta
    return 0.0


class LatentModel(WithMethods):
    """A PyMC model as theta (p,) to the Laplace approximation of x (n,) given theta.

    `log_joint` is the model's log density, on PyMC's transformed scale, with the Jacobians; so
    log_marginal is log p(y, theta), priors and all. start, latent_start: PyMC's initial point. In
    `padchol.interop.blackjax` it is an approximation with the log prior `no_prior` and
    `log_joint=model.log_joint`. It is made outside of traced functions.

    The search of the mode is Newton's method, and needs a log density that is concave in x along
    the way; where it is not, or the Hessian has entries that the plan lacks, `converged` is false
    and all is NaN. Raises `ValueError` for a latent variable that the model does not have, a plan
    of another order or that lacks entries at the start, discrete variables, and models without
    others.
    """

    start: Float[np.ndarray, " p"]
    latent_start: Float[np.ndarray, " n"]
    design: Design  # x itself
    density: Held[_Density] = eqx.field(static=True)
    probes: Held[Probes] = eqx.field(static=True)

    def __init__(self, model: pm.Model, latent: str, plan: Plan):
        density = _Density(model, latent)
        starts = density.split(list(model.initial_point().values()))
        self.start, self.latent_start = (np.asarray(x, pytensor.config.floatX) for x in starts)
        if self.latent_start.size != plan.n:
            raise ValueError(
                f"expected a plan of order {self.latent_start.size}, the size of {latent!r}; got "
                f"{plan.n}"
            )
        eye = sp.eye_array(plan.n).astype(self.latent_start.dtype)
        self.design = design(plan, eye)
        self.density = Held(density, f"{id(density)}")
        self.probes = Held(_symmetric(plan), plan.fingerprint)
        if not bool(eqx.filter_jit(self._problem(self.start).complete)(self.latent_start)):
            raise ValueError(
                f"expected a plan that holds the Hessian of the log density in {latent!r}; got one "
                "that lacks entries of it, or a log density that is not finite at the start"
            )

    def log_joint(self, theta: Float[Array, " p"], x: Float[Array, " n"]) -> Float[Array, ""]:
        """log p(y, theta, x)"""
        return self.density.value(theta, x)

    def __call__(self, theta: Float[Array, " p"]) -> Laplace:
        whole = self._problem(theta)
        fixed: Any = lax.stop_gradient(whole)
        x, factor, W, found, steps = search(fixed, jnp.asarray(self.latent_start), 50)
        found = found & fixed.complete(x)
        x = mode(whole, x, factor, W)
        factor = same_factor(factor, whole.curvature(x))
        value = whole.value(x) + (x.size * math.log(2 * math.pi) - factor.logdet()) / 2
        converged = found & jnp.all(jnp.isfinite(x)) & jnp.isfinite(value)
        x, value = poisoned(x, converged), poisoned(value, converged)
        return Laplace(x, value, converged, steps, GMRF.of(factor, x), whole)

    def _problem(self, theta: Any) -> Any:
        return _Problem(self.design, jnp.asarray(theta), self.density, self.probes)


class _Problem(eqx.Module):
    """What `padchol.laplace` maximises, for a log density of any form."""

    design: Design
    theta: Float[Array, " p"]
    density: Held[_Density] = eqx.field(static=True)
    probes: Held[Probes] = eqx.field(static=True)

    plane = None
    solved, held, stepped = Problem.solved, Problem.held, Problem.stepped

    def value(self, x: Array) -> Array:
        return self.density.value(self.theta, x)

    def gradient(self, x: Array) -> Array:
        return jax.grad(self.value)(x)

    def curvature(self, x: Array, exact: Any = True) -> Float[Array, " nnz"]:
        """Values of minus the Hessian; there is no telling what would make it indefinite."""
        del exact
        return self._products(x)[0][: self.design.plan.nnz]

    def complete(self, x: Array) -> Bool[Array, ""]:
        """Whether the Hessian at x has no entries outside of the plan."""
        data, seen = self._products(x)
        probes = self.probes.value
        return probes.complete(seen, probes.times(data, jnp.asarray(probes.witness, seen.dtype)))

    def _products(self, x: Array) -> tuple[Array, Array]:
        """All entries of minus the Hessian, and its product with the witness."""
        minus = lambda v: -jax.jvp(self.gradient, (x,), (v,))[1]
        products, seen = self.probes.value.products(minus, x.dtype)
        return self.probes.value.entries(products), seen


def _symmetric(plan: Plan) -> Probes:
    rows, cols = np.asarray(plan.rows), np.asarray(plan.cols)
    off = rows != cols
    both = np.concatenate([rows, cols[off]]), np.concatenate([cols, rows[off]])
    return Probes(*both, (plan.n, plan.n))


class _Density:
    """(theta, x) to the log density of a model: between vectors and PyMC's variables."""

    def __init__(self, model: pm.Model, latent: str):
        names = [rv.name for rv in model.free_RVs]
        if latent not in names:
            raise ValueError(
                f"expected a free variable of the model, one of {names}; got {latent!r}"
            )
        if model.discrete_value_vars:
            raise ValueError(f"expected continuous variables; got {model.discrete_value_vars}")
        if len(names) < 2:
            raise ValueError(f"expected variables beside the latent {latent!r}; got none")
        self.at = names.index(latent)
        self.shapes = [np.shape(x) for x in model.initial_point().values()]
        self._density = jax_function(model.value_vars, [model.logp()])

    def split(self, values: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
        """(theta, x) of the values of the model's variables."""
        flat = [np.ravel(x) for x in values]
        x = flat.pop(self.at)
        return np.concatenate(flat), x

    def joined(self, theta: Array, x: Array) -> list[Array]:
        """The values of the model's variables."""
        sizes = [math.prod(shape) for i, shape in enumerate(self.shapes) if i != self.at]
        parts = jnp.split(theta, np.cumsum(sizes)[:-1])
        parts.insert(self.at, x)
        return [jnp.reshape(x, shape) for x, shape in zip(parts, self.shapes, strict=True)]

    def __call__(self, theta: Array, x: Array) -> Array:
        return jnp.asarray(self._density(*self.joined(theta, x))[0])


def jax_function(inputs: Sequence[Any], outputs: Sequence[Any]) -> Callable:
    """A PyTensor graph as a JAX function to a sequence; parameters outside of their domain, as PyMC
    checks them, give -inf, and shared variables are constants."""
    shared = [x for x in graph_inputs(outputs) if isinstance(x, SharedVariable)]
    constants: Any = {x: pt.constant(x.get_value(borrow=True)) for x in shared}
    graph = FunctionGraph(inputs, clone_replace(list(outputs), constants), clone=True)
    get_mode("JAX").including("local_check_parameter_to_ninf_switch").optimizer.rewrite(graph)
    return jax_funcify(graph)


def _trace(model: pm.Model, at: LatentModel, draws: Draws) -> arviz.InferenceData:
    """Every variable on its own scale, transformed ones and deterministics among them."""
    names = get_default_varnames([v.name for v in model.unobserved_value_vars], False)
    kept = [v for v in model.unobserved_value_vars if v.name in names]
    function, density = jax_function(model.value_vars, kept), at.density.value

    @jax.jit
    def values(theta, x):
        one = lambda each: tuple(function(*density.joined(*each)))
        return lax.map(lambda chain: lax.map(one, chain), (theta, x))

    posterior = dict(zip(names, map(np.asarray, values(draws.theta, draws.x)), strict=True))
    stats = {
        "diverging": np.asarray(draws.diverging),
        "acceptance_rate": np.asarray(draws.acceptance),
        "n_steps": np.asarray(draws.integration_steps),
    }
    dims = {name: list(d) for name, d in model.named_vars_to_dims.items() if name in names}
    coords: Any = {name: np.asarray(c) for name, c in model.coords.items() if c is not None}
    return arviz.from_dict(posterior, sample_stats=stats, coords=coords, dims=dims)
