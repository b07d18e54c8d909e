"""A routine on all fronts: one by one, in tiles, on a CPU; in chunks of padded fronts elsewhere.

Both forms have the same storages, those of `symbolic.tiles`. Derivatives are those of the chunks.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import cast

import jax
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from padchol.numeric import binding
from padchol.numeric.chunks import from_chunks, to_chunks
from padchol.numeric.sweep import Kernel, Sweep
from padchol.numeric.tiled.run import run as run_tiled
from padchol.plan import Plan
from padchol.symbolic.layout import INT32_MAX, Kind

TILED = True  # False: in chunks on a CPU, too

fronts_p = Primitive("padchol_fronts")


@dataclass(frozen=True)
class Routine:
    """A sweep in two forms, which takes the place of a kernel.

    chunk             on a chunk of padded fronts, see `sweep`
    tiled, scratch    on one front, see `tiled.fronts`, and the arrays it works in; or None
    The other fields are those of `sweep.Sweep`.
    """

    chunk: Kernel
    tiled: Callable | None
    scratch: Callable | None
    up: bool
    node: Kind
    takes: tuple[Kind, ...] = ()
    linear: tuple[bool, ...] = (False,)

    def __call__(self, *args):
        return self.chunk(*args)


def apply(routine: Routine, plan: Plan, storage: jax.Array, *leaves: jax.Array) -> jax.Array:
    """The final storage."""
    if not plan.layout.bins:
        return storage
    spec = Sweep(
        plan.layout,
        routine,
        routine.up,
        routine.node,
        k=storage.shape[1] if routine.node == "pivots" else 1,
        takes=routine.takes,
        linear=routine.linear,
        batched=((),) * len(leaves),
    )
    if routine.tiled is None:
        return _in_chunks(plan.table, storage, *leaves, spec=spec)
    return fronts_p.bind(plan.table, storage, *leaves, spec=spec)


def _in_chunks(table, storage, *leaves, spec: Sweep):
    def chunks(kind, x, linear):
        return to_chunks(spec.layout, table, kind, x, ones=kind == "panel" and not linear)

    kinds = (spec.node, *spec.takes)
    node, *read = map(chunks, kinds, (storage, *leaves), spec.linear)
    (found,) = binding.sweep(replace(spec, kernel=spec.kernel.chunk), table, node, *read)
    return from_chunks(spec.layout, table, spec.node, found)


def _in_tiles(table, storage, *leaves, spec: Sweep):
    if not TILED or not _fits_tiles(spec):
        return _in_chunks(table, storage, *leaves, spec=spec)
    return run_tiled(spec, spec.kernel.tiled, spec.kernel.scratch, table, storage, leaves)


def _fits_tiles(spec: Sweep) -> bool:
    """A batch whose addresses pass int32, and leaves with some of the batch axes only, are left to
    the chunks."""
    tiles = spec.layout.tiles
    fits = math.prod(spec.lead) * max(tiles.panels, tiles.pivots) <= INT32_MAX
    return fits and all(len(set(mask)) <= 1 for mask in spec.batched)


binding.compile_eager_calls(fronts_p)


@fronts_p.def_abstract_eval
def _abstract(table, storage, *leaves, spec: Sweep):
    return ShapedArray(storage.shape, storage.dtype)


mlir.register_lowering(fronts_p, mlir.lower_fun(_in_chunks, multiple_results=False))
mlir.register_lowering(fronts_p, mlir.lower_fun(_in_tiles, multiple_results=False), platform="cpu")


def adjoint_pair(one: Routine, other: Routine) -> None:
    """Each is the transpose of the other in its node."""
    _ADJOINT.update({one: other, other: one})


_ADJOINT: dict[Routine, Routine] = {}


def _jvp(primals, tangents, *, spec: Sweep):
    table, *operands = primals
    moved = [i for i, dot in enumerate(tangents[1:]) if type(dot) is not ad.Zero]
    if moved == [0] and spec.linear[0]:
        linear = functools.partial(fronts_p.bind, spec=spec)
        return linear(table, *operands), linear(table, tangents[1], *operands[1:])

    def of_moved(*values):
        full = list(operands)
        for i, x in zip(moved, values, strict=True):
            full[i] = x
        return _in_chunks(table, *full, spec=spec)

    return jax.jvp(of_moved, [operands[i] for i in moved], [tangents[1 + i] for i in moved])


ad.primitive_jvps[fronts_p] = _jvp


def _transpose(cotangent, table, storage, *leaves, spec: Sweep):
    assert ad.is_undefined_primal(storage)
    assert not any(map(ad.is_undefined_primal, leaves))
    adjoint = _ADJOINT[cast(Routine, spec.kernel)]
    spec = replace(spec, kernel=adjoint, up=adjoint.up)
    cotangent = ad.instantiate_zeros(cotangent)
    return [None, fronts_p.bind(table, cotangent, *leaves, spec=spec), *(None for _ in leaves)]


ad.primitive_transposes[fronts_p] = _transpose


def _batch(operands, dims, *, spec: Sweep):
    out, axes = binding.batch(lambda *x, spec: [fronts_p.bind(*x, spec=spec)], operands, dims, spec)
    return out[0], axes[0]


batching.primitive_batchers[fronts_p] = _batch
