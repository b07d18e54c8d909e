"""What a program would be on a device that is not here: compile time, kernels, memory."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import scipy.sparse as sp

from padchol.cli._launches import launches
from padchol.cli._targets import Compiler
from padchol.cli.bench import factored, log_density


def figures(compiler: Compiler, A: sp.csc_array, order: str, factor_only: bool) -> dict[str, Any]:
    """Of one matrix: n, nnz_L; compile_s, kernels and temporary_bytes of a factorisation; then the
    seconds and kernels of value and gradient of a log density. float64, on a TPU float32."""
    import jax

    import padchol

    tpu = compiler.target.platform == "tpu"
    dtype = np.float32 if tpu else np.float64
    shards = 1 if compiler.mesh is None else compiler.mesh.size
    plan = padchol.analyze(A, order=order, device="tpu" if tpu else "gpu", shards=shards)
    plan = replace(plan, mesh=compiler.mesh)
    a, y = plan.values(A).astype(dtype), np.ones(plan.n, dtype)
    shapes: Any = jax.tree.map(np.asarray, plan)

    def compiled(f, *args):
        begin = time.perf_counter()
        program = compiler.compile(f, *args)
        return program, time.perf_counter() - begin

    with jax.enable_x64(not tpu):
        factor, seconds = compiled(factored, shapes, a)
        found = {"n": plan.n, "nnz_L": plan.nnz_L, "compile_s": seconds}
        found["kernels"] = launches(factor.as_text())
        found["temporary_bytes"] = factor.memory_analysis().temp_size_in_bytes
        if not factor_only:
            gradient = jax.value_and_grad(log_density, argnums=1)
            program, found["compile_value_and_grad_s"] = compiled(gradient, shapes, a, y)
            found["kernels_value_and_grad"] = launches(program.as_text())
    return found
