"""Dense mathematics on supernodes: the verbs of which routines are made, by two engines.

    batches                                       on many padded supernodes at once
    loops -> supernode -> squares, extend_add -> tiles    on one in its exact size

A routine is a function of `Verbs`. R is L11^-1; matrices of the rows below are transposed, (w, m):

    panel(i), factor(i)      panel of the storage (0), or of the i-th leaf; of a finished L
    eliminate(F)             L11 L11^T = F11, L21 = F21 L11^-T
    store_factor(L)          L as the final panel
    hand_up_square(L)        -L21 L21^T to the ancestors
    solve(L)                 the rows b of the storage become y = L11^-1 b
    read_below_rows()        x2, what the ancestors have at the rows below
    solve_t(L, x2)           the rows y of the storage become L11^-T (y - L21^T x2)
    hand_up_product(L)       -L21 y to the ancestors, y the rows of the storage
    inverse(L), below(P)     R, and P21^T
    read_below()             V, symmetric: what the ancestors' panels have at the rows below
    doubled(V)               V with its diagonal twice
    t_times(R, B)            R^T B
    minus_times(G, V)        -G V
    less_times(B, G, V)      B - G V
    gram_less_product(R, G, Z)             R^T R - G Z^T
    symmetric_product_less(L, L_bar, B, L21_t)    L11^T lower(L11_bar) - B L21, mirrored from below
    times_halved(P, R)       P R, its diagonal halved
    store_panel(P11, P21_t)  the final panel, of which the lower triangle counts
    less_outer()             panel - z y^T, from leaves y, z and z below
"""

from typing import Any

from padchol.numeric.verbs.batches import OnBatch as OnBatch
from padchol.numeric.verbs.tiles import OnTiles as OnTiles

Verbs = Any  # OnBatch or OnTiles: what one verb gives the next takes, an array or where it is
