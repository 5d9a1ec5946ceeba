"""A heatmap that is written while the model still works on the next slices."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import IO

import numpy as np
from jaxtyping import Float

from headclip_med.geometry import Grid

MOST_WAITING = 2
"""Blocks; a model that is faster than the disk waits."""


class HeatmapAhead:
    """Takes a heatmap's slices as they come, and writes them in a thread to a file without a name.

    Used as a context, at whose end everything is gone that was not handed over.

    Args:
        grid: Of the heatmap.
        outputs: What will be asked for; without ``heatmap`` nothing is written.
    """

    def __init__(self, grid: Grid, outputs: Iterable[str]) -> None:
        self._grid, self._is_wanted = grid, "heatmap" in outputs
        self._slices = 0
        self._waiting: deque[Future[None]] = deque()
        self._error: BaseException | None = None

    def __enter__(self) -> HeatmapAhead:
        """Start."""
        from headclip_med.write.nifti import HeatmapFile  # brings nibabel

        self._thread = ThreadPoolExecutor(1, "heatmap")
        self._stream = tempfile.TemporaryFile()
        self._file = HeatmapFile(self._stream, self._grid)
        return self

    def __exit__(self, *_: object) -> None:
        """Drop what was written."""
        self._thread.shutdown(cancel_futures=True)
        self._stream.close()

    def add(self, values: Float[np.ndarray, "slices rows columns"]) -> None:
        """Take the next slices; an error is kept for ``made``."""
        if self._is_wanted:
            self._slices += len(values)
            self._waiting.append(self._thread.submit(self._file.add, values.copy()))
            self._settle(MOST_WAITING)

    def made(self) -> IO[bytes] | None:
        """Give the whole file, to be read from its start; None where not every slice came.

        Raises:
            OSError: The disk did not take it.
        """
        self._settle(0)
        if self._error is not None:
            raise self._error
        if self._slices != self._grid.shape[0]:
            return None
        self._file.close()
        self._stream.seek(0)
        return self._stream

    def _settle(self, most_waiting: int) -> None:
        while len(self._waiting) > most_waiting:
            first = self._waiting.popleft()
            wait([first])
            self._error = self._error or first.exception()
