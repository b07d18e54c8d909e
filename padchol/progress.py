"""A progress bar for long analyses: tqdm, where it is installed."""

from __future__ import annotations

import importlib.util

DELAY = 1.0  # seconds an analysis may take in silence
# Analyses of so many entries take longer, so that the bar is there from the start: compiled
# orderings let no other thread draw it meanwhile. 100^2 (30,000) takes 0.4 s, 300^2 3.6 (39).
LONG = 100_000


class Progress:
    """Counts named stages. `show`: True from the start, False never, None where `size`, the entries
    of the pattern, says that the analysis will be long, or after a second."""

    def __init__(self, total: int, show: bool | None, size: int = 0):
        self._bar = None
        if show is False or (show is None and not importlib.util.find_spec("tqdm")):
            return
        try:
            from tqdm import tqdm
        except ImportError as error:
            raise ImportError(
                "progress=True needs tqdm: pip install tqdm, or leave progress out"
            ) from error
        delay = 0 if show or size > LONG else DELAY
        self._bar = tqdm(total=total, delay=delay, mininterval=0, unit="stage", leave=False)

    def __call__(self, stage: str) -> None:
        """The stage that begins; the one before is done."""
        if self._bar is not None:
            self._bar.set_description(f"padchol: {stage}", refresh=False)
            self._bar.update()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
