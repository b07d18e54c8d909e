"""The numeric phase: dense mathematics on supernodes, handed to two sweeps. JAX only.

    tiled.loops -> tiled.fronts -> tiled kernels        an engine: supernodes one by one
    dense -> levels                                     another: batches of them
    both -> sweep -> factorise -> selinv -> logdet, and factorise -> adjoint -> solve -> pivots

On tiles a CPU takes one supernode after the other in its own size. In levels an accelerator takes
batches of padded ones. Each has storages of its own; `values` moves values and vectors in and out
of them. JAX sees whole computations, by one primitive (`call`), which batches them and cuts batches
over devices (`devices`); their derivatives of every order and mode follow from `forms`.

Notation: a supernode has W pivot columns and M rows below, D = W + M; L11 (W, W) and L21 (M, W) are
its columns of L. A trip of levels takes C of them.
"""
