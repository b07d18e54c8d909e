"""What the pictures share: colours, legends, axes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ENTRY, FILL, FRONT, LINE = "#1b3a5c", "#f0a04b", "#b3243a", "#9aa5b1"


def rgb(colour: str) -> np.ndarray:
    from matplotlib.colors import to_rgb

    return np.array(to_rgb(colour))


def plain(ax: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    ax.yaxis.set_major_locator(MaxNLocator(9, integer=True, min_n_ticks=1))
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)


def legend(ax: Axes, colours: dict[str, str]) -> None:
    from matplotlib.patches import Patch

    handles = [
        Patch(facecolor="none" if c == FRONT else c, edgecolor=c, label=name)
        for name, c in colours.items()
    ]
    ax.legend(handles=handles, loc="upper right", frameon=False, fontsize=9)
