"""Traced programs looked into: equations and sweeps. No tests here."""

from __future__ import annotations

from functools import partial

import jax
from jax.extend.core import jaxprs_in_params

from padchol.numeric import forms, fronts, members

EXPANDED = {
    forms.form_p: forms._compute,
    members.members_p: members._compute,
    fronts.fronts_p: fronts._run,
}


def equations(jaxpr):
    """Every equation, those of inner programs included; a form, or a batch, counts as the
    sweeps, and a sweep as the loops, that it stands for on a CPU.

    A program that occurs under several equations is counted at each.
    """
    for eqn in jaxpr.eqns:
        yield eqn
        if eqn.primitive in EXPANDED:
            yield from equations(expanded(eqn).jaxpr)
        for inner in jaxprs_in_params(eqn.params):
            yield from equations(inner)


def expanded(eqn):
    """The program of one form or sweep."""
    operands = [jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in eqn.invars]
    return jax.make_jaxpr(partial(EXPANDED[eqn.primitive], **eqn.params))(*operands)


def sweeps(f, *args):
    """Columns, and how many batch axes, of every sweep in the traced program of f."""
    every = equations(jax.make_jaxpr(f)(*args).jaxpr)
    found = [e.params["what"] for e in every if e.primitive is fronts.fronts_p]
    return [(what.spec.k, len(what.has)) for what in found]
