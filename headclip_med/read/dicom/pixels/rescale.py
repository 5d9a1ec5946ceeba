"""From stored values to those of physics, and what is known of their unit."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Shaped
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_modality_lut

from headclip_med.errors import UnreadableInput
from headclip_med.read.dicom.elements import items, numbers, text, texts
from headclip_med.read.dicom.pixels.layout import PixelLayout
from headclip_med.read.dicom.planes.groups import find_group

LARGEST_SCALE = 1e9
"""A slope or intercept beyond this is damage, and could overflow float32."""

HIGHEST_AIR_HU = -500.0
"""Values that cannot reach below are not on the scale of Hounsfield, whose air is at -1000."""

RESCALE_KEYWORDS = ("RescaleSlope", "RescaleIntercept", "RescaleType", "ModalityLUTSequence")


@dataclass(frozen=True)
class Rescale:
    """How stored values of one frame become physical ones.

    Attributes:
        slope: Also where a table stands instead, then 1.
        is_declared: Both numbers are in the file, or a table is.
        unit: Upper case, as declared; empty where it is not.
        ends: The lowest and the highest physical value that can be stored.
        table: Holds a Modality LUT that is used instead of slope and intercept.
        has_commas: Numbers were written with decimal commas.
    """

    slope: float
    intercept: float
    is_declared: bool
    unit: str
    ends: tuple[float, float]
    table: Dataset | None = None
    has_commas: bool = False

    @property
    def is_hounsfield(self) -> bool:
        """Whether a CT's values are on its scale by what is declared; never a guess."""
        return self.is_declared and self.unit in ("", "HU") and min(self.ends) <= HIGHEST_AIR_HU

    def apply(
        self, values: Shaped[np.ndarray, "rows columns"], out: Shaped[np.ndarray, "rows columns"]
    ) -> None:
        """Write the physical values to ``out``."""
        if self.table is not None:
            out[...] = apply_modality_lut(values, self.table)
            return
        out[...] = values  # at once, where a multiplication would convert them piece by piece
        if self.slope != 1:
            out *= np.float32(self.slope)
        if self.intercept:
            out += np.float32(self.intercept)


@dataclass(frozen=True)
class Rescales:
    """The rescale of each frame, wherever an object keeps it.

    Attributes:
        dataset: The object.
        per_frame: Functional groups of the frames.
        shared: Those of all frames.
    """

    dataset: Dataset
    layout: PixelLayout
    per_frame: list[Dataset]
    shared: list[Dataset]

    @classmethod
    def of(cls, dataset: Dataset, layout: PixelLayout) -> Rescales:
        """Look up the functional groups once."""
        per_frame, shared = (
            items(dataset, f"{which}FunctionalGroupsSequence") for which in ("PerFrame", "Shared")
        )
        return cls(dataset, layout, per_frame, shared[:1])

    def of_frames(self, frames: Iterable[int]) -> dict[int, Rescale]:
        """Read the rescale of some frames, from 0; equal ones are one object.

        Raises:
            UnreadableInput: Slope or intercept are there but no usable numbers.
        """
        if tables := items(self.dataset, "ModalityLUTSequence"):
            return dict.fromkeys(frames, self._by_table(tables[0]))
        if not self.per_frame:
            return dict.fromkeys(frames, self._of_frame(0))
        known: dict[Rescale, Rescale] = {}
        found = ((index, self._of_frame(index)) for index in frames)
        return {index: known.setdefault(one, one) for index, one in found}

    def _of_frame(self, index: int) -> Rescale:
        groups = [*self.per_frame[index : index + 1], *self.shared]
        place = find_group(groups, "PixelValueTransformationSequence")
        if "RescaleSlope" not in place and "RescaleIntercept" not in place:
            place = self.dataset
        # An empty element is as good as none; a damaged one is no number, and must not become 1.
        said = [_said(place, keyword) for keyword in ("RescaleSlope", "RescaleIntercept")]
        slope, intercept = (
            _number(value) if value else usual
            for value, usual in zip(said, (1.0, 0.0), strict=True)
        )
        if slope == 0 or not abs(slope) < LARGEST_SCALE or not abs(intercept) < LARGEST_SCALE:
            raise UnreadableInput(
                "The rescale slope or intercept is zero, absurd or no number, so the values mean "
                "nothing.",
                "Export the image again from its source.",
                code="bad-rescale",
            )
        low, high = self.layout.ends
        return Rescale(
            slope,
            intercept,
            is_declared=all(said),
            unit=text(place, "RescaleType").upper(),
            ends=(slope * low + intercept, slope * high + intercept),
            has_commas=any("," in value for value in said),
        )

    def _by_table(self, table: Dataset) -> Rescale:
        count, first = (int(value) for value in numbers(table, "LUTDescriptor")[:2])
        values = apply_modality_lut(np.arange(first, first + (count or 2**16)), self.dataset)
        return Rescale(
            1.0,
            0.0,
            is_declared=True,
            unit=text(table, "ModalityLUTType").upper(),
            ends=(float(values.min()), float(values.max())),
            table=self.dataset,
        )


def _said(dataset: Dataset, keyword: str) -> str:
    """Read all that an element says, as text; what cannot be read is no number."""
    if found := "\\".join(texts(dataset, keyword)):
        return found
    element = dataset.get_item(keyword)
    return "damaged" if getattr(element, "value", None) else ""


def _number(value: str) -> float:
    """Read a number, with a decimal comma too; what is none is not a number."""
    try:
        return float(value.replace(",", ".", 1))
    except ValueError:
        return math.nan
