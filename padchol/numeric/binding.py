"""The sweep primitive: how JAX's transformations see a sweep.

Derivatives of every order follow from three facts, so no kernel needs a rule of its own:

    tangent     of a sweep is a linear sweep in the same direction, whose kernel is the kernel's
                jvp at the nodes, leaves and reads of the primal sweep (which then stores them);
                a sweep that is linear in what moves is its own tangent and stores nothing
    transpose   of a linear sweep is a linear sweep in the other direction with the transposed
                kernel: what was handed up is read below with the same indices
    batch       of a sweep is a sweep with one more leading axis, or with more columns, where only
                vectors are batched

Memory of a tangent taken through leaves: the nodes before the kernel (and, of a down sweep, what it
read below), once per order of differentiation.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from padchol.numeric.sweep import Kernel, Sweep, run
from padchol.symbolic.layout import BinLayout

sweep_p = Primitive("padchol_sweep")
sweep_p.multiple_results = True


def sweep(spec: Sweep, table: jax.typing.ArrayLike, *operands: jax.Array) -> list[jax.Array]:
    """Run `spec` on a storage and the leaves that go in; every JAX transformation applies.

    Returns the final storage and the leaves that come out.
    """
    if not spec.layout.bins:
        assert not spec.gives
        return [operands[0]]
    if not spec.batched:
        spec = replace(spec, batched=((False,) * len(spec.lead),) * len(spec.takes))
    return sweep_p.bind(table, *operands, spec=spec)


def _run(table, storage, *leaves, spec: Sweep):
    return run(spec, table, storage, leaves)


def compile_eager_calls(primitive: Primitive) -> None:
    """Outside of jit, a primitive on storages is compiled once for each spec."""

    @functools.lru_cache(maxsize=256)
    def compiled(spec: Sweep):
        return jax.jit(functools.partial(primitive.bind, spec=spec))

    primitive.def_impl(lambda *operands, spec: compiled(spec)(*operands))


compile_eager_calls(sweep_p)


@sweep_p.def_abstract_eval
def _abstract(table, storage, *leaves, spec: Sweep):
    kinds = (spec.node, *spec.gives)
    return [ShapedArray((*spec.lead, *spec.stored(kind)), storage.dtype) for kind in kinds]


mlir.register_lowering(sweep_p, mlir.lower_fun(_run, multiple_results=True))


# ---- tangents ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Store:
    """The kernel, with the node it was given, and what it read below, as further leaves."""

    kernel: Kernel

    def __call__(self, bin: BinLayout, args: tuple, *below):
        if below:
            return (*self.kernel(bin, args, *below), args[0], *below)
        ys, update = self.kernel(bin, args)
        return (*ys, args[0]), update


@dataclass(frozen=True)
class Linearised:
    """The kernel's tangent. Leaves: its own, what `Store` stored, tangents of the `moved` ones."""

    kernel: Kernel
    takes: int
    moved: tuple[int, ...]

    def __call__(self, bin: BinLayout, args: tuple, *below):
        moving = (args[0], *args[1 + self.takes + 1 + len(below) :])
        leaves, node = args[1 : 1 + self.takes], args[1 + self.takes]
        stored = args[2 + self.takes :][: len(below)]
        at = (node, *(leaves[i] for i in self.moved))

        def call(moving, *below):
            full = list(leaves)
            for i, x in zip(self.moved, moving[1:], strict=True):
                full[i] = x
            return self.kernel(bin, (moving[0], *full), *below)

        return jax.jvp(call, (at, *stored), (moving, *below))[1]


def _jvp(primals, tangents, *, spec: Sweep):
    table, storage, *leaves = primals
    storage_dot = ad.instantiate_zeros(tangents[1])
    dots = [ad.instantiate_zeros(dot) for dot in tangents[2:]]
    moved = tuple(i for i, dot in enumerate(tangents[2:]) if type(dot) is not ad.Zero)
    if spec.linear[0] and all(spec.linear[1 + i] for i in moved):
        moving = [
            dot if linear else leaf
            for leaf, dot, linear in zip(leaves, dots, spec.linear[1:], strict=True)
        ]
        out = sweep(spec, table, storage, *leaves)
        return out, sweep(spec, table, storage_dot, *moving)
    seen = (spec.node,) if spec.up else (spec.node, spec.below)
    stored = replace(spec, kernel=Store(spec.kernel), gives=(*spec.gives, *seen))
    out = sweep(stored, table, storage, *leaves)
    out, received = out[: -len(seen)], out[-len(seen) :]
    everywhere = (True,) * len(spec.lead)
    known = len(leaves) + len(seen)
    tangent = replace(
        spec,
        kernel=Linearised(spec.kernel, len(leaves), moved),
        takes=(*spec.takes, *seen, *(spec.takes[i] for i in moved)),
        linear=(True, *(False,) * known, *(True,) * len(moved)),
        batched=(*spec.batched, *(everywhere,) * len(seen), *(spec.batched[i] for i in moved)),
    )
    moving = [dots[i] for i in moved]
    return out, sweep(tangent, table, storage_dot, *leaves, *received, *moving)


ad.primitive_jvps[sweep_p] = _jvp


# ---- transposes -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Transposed:
    """The adjoint of a linear kernel. Leaves: its known leaves, then cotangents of what it gave.

    spec: the sweep that is transposed; moved: which of its leaves that went in now come out.
    """

    spec: Sweep
    moved: tuple[int, ...]

    def __call__(self, bin: BinLayout, args: tuple, *below):
        spec = self.spec
        known = [i for i in range(len(spec.takes)) if i not in self.moved]
        fixed, cotangents = args[1 : 1 + len(known)], args[1 + len(known) :]

        def call(moving, *below):
            full = dict(zip(known, fixed, strict=True))
            full |= dict(zip(self.moved, moving[1:], strict=True))
            leaves = (full[i] for i in range(len(spec.takes)))
            return spec.kernel(bin, (moving[0], *leaves), *below)

        k = args[0].shape[-1]  # of vectors: a batch may have made them more than spec.k

        def struct(kind):
            return jax.ShapeDtypeStruct((bin.C, *bin.shape(kind, k)), args[0].dtype)

        moving = (struct(spec.node), *(struct(spec.takes[i]) for i in self.moved))
        read = () if spec.up else (struct(spec.below),)
        given = (args[0], *cotangents)
        pulled = jax.linear_transpose(call, moving, *read)((given, *below) if spec.up else given)
        return pulled[0] if spec.up else pulled


def _transpose(cotangents, table, storage, *leaves, spec: Sweep):
    moved = tuple(i for i, leaf in enumerate(leaves) if ad.is_undefined_primal(leaf))
    known = [i for i in range(len(leaves)) if i not in moved]
    given = [ad.instantiate_zeros(c) for c in cotangents]
    everywhere = (True,) * len(spec.lead)
    adjoint = replace(
        spec,
        kernel=Transposed(spec, moved),
        up=not spec.up,
        takes=(*(spec.takes[i] for i in known), *spec.gives),
        gives=tuple(spec.takes[i] for i in moved),
        linear=(True, *(False,) * len(known), *(True,) * len(spec.gives)),
        batched=(*(spec.batched[i] for i in known), *(everywhere,) * len(spec.gives)),
    )
    pulled = sweep(adjoint, table, given[0], *(leaves[i] for i in known), *given[1:])
    result: list = [None] * len(leaves)
    for i, leaf in zip(moved, pulled[1:], strict=True):
        shared = tuple(axis for axis, has in enumerate(spec.batched[i]) if not has)
        result[i] = jnp.sum(leaf, shared) if shared else leaf
    return [None, pulled[0] if ad.is_undefined_primal(storage) else None, *result]


ad.primitive_transposes[sweep_p] = _transpose


# ---- batches ----------------------------------------------------------------------------------


def batch(bind: Callable, operands, dims, spec: Sweep):
    """The batching rule of a primitive on storages; bind(table, *operands, spec=spec)."""
    if dims[0] is not None:
        return _batch_with_table(bind, operands, dims, spec)
    table, operands, dims = operands[0], list(operands[1:]), dims[1:]
    size = next(x.shape[d] for x, d in zip(operands, dims, strict=True) if d is not None)
    mapped = [d is not None for d in dims]
    if _only_vectors(spec, mapped):
        return _batch_columns(bind, table, operands, dims, spec, size)
    for i, d in enumerate(dims):
        if d is not None:
            operands[i] = jnp.moveaxis(operands[i], d, 0)
    if not mapped[0]:
        operands[0] = jnp.broadcast_to(operands[0], (size, *operands[0].shape))
    batched = tuple((has, *mask) for has, mask in zip(mapped[1:], spec.batched, strict=True))
    out = bind(table, *operands, spec=replace(spec, lead=(size, *spec.lead), batched=batched))
    return out, [0] * len(out)


def _batch_with_table(bind, operands, dims, spec: Sweep):
    """A plan that a vmap has repeated along its axis: one copy is used; different ones give NaN."""
    tables = jnp.moveaxis(operands[0], dims[0], 0)
    one, same = tables[0], jnp.all(tables == tables[0])
    if all(d is None for d in dims[1:]):
        out, axes = bind(one, *operands[1:], spec=spec), None
    else:
        out, axes = batch(bind, (one, *operands[1:]), (None, *dims[1:]), spec)
    poisoned = [jnp.where(same, x, jnp.nan) for x in out]
    return poisoned, [None] * len(out) if axes is None else axes


def _only_vectors(spec: Sweep, mapped: list[bool]) -> bool:
    """Whether the batch moves only vectors: a kernel treats their columns alike."""
    kinds = (spec.node, *itertools.compress(spec.takes, mapped[1:]), *spec.gives)
    return not spec.lead and all(kind in ("pivots", "rows") for kind in kinds)


def _batch_columns(bind, table, operands, dims, spec: Sweep, size: int):
    """A batch of vectors as a matrix of more columns."""
    kinds = (spec.node, *spec.takes)
    for i, (x, d, kind) in enumerate(zip(operands, dims, kinds, strict=True)):
        if kind in ("pivots", "rows"):
            many = jnp.broadcast_to(x, (size, *x.shape)) if d is None else jnp.moveaxis(x, d, 0)
            operands[i] = jnp.moveaxis(many, 0, 1).reshape(many.shape[1], size * spec.k)
    out = bind(table, *operands, spec=replace(spec, k=size * spec.k))
    return [x.reshape(x.shape[0], size, spec.k) for x in out], [1] * len(out)


def _batch(operands, dims, *, spec: Sweep):
    return batch(sweep_p.bind, operands, dims, spec)


batching.primitive_batchers[sweep_p] = _batch
