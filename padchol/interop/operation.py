"""The PyTensor operation behind `padchol.interop.pytensor`: a routine on one plan, as an `Op`.

Gradients of the usual routines are graphs of routines again (`RULES`); those of the others are
JAX's own vector-Jacobian product, which is a routine too, and so on to any order.
"""

# pyright: reportPrivateImportUsage=false

from __future__ import annotations

import functools
import os
import weakref
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytensor.tensor as pt
from pytensor.gradient import DisconnectedType, disconnected_type
from pytensor.graph import Apply
from pytensor.link.jax.ops import JAXOp
from pytensor.scalar import upcast
from pytensor.tensor import TensorVariable
from pytensor.tensor.blockwise import Blockwise

from padchol.interop.routines import (
    FACTORISE,
    LOGDET,
    MULTIPLY,
    PAIRS,
    SELECTED_INVERSE,
    SOLVE,
    Pullback,
    Routine,
)
from padchol.plan import Plan

# ---- gradients, as graphs of routines ----------------------------------------------------------


def _logdet_rule(plan, inputs, outputs, gradients):
    pairs = np.where(plan.rows == plan.cols, 1, 2).astype(inputs[0].dtype)
    return [gradients[0] * pairs * apply(plan, SELECTED_INVERSE, *inputs)]


def _solve_rule(plan, inputs, outputs, gradients):
    b_bar = apply(plan, SOLVE, *inputs[:-1], gradients[0])
    return [-apply(plan, PAIRS, b_bar, outputs[0]), b_bar]


def _multiply_rule(plan, inputs, outputs, gradients):
    a, x = inputs
    return [apply(plan, PAIRS, gradients[0], x), apply(plan, MULTIPLY, a, gradients[0])]


def _pairs_rule(plan, inputs, outputs, gradients):
    u, v = inputs
    return [apply(plan, MULTIPLY, gradients[0], v), apply(plan, MULTIPLY, gradients[0], u)]


RULES = {
    LOGDET: _logdet_rule,
    SOLVE: _solve_rule,
    MULTIPLY: _multiply_rule,
    PAIRS: _pairs_rule,
}


# ---- the Op ------------------------------------------------------------------------------------


class Operation(JAXOp):
    """A routine on one plan.

    PyTensor's JAX backend knows `JAXOp` and asks it for `perform_jax`. Equal plans make equal
    operations, which PyTensor merges; operations pickle.
    """

    __props__ = ("routine", "fingerprint")

    def __init__(self, routine: Routine, plan: Plan):
        self.routine, self.plan, self.fingerprint = routine, plan, plan.fingerprint
        self.gufunc_signature = routine.signature
        self.name = getattr(routine.function, "__name__", "pullback").strip("_")

    def __str__(self) -> str:
        return f"padchol.{self.name}"

    def __getstate__(self) -> dict:
        return {k: v for k, v in self.__dict__.items() if k != "tables"}

    @functools.cached_property
    def tables(self) -> Plan:
        return _tables(self.plan)

    def make_node(self, *inputs: Any) -> Apply:
        arrays = [pt.as_tensor_variable(x) for x in inputs]
        dtype = upcast(*(x.dtype for x in arrays if x.dtype.startswith("float")))
        arrays = [pt.cast(x, dtype) if x.dtype.startswith("float") else x for x in arrays]
        columns = [x.type.shape[1] for x in arrays if x.ndim == 2]
        types = [self._type(shape, dtype, columns) for shape in self.routine.gives]
        return Apply(self, arrays, [type() for type in types])

    def _type(self, shape: str, dtype: str, columns: list) -> Any:
        if shape == "" and self.routine is FACTORISE:
            return pt.TensorType("int32", ())
        known = next((c for c in columns if c is not None), None)
        sizes = {**self._sizes(), "c": known}
        return pt.TensorType(dtype, tuple(sizes[d] for d in shape.split(",") if d))

    def _sizes(self) -> dict[str, int]:
        layout = self.plan.layout
        return {"n": layout.n, "d": layout.n, "k": self.plan.nnz, "p": layout.storage.panels}

    def infer_shape(self, fgraph: Any, node: Apply, shapes: list) -> list:
        columns = next((s[1] for s in shapes if len(s) == 2), None)
        sizes = {**self._sizes(), "c": columns}
        return [tuple(sizes[d] for d in shape.split(",") if d) for shape in self.routine.gives]

    def perform(self, node: Apply, inputs: list, output_storage: list) -> None:
        _same_process()
        wide = any(np.asarray(x).dtype == np.float64 for x in inputs)
        with jax.enable_x64(wide):
            found = _compiled(self.routine.function)(self.tables, *inputs)
        for storage, x, variable in zip(output_storage, found, node.outputs, strict=True):
            storage[0] = np.array(x, dtype=variable.type.dtype)  # a copy that may be written to

    def perform_jax(self, *inputs: Any) -> Any:
        found = self.routine.function(self.plan, *inputs)
        return found if len(found) > 1 else found[0]

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        connected = self.routine is not FACTORISE
        moving = self.routine.moving
        count = len(self.routine.gives)
        return [[connected and i in moving] * count for i in range(len(self.routine.takes))]

    def L_op(self, inputs: Any, outputs: Any, output_grads: Any) -> list:
        gradients = [
            x.zeros_like() if isinstance(g.type, DisconnectedType) else g
            for x, g in zip(outputs, output_grads, strict=True)
        ]
        rule = RULES.get(self.routine)
        if rule is not None:
            found = rule(self.plan, inputs, outputs, gradients)
        else:
            found = apply(self.plan, Pullback(self.routine).routine(), *inputs, *gradients)
            found = found if isinstance(found, list) else [found]
        all_inputs: list = [disconnected_type() for _ in inputs]
        for i, g in zip(self.routine.moving, found, strict=True):
            all_inputs[i] = g
        return all_inputs


def apply(plan: Plan, routine: Routine, *inputs: Any) -> Any:
    """A routine on PyTensor variables; leading axes are batches."""
    op = Operation(routine, plan)
    arrays = [pt.as_tensor_variable(x) for x in inputs]
    core = [len(shape.split(",")) if shape else 0 for shape in routine.takes]
    batched = any(x.ndim > d for x, d in zip(arrays, core, strict=True))
    return (Blockwise(op) if batched else op)(*arrays)


class Factored:
    """`a` and its factorisation in a graph: what follows from them is asked by routine."""

    a: TensorVariable
    info: TensorVariable

    def __init__(self, plan: Plan, a: TensorVariable):
        self.plan, self.a = plan, a
        self.found = apply(plan, FACTORISE, a)
        self.info = self.found[1]

    def __call__(self, routine: Routine, *more: Any) -> TensorVariable:
        return apply(self.plan, routine, self.a, *self.found, *more)


_kept: weakref.WeakValueDictionary[str, Plan] = weakref.WeakValueDictionary()


def _tables(plan: Plan) -> Plan:
    """The plan with its tables on JAX's device, once for all operations of equal plans."""
    found = _kept.get(plan.fingerprint)
    if found is None:
        found = _kept[plan.fingerprint] = jax.tree.map(jnp.asarray, plan)
    return found


@functools.cache
def _first_process() -> int:
    return os.getpid()


def _same_process() -> None:
    """JAX hangs in a process that was forked from one that has used it: say so instead."""
    if os.getpid() != _first_process():
        raise RuntimeError(
            "this process was forked from one in which JAX had been used, and JAX would hang here: "
            "sample with mp_ctx='forkserver', with cores=1, or with nuts_sampler='numpyro'"
        )


@functools.cache
def _compiled(function: Callable) -> Callable:
    return jax.jit(function)
