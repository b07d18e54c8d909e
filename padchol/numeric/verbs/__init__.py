"""Dense mathematics on supernodes, of which routines are made.

batches                                     on many padded ones at once
loops -> supernode -> tiles, extend_add     on one in its exact size, in loops that a CPU compiles
"""
