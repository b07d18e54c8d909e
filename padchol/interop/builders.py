"""Precisions of `padchol.precisions` in PyTensor graphs (extra `pymc`).

    a = Q.on(plan)(tau, alpha)      (nnz,), where tau or alpha is a PyTensor variable

The values become one PyTensor operation of the parameters that are variables; those that are
numbers are checked at once and kept with it. Gradients are JAX's own vector-Jacobian products, as
operations again, to any order (`padchol.interop.operation`). Outside of their domain parameters
give NaN, which `padchol.interop.pytensor.GMRF` rejects.
"""

# pyright: reportPrivateImportUsage=false

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytensor.tensor as pt
from jaxtyping import Array, Float
from pytensor import Variable, config
from pytensor.gradient import DisconnectedType
from pytensor.tensor import TensorVariable

from padchol.interop.operation import Operation
from padchol.interop.routines import Pullback, Routine
from padchol.plan import Plan
from padchol.precisions import Values


def precision_values(values: Values, *parameters: Any) -> TensorVariable:
    """(nnz,): values(*parameters) as a PyTensor vector; some parameters, or members of tuples of
    them, are PyTensor variables: numbers, or arrays of known shape.

    Raises `ValueError` for variables of unknown shape, and what `values` raises: for another number
    of parameters, for shapes, and for numbers outside of their domain.
    """
    leaves, tree = jax.tree.flatten(parameters)
    variables = [_floating(x) for x in leaves if isinstance(x, Variable)]
    shapes = tuple(_shape(x) for x in variables)
    known = tuple(None if isinstance(x, Variable) else x for x in leaves)
    function = _Function(values, tree, known, shapes)
    theta = pt.concatenate([pt.reshape(x, (-1,)) for x in variables])
    jax.eval_shape(function, values.plan, jax.ShapeDtypeStruct((function.size,), np.float32))
    operation: Any = _Building(Routine(function, ("q",), ("k",)), values.plan, function.size)
    return operation(theta)


class _Function:
    """(plan, theta) to the values, theta (q,) all that varies; equal where made of the same."""

    __name__ = "precision_values"

    def __init__(self, values: Values, tree: Any, known: tuple, shapes: tuple):
        self.values, self.tree, self.known, self.shapes = values, tree, known, shapes
        self.size = sum(int(np.prod(shape)) for shape in shapes)

    def __call__(self, plan: Plan, theta: Float[Array, " q"]) -> tuple[Float[Array, " nnz"]]:
        del plan  # that of the values
        at = np.cumsum([0, *(int(np.prod(shape)) for shape in self.shapes)])
        parts = zip(at[:-1], at[1:], self.shapes, strict=True)
        varying = iter([theta[i:j].reshape(shape) for i, j, shape in parts])
        leaves = [next(varying) if x is None else x for x in self.known]
        return (self.values(*jax.tree.unflatten(self.tree, leaves)).astype(theta.dtype),)

    def _made_of(self) -> tuple:
        known = (x if isinstance(x, int | float | None) else id(x) for x in self.known)
        return id(self.values), self.tree, tuple(known), self.shapes

    def __hash__(self) -> int:
        return hash(self._made_of())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Function) and self._made_of() == other._made_of()


class _Building(Operation):
    """The function, or a product with its derivative, of q numbers."""

    def __init__(self, routine: Routine, plan: Plan, q: int):
        super().__init__(routine, plan)
        self.q = q

    def _sizes(self) -> dict[str, int]:
        return {**super()._sizes(), "q": self.q}

    def L_op(self, inputs: Any, outputs: Any, output_grads: Any) -> list:
        gradients = [
            x.zeros_like() if isinstance(g.type, DisconnectedType) else g
            for x, g in zip(outputs, output_grads, strict=True)
        ]
        pullback: Any = _Building(Pullback(self.routine).routine(), self.plan, self.q)
        found = pullback(*inputs, *gradients)
        return found if isinstance(found, list) else [found]


def _floating(x: Any) -> TensorVariable:
    x = pt.as_tensor_variable(x)
    return x if x.dtype in ("float32", "float64") else pt.cast(x, config.floatX)


def _shape(x: TensorVariable) -> tuple[int, ...]:
    shape = x.type.shape
    if any(size is None for size in shape):
        raise ValueError(
            "expected parameters that are numbers, or arrays of known shape (pytensor.tensor."
            f"specify_shape); got {x} of shape {shape}"
        )
    return shape
