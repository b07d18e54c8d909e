"""The symbolic phase: from a sparsity pattern to static index tables. Numpy and scipy only.

    triplets -> pattern -> ordering -> etree, postorder, column_counts -> supernodes
             -> amalgamation -> exact; pieces: long arrays a part at a time
    costs, shards; storages, tiles with extend_add, or schedule and levels -> tables (layout)
    unfold reads tables back

Notation: the matrix is A (n x n), L L^T = P A P^T its factor; a supernode has w pivot columns and m
rows below; padded to the shape of a stage these are W, M and D = W + M.
"""
