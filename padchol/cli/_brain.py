"""Maps on a surface, drawn by an orthographic projection with a matte light."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from padchol.cli._surface import Surface

LIGHT = np.array([-0.75, 0.25, 0.6])  # from the viewer's upper left


def lateral_map(ax, surface: Surface, values: np.ndarray, cmap: str, limits: tuple[float, float]):
    """Draw values (n,) as seen from the left, the front of the brain to the left."""
    import matplotlib
    from matplotlib.cm import ScalarMappable
    from matplotlib.collections import PolyCollection
    from matplotlib.colors import Normalize

    corner = surface.points[surface.triangles]
    normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    toward = np.flatnonzero(normal[:, 0] < 0)  # the viewer is at x = -infinity
    far_first = toward[np.argsort(-corner[toward, :, 0].mean(1))]
    scale = ScalarMappable(Normalize(*limits), matplotlib.colormaps[cmap])
    colours = scale.to_rgba(values[surface.triangles[far_first]].mean(1))
    light = np.clip(normal[far_first] @ (LIGHT / np.linalg.norm(LIGHT)), 0, 1)
    colours[:, :3] *= (0.45 + 0.55 * light)[:, None]
    flat = np.stack([-corner[far_first, :, 1], corner[far_first, :, 2]], -1)
    faces = PolyCollection(list(flat), facecolors=colours, edgecolors=colours, linewidths=0.3)
    ax.add_collection(faces)
    ax.autoscale_view()
    ax.set_aspect("equal")
    ax.set_axis_off()
    ax.figure.colorbar(scale, ax=ax, orientation="horizontal", shrink=0.6, pad=0.02, aspect=30)


def save_maps(path: Path, surface: Surface, model, prior, posterior) -> None:
    """Four maps: the depth, its prediction, how sure that is, and a draw from the prior."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 8.4), dpi=130, layout="constrained")
    (a, b), (c, d) = figure.subplots(2, 2)
    bound = float(np.quantile(np.abs(surface.depth - model.centre), 0.99))
    signed = {"cmap": "RdBu_r", "limits": (-bound, bound)}
    lateral_map(a, surface, surface.depth - model.centre, **signed)
    a.set_title("sulcal depth, centred")
    lateral_map(b, surface, posterior.mean, **signed)
    b.set_title(f"predicted from {model.seen.size:,} of {surface.depth.size:,} vertices")
    top = float(np.quantile(posterior.deviation, 0.999))
    lateral_map(c, surface, posterior.deviation, "YlGnBu", (0.0, top))
    c.set_title("standard deviation of the prediction")
    wide = float(np.quantile(np.abs(prior.draw), 0.99))
    lateral_map(d, surface, prior.draw, "RdBu_r", (-wide, wide))
    d.set_title("a draw from the fitted field")
    figure.savefig(path)
