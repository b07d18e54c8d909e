"""Counted facts of a plan and its compiled programs: what may not grow unnoticed. No tests here.

`python tests/helpers/counted.py` prints the table of `tests/helpers/budget.json` anew.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
import support
from programs import equations, kernels

import padchol
from padchol import laplace, likelihoods, precisions
from padchol.symbolic.layout import MOVE, PIECE, QUAD
from padchol.symbolic.supernodes import ramp
from padchol.symbolic.unfold import read

BUDGET = Path(__file__).with_name("budget.json")
PLANS = {"grid 50^2": (50, 50), "grid 100^2": (100, 100), "grid 14^3": (14, 14, 14)}
COMPILED = ("grid 50^2", "grid 14^3")


def plan_of(name: str, device: Any = "cpu") -> padchol.Plan:
    """By minimum degree, the ordering that is the same on every machine."""
    return padchol.analyze(support.grid(*PLANS[name]), order="mmd", device=device)


def of_levels(plan: padchol.Plan) -> dict[str, float]:
    """Work and memory that a plan for accelerators asks for."""
    facts, layout = plan.stats, plan.layout
    return {
        "levels: padded flops / flops": facts["padded_flops"] / facts["flops"],
        "levels: fronts / nnz(L)": layout.levels.fronts / plan.nnz_L,
        "levels: stored entries / nnz(L)": layout.storage.panels / plan.nnz_L,
        "levels: table bytes / nnz(L)": facts["bytes"] / plan.nnz_L,
        "levels: trips": facts["trips"],
        "levels: stages": len(layout.levels.stages),
        "levels: predicted us": 1e-3 * facts["cost"],
    }


def of_plan(plan: padchol.Plan) -> dict[str, float]:
    """Work and memory that a plan for CPUs asks for."""
    facts, storage = plan.stats, plan.layout.storage
    return {
        "padded flops / flops": facts["padded_flops"] / facts["flops"],
        "padded entries / nnz(L)": facts["padded_entries"] / plan.nnz_L,
        "stored entries / nnz(L)": storage.panels / plan.nnz_L,
        "moved entries / nnz(L)": QUAD**2 * squares(plan) / plan.nnz_L,
        "table bytes / nnz(L)": facts["bytes"] / plan.nnz_L,
        "predicted us": 1e-3 * facts["cost"],
    }


def squares(plan: padchol.Plan) -> int:
    """How many squares of QUAD rows and columns the extend-add of a CPU moves."""
    tiles = plan.layout.tiles
    listed = read(plan.table, tiles.records)[-2]
    begin, first, end = read(plan.table, tiles.moves).reshape(-1, MOVE).T
    last = read(plan.table, tiles.pieces).reshape(-1, PIECE)[:, 2]
    move = np.repeat(np.arange(first.size), end - first)
    return int(listed + (last[first[move] + ramp(end - first)] - begin[move]).sum())


def of_programs(plan: padchol.Plan) -> dict[str, float]:
    """Size of the traced and of the compiled value and gradient, memory of the log-determinant."""
    a, y = jnp.ones(plan.nnz), jnp.ones(plan.n)

    def density(a):
        F = padchol.cholesky(plan, a)
        return F.logdet() - y @ F.solve(y)

    gradient = jax.value_and_grad(density)
    text = jax.jit(gradient).lower(a).compile().as_text() or ""
    logdet = jax.jit(lambda a: padchol.cholesky(plan, a).logdet()).lower(a).compile()
    memory = logdet.memory_analysis()
    used = memory.temp_size_in_bytes + memory.output_size_in_bytes
    return {
        "equations": sum(1 for _ in equations(jax.make_jaxpr(gradient)(a).jaxpr)),
        "fusions": len(re.findall(r" fusion\(", text)),
        "copies": len(re.findall(r" copy\(", text)),
        "bytes of the log-determinant / 8 nnz(L)": used / (8 * plan.nnz_L),
    }


def models() -> dict[str, Callable]:
    """Log marginal likelihoods of two parameters, and derivatives of them."""
    A = support.grid(7, 8)
    W = abs(A - sp.diags_array(A.diagonal()))
    n, y = A.shape[0], likelihoods.poisson(np.arange(A.shape[0]) % 5)
    Q, B = precisions.bym2(W), sp.csr_array(sp.hstack([sp.eye_array(n), sp.csr_array((n, n))]))
    plan = padchol.analyze([Q.pattern, padchol.assembly.gram_pattern(B)])
    areas, prior = laplace.design(plan, B), Q.on(plan)
    plan = padchol.analyze([A, sp.eye_array(n)])
    cells, a = laplace.design(plan, sp.csr_array(sp.eye_array(n))), plan.values(A)

    def bym2(t):
        field = prior.field(jnp.exp(t[0]), jax.nn.sigmoid(t[1]))
        return laplace.laplace(areas, y, field, constrained=True).log_marginal

    def grid(t):
        return laplace.laplace(cells, y, jnp.exp(t[0]) * a, t[1]).log_marginal

    return {
        "Laplace, value": grid,
        "Laplace, value and gradient": jax.value_and_grad(grid),
        "Laplace, Hessian": jax.hessian(grid),
        "BYM2, value and gradient": jax.value_and_grad(bym2),
    }


def of_model(f: Callable) -> dict[str, float]:
    """Size of a traced program of two parameters: what is compiled grows with it."""
    every = list(equations(jax.make_jaxpr(f)(jnp.zeros(2)).jaxpr))
    return {"equations": len(every), "kernels": kernels(f, jnp.zeros(2))}


def counted() -> dict[str, dict[str, float]]:
    found = {}
    for name in PLANS:
        plan = plan_of(name)
        more = of_programs(plan) if name in COMPILED else {}
        more |= of_plan(plan) | of_levels(plan_of(name, "gpu"))
        found[name] = {k: float(np.round(v, 3)) for k, v in more.items()}
    return found | {name: of_model(f) for name, f in models().items()}


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    BUDGET.write_text(json.dumps(counted(), indent=1) + "\n")
    print(BUDGET.read_text())
