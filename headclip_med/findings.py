"""What a screening found: lesion candidates and scores, with everything needed to repeat it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from headclip_med.volume import Heatmap, Volume

Unit = Literal["mm3", "px"]
"""Of a size: cubic millimetres, or pixels where there is no patient geometry."""

Frame = Literal["lps_mm", "column_row_slice"]
"""Of a place: the patient's millimetres (left, posterior, superior), or indices without those."""


@dataclass(frozen=True)
class Lesion:
    """One connected region above the threshold.

    Attributes:
        id: One-based; the value of its voxels in ``Screening.labels``.
        size: In ``unit``; from true neighbour spacing.
        unit: Of ``size``.
        centre: In ``frame``; the centre of its voxels, weighted by size.
        frame: What ``centre`` counts in.
        max_score: Highest heatmap value inside, in [0, 1].
        slices: Indices of the first and the last slice it touches.
        peak_slice: Index of the first slice in which it reaches ``max_score``.
    """

    id: int
    size: float
    unit: Unit
    centre: tuple[float, float, float]
    frame: Frame
    max_score: float
    slices: tuple[int, int]
    peak_slice: int


@dataclass(frozen=True)
class Box:
    """Rows and columns of every slice, each from the first to before the end, in pixels."""

    first_row: int
    end_row: int
    first_column: int
    end_column: int

    @property
    def indices(self) -> tuple[slice, slice]:
        """For indexing the last two axes of slices or maps."""
        return slice(self.first_row, self.end_row), slice(self.first_column, self.end_column)


@dataclass(frozen=True)
class WindowUsed:
    """The grey-level mapping that was applied, and why it was chosen.

    Attributes:
        name: For example ``"brain"``, ``"percentile"``, ``"as-is"``.
        low: Value that became 0, in the volume's unit.
        high: Value that became 1, in the volume's unit.
        reason: A sentence.
    """

    name: str
    low: float
    high: float
    reason: str


@dataclass(frozen=True, eq=False)
class Screening:
    """The outcome for one volume.

    Attributes:
        volume: What was screened.
        heatmap: How abnormal each voxel looks.
        slice_scores: JAS of each slice, in [0, 1].
        score: The study's score in [0, 1], pooled from the slices as ``settings`` say.
        threshold: Heatmap value from which a voxel belongs to a lesion candidate.
        labels: 0 for background, else the id of the lesion; mapped where it is large.
        lesions: Ordered by ``max_score``, highest first.
        window: The grey-level mapping used.
        crop_box: The part of every slice that the model saw; the heatmap is 0 around it.
        model: Name, method, backbone, digests and settings, all plain JSON values.
        settings: The screening settings, plain JSON values.
        timings_s: Seconds per step.
    """

    volume: Volume
    heatmap: Heatmap
    slice_scores: Float[np.ndarray, "slices"]
    score: float
    threshold: float
    labels: Int[np.ndarray, "slices rows columns"]
    lesions: tuple[Lesion, ...]
    window: WindowUsed
    crop_box: Box
    model: Mapping[str, object]
    settings: Mapping[str, object]
    timings_s: Mapping[str, float] = field(default_factory=dict)
