"""The two sweeps over the supernodes, as every routine is handed to them.

A sweep runs in place on a *storage* with one node a supernode: its panel (w pivot columns of all
its rows), or its w rows of a vector of k columns.

    up      leaves to root: a kernel turns a node into its final value, and hands an update on its
            rows below (m x m, or m x k), which is added to the nodes of its ancestors
    down    root to leaves: a kernel turns a node into its final value, and may read those of its
            ancestors at its rows below (m x m, or m x k)

The two are adjoint: up adds with the indices that down reads with. Of panels and m x m updates only
the lower triangle counts: what lies above may be anything.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from padchol.symbolic.layout import Kind, Layout

Kernel = Callable[..., Any]


@dataclass(frozen=True)
class Sweep:
    """What a sweep runs: static, hashable.

    up       direction
    node     what its storage holds: "panel", or "pivots" of vectors of k columns
    takes    kinds of the leaves that go into the kernel besides the node
    alone    whether nothing is handed up or read below
    """

    layout: Layout
    kernel: Kernel
    up: bool
    node: Kind
    k: int = 1
    takes: tuple[Kind, ...] = ()
    alone: bool = False

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Of the storage and the leaves."""
        return (self.node, *self.takes)
