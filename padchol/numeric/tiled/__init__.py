"""Fronts one by one, in exact sizes, on tiles of 4 columns: how a CPU runs them.

loops -> fronts -> factor, inverse, triangular, adjoint -> run
"""
