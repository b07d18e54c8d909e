"""The numeric phase: dense kernels on fronts, handed to two sweeps. JAX only.

    dense -> sweep -> binding ----> fronts -> factorise, solve, selinv, logdet
    tiled.loops -> fronts -> ... /            values: to fronts and back

A routine has two forms. In chunks: a batch of padded fronts, of one of a few shapes; differentiable
to any order. On tiles: one front after the other in its own size, as a CPU does it. Both have the
storages of `symbolic.tiles`.

Notation: a chunk has C fronts of one bin, W pivot columns, M rows below, D = W + M; F is the number
of fronts in a bin. L11 (W, W) and L21 (M, W) are the pivot columns of L in one front.
"""
