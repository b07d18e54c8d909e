"""Fronts one by one, in exact sizes, on tiles of 4 columns: how a CPU runs the small fronts.

loops -> fronts -> factor, inverse, triangular -> run
"""
