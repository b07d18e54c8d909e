"""The numeric phase: dense mathematics on supernodes, handed to two sweeps. JAX only.

    verbs, levels -> sweep -> factorise -> selected_inverse -> logdet
                              factorise, vectors -> adjoint -> solve -> pivots
    devices, shards, batching -> call -> forms; values, sparse_values; resident

Each routine is a file: its formula, its kernels by both engines, its derivatives. On tiles a CPU
takes one supernode after the other in its own size (`sweep`). In levels an accelerator takes
batches of padded ones (`levels`). Each has storages of its own; `values` moves values and vectors
in and out of them. JAX sees whole computations, by one primitive (`call`), which batches them and
cuts batches over devices (`devices`), or has one matrix swept by several (`shards`); derivatives in
A of every order and mode follow from `forms`.

Notation: a supernode has W pivot columns and M rows below, D = W + M; L11 (W, W) and L21 (M, W) are
its columns of L. A trip of levels takes C of them.
"""
