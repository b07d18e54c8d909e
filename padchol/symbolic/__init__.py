"""The symbolic phase: from a sparsity pattern to static index tables. Numpy and scipy only.

    pattern -> ordering -> etree -> supernodes -> schedule -> placement, blocks, tables (layout)

Notation: the matrix is A (n x n), L L^T = P A P^T its factor; a supernode has w pivot columns and m
rows below, its front is (w + m) x (w + m); padded to a bin's shape these are W, M and D = W + M.
"""
