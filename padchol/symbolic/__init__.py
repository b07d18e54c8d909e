"""The symbolic phase: from a sparsity pattern to static index tables. Numpy and scipy only.

    pattern -> ordering -> etree -> supernodes -> tiles, or schedule -> levels -> tables (layout)

Notation: the matrix is A (n x n), L L^T = P A P^T its factor; a supernode has w pivot columns and m
rows below; padded to the shape of a stage these are W, M and D = W + M.
"""
