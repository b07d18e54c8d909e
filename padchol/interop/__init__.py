"""padchol among its neighbours: one module each, imported by name, none of them by padchol itself.

    from padchol.interop.lineax import SparseCholesky, SparseOperator
    from padchol.interop.numpyro import GMRF
    from padchol.interop.optimistix import SparseLeastSquares
    from padchol.interop import pytensor

Each needs the library that it is named after (that of optimistix, lineax), and nothing else does.
"""
