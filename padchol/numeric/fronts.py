"""A routine on all supernodes, by the engine that the plan is made for.

Tiles take them one by one, levels in padded batches. Both are loops that JAX can differentiate
forwards. So the tangent of a routine is a primitive of its own kind, which holds the
function and how often, and in which operands, it was differentiated. Reverse mode does not come
here: see `numeric.forms`.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, mlir

from padchol.numeric import levels
from padchol.numeric.primitives import (
    as_columns,
    compile_eager_calls,
    from_columns,
    front_axis,
    over_axes,
    register_batch,
)
from padchol.numeric.sweep import Kernel, Sweep
from padchol.numeric.tiled.run import run as run_tiled
from padchol.plan import Plan
from padchol.symbolic.layout import Kind

MEANT_FOR_CPU = (
    "this plan was analysed for a CPU: elsewhere its fronts are taken one by one, which is slow. "
    "Pass device='gpu' or device='tpu' to padchol.analyze"
)

fronts_p = Primitive("padchol_fronts")
fronts_p.multiple_results = True


@dataclass(frozen=True)
class Routine:
    """A sweep in two forms.

    batch             its kernel on a batch of padded supernodes, see `levels`
    tiled, scratch    its kernel on one front, see `tiled.fronts`, and the arrays it works in
    The other fields are those of `sweep.Sweep`.
    """

    batch: Kernel
    tiled: Callable
    scratch: Callable
    up: bool
    node: Kind
    takes: tuple[Kind, ...] = ()
    alone: bool = False


@dataclass(frozen=True)
class Derivative:
    """What the primitive runs: a routine, differentiated once for each of `moved`.

    spec     the sweep
    moved    for each differentiation, which of the operands so far have a tangent; those follow
    has      of each batch axis, outermost first, whether the storage and each leaf have it
    """

    spec: Sweep
    routine: Routine
    moved: tuple[tuple[bool, ...], ...] = ()
    has: tuple[tuple[bool, ...], ...] = ()

    @property
    def bases(self) -> tuple[int, ...]:
        """Of each operand: whether it belongs to the storage (0) or to which leaf."""
        found = tuple(range(1 + len(self.routine.takes)))
        for mask in self.moved:
            found += tuple(base for base, has in zip(found, mask, strict=True) if has)
        return found

    def of(self, f: Callable) -> Callable:
        """f(table, storage, *leaves) -> (storage,), differentiated."""
        for mask in self.moved:
            f = _tangent(f, mask)
        return f


def _tangent(f: Callable, mask: tuple[bool, ...]) -> Callable:
    def differentiated(table, *operands):
        known, dots = operands[: len(mask)], operands[len(mask) :]
        moved = [i for i, has in enumerate(mask) if has]

        def of_moved(*values):
            full = list(known)
            for i, x in zip(moved, values, strict=True):
                full[i] = x
            return f(table, *full)

        out, out_dots = jax.jvp(of_moved, [known[i] for i in moved], list(dots))
        return (*out, *out_dots)

    return differentiated


def apply(routine: Routine, plan: Plan, storage: jax.Array, *leaves: jax.Array) -> jax.Array:
    """The final storage."""
    what = described(routine, plan, storage, *leaves)
    if plan.n == 0 or what.spec.k == 0:
        return storage
    return fronts_p.bind(plan.table, storage, *leaves, what=what)[0]


def described(routine: Routine, plan: Plan, storage: jax.Array, *leaves: jax.Array) -> Derivative:
    """The routine itself, for operands of these shapes."""
    kinds, operands = (routine.node, *routine.takes), (storage, *leaves)
    columns = [x.shape[-1] for x, kind in zip(operands, kinds, strict=True) if kind != "panel"]
    spec = Sweep(
        plan.layout,
        routine.batch,
        routine.up,
        routine.node,
        k=columns[0] if columns else 1,
        takes=routine.takes,
        alone=routine.alone,
    )
    return Derivative(spec, routine)


def _run(table, *operands, what: Derivative):
    """On one matrix, or on a batch of them."""
    if not what.spec.layout.in_levels:
        f = functools.partial(_in_tiles, what=replace(what, has=()))
    else:
        f = functools.partial(_in_levels, what=what)
    has = [[mask[base] for base in what.bases] for mask in what.has]
    return over_axes(functools.partial(f, table), has, not what.spec.layout.in_levels)(*operands)


def _in_levels(table, *operands, what: Derivative):
    def whole(table, storage, *leaves):
        return (levels.run(what.spec, table, storage, leaves),)

    return what.of(whole)(jnp.asarray(table), *operands)


def _in_tiles(table, *operands, what: Derivative):
    spec, routine = what.spec, what.routine
    return run_tiled(spec, routine.tiled, routine.scratch, what.bases, what.of, table, operands)


def _elsewhere(table, *operands, what: Derivative):
    if not what.spec.layout.in_levels:
        warnings.warn(MEANT_FOR_CPU, stacklevel=2)
    return _run(table, *operands, what=what)


compile_eager_calls(fronts_p)


@fronts_p.def_abstract_eval
def _abstract(table, storage, *others, what: Derivative):
    return [ShapedArray(storage.shape, storage.dtype)] * 2 ** len(what.moved)


mlir.register_lowering(fronts_p, mlir.lower_fun(_elsewhere, multiple_results=True))
mlir.register_lowering(fronts_p, mlir.lower_fun(_run, multiple_results=True), platform="cpu")


def _jvp(primals, tangents, *, what: Derivative):
    table, *operands = primals
    mask = tuple(type(dot) is not ad.Zero for dot in tangents[1:])
    dots = [dot for dot, has in zip(tangents[1:], mask, strict=True) if has]
    more = replace(what, moved=(*what.moved, mask))
    found = fronts_p.bind(table, *operands, *dots, what=more)
    return found[: len(found) // 2], found[len(found) // 2 :]


ad.primitive_jvps[fronts_p] = _jvp


def _batch(operands, dims, *, what: Derivative):
    table, operands, dims = operands[0], operands[1:], dims[1:]
    size = next(x.shape[d] for x, d in zip(operands, dims, strict=True) if d is not None)
    spec, bases = what.spec, what.bases
    mapped = {base for base, d in zip(bases, dims, strict=True) if d is not None}
    if not what.has and spec.node != "panel" and mapped == {0}:
        return _batch_columns(table, operands, dims, what, size)
    mapped.add(0)
    operands = [
        front_axis(x, d, size) if base in mapped else x
        for x, d, base in zip(operands, dims, bases, strict=True)
    ]
    mask = tuple(base in mapped for base in range(1 + len(spec.takes)))
    out = fronts_p.bind(table, *operands, what=replace(what, has=(mask, *what.has)))
    return out, [0] * len(out)


def _batch_columns(table, operands: Sequence, dims, what: Derivative, size: int):
    """A batch of vectors as a matrix of more columns."""
    k = what.spec.k
    merged = [
        x if base else as_columns(x, d, size)
        for x, d, base in zip(operands, dims, what.bases, strict=True)
    ]
    out = fronts_p.bind(table, *merged, what=replace(what, spec=replace(what.spec, k=size * k)))
    return [from_columns(x, size, k) for x in out], [1] * len(out)


register_batch(fronts_p, _batch, lambda what: 1)
