"""How a fit prints: the tables of mgcv's summary."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from padchol.splines.fit import AdditiveFit

SMALL = 2e-16  # p-values below are shown as less than this


def summary(fit: AdditiveFit) -> str:
    """Columns, smooths, and how well all of it fits."""
    estimated = fit.model.family.dispersed
    lines = [f"{fit.model.family.name}: {' '.join(fit.model.formula.split())}", ""]
    if fit.model.parametric.names:
        lines.append(_row("columns", "estimate", "std. error", "t" if estimated else "z", "p"))
        for name, test in fit.test_columns().items():
            numbers = (f"{test.estimate:.5g}", f"{test.se:.4g}", f"{test.statistic:.4g}")
            lines.append(_row(name, *numbers, _p(test.p)))
        lines.append("")
    if fit.smooths:
        lines.append(_row("smooths", "edf", "Ref.df", "F" if estimated else "Chi.sq", "p"))
        for name, test in fit.test_smooths().items():
            numbers = (f"{test.edf:.3f}", f"{test.reference:.3f}", f"{test.statistic:.4g}")
            lines.append(_row(name, *numbers, _p(test.p)))
        lines.append("")
    explained = fit.deviance_explained
    lines.append(f"R-sq.(adj) = {fit.r_squared:.3g}" + _explained(explained))
    shown = " ".join(f"{name} = {value:.5g}" for name, value in fit.parameters.items())
    lines.append(f"-REML = {fit.reml:.5g}  {shown}  n = {fit.n}".replace("   ", "  "))
    lines += ["", *(f"note: {note}" for note in fit.model.notes)] if fit.model.notes else []
    return "\n".join(line.rstrip() for line in lines)


def _explained(share: float) -> str:
    return f"  deviance explained = {100 * share:.3g}%" if np.isfinite(share) else ""


def _row(name: str, *cells: str) -> str:
    return f"{name:24}" + "".join(f"{cell:>12}" for cell in cells)


def _p(p: float) -> str:
    return f"<{SMALL:.0e}" if p < SMALL else f"{p:.3g}"
