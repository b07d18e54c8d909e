"""Random cases against brute force: `python -m padchol.testing --cases 100000 --seed 1`.

A kind of cases is a function that yields, for one unit of work, None for each case that is right
and a sentence for each that is wrong:

    symbolic    random patterns in every container, against elimination column by column
    values      hundreds of matrices of one pattern in a batch, against dense numpy
    sequences   plans that were saved, pickled, copied, jitted, sent through threads
    files       saved plans with bytes flipped, cut, and members swapped
    malformed   arguments that public functions should refuse
    formulas    texts of tokens, which are read or refused

A unit has a seed of its own, made of the seed of the run, its kind and its number, so that one that
went wrong is repeated by itself. Nothing is compiled for a case: programs are compiled for one of a
few layouts and used for thousands of matrices. Needs nothing beyond padchol's own dependencies.
"""

from padchol.testing._run import KINDS, Report, fuzz, main

__all__ = ["KINDS", "Report", "fuzz", "main"]
