"""The numeric phase: dense mathematics on supernodes, handed to two sweeps. JAX only.

    tiled.loops -> ... -> tiled.run, and dense, sweep -> levels        two engines
    both -> fronts -> factorise -> selinv -> logdet, and factorise -> adjoint -> solve -> pivots

On tiles a CPU takes one supernode after the other in its own size. In levels an accelerator takes
batches of padded ones. Each has storages of its own; `values` moves values and vectors in and out
of them. Derivatives of every order and mode are made in `forms`, batches in `members`, batches over
several devices in `devices`.

Notation: a supernode has W pivot columns and M rows below, D = W + M; L11 (W, W) and L21 (M, W) are
its columns of L. A trip of levels takes C of them.
"""
