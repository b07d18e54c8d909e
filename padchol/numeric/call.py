"""Numeric computations as JAX sees them: one primitive, and all its rules.

A computation is a function of a plan and arrays. JAX sees it as a whole, so that

    vmap       has it batched by the engine: on tiles one member after the other, so that a member
               stays in the cache and panels that nobody reads are never stored (1.4 to 1.8 times as
               fast at 2D 30^2 to 100^2, tests/bench/NOTES.md, experiment 24); in levels folded into
               the trips. A batch of vectors alone is a matrix of more columns
    sharding   cuts its batch axes over devices, and nothing else: see `devices`
    jvp, transpose   are the computation's own rules, to every order
    an eager call    is compiled once

Inside, it is made of JAX operations and sweeps, which are differentiated forwards only.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from padchol.numeric import interpreted
from padchol.numeric.batching import batch
from padchol.numeric.devices import alike, knows_devices, lowering, results
from padchol.numeric.shards import kept_apart, on_shards
from padchol.plan import Plan

MEANT_FOR_CPU = (
    "this plan was analysed for a CPU: elsewhere its supernodes are taken one by one, which is "
    "slow. Pass device='gpu' or device='tpu' to padchol.analyze"
)

call_p = Primitive("padchol_call")
call_p.multiple_results = True


class Computation:
    """What the primitive stands for; hashable. Without rules for derivatives its results are
    constants: see `constant`.

    takes, gives: which arrays, and which results, are panel storages, of which each shard has a row
    """

    takes: tuple[int, ...] = ()
    gives: tuple[int, ...] = ()

    def compute(self, plan: Plan, *arrays: jax.Array) -> Sequence[jax.Array]:
        """The results, of one matrix."""
        raise NotImplementedError

    def shapes(self, plan: Plan, *arrays: Any) -> Sequence[Any]:
        """Shapes and types of the results."""
        raise NotImplementedError

    def vectors(self, count: int) -> tuple[bool, ...]:
        """Which of so many arrays are (n, k), with results that are their images column by
        column."""
        return (False,) * count

    def together(self, mask: tuple[bool, ...]) -> tuple[bool, ...]:
        """Which arrays get a batch axis where those of the mask have it."""
        return mask

    def jvp(self, call: Call, plan: Plan, primals: Sequence, tangents: Sequence):
        """Results and their tangents; a tangent may be `ad.Zero`."""
        raise NotImplementedError

    def transpose(self, call: Call, plan: Plan, cotangents: Sequence, arrays: Sequence):
        """Cotangents of all arrays, None for those that are known."""
        raise NotImplementedError


@dataclass(frozen=True)
class Call:
    """A computation on a batch: operands are the leaves of the plan, then arrays.

    lead    sizes of the batch axes, outermost first; results have them all
    has     of each axis, which of the arrays have it, in front of their own
    """

    computation: Computation
    plan: Any  # tree structure
    lead: tuple[int, ...] = ()
    has: tuple[tuple[bool, ...], ...] = ()

    def split(self, operands: Sequence) -> tuple[Plan, Sequence]:
        tables = self.plan.num_leaves
        return jax.tree.unflatten(self.plan, operands[:tables]), operands[tables:]

    def bind(self, plan: Plan, *arrays: jax.Array) -> Sequence[jax.Array]:
        found = call_p.bind(*jax.tree.leaves(plan), *alike(*arrays), what=self)
        return found if plan.mesh is None else kept_apart(plan, found, self.computation.gives)

    def axes(self, i: int) -> list[int]:
        """The batch axes of one array."""
        return [axis for axis, mask in enumerate(self.has) if mask[i]]

    def led(self, x: jax.Array, i: int) -> jax.Array:
        """An array like the i-th, with all batch axes."""
        own = x.shape[len(self.axes(i)) :]
        some = [size if mask[i] else 1 for size, mask in zip(self.lead, self.has, strict=True)]
        return jnp.broadcast_to(x.reshape(*some, *own), (*self.lead, *own))


def call(computation: Computation, plan: Plan, *arrays: jax.Array) -> Sequence[jax.Array]:
    """The results, batched and differentiated by the rules of the computation."""
    return Call(computation, jax.tree.structure(plan)).bind(plan, *arrays)


def constant(computation: Computation, plan: Plan, *arrays: jax.Array) -> Sequence[jax.Array]:
    """The results as constants, whatever the arrays depend on."""
    return call(computation, plan, *map(lax.stop_gradient, arrays))


# ---- what it is -------------------------------------------------------------------------------


def _compute(*operands, what: Call):
    plan, arrays = what.split(operands)
    if plan.mesh is None:
        return _computed(what, plan, *arrays)
    f, shapes = functools.partial(_computed, what), _shapes(operands, what)
    return on_shards(f, plan, arrays, what.computation.takes, what.computation.gives, shapes)


def _computed(what: Call, plan: Plan, *arrays: jax.Array):
    f = functools.partial(what.computation.compute, plan)
    return over_axes(f, what.has, not plan.layout.in_levels)(*arrays)


def over_axes(f: Callable, has: Sequence[Sequence[bool]], one_by_one: bool) -> Callable:
    """f over batch axes, outermost first: has of each, which of its arguments have it in front."""
    for mask in reversed(has):
        if one_by_one:
            f = functools.partial(_one_by_one, f, mask)
        else:
            f = jax.vmap(f, in_axes=[0 if own else None for own in mask])
    return f


def _one_by_one(f: Callable, mask: Sequence[bool], *arrays):
    def member(batched):
        batched = iter(batched)
        return f(*(next(batched) if own else x for x, own in zip(arrays, mask, strict=True)))

    return lax.map(member, [x for x, own in zip(arrays, mask, strict=True) if own])


def _noticing(notice: Callable[[], None]) -> Callable:
    """`_compute`, with something to be noticed where fronts are taken one by one."""

    def compute(*operands, what: Call):
        plan, _ = what.split(operands)
        if not plan.layout.in_levels:
            notice()
        return _compute(*operands, what=what)

    return compute


def _meant_for_cpu() -> None:
    warnings.warn(MEANT_FOR_CPU, stacklevel=3)


def _shapes(operands, what: Call) -> list[ShapedArray]:
    plan, arrays = what.split(operands)
    own = [ShapedArray(x.shape[len(what.axes(i)) :], x.dtype) for i, x in enumerate(arrays)]
    found = what.computation.shapes(plan, *own)
    return [ShapedArray((*what.lead, *x.shape), x.dtype) for x in found]


def _axes(operands, what: Call):
    """The batch axis that each axis of each operand, and of each result, is, or None. Columns of
    the vectors of one matrix are one, too."""
    tables = what.plan.num_leaves
    arrays = operands[tables:]
    vectors = what.computation.vectors(len(arrays))

    def named(x, lead: Sequence[int], vector: bool):
        inner: list = [None] * (x.ndim - len(lead))
        if vector and not what.lead:
            inner[-1] = 0
        return (*lead, *inner)

    taken = [named(x, (), False) for x in operands[:tables]]
    taken += [named(x, what.axes(i), vectors[i]) for i, x in enumerate(arrays)]
    every = range(len(what.lead))
    return taken, [named(x, every, any(vectors)) for x in _shapes(operands, what)]


@call_p.def_abstract_eval
def _abstract(*operands, what: Call):
    return results(operands, _shapes(operands, what), _axes(operands, what))


@functools.lru_cache(maxsize=256)
def _compiled(what: Call):
    def whole(*operands):
        plan, arrays = what.split(operands)
        return what.bind(plan, *arrays)

    return jax.jit(whole)


@call_p.def_impl
def _eagerly(*operands, what: Call):
    """Compiled once for each call. Under `jax.disable_jit` and `jax.debug_nans` as well, which
    would run it operation by operation: it is one program, and binding it anew would not end."""
    with jax.disable_jit(False), jax.debug_nans(False), jax.debug_infs(False):
        return _compiled(what)(*operands)


knows_devices(call_p)


def _lowering(compute: Callable) -> Callable:
    batches, shards = lowering(compute, _axes), mlir.lower_fun(compute, multiple_results=True)

    def rule(ctx, *operands, what: Call):
        plan, _ = what.split([None] * len(operands))
        return (batches if plan.mesh is None else shards)(ctx, *operands, what=what)

    return rule


mlir.register_lowering(call_p, _lowering(_noticing(_meant_for_cpu)))
mlir.register_lowering(call_p, _lowering(_noticing(interpreted.warn_once)), platform="cpu")


# ---- derivatives ------------------------------------------------------------------------------


def _jvp(primals, tangents, *, what: Call):
    plan, arrays = what.split(primals)
    return what.computation.jvp(what, plan, arrays, tangents[what.plan.num_leaves :])


def _transpose(cotangents, *operands, what: Call):
    plan, arrays = what.split(operands)
    found = what.computation.transpose(what, plan, cotangents, arrays)
    return [None] * what.plan.num_leaves + list(found)


ad.primitive_jvps[call_p] = _jvp
ad.primitive_transposes[call_p] = _transpose


# ---- batches: see `numeric.batching` -----------------------------------------------------------


batching.primitive_batchers[call_p] = batch
