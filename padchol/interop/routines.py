"""The routines behind `padchol.interop.pytensor`: pure JAX functions with their core shapes.

A routine takes (plan, *arrays) and gives a tuple of arrays. Shapes are written as a gufunc's:
k = nnz(plan), p = the length of the panels, d = n pivots, n, and c columns. Panels, pivots and
failure index are constants to every derivative: what depends on `a` takes `a` itself, as in
`padchol.factor`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from padchol.factor import Factor, cholesky
from padchol.numeric import values
from padchol.plan import Plan

CONSTANT = ("p", "", "d")  # what a factorisation gives, in this order


@dataclass(frozen=True)
class Routine:
    """A JAX function, and the core shapes of its inputs and outputs."""

    function: Callable
    takes: tuple[str, ...]
    gives: tuple[str, ...]

    @property
    def signature(self) -> str:
        """In the notation of numpy's gufuncs."""
        sides = (",".join(f"({shape})" for shape in side) for side in (self.takes, self.gives))
        return "->".join(sides)

    @property
    def moving(self) -> tuple[int, ...]:
        """Inputs that carry a derivative."""
        return tuple(i for i, shape in enumerate(self.takes) if shape not in CONSTANT)


@dataclass(frozen=True)
class Pullback:
    """The function of a routine's vector-Jacobian product, by JAX."""

    of: Routine

    def __call__(self, plan: Plan, *arrays: Any) -> tuple:
        inputs, cotangents = list(arrays[: len(self.of.takes)]), arrays[len(self.of.takes) :]

        def moved(*primals):
            for i, x in zip(self.of.moving, primals, strict=True):
                inputs[i] = x
            return tuple(self.of.function(plan, *inputs))

        _, pull = jax.vjp(moved, *(inputs[i] for i in self.of.moving))
        return pull(tuple(cotangents))

    def routine(self) -> Routine:
        takes = (*self.of.takes, *self.of.gives)
        return Routine(self, takes, tuple(self.of.takes[i] for i in self.of.moving))


def _factorise(plan, a):
    F = cholesky(plan, a)
    return F.panels, F.info, F.pivots


def _logdet(plan, a, panels, info, pivots):
    return (Factor(plan, a, panels, info, pivots).logdet(),)


def _selected_inverse(plan, a, panels, info, pivots):
    return (Factor(plan, a, panels, info, pivots).selected_inverse(),)


def _solve(plan, a, panels, info, pivots, b):
    return (Factor(plan, a, panels, info, pivots).solve(b),)


def _unwhiten(plan, a, panels, info, pivots, z):
    F = Factor(plan, a, panels, info, pivots)
    return (F.apply_Pt(F.solve_Lt(z)),)


def _multiply(plan, a, x):
    """A x"""
    return (values.multiply(plan, values.check_values(plan, a), _checked(plan, x)),)


def _pairs(plan, u, v):
    """The gradient of u^T A v in the canonical values: u_i v_j + u_j v_i, u_i v_i on the diagonal.

    Summed over columns."""
    rows, cols = jnp.asarray(plan.rows), jnp.asarray(plan.cols)
    u, v = _checked(plan, u), _checked(plan, v)
    both = jnp.sum(u[rows] * v[cols] + u[cols] * v[rows], 1)
    return (jnp.where(rows == cols, both / 2, both),)


def _checked(plan: Plan, x: Any):
    if jnp.shape(x)[0] != plan.n:
        raise ValueError(f"expected a vector of shape ({plan.n},); got shape {jnp.shape(x)[:1]}")
    return x


FACTOR = ("k", *CONSTANT)
FACTORISE = Routine(_factorise, ("k",), CONSTANT)
LOGDET = Routine(_logdet, FACTOR, ("",))
SELECTED_INVERSE = Routine(_selected_inverse, FACTOR, ("k",))
SOLVE = Routine(_solve, (*FACTOR, "n,c"), ("n,c",))
UNWHITEN = Routine(_unwhiten, (*FACTOR, "n,c"), ("n,c",))
MULTIPLY = Routine(_multiply, ("k", "n,c"), ("n,c",))
PAIRS = Routine(_pairs, ("n,c", "n,c"), ("k",))
