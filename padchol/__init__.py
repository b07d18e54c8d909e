"""Sparse Cholesky in pure JAX."""
from padchol.errors import NotPositiveDefiniteError, PlanFileError
from padchol.factor import Factor, cholesky
from padchol.numeric.values import structured_copy
from padchol.plan import Plan, analyze
__all__=["analyze","cholesky","structured_copy","Plan","Factor","NotPositiveDefiniteError","PlanFileError"]
