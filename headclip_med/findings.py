"""What a screening found: lesion candidates and scores, with everything needed to repeat it.

What is done with it (``save``, ``show``) stands in the layers above, and is looked up by name when
it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, field
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int, Shaped

from headclip_med.calibration import NOT_CALIBRATED, CalibrationUsed
from headclip_med.settings import Plane
from headclip_med.volume import Heatmap, Volume

SCORING_VERSION = 2
"""Rises where the same voxels, model and settings come to have another score, from what is read to
what is pooled: scores of two versions are not compared."""

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

    @classmethod
    def around(cls, marked: Shaped[np.ndarray, "rows columns"]) -> Box | None:
        """Give the smallest that holds all that is not 0; None where nothing is."""
        rows = np.flatnonzero(marked.any(axis=1))
        if not len(rows):
            return None
        first, end = int(rows[0]), int(rows[-1]) + 1
        columns = np.flatnonzero(marked[first:end].any(axis=0))
        return cls(first, end, int(columns[0]), int(columns[-1]) + 1)

    @property
    def indices(self) -> tuple[slice, slice]:
        """For indexing the last two axes of slices or maps."""
        return slice(self.first_row, self.end_row), slice(self.first_column, self.end_column)


def hull_of(boxes: Iterable[Box]) -> Box:
    """Give the smallest box that holds all of some; at least one."""
    first_rows, end_rows, first_columns, end_columns = zip(*map(astuple, boxes), strict=True)
    return Box(min(first_rows), max(end_rows), min(first_columns), max(end_columns))


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


@dataclass(frozen=True)
class PlaneUsed:
    """A plane of the patient in which a volume was screened.

    Attributes:
        name: None where there is no patient geometry, and slices are those that are stored.
        slices: How many of them the model saw.
        is_stored: Whether these are the stored slices, turned or in another order at most.
        is_resampled: Whether their pixels were made square and upright.
        score: The study's in this plane, in [0, 1].
    """

    name: Plane | None
    slices: int
    is_stored: bool
    is_resampled: bool
    score: float


@dataclass(frozen=True)
class PlaneLeftOut:
    """A plane that was asked for, and in which no slices were cut.

    Attributes:
        name: Of the plane.
        why: ``uneven-pixels``: slices lie so far apart that its pixels would be long stripes;
            ``too-few-pixels``: it would have only a few rows or columns; ``uneven-spacing``: slices
            are missing, or lie at unequal steps.
    """

    name: Plane
    why: Literal["uneven-pixels", "too-few-pixels", "uneven-spacing"]

    def sentence(self) -> str:
        """Say it in words."""
        return f"No slices were cut in the {self.name} plane: {_NOT_CUT[self.why]}."


_NOT_CUT = {
    "uneven-pixels": "the stored ones are too thick",
    "too-few-pixels": "it would have too few rows or columns",
    "uneven-spacing": "the stored ones are unevenly spaced",
}


SymmetryBasis = Literal[
    "asked", "subject", "switched-off", "unknown-subject", "other-subject", "not-symmetric"
]
"""Why both sides are compared (``asked`` for, or the ``subject``: its modality and body part), or
are not (``switched-off``; the input does not say what it shows; it shows something else; no slice
shows two sides that are alike)."""

SYMMETRIC: tuple[SymmetryBasis, ...] = ("asked", "subject")
"""Reasons for which sides are compared."""


@dataclass(frozen=True)
class SymmetryUsed:
    """How a head's two sides were compared.

    Attributes:
        basis: Why they were, or were not.
        kind: ``plane`` of a volume, or ``lines``, one of each slice; None where nothing was.
        yaw_deg: How far the plane's normal is turned from the patient's left to the back; of lines
            the median of their turn from the columns, the upper end to the right.
        roll_deg: How far the normal is tilted from the left to the head; None of lines.
        offset: From the middle of the volume to the plane, to the left, or of slices to their
            lines, to the right (median).
        unit: Of ``offset``.
        slices: How many were compared.
        has_features: Whether the model's own local features took part, beside grey levels.
        own_score: The study's score by the method alone.
        share: Of the study's score, how much comes from both sides' difference.
    """

    basis: SymmetryBasis = "switched-off"
    kind: Literal["plane", "lines"] | None = None
    yaw_deg: float | None = None
    roll_deg: float | None = None
    offset: float | None = None
    unit: Literal["mm", "px"] | None = None
    slices: int = 0
    has_features: bool = False
    own_score: float | None = None
    share: float | None = None

    @property
    def is_used(self) -> bool:
        """Whether map and scores hold what it found."""
        return self.slices > 0

    def sentence(self) -> str | None:
        """Say it in words; None where there is nothing to say."""
        if not self.is_used:
            return None
        with_what = " and the model's local features" if self.has_features else ""
        return (
            f"Map and scores also hold how far the head's two sides differ in grey levels"
            f"{with_what} ({self.slices} slices); without that the score is {self.own_score:.3f}."
        )


FLAT_SENTENCE = (
    "The map is flat: its values are nearly the same everywhere, so nothing stands out, and what "
    "passes the threshold ({} regions) is no candidate."
)


@dataclass(frozen=True, eq=False, repr=False)
class Screening:
    """The outcome for one volume.

    Attributes:
        volume: What was screened.
        heatmap: How abnormal each voxel looks.
        slice_scores: Of each stored slice, in [0, 1]: JAS where a model saw these slices, S_local
            of the heatmap where it saw others only.
        score: The study's score in [0, 1], pooled from the slices that a model saw as ``settings``
            say; the mean over planes.
        threshold: Heatmap value from which a voxel belongs to a lesion candidate.
        labels: 0 for background, else the id of the lesion; mapped where it is large.
        lesions: Ordered by ``max_score``, highest first.
        window: The grey-level mapping used.
        crop_box: The part of every stored slice that the model saw; the heatmap is 0 around it.
        model: Name, method, backbone, digests and settings, all plain JSON values.
        settings: The screening settings, plain JSON values.
        timings_s: Seconds per step.
        flat_regions: Regions at or above the threshold that are no candidates, since the map is
            flat: its values are nearly the same everywhere.
        planes: In which slices were cut and shown to the model.
        planes_left_out: Those that were asked for besides.
        symmetry: How both sides of a head were compared; where they were, the heatmap and all
            scores hold it.
        calibration: How often so high a score comes from a normal study, or why that is not known.
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
    flat_regions: int = 0
    planes: tuple[PlaneUsed, ...] = ()
    planes_left_out: tuple[PlaneLeftOut, ...] = ()
    symmetry: SymmetryUsed = SymmetryUsed()
    calibration: CalibrationUsed = NOT_CALIBRATED

    def __repr__(self) -> str:
        """Say in a line what was found."""
        candidates = f"{len(self.lesions)} candidate{'' if len(self.lesions) == 1 else 's'}"
        name = " / ".join(str(self.model[key]) for key in ("name", "method") if key in self.model)
        return f"Screening(score {self.score:.3f}, {candidates}, {self.volume}, {name})"

    def _repr_html_(self) -> str:
        """Show the most suspicious slices and the candidates, as a notebook does."""
        shown: str = resolve_name("headclip_med.write.pages.cell").to_html(self)
        return shown

    def save(self, out: str | Path, *, outputs: str | Iterable[str] | None = None) -> Path:
        """Write results as ``headclip screen`` does, without the page.

        Args:
            out: Folder of a run; made if missing.
            outputs: What to write beside result.json, such as ``"heatmap,seg"``; see
                ``headclip_med.write.OUTPUTS``. By default the usual ones.

        Returns:
            The folder of this volume's results below it.

        Raises:
            InvalidSettings: An output is unknown.
            UnwritableOutput: The disk does not take it.
        """
        wanted = {} if outputs is None else {"outputs": outputs}
        write = resolve_name("headclip_med.write").write_screening
        folder: Path = write(self, Path(out), **wanted).folder
        return folder

    def to_json(self) -> dict[str, Any]:
        """Put it into plain values: the content of a result.json that stands alone."""
        build = resolve_name("headclip_med.write.result").build_result
        plain: dict[str, Any] = build(
            self, files={"result": "result.json"}, skipped=(), written=(), notes=()
        )
        return plain

    def show(self) -> Any:
        """Draw the most suspicious slices under the heatmap, on one sheet.

        Returns:
            A figure of matplotlib; a notebook shows it, ``savefig`` writes it.
        """
        return resolve_name("headclip_med.write.pictures.curves").overlay_figure(self)

    def view(self) -> Any:
        """Turn the volume in a notebook, its heatmap above it.

        Returns:
            A widget of NiiVue, which the extra ``viewer`` installs.

        Raises:
            InvalidSettings: It is a picture, which has nothing to turn.
            MissingExtra: NiiVue is not installed.
            UnusableGeometry: The slices are unevenly spaced.
        """
        return resolve_name("headclip_med.write.pages.viewer").to_widget(self)

    @property
    def notes(self) -> tuple[str, ...]:
        """How it was read and cut into slices, in sentences without any patient value."""
        sides = self.symmetry.sentence()
        left_out = (one.sentence() for one in self.planes_left_out)
        flat = [FLAT_SENTENCE.format(self.flat_regions)] if self.flat_regions else []
        return (*self.volume.notes, *left_out, *flat, *([] if sides is None else [sides]))
