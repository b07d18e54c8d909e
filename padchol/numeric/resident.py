"""Tables of plans on JAX's default device, put there once and not in every call.

The tables are numpy arrays, which JAX copies to the device whenever a compiled function is called
with them: 40 us of a solve of 30^2, which takes 60 (experiment 42), and on accelerators more.
"""

from __future__ import annotations

import weakref

import jax
import jax.numpy as jnp
import numpy as np

from padchol.plan import Plan

_there: dict[tuple[int, str], list[jax.Array]] = {}  # leaves, by identity of the table and device


def resident(plan: Plan) -> Plan:
    """The plan with its tables on the default device; the same arrays at every call, for as long as
    the plan given is alive. As it is where its tables are no numpy arrays."""
    leaves, structure = jax.tree.flatten(plan)
    if not all(isinstance(leaf, np.ndarray) for leaf in leaves):
        return plan
    key = (id(plan.table), str(jax.config.jax_default_device))
    if key not in _there:
        with jax.ensure_compile_time_eval():
            _there[key] = [jnp.asarray(leaf) for leaf in leaves]
        weakref.finalize(plan.table, _there.pop, key, None)
    return jax.tree.unflatten(structure, _there[key])
