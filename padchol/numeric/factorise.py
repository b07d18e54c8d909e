"""L L^T = A: the multifrontal factorisation, its tangent, and its failure index.

Notation, for one front (Liu 1992, SIAM Review 34(1), 82-109)
    F (D, D)                 the front: values of A plus what the children hand over; F11, F21, F22
    L11, L21                 the pivot columns of L:  F11 = L11 L11^T,  L21 = F21 L11^-T
    U (M, M)                 the update handed to the parent:  F22 - L21 L21^T
Three leaves are kept per bin: L11 and L11^-1, both (F, W, W), and L21 (F, M, W).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from padchol.numeric.binding import sweep
from padchol.numeric.dense import cholesky_and_inverse, lower_half, symmetric, times, times_t
from padchol.numeric.sweep import Sweep
from padchol.numeric.values import assemble, entries, pivots, to_fronts, widths
from padchol.plan import Plan
from padchol.symbolic.layout import BinLayout


class Panels(NamedTuple):
    """L by bins: pivot blocks (F, W, W), their inverses, and the rows below (F, M, W)."""

    diagonal: list[Array]
    inverse: list[Array]
    below: list[Array]


def cholesky_front(bin: BinLayout, xs: tuple, message):
    """Factor one chunk of fronts; padded pivots are those of the identity."""
    values, entry, width = xs
    columns = assemble(message[0], values, entry)
    lane = jnp.arange(bin.W)
    inert = (lane[:, None] == lane) & (lane >= width[:, None, None])
    L11, inverse = cholesky_and_inverse(jnp.where(inert, 1, columns[:, : bin.W]))
    L21 = times_t(columns[:, bin.W :], inverse)
    return (L11, inverse, L21), (message[1] - times_t(L21, L21),)


def tangent_front(bin: BinLayout, xs: tuple, message):
    """Tangent of `cholesky_front`, from L alone (Murray 2016, arXiv 1602.07527, section 4).

    With S = L11^-1 dF11 L11^-T:  dL11 = L11 Phi(S),  d(L11^-1) = -Phi(S) L11^-1,
    dL21 = (dF21 - L21 dL11^T) L11^-T,  dU = dF22 - dL21 L21^T - L21 dL21^T.
    """
    L11, inverse, L21, entry, values = xs
    columns = assemble(message[0], values, entry)
    F11 = symmetric(columns[:, : bin.W])
    phi = lower_half(times_t(times(inverse, F11), inverse))
    d_L11 = times(L11, phi)
    d_L21 = times_t(columns[:, bin.W :] - times_t(L21, d_L11), inverse)
    half = times_t(d_L21, L21)
    update = message[1] - half - jnp.swapaxes(half, 1, 2)
    return (d_L11, -times(phi, inverse), d_L21), (update,)


@jax.jit
def factorise(plan: Plan, a: Array) -> tuple[Panels, Int[Array, ""]]:
    """L and `first_failure` for canonical values `a`, as constants: see `attach` for derivatives.

    Cost: the padded flops of the plan, plus one move of every update.
    """
    leaves = [to_fronts(plan, jax.lax.stop_gradient(a)), entries(plan), widths(plan)]
    spec = Sweep(plan.layout, cholesky_front, up=True, rank=2, k=0, linear=(False,) * 3)
    panels = Panels(*(sweep(spec, plan.table, leaves) or ([], [], [])))
    return panels, first_failure(plan, panels)


@jax.custom_jvp
def attach(plan: Plan, a: Array, panels: Panels) -> Panels:
    """`panels`, as the function of `a` that they are: the tangent is one more up sweep.

    The adjoint is a down sweep that keeps nothing but L. Both cost about three factorisations.
    """
    del plan, a
    return panels


@attach.defjvp
def _attach_jvp(primals, tangents):
    plan, a, panels = primals
    full = attach(plan, a, panels)
    spec = Sweep(plan.layout, tangent_front, up=True, rank=2, k=0, linear=(False,) * 4 + (True,))
    moved = sweep(spec, plan.table, [*full, entries(plan), to_fronts(plan, tangents[1])])
    return full, Panels(*(moved or ([], [], [])))


def first_failure(plan: Plan, panels: Panels) -> Int[Array, ""]:
    """0, or 1 + the index (user's numbering) of the first pivot that is not positive and finite.

    First in the order of elimination: what comes later may only have inherited the failure.
    """
    first = jnp.asarray(plan.n, jnp.int32)
    for bin, L11 in zip(plan.layout.bins, panels.diagonal, strict=True):
        pivot = jnp.diagonal(L11, axis1=1, axis2=2)
        failed = ~((pivot > 0) & jnp.isfinite(pivot))
        first = jnp.minimum(first, jnp.min(jnp.where(failed, pivots(plan, bin), plan.n)))
    perm = jnp.asarray(plan.perm, jnp.int32)
    if plan.n == 0:
        return first
    return jnp.where(first < plan.n, perm[jnp.minimum(first, plan.n - 1)] + 1, 0).astype(jnp.int32)
