"""The numeric phase: dense kernels on fronts, handed to two sweeps. JAX only.

    dense -> moves -> sweep, and tiled.loops -> ... -> tiled.run
    both -> fronts -> factorise -> selinv -> logdet, and factorise -> adjoint -> solve

A routine has two forms. On tiles: one front after the other in its own size, as a CPU does it. In
chunks: a batch of padded fronts, of one of a few shapes, as other devices do. Both have the
storages of `symbolic.tiles`; `values` moves values and vectors in and out of them. Derivatives of
every order and mode are made in `forms`.

Notation: a chunk has C fronts of one bin, W pivot columns, M rows below, D = W + M; F is the number
of fronts in a bin. L11 (W, W) and L21 (M, W) are the pivot columns of L in one front.
"""
