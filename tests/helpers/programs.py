"""Traced programs looked into: equations and sweeps. No tests here."""

from __future__ import annotations

from functools import partial

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr

from padchol.numeric import call


def equations(jaxpr):
    """Every equation, those of inner programs included; a call counts as the loops that it stands
    for on a CPU.

    A program that occurs under several equations is counted at each.
    """
    for eqn in jaxpr.eqns:
        yield eqn
        if eqn.primitive is call.call_p:
            yield from equations(expanded(eqn).jaxpr)
        for inner in inner_programs(eqn):
            yield from equations(inner)


def inner_programs(eqn):
    """The programs that one equation holds."""
    for value in eqn.params.values():
        for each in value if isinstance(value, tuple) else (value,):
            if isinstance(each, Jaxpr | ClosedJaxpr):
                yield each.jaxpr if isinstance(each, ClosedJaxpr) else each


def expanded(eqn):
    """The program of one call."""
    operands = [jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in eqn.invars]
    return jax.make_jaxpr(partial(call._compute, **eqn.params))(*operands)


def calls(f, *args):
    """Columns of the vectors (None without any), and how many batch axes, of every call in the
    traced program of f."""
    found = []
    for eqn in equations(jax.make_jaxpr(f)(*args).jaxpr):
        if eqn.primitive is call.call_p:
            what = eqn.params["what"]
            arrays = eqn.invars[what.plan.num_leaves :]
            vectors = what.computation.vectors(len(arrays))
            k = {x.aval.shape[-1] for x, v in zip(arrays, vectors, strict=True) if v}
            found.append((k.pop() if k else None, len(what.has)))
    return found


def kernels(f, *args):
    """How many sweeps over tiles the traced program of f has: each is compiled by itself."""
    every = equations(jax.make_jaxpr(f)(*args).jaxpr)
    return sum(eqn.params.get("name") == "fronts" for eqn in every)
