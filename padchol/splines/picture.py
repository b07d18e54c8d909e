"""Pictures of smooths: curves with bands, surfaces, effects. Needs matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

if TYPE_CHECKING:
    from padchol.splines.fit import AdditiveFit

WIDTH, HEIGHT, ROW = 3.6, 2.9, 3  # inches of a panel, panels in a row


def draw(
    fit: AdditiveFit,
    axes: Any = None,
    *,
    smooths: Any = None,
    level: float = 0.95,
    residuals: bool = False,
    with_mean: bool = False,
    points: int = 100,
) -> np.ndarray:
    """A panel for each smooth, on axes of your own or on a new figure; the axes are given back.

    A curve with its band and the data as a rug, with `residuals` the partial ones; a surface as
    contours; random effects against quantiles of the normal law.
    """
    import matplotlib.pyplot as plt

    names = fit.smooths if smooths is None else list(smooths)
    for name in names:
        fit.columns(name)  # a KeyError where there is none
    if axes is None:
        across = min(len(names), ROW) or 1
        down = -(-len(names) // across) or 1
        size = (WIDTH * across, HEIGHT * down)
        _, axes = plt.subplots(down, across, figsize=size, squeeze=False, layout="constrained")
    panels = np.ravel(np.asarray(axes))
    if panels.size < len(names):
        raise ValueError(f"expected {len(names)} axes, one for each smooth; got {panels.size}")
    for name, panel in zip(names, panels, strict=False):
        term = fit.model.terms[fit.smooths.index(name)]
        if term.effects is not None:
            _effects(fit, name, panel)
        elif len(term.seen) == 1:
            _curve(fit, name, panel, level, residuals, with_mean, points)
        elif len(term.seen) == 2:
            _surface(fit, name, panel)
        else:
            panel.set_title(f"{name}: no picture of more than two variables", fontsize="small")
    for panel in panels[len(names) :]:
        panel.set_visible(False)
    return panels


def _curve(
    fit: AdditiveFit,
    name: str,
    panel: Any,
    level: float,
    residuals: bool,
    with_mean: bool,
    points: int,
) -> None:
    term = fit.model.terms[fit.smooths.index(name)]
    curve = fit.smooth(name, points=points, level=level, with_mean=with_mean)
    x = term.seen[0]
    rows = term.smooth.columns
    seen = np.asarray(abs(rows).sum(1)).ravel() > 0
    if residuals:
        part = rows @ fit.coefficients[fit.columns(name)]
        panel.plot(x[seen], (part + fit.residuals())[seen], ".", color="0.75", markersize=3)
    panel.fill_between(curve.x, curve.lower, curve.upper, color="C0", alpha=0.25, linewidth=0)
    panel.plot(curve.x, curve.fit, color="C0")
    panel.plot(
        x[seen],
        np.zeros(int(seen.sum())),
        "|",
        color="0.3",
        markersize=6,
        alpha=0.4,
        transform=panel.get_xaxis_transform(),
    )
    panel.set(xlabel=term.call.variables[0], title=f"{name}, edf {fit.edf[name]:.2f}")


def _surface(fit: AdditiveFit, name: str, panel: Any) -> None:
    term = fit.model.terms[fit.smooths.index(name)]
    curve = fit.smooth(name, points=1600)
    side = round(len(curve.fit) ** 0.5)
    one, two, f = (v.reshape(side, side) for v in (*curve.x.T, curve.fit))
    drawn = panel.contourf(one, two, f, 15, cmap="viridis")
    panel.figure.colorbar(drawn, ax=panel)
    panel.plot(*term.seen, ".", color="white", markersize=1.5, alpha=0.6)
    names = dict(zip(("xlabel", "ylabel"), term.call.variables, strict=True))
    panel.set(title=f"{name}, edf {fit.edf[name]:.2f}", **names)


def _effects(fit: AdditiveFit, name: str, panel: Any) -> None:
    found = np.sort(fit.smooth(name).fit)
    at = stats.norm.ppf((np.arange(found.size) + 0.5) / found.size)
    panel.plot(at, found, "o", markersize=3)
    panel.set(xlabel="normal quantiles", title=f"{name}, edf {fit.edf[name]:.2f}")
