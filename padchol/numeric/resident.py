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

_there: dict[tuple, list[jax.Array]] = {}  # by `key`


def resident(plan: Plan) -> Plan:
    """The plan with its tables on the default device; the same arrays at every call, for as long as
    the tables given are alive. As it is where these are no numpy arrays."""
    leaves, structure = jax.tree.flatten(plan)
    if not all(isinstance(leaf, np.ndarray) for leaf in leaves):
        return plan
    its = key(plan)
    found = _there.get(its)
    if found is None:
        with jax.ensure_compile_time_eval():
            # copies: what shared their memory would keep these alive
            found = _there[its] = [jnp.array(leaf) for leaf in leaves]
        for leaf in leaves:
            weakref.finalize(leaf, _there.pop, its, None)
    return jax.tree.unflatten(structure, found)


def key(plan: Plan) -> tuple:
    """Which arrays the tables are, and the default device."""
    return (str(jax.config.jax_default_device), *map(id, jax.tree.leaves(plan)))
