"""Pixel metrics of any number of maps, in bounded memory, with the values of all at once."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from headclip_med.errors import HeadClipError, InvalidSettings
from headclip_med.metrics.distinct import DistinctScores
from headclip_med.metrics.pooled import Pooled, Protocol, require_protocol
from headclip_med.metrics.scores import (
    Given,
    Maps,
    Masks,
    SortedScores,
    as_scores,
    as_truth,
    region_shares,
    require_finite,
    require_full_precision,
    require_same_shape,
)

MEMORY_MB = 1024
"""Default of ``PixelMetrics.memory_mb``; the whole process then stays below 4 GB."""

RAW_PART = 6
"""One part in so many of the memory is for pixels that were not merged into counts yet: merging
takes several times their size for a moment."""


class PixelMetrics:
    """Takes maps batch by batch and forgets them: exact counts of distinct scores are all it keeps.

    Both protocols come from one pass. When the counts outgrow ``memory_mb`` they move to files, at
    most 8 bytes for each pixel and 16 more for each abnormal one, usually far less, as equal scores
    share an entry. The files are removed by ``close``, at the end of a ``with`` block, or when the
    object is gone.

        with PixelMetrics() as pixels:
            for maps, masks in batches:
                pixels.update(maps, masks)
            exact, paper = pixels.compute(), pixels.compute("paper")
    """

    def __init__(
        self,
        protocol: Protocol = "exact",
        *,
        memory_mb: int = MEMORY_MB,
        spill_folder: Path | None = None,
    ) -> None:
        """Start with no pixel.

        Args:
            protocol: What ``compute`` uses by default.
            memory_mb: What scores and counts may hold, in MB; merging takes up to twice as much on
                top for a moment (measured: 2.6 GB in all with the default).
            spill_folder: Where a temporary folder for files is made; the system's place for such by
                default, which must lie on a disk and not in memory.

        Raises:
            InvalidSettings: The protocol is unknown, or ``memory_mb`` is below 1.
        """
        require_protocol(protocol)
        if memory_mb < 1:
            raise InvalidSettings(
                "memory_mb must be at least 1.", "Give the megabytes that maps may take."
            )
        self._protocol = protocol
        self._most_bytes = memory_mb * 1_000_000
        self._place = spill_folder
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._regions = 0
        self._stores = {
            "all": DistinctScores(has_shares=False),
            "abnormal": DistinctScores(has_shares=True),
        }
        self._spilled: dict[str, list[SortedScores]] = {name: [] for name in self._stores}

    def __enter__(self) -> PixelMetrics:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def update(self, maps: Given, masks: Given, *, inside: Given | None = None) -> None:
        """Add images.

        Args:
            maps: How abnormal each pixel looks, float32; of any size, also another than before.
            masks: True where abnormal, of any type that says yes or no.
            inside: Only pixels where this is True count; all by default.

        Raises:
            HeadClipError: A map's value is not a number, or there is no room for the files.
            InvalidSettings: The maps are not float32.
        """
        scores, marked = as_scores(maps), as_truth(masks)
        chosen = None if inside is None else as_truth(inside)
        require_full_precision(scores)
        if scores.dtype != np.float32:
            raise InvalidSettings(
                f"Streaming counts distinct float32 scores, and these are {scores.dtype}.",
                "Convert them, or use pixel_metrics.",
            )
        require_same_shape(scores, marked, chosen)
        require_finite(scores)
        step = max(1, self._most_bytes // 32 // max(1, scores[0].size if len(scores) else 1))
        for start in range(0, len(scores), step):
            part = slice(start, start + step)
            self._add(scores[part], marked[part], None if chosen is None else chosen[part])
            self._make_room()

    def compute(self, protocol: Protocol | None = None) -> dict[str, float]:
        """Compute the metrics of all images so far; more may follow. See ``pixel_metrics``.

        Args:
            protocol: Another than the default.
        """
        return self.pooled().metrics(protocol or self._protocol)

    def pooled(self) -> Pooled:
        """All pixels so far, for curves; valid until the next update."""
        parts = {
            name: [*self._spilled[name], store.settle()] for name, store in self._stores.items()
        }
        return Pooled(parts["all"], parts["abnormal"], self._regions)

    def close(self) -> None:
        """Remove the files; the object is not to be used any more."""
        self._spilled = {name: [] for name in self._stores}
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def _add(self, maps: Maps, masks: Masks, inside: Masks | None) -> None:
        abnormal = masks if inside is None else masks & inside
        shares, regions = region_shares(abnormal)
        self._regions += regions
        self._stores["all"].add(maps.flatten() if inside is None else maps[inside])
        self._stores["abnormal"].add(maps[abnormal], shares)

    def _make_room(self) -> None:
        stores = self._stores
        full = [name for name, store in stores.items() if store.is_full()]
        for name in full:
            self._spill(name)
        raw = sum(store.raw_bytes() for store in stores.values())
        if raw <= self._most_bytes // RAW_PART:
            return
        for store in stores.values():
            store.settle()
        while sum(store.settled_bytes() for store in stores.values()) > self._most_bytes // 2:
            largest = max(stores, key=lambda name: stores[name].settled_bytes())
            self._spill(largest)

    def _spill(self, name: str) -> None:
        try:
            if self._folder is None:
                self._folder = tempfile.TemporaryDirectory(
                    prefix="headclip-scores-", dir=self._place
                )
            number = len(self._spilled[name])
            files = self._stores[name].spill(Path(self._folder.name), f"{name}-{number}")
        except OSError as error:
            raise HeadClipError(
                "There is no room on the disk for the scores that do not fit the memory.",
                "Give another spill_folder, or a larger memory_mb.",
                code="no-room-for-scores",
            ) from error
        self._spilled[name].append(files)
