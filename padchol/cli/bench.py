"""`python -m padchol bench`: padchol beside its peers, as ratios of medians in one process."""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from padchol.cli import inspect, peers
from padchol.cli._errors import InputError
from padchol.cli._targets import TARGETS, Compiler

BATCH = 32
SUITE = ("grid2d:50", "grid2d:100", "grid2d:300", "grid3d:20", "grid3d:30")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files",
        nargs="*",
        default=list(SUITE),
        help=".npz or .mtx files, grid2d:K or grid3d:K (default: the five grids of the suite)",
    )
    parser.add_argument("--order", default="auto", help="ordering of padchol's plan")
    parser.add_argument("--seconds", type=float, default=3.0, help="time spent on each comparison")
    parser.add_argument("--factor-only", action="store_true", help="compare the factorisation only")
    parser.add_argument(
        "--for",
        dest="target",
        choices=sorted(TARGETS),
        help="compile for a device that is not here, and print seconds, kernels launched by a "
        "factorisation and temporary bytes",
    )
    parser.add_argument(
        "--device",
        choices=("auto", "cpu", "gpu", "tpu"),
        default="auto",
        help="measure on this device (default: JAX's)",
    )
    parser.add_argument(
        "--shards",
        type=int,
        default=1,
        metavar="K",
        help="compare one factorisation over K devices with one device; with --for v5e, compile "
        "for K devices",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object per matrix")


def grid(dimension: int, side: int) -> sp.csc_array:
    """The 5- or 7-point Laplacian of a grid plus 0.01 I."""
    offsets: Any = [-1, 0, 1]  # scipy documents a sequence; its default 0 makes checkers infer int
    T = sp.diags_array([-1.0, 2.0, -1.0], offsets=offsets, shape=(side, side))
    eye = sp.eye_array(side)
    total = sp.csc_array((side**dimension, side**dimension))
    for axis in range(dimension):
        term = sp.csc_array(np.ones((1, 1)))
        for other in range(dimension):
            term = sp.kron(term, T if other == axis else eye)
        total = total + term
    return sp.csc_array(total + 0.01 * sp.eye_array(side**dimension))


def read(name: str) -> sp.csc_array:
    """A matrix by file name or as grid2d:K, grid3d:K. Raises `InputError`."""
    kind, _, side = name.partition(":")
    if kind not in ("grid2d", "grid3d"):
        return sp.csc_array(inspect.read(Path(name)))
    if not side.isdecimal() or int(side) < 1:
        raise InputError(f"expected {kind}:K with an integer K >= 1; got {name}")
    return grid(int(kind[4]), int(side))


def factored(plan, a):
    """What is timed as a factorisation; the plan, a field of Factor, need not be copied out."""
    from padchol import cholesky

    F = cholesky(plan, a)
    return F.panels, F.info


def log_density(plan, a, y):
    """What is timed with its gradient: log |A| - y^T A^-1 y."""
    from padchol import cholesky

    F = cholesky(plan, a)
    return F.logdet() - y @ F.solve(y)


def measure(
    A: sp.csc_array, order: str, seconds: float, factor_only: bool, device: Any = "auto"
) -> dict[str, Any]:
    """All figures of one matrix: seconds of padchol, and ratios padchol / peer."""
    import jax
    import jax.numpy as jnp

    import padchol

    started = time.perf_counter()
    plan = padchol.analyze(A, order=order, device=device)
    row: dict[str, Any] = {"n": plan.n, **{k: plan.stats[k] for k in ("nnz_L", "levels", "bins")}}
    row["analysis_s"] = time.perf_counter() - started
    traced = jax.tree.map(jnp.asarray, plan)
    a, y = jnp.asarray(plan.values(A)), jnp.ones(plan.n)

    def compiled(f: Callable, *args):
        begin = time.perf_counter()
        return jax.jit(f).lower(*args).compile(), time.perf_counter() - begin

    factor, row["compile_factor_s"] = compiled(factored, traced, a)
    ours = {"factor": lambda: jax.block_until_ready(factor(traced, a))}
    cholmod = _cholmods(A)
    compare(row, ours, {f"cholmod {k}": c.factor for k, c in cholmod.items()}, seconds)
    memory = jax.jit(lambda p, a: padchol.cholesky(p, a).logdet()).lower(traced, a).compile()
    used = memory.memory_analysis()
    if used is not None:
        row["bytes_per_8_nnz_L"] = (used.temp_size_in_bytes + used.output_size_in_bytes) / (
            8 * plan.nnz_L
        )
    if factor_only:
        return row
    F = jax.tree.map(jnp.asarray, padchol.cholesky(plan, a))
    _solves(row, F, cholmod, seconds)
    selected, row["compile_selinv_s"] = compiled(lambda F: F.selected_inverse(), F)
    compare(row, {"selinv": lambda: jax.block_until_ready(selected(F))}, {}, seconds)
    gradient, row["compile_value_and_grad_s"] = compiled(
        jax.value_and_grad(log_density, argnums=1), traced, a, y
    )
    scales = iter(1 + 1e-9 * np.arange(1, 1_000_000))
    ours = {"value_and_grad": lambda: jax.block_until_ready(gradient(traced, a * next(scales), y))}
    theirs: dict[str, Callable] = {}
    if peers.installed("sparsax"):
        peer = peers.sparsax_value_and_grad(A)
        theirs["sparsax"] = lambda: peer(next(scales))
    if plan.n <= peers.DENSE_UP_TO:
        dense = peers.dense_value_and_grad(A)
        theirs["dense"] = lambda: dense(next(scales))
    compare(row, ours, theirs, seconds)
    many, row["compile_vmap_s"] = compiled(
        jax.vmap(lambda p, a: padchol.cholesky(p, a).logdet(), (None, 0)),
        traced,
        a * (1 + 0.01 * jnp.arange(BATCH)[:, None]),
    )
    stack = a * (1 + 0.01 * jnp.arange(BATCH)[:, None])
    theirs = {f"cholmod {k}": c.factor for k, c in cholmod.items()}
    compare(
        row, {"vmap": lambda: jax.block_until_ready(many(traced, stack))}, theirs, seconds, BATCH
    )
    return row


def _cholmods(A: sp.csc_array) -> dict[str, peers.Cholmod]:
    if not peers.installed("cvxopt"):
        return {}
    return {"simplicial": peers.Cholmod(A, 0), "supernodal": peers.Cholmod(A, 2)}


def _solves(row, F, cholmod, seconds: float) -> None:
    import jax
    import jax.numpy as jnp

    for columns in (1, BATCH):
        b = jnp.ones((row["n"], columns))
        solve = jax.jit(lambda F, b: F.solve(b))
        ours = {f"solve_{columns}": lambda b=b, F=F, solve=solve: solve(F, b).block_until_ready()}
        theirs = {f"cholmod {k}": c.solver(columns) for k, c in cholmod.items()}
        compare(row, ours, theirs, seconds)


def compare(row: dict, ours: dict, theirs: dict, seconds: float, share: int = 1) -> None:
    """Time our job beside the peers' and store milliseconds and ratio to the best of each peer.

    share: how many matrices our job handles; ours is divided by it.
    """
    (name, _), *_ = ours.items()
    times = peers.medians({**ours, **theirs}, seconds)
    mine = times.pop(name) / share
    row[f"{name}_ms"] = 1e3 * mine
    best: dict[str, float] = {}
    for label, value in times.items():
        peer = label.split()[0]
        best[peer] = min(best.get(peer, math.inf), value)
    for peer, value in best.items():
        row[f"{name}/{peer}"] = mine / value


def main(args: argparse.Namespace) -> int:
    """Run the comparison; print a table (or JSON), closing with geometric means of the ratios."""
    if args.target:
        figures = _ahead(args)
    else:
        peers.release_blas()
        figures = _here(args)
        if not args.json:
            print(f"GEMM rate of this machine: {peers.gemm_rate() / 1e9:.0f} Gflop/s (float64)")
    rows = []
    for name in args.files:
        row = {"matrix": Path(name).stem if ":" not in name else name}
        row |= figures(read(name))
        rows.append(row)
        print(json.dumps(row) if args.json else _line(row), flush=True)
    if not args.json and len(rows) > 1:
        print(_means(rows))
    return 0


def _ahead(args: argparse.Namespace) -> Callable:
    """The figures of a matrix on a device that is not here."""
    from padchol.cli._ahead import figures

    compiler = Compiler(args.target, args.shards)
    return lambda A: figures(compiler, A, args.order, args.factor_only)


def _here(args: argparse.Namespace) -> Callable:
    """The figures of a matrix on a device of this machine."""
    import jax

    jax.config.update("jax_enable_x64", True)
    if args.shards > 1:
        from padchol.cli import _shards

        _shards.prepare(args.shards)
        return lambda A: _shards.figures(A, args.order, args.seconds, args.shards)
    if args.device != "auto":
        try:
            jax.config.update("jax_default_device", jax.devices(args.device)[0])
        except RuntimeError as error:
            raise InputError(f"JAX finds no {args.device} here: {error}") from error
    return lambda A: measure(A, args.order, args.seconds, args.factor_only, args.device)


def _line(row: dict[str, Any]) -> str:
    parts = [f"{row['matrix']:<28} n {row['n']:>7,}  nnz(L) {row['nnz_L']:>11,}"]
    for key, value in row.items():
        if isinstance(value, float):
            parts.append(f"{key} {value:.3g}")
        elif key.startswith(("kernels", "temporary")):
            parts.append(f"{key} {value:,}")
    return "  ".join(parts)


def _means(rows: list[dict[str, Any]]) -> str:
    ratios = [key for key in rows[0] if "/" in key]
    parts = []
    for key in ratios:
        values = [row[key] for row in rows if key in row]
        mean = math.exp(float(np.mean(np.log(values))))
        parts.append(f"{key} {mean:.2f} (worst {max(values):.2f})")
    return "geometric means: " + "  ".join(parts)
