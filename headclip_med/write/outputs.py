"""What can be written of a screening: each output is a writer that goes through it by blocks.

``OUTPUTS`` is the only list of them: the command line, the bundle and the pipelines take it from
here. Libraries that one output alone needs are imported by its writer.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from headclip_med import __version__
from headclip_med.errors import HeadClipError, InvalidSettings
from headclip_med.findings import Screening

if TYPE_CHECKING:
    from PIL import Image

    from headclip_med.write.dicom.seg import SegmentationWriter
    from headclip_med.write.nifti import HeatmapFile

TOP_SLICES = 3
"""The highest slices get a picture even where no candidate was found: to check the tool."""

MOST_PICTURES = 64
"""Nobody looks through more single pictures; the heatmap holds every slice."""

PICTURE_COMPRESSION = 6

AFFINE_TOLERANCE_MM = 0.01
"""Slices that the heatmap's affine misplaces by more are reported."""

NOT_ASKED = "not-asked"
"""The code of an output that nobody asked for."""

Need = Literal["dicom", "lesions"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SkippedOutput:
    """An output that was not written.

    Attributes:
        output: Its name in ``OUTPUTS``.
        code: ``not-asked``, ``needs-dicom``, ``needs-lesions``, or that of the error met.
        reason: What stood in the way.
        advice: What to do about it; empty where nothing is wrong.
    """

    output: str
    code: str
    reason: str
    advice: str = ""


@dataclass(frozen=True)
class WrittenOutput:
    """What one writer left.

    Attributes:
        files: Paths relative to the folder, by name.
        pictures: Path of each slice's own picture, by slice.
        segments: File and segment number in the DICOM segmentation, by lesion id.
        notes: Sentences on how it was written.
        skipped: Why it was not, if so.
    """

    files: Mapping[str, str] = field(default_factory=dict)
    pictures: Mapping[int, str] = field(default_factory=dict)
    segments: Mapping[int, tuple[str, int]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    skipped: SkippedOutput | None = None


@dataclass(eq=False)
class Writer(ABC):
    """Writes one output: ``begin``, then ``add`` for all slices in order, then ``end``.

    Attributes:
        screening: What was found; of large volumes its arrays are mapped, and the slices named to
            ``add`` are the ones to read then.
        folder: Where to write.
        marked: The slices that hold candidates.
        needs: What must be there for it to be possible.
    """

    screening: Screening
    folder: Path
    marked: frozenset[int]

    needs: ClassVar[frozenset[Need]] = frozenset()

    @abstractmethod
    def begin(self) -> None:
        """Prepare, once what was found is known."""

    @abstractmethod
    def add(self, slices: range) -> None:
        """Take the next slices."""

    @abstractmethod
    def end(self) -> WrittenOutput:
        """Finish, and say what was written."""


class HeatmapWriter(Writer):
    """``heatmap.nii.gz``: every voxel's value."""

    _file: HeatmapFile

    def begin(self) -> None:
        """Write the header."""
        from headclip_med.write.nifti import HeatmapFile

        self._file = HeatmapFile(self.folder / "heatmap.nii.gz", self.screening.heatmap.grid)

    def add(self, slices: range) -> None:
        """Write their values."""
        self._file.add(self.screening.heatmap.values[slices.start : slices.stop])

    def end(self) -> WrittenOutput:
        """Close the file, and say how far its affine is off."""
        from headclip_med.write.nifti import affine_error_mm

        self._file.close()
        error_mm = affine_error_mm(self.screening.volume.grid)
        notes = (
            "The slices are unevenly spaced, so no NIfTI affine is exact: heatmap.nii.gz has even "
            f"steps from the first slice to the last and misplaces slices by up to {error_mm:.2f} "
            "mm. The true positions stand under slices, origin_lps_mm; the DICOM segmentation is "
            "exact.",
        )
        return WrittenOutput(
            {"heatmap": "heatmap.nii.gz"}, notes=notes if error_mm > AFFINE_TOLERANCE_MM else ()
        )


class OverlayWriter(Writer):
    """``overlay.png``: the most suspicious slices on one sheet."""

    def begin(self) -> None:
        """Choose the slices."""
        from headclip_med.write.pictures.montage import MOST_TILES, most_suspicious

        self._chosen = most_suspicious(self.screening, MOST_TILES)
        self._tiles: dict[int, Image.Image] = {}

    def add(self, slices: range) -> None:
        """Draw those that were chosen."""
        from headclip_med.write.pictures.montage import draw_tile

        for index in set(self._chosen).intersection(slices):
            self._tiles[index] = draw_tile(self.screening, index, count=len(self._chosen))

    def end(self) -> WrittenOutput:
        """Put them on the sheet."""
        from headclip_med.write.pictures.montage import draw_montage

        tiles = {index: self._tiles[index] for index in self._chosen}
        _save(draw_montage(self.screening, tiles), self.folder / "overlay.png")
        return WrittenOutput({"overlay": "overlay.png"})


class SlicesWriter(Writer):
    """``slices/*.png``: slices with candidates and the highest few; names count from 1."""

    def begin(self) -> None:
        """Choose the slices, and name their files."""
        ranked = np.argsort(-self.screening.slice_scores, kind="stable").tolist()
        wanted = [*ranked[:TOP_SLICES], *(one for one in ranked[TOP_SLICES:] if one in self.marked)]
        digits = max(3, len(str(len(ranked))))
        (self.folder / "slices").mkdir()
        self._names = {
            index: f"slices/{index + 1:0{digits}d}.png" for index in sorted(wanted[:MOST_PICTURES])
        }

    def add(self, slices: range) -> None:
        """Draw those that were chosen."""
        from headclip_med.write.pictures.overlay import draw_slice

        for index in slices:
            if index in self._names:
                _save(draw_slice(self.screening, index), self.folder / self._names[index])

    def end(self) -> WrittenOutput:
        """Say which slices have a picture."""
        notes: tuple[str, ...] = ()
        if len(self.marked) > len(self._names):
            notes = (
                f"{len(self.marked)} slices hold candidates; single pictures were drawn of the "
                f"{len(self._names)} most suspicious.",
            )
        return WrittenOutput({"slices": "slices"}, pictures=self._names, notes=notes)


class SegWriter(Writer):
    """``seg.dcm``: the candidates as a DICOM segmentation; headers may not allow one."""

    needs = frozenset[Need]({"dicom", "lesions"})
    _segmentation: SegmentationWriter
    _failed: Exception | None = None

    def begin(self) -> None:
        """Read the source's headers again."""
        from headclip_med.write.dicom.seg import SegmentationWriter

        self._segmentation = SegmentationWriter(self.folder, self.screening, __version__)
        self._try(self._segmentation.begin)

    def add(self, slices: range) -> None:
        """Take the candidates on these slices."""
        if self._failed is None:
            self._try(lambda: self._segmentation.add(slices))

    def end(self) -> WrittenOutput:
        """Write the files, or say why there are none."""
        if self._failed is None:
            self._try(self._segmentation.end)
        if self._failed is None:
            written = self._segmentation
            files = {Path(name).stem: name for name in written.files}
            return WrittenOutput(files, segments=written.segments, notes=written.notes)
        for half in self.folder.glob("seg*.dcm"):
            half.unlink()
        return _without_segmentation(self._failed)

    def _try(self, step: Callable[[], None]) -> None:
        """Headers break in more ways than can be listed; that must not cost other results."""
        try:
            step()
        except Exception as error:
            self._failed = error


def _without_segmentation(error: Exception) -> WrittenOutput:
    impossible = "No DICOM segmentation was written"
    if isinstance(error, HeadClipError):
        skipped = SkippedOutput("seg", error.code, error.reason, error.advice)
        return WrittenOutput(skipped=skipped, notes=(f"{impossible}. {error}",))
    kind = type(error).__name__  # the library's own message may quote the header
    logger.warning("no segmentation: %s while building it", kind)
    reason = f"The source's headers cannot be built upon ({kind})."
    advice = "The heatmap and the pictures are complete; check the series with a DICOM validator."
    note = f"{impossible}: the source's headers cannot be built upon ({kind}). {advice}"
    return WrittenOutput(skipped=SkippedOutput("seg", "bad-headers", reason, advice), notes=(note,))


OUTPUTS: Mapping[str, type[Writer]] = MappingProxyType(
    {"heatmap": HeatmapWriter, "overlay": OverlayWriter, "slices": SlicesWriter, "seg": SegWriter}
)
"""What can be asked for, by name; result.json is always written."""

ALL_OUTPUTS = tuple(OUTPUTS)


def check_outputs(names: str | Iterable[str]) -> tuple[str, ...]:
    """Order names of outputs as in ``OUTPUTS``, each once.

    Args:
        names: As they are, or as a text between commas.

    Raises:
        InvalidSettings: One is unknown.
    """
    wanted = {one.strip() for one in (names.split(",") if isinstance(names, str) else names)}
    for name in sorted(wanted - OUTPUTS.keys()):
        raise InvalidSettings(
            f"There is no output '{name}'.",
            f"Choose from {', '.join(OUTPUTS)}.",
            code="unknown-output",
        )
    return tuple(name for name in OUTPUTS if name in wanted)


def unmet(name: str, screening: Screening) -> SkippedOutput | None:
    """Say what an output needs that a screening does not have; None where it is possible."""
    needs = OUTPUTS[name].needs
    if "dicom" in needs and screening.volume.origin != "dicom":
        return SkippedOutput(name, "needs-dicom", "The input is not DICOM.")
    if "lesions" in needs and not screening.lesions:
        return SkippedOutput(name, "needs-lesions", "There is no lesion candidate.")
    return None


def _save(picture: Image.Image, path: Path) -> None:
    picture.save(path, format="PNG", compress_level=PICTURE_COMPRESSION)
