"""Mask and heatmap as plain pictures, pixel for pixel: for what was a picture when it came."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace

import numpy as np
from jaxtyping import UInt8, UInt16
from PIL import Image

from headclip_med.write.nifti import COMPACT
from headclip_med.write.outputs import Writer, WrittenOutput

Pixels = UInt8[np.ndarray, "rows columns"] | UInt16[np.ndarray, "rows columns"]


class PlainPngWriter(Writer):
    """A grey picture of each slice: one file, or ``-001`` and so on where there are several."""

    name: str

    def begin(self) -> None:
        """Begin without files."""
        self._files: dict[str, str] = {}

    def add(self, slices: range) -> None:
        """Write them."""
        for index in slices:
            apart = "" if len(self.screening.labels) == 1 else f"-{index + 1:03d}"
            name = f"{self.name}{apart}"
            self._files[name] = f"{name}.png"
            Image.fromarray(self._pixels(index)).save(self.folder / f"{name}.png", format="PNG")

    def end(self) -> WrittenOutput:
        """Say what was written."""
        return WrittenOutput(self._files)

    @abstractmethod
    def _pixels(self, index: int) -> Pixels:
        """Give a slice's grey values."""


class HeatmapPngWriter(PlainPngWriter):
    """``heatmap-png.png``: a heatmap value of 0 to 1 is a grey value of 0 to 255."""

    name = "heatmap-png"

    def end(self) -> WrittenOutput:
        """Say what was written, and how values are held."""
        how = {
            "encoding": COMPACT.name,
            "largest_error": round(COMPACT.largest_error, 6),
            "is_resampled": False,
            "affine_error_mm": None,
        }
        return replace(super().end(), heatmaps=dict.fromkeys(self._files, how))

    def _pixels(self, index: int) -> Pixels:
        heat = self.screening.heatmap.values[index]
        return np.frombuffer(COMPACT.encode(heat), dtype=np.uint8).reshape(heat.shape)


class MaskPngWriter(PlainPngWriter):
    """``mask-png.png``: 0, or the id of the candidate; in 16 bits where there are over 255."""

    name = "mask-png"

    def _pixels(self, index: int) -> Pixels:
        most = max((one.id for one in self.screening.lesions), default=0)
        return np.asarray(self.screening.labels[index]).astype(
            np.uint8 if most < 256 else np.uint16
        )
