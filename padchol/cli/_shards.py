"""One factorisation over several devices beside one device, in turns: `bench --shards K`."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import scipy.sparse as sp

from padchol.cli import peers
from padchol.cli._errors import InputError
from padchol.cli.bench import factored, log_density


def prepare(shards: int) -> None:
    """As many devices of a CPU as there are shards; before JAX looks for any."""
    import jax

    if jax.config.jax_num_cpu_devices < shards:  # pyright: ignore[reportAttributeAccessIssue]
        jax.config.update("jax_num_cpu_devices", shards)


def figures(A: sp.csc_array, order: str, seconds: float, shards: int) -> dict[str, Any]:
    """Of one matrix: milliseconds of a factorisation, and of value and gradient of a log density,
    on one device and on all; how much faster; seconds to compile, and bytes that the device with
    the most of plan and Factor holds, as shares of what one device takes."""
    import jax
    import jax.numpy as jnp
    from jax.sharding import NamedSharding, PartitionSpec

    import padchol

    if len(jax.devices()) < shards:
        raise InputError(f"expected {shards} devices; JAX finds {len(jax.devices())}")
    plans = {k: padchol.analyze(A, order=order, shards=k) for k in (1, shards)}
    a, y = jnp.asarray(plans[1].values(A)), jnp.ones(plans[1].n)
    row: dict[str, Any] = {"n": plans[1].n, "nnz_L": plans[shards].nnz_L}
    row["predicted"] = plans[1].stats["cost"] / plans[shards].stats["cost"]
    jobs, compiled, held = {"factor": {}, "value_and_grad": {}}, {}, {}
    for k, plan in plans.items():
        F = padchol.cholesky(plan, a)
        held[k] = largest_share(F)
        placed, values, vector = F.plan, a, y
        if k > 1:
            everywhere = NamedSharding(F.plan.mesh, PartitionSpec())
            values, vector = (jax.device_put(x, everywhere) for x in (a, y))
        gradient = jax.value_and_grad(log_density, argnums=1)
        for name, f, x in (
            ("factor", factored, (placed, values)),
            ("value_and_grad", gradient, (placed, values, vector)),
        ):
            begin = time.perf_counter()
            program = jax.jit(f).lower(*x).compile()
            compiled[name, k] = time.perf_counter() - begin
            jobs[name][str(k)] = lambda program=program, x=x: jax.block_until_ready(program(*x))
    for name, job in jobs.items():
        times = peers.medians(job, seconds)
        row |= {f"{name}_{k}_ms": 1e3 * t for k, t in times.items()}
        row[f"{name}_speedup"] = times["1"] / times[str(shards)]
        row[f"{name}_compile"] = compiled[name, shards] / compiled[name, 1]
    row["bytes_a_device"] = held[shards] / held[1]
    return row


def largest_share(F: Any) -> int:
    """Bytes of a Factor, its plan included, on the device that holds most."""
    import jax

    on: dict[Any, int] = {}
    for x in jax.tree.leaves(F):
        if isinstance(x, jax.Array):
            for shard in x.addressable_shards:
                on[shard.device] = on.get(shard.device, 0) + shard.data.nbytes
        else:  # a table of the plan that goes to every device
            on[None] = on.get(None, 0) + np.asarray(x).nbytes
    everywhere = on.pop(None, 0)
    return everywhere + max(on.values(), default=0)
