"""Deadlocks: many independent batched factorisations in one executable, against the clock."""

from __future__ import annotations

import subprocess
import sys

import pytest
import support

PROGRAM = """
import sys
import jax, jax.numpy as jnp, numpy as np
sys.path.insert(0, sys.argv[1])
import padchol, support
A = support.grid(6, 7)
plan = padchol.analyze(A)
a = jnp.asarray(plan.values(A), jnp.float32)

def logdets(batch):
    return jnp.sum(jax.vmap(lambda a: padchol.cholesky(plan, a).logdet())(batch))

@jax.jit
def four(batches):
    return [jax.value_and_grad(logdets)(batch) for batch in batches]

scale = jnp.linspace(1.0, 2.0, 40)[:, None]
batches = [a * scale * k for k in (1.0, 1.5, 2.0, 2.5)]
first = jax.block_until_ready(four(batches))
for _ in range(500):
    last = jax.block_until_ready(four(batches))
assert all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(first), jax.tree.leaves(last)))
print("finished", float(first[0][0]))
"""


@pytest.mark.slow
def test_independent_batches_do_not_deadlock():
    """Row 36: four vmapped factorisations and their gradients in one executable, 500 calls."""
    here = str(support.__file__).rsplit("support.py", 1)[0]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, here], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("finished")
