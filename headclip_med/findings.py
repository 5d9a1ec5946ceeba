"""What a screening found: lesion candidates and scores, with everything needed to repeat it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from headclip_med.volume import Heatmap, Volume


@dataclass(frozen=True)
class Lesion:
    """One connected region above the threshold.

    Attributes:
        id: One-based; the value of its voxels in ``Screening.labels``.
        volume_mm3: From true neighbour spacing; cubic pixels where there is no patient geometry.
        centre_lps_mm: Centre of its voxels, weighted by volume.
        max_score: Highest heatmap value inside, in [0, 1].
        slices: Indices of the first and the last slice it touches.
    """

    id: int
    volume_mm3: float
    centre_lps_mm: tuple[float, float, float]
    max_score: float
    slices: tuple[int, int]


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
        labels: 0 for background, else the id of the lesion.
        lesions: Ordered by ``max_score``, highest first.
        window: The grey-level mapping used.
        judged: The part of every slice that the model saw; the heatmap is 0 around it.
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
    judged: Box
    model: Mapping[str, object]
    settings: Mapping[str, object]
    timings_s: Mapping[str, float] = field(default_factory=dict)
