"""The numeric phase: dense kernels on fronts, handed to two sweeps. JAX only.

    dense -> sweep -> binding -> factorise, solve, selinv, logdet;  values: to fronts and back

Notation: a chunk has C fronts of one bin, W pivot columns, M rows below, D = W + M; F is the number
of fronts in a bin. L11 (W, W) and L21 (M, W) are the pivot columns of L in one front.
"""
