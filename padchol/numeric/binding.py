"""The sweep primitive: how JAX's transformations see a sweep.

Derivatives of every order follow from three facts, so no kernel needs a rule of its own:

    tangent     of a sweep is a linear sweep in the same direction, whose kernel is the kernel's
                jvp at the leaves and received messages (which the primal sweep then stores);
                a sweep that is linear in what moves is its own tangent and stores nothing
    transpose   of a linear sweep is a linear sweep in the other direction with the transposed
                kernel: what was placed by extend-add is read with the same indices
    batch       of a sweep is a sweep with one more leading axis, or, where the working set would
                leave the cache, a loop

Memory of a tangent taken through leaves: the received messages, D^2 entries per padded front (M^2
in a down sweep), once per order of differentiation.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from padchol.numeric.sweep import Kernel, Sweep, run, shapes
from padchol.symbolic.layout import BinLayout

# Entries of all leaves and outputs of one matrix up to which a batch is folded into the kernels;
# above, a loop over the batch is faster (tests/bench/NOTES.md).
FOLDED_ENTRIES = 100_000

sweep_p = Primitive("padchol_sweep")
sweep_p.multiple_results = True

Leaves = Sequence[Sequence[jax.Array]]


def sweep(spec: Sweep, table: jax.typing.ArrayLike, leaves: Leaves) -> list[list[jax.Array]]:
    """Run `spec` on leaves[i][bin]; outputs in the same shape. Every JAX transformation applies."""
    if not spec.layout.bins:
        return []
    if not spec.batched:
        spec = replace(spec, batched=((False,) * len(spec.lead),) * len(leaves))
    flat = [array for leaf in leaves for array in leaf]
    return _grouped(spec, sweep_p.bind(table, *flat, spec=spec))


def _grouped(spec: Sweep, flat: Sequence) -> list[list]:
    """Flat operands or results back to [leaf][bin]."""
    bins = len(spec.layout.bins)
    return [list(flat[i : i + bins]) for i in range(0, len(flat), bins)]


def _run_flat(table, *flat, spec: Sweep):
    outputs = run(spec, table, _grouped(spec, flat))
    return [array for leaf in outputs for array in leaf]


@functools.lru_cache(maxsize=256)
def _compiled(spec: Sweep):
    return jax.jit(functools.partial(sweep_p.bind, spec=spec))


@sweep_p.def_impl
def _eager(table, *flat, spec: Sweep):
    return _compiled(spec)(table, *flat)


@sweep_p.def_abstract_eval
def _abstract(table, *flat, spec: Sweep):
    found = shapes(spec, _grouped(spec, flat))
    return [ShapedArray(out.shape, out.dtype) for leaf in found for out in leaf]


mlir.register_lowering(sweep_p, mlir.lower_fun(_run_flat, multiple_results=True))


# ---- tangents ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class StoreMessage:
    """The kernel, with the parts of the received message as further outputs."""

    kernel: Kernel

    def __call__(self, bin: BinLayout, xs: tuple, message):
        ys, handed = self.kernel(bin, xs, message)
        return (*ys, *message), handed


@dataclass(frozen=True)
class Linearised:
    """The kernel's tangent. Leaves: its n, the stored message, tangents of `moved` leaves."""

    kernel: Kernel
    n: int
    moved: tuple[int, ...]

    def __call__(self, bin: BinLayout, xs: tuple, message):
        parts = len(message)
        primal, stored = xs[: self.n], xs[self.n : self.n + parts]
        tangents = xs[self.n + parts :]

        def call(moving, received):
            full = list(primal)
            for i, x in zip(self.moved, moving, strict=True):
                full[i] = x
            return self.kernel(bin, tuple(full), received)

        at = tuple(primal[i] for i in self.moved)
        return jax.jvp(call, (at, stored), (tuple(tangents), message))[1]


def _jvp(primals, tangents, *, spec: Sweep):
    table, leaves = primals[0], _grouped(spec, primals[1:])
    dots = _grouped(spec, tangents[1:])
    moved = tuple(i for i, dot in enumerate(dots) if any(type(d) is not ad.Zero for d in dot))
    solid = {i: [ad.instantiate_zeros(d) for d in dots[i]] for i in moved}
    if all(spec.linear[i] for i in moved):
        out = sweep(spec, table, leaves)
        moving = [
            solid.get(i, [jnp.zeros_like(x) for x in leaf]) if spec.linear[i] else leaf
            for i, leaf in enumerate(leaves)
        ]
        return _flatten(out), _flatten(sweep(spec, table, moving))
    stored = replace(spec, kernel=StoreMessage(spec.kernel))
    everything = sweep(stored, table, leaves)
    parts = len(spec.received(spec.layout.bins[0]))
    out, received = everything[:-parts], everything[-parts:]
    everywhere = (True,) * len(spec.lead)
    tangent = replace(
        spec,
        kernel=Linearised(spec.kernel, len(leaves), moved),
        linear=(False,) * (len(leaves) + parts) + (True,) * len(moved),
        batched=(*spec.batched, *(everywhere,) * parts, *(spec.batched[i] for i in moved)),
    )
    out_dot = sweep(tangent, table, [*leaves, *received, *(solid[i] for i in moved)])
    return _flatten(out), _flatten(out_dot)


def _flatten(leaves: Leaves) -> list:
    return [array for leaf in leaves for array in leaf]


ad.primitive_jvps[sweep_p] = _jvp


# ---- transposes -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Transposed:
    """The adjoint of a linear kernel. Leaves: its known leaves, then cotangents of its outputs.

    moved: which of its n leaves are transposed; shapes[bin]: their shapes on one chunk;
    received[bin]: shapes of the message the kernel receives for one front.
    """

    kernel: Kernel
    n: int
    moved: tuple[int, ...]
    shapes: tuple[tuple[tuple[int, ...], ...], ...]
    received: tuple[tuple[tuple[int, ...], ...], ...]

    def __call__(self, bin: BinLayout, xs: tuple, message):
        known = [i for i in range(self.n) if i not in self.moved]
        fixed, cotangents = xs[: len(known)], xs[len(known) :]

        def call(moving, received):
            full = dict(zip(known, fixed, strict=True)) | dict(zip(self.moved, moving, strict=True))
            return self.kernel(bin, tuple(full[i] for i in range(self.n)), received)

        def struct(shape):
            return jax.ShapeDtypeStruct(shape, message[0].dtype)

        leaves = tuple(struct(shape) for shape in self.shapes[bin.index])
        received = tuple(struct((bin.C, *shape)) for shape in self.received[bin.index])
        pull = jax.linear_transpose(call, leaves, received)
        return pull((tuple(cotangents), message))


def _transpose(cotangents, table, *flat, spec: Sweep):
    leaves = _grouped(spec, flat)
    moved = tuple(i for i, leaf in enumerate(leaves) if ad.is_undefined_primal(leaf[0]))
    known = [i for i in range(len(leaves)) if i not in moved]
    bins = spec.layout.bins
    solid = [[ad.instantiate_zeros(c) for c in leaf] for leaf in _grouped(spec, cotangents)]
    everywhere = (True,) * len(spec.lead)
    kernel = Transposed(
        spec.kernel,
        len(leaves),
        moved,
        tuple(
            tuple((bin.C, *leaves[i][b].aval.shape[sum(spec.mask(i)) + 1 :]) for i in moved)
            for b, bin in enumerate(bins)
        ),
        tuple(spec.received(bin) for bin in bins),
    )
    adjoint = replace(
        spec,
        kernel=kernel,
        up=not spec.up,
        linear=(False,) * len(known) + (True,) * len(solid),
        batched=(*(spec.batched[i] for i in known), *(everywhere for _ in solid)),
    )
    pulled = sweep(adjoint, table, [*(leaves[i] for i in known), *solid])
    result: list[list] = [[None] * len(bins) for _ in leaves]
    for i, leaf in zip(moved, pulled, strict=True):
        shared = tuple(axis for axis, has in enumerate(spec.mask(i)) if not has)
        result[i] = [jnp.sum(array, shared) if shared else array for array in leaf]
    return [None, *_flatten(result)]


ad.primitive_transposes[sweep_p] = _transpose


# ---- batches ----------------------------------------------------------------------------------


def _batch(operands, dims, *, spec: Sweep):
    if dims[0] is not None:
        return _batch_with_table(operands, dims, spec)
    table, flat = operands[0], operands[1:]
    size = next(x.shape[d] for x, d in zip(flat, dims[1:], strict=True) if d is not None)
    axes = _grouped(spec, dims[1:])
    leaves = _grouped(spec, flat)
    mapped = [any(d is not None for d in leaf) for leaf in axes]
    front = [
        [_to_front(x, d, size) for x, d in zip(leaf, axis, strict=True)] if has else list(leaf)
        for leaf, axis, has in zip(leaves, axes, mapped, strict=True)
    ]
    if _entries(spec) > FOLDED_ENTRIES:
        out = _loop(spec, table, front, mapped)
        return out, [0] * len(out)
    batched = tuple((has, *mask) for has, mask in zip(mapped, spec.batched, strict=True))
    folded = replace(spec, lead=(size, *spec.lead), batched=batched)
    out = sweep_p.bind(table, *_flatten(front), spec=folded)
    return out, [0] * len(out)


def _batch_with_table(operands, dims, spec: Sweep):
    """A plan that a vmap has repeated along its axis: one copy is used; different ones give NaN."""
    tables = jnp.moveaxis(operands[0], dims[0], 0)
    one, same = tables[0], jnp.all(tables == tables[0])
    if all(d is None for d in dims[1:]):
        out, axes = sweep_p.bind(one, *operands[1:], spec=spec), None
    else:
        out, axes = _batch((one, *operands[1:]), (None, *dims[1:]), spec=spec)
    poisoned = [jnp.where(same, x, jnp.nan) for x in out]
    return poisoned, [None] * len(out) if axes is None else axes


def _to_front(x, d, size: int):
    return jnp.broadcast_to(x, (size, *x.shape)) if d is None else jnp.moveaxis(x, d, 0)


def _entries(spec: Sweep) -> int:
    """Padded entries of L, the measure of one matrix's working set."""
    return sum(bin.fronts * bin.D * bin.W for bin in spec.layout.bins)


def _loop(spec: Sweep, table, front, mapped):
    """Element after element: the batch axis stays outside the sweep."""

    def one(moving):
        rest = iter(moving)
        leaves = [next(rest) if has else leaf for leaf, has in zip(front, mapped, strict=True)]
        return sweep_p.bind(table, *_flatten(leaves), spec=spec)

    return lax.map(one, [leaf for leaf, has in zip(front, mapped, strict=True) if has])


batching.primitive_batchers[sweep_p] = _batch
