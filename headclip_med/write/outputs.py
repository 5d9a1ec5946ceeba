"""What can be written of a screening: each output is a writer that goes through it by blocks.

``OUTPUTS`` is the only list of them: the command line, the bundle and the pipelines take it from
here. Libraries that one output alone needs are imported with its writer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from pkgutil import resolve_name
from types import MappingProxyType
from typing import IO, Literal

from headclip_med import __version__
from headclip_med.errors import InvalidSettings, nearest
from headclip_med.findings import Screening

Need = Literal["dicom", "lesions", "patient", "pictures"]


@dataclass(frozen=True)
class SkippedOutput:
    """An output that was not written.

    Attributes:
        output: Its name in ``OUTPUTS``, or that of one of its files.
        code: ``not-asked``, ``needs-dicom``, ``needs-lesions``, ``needs-geometry``,
            ``needs-pictures``, or that of the error met.
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
        heatmaps: How the values of each heatmap are held, by name; plain JSON values.
        notes: Sentences on how it was written.
        skipped: Files that usually belong to it and could not be written.
    """

    files: Mapping[str, str]
    pictures: Mapping[int, str] = field(default_factory=dict)
    segments: Mapping[int, tuple[str, int]] = field(default_factory=dict)
    heatmaps: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    skipped: tuple[SkippedOutput, ...] = ()


@dataclass(eq=False)
class Writer(ABC):
    """Writes one output: ``begin``, then ``add`` for all slices in order, then ``end``.

    Attributes:
        screening: What was found; of large volumes its arrays are mapped, and the slices named to
            ``add`` are the ones to read then.
        folder: Where to write.
        marked: The slices that hold candidates.
        version: Of this software.
        made: What was written of it while the model worked, if all was.
        segments: File and number of each candidate's segment, once a segmentation was written; it
            comes before what refers to it.
    """

    screening: Screening
    folder: Path
    marked: frozenset[int]
    version: str = __version__
    made: IO[bytes] | None = None
    segments: Mapping[int, tuple[str, int]] = field(default_factory=dict)

    @abstractmethod
    def begin(self) -> None:
        """Prepare, once what was found is known."""

    @abstractmethod
    def add(self, slices: range) -> None:
        """Take the next slices."""

    @abstractmethod
    def end(self) -> WrittenOutput:
        """Finish, and say what was written."""


@dataclass(frozen=True)
class Output:
    """What can be asked for.

    Attributes:
        module: Of its writer, below ``headclip_med.write``.
        name: Of its writer's class there.
        needs: What must be there for it to be possible.
        may_fail: Its source's headers break in more ways than can be listed; that must not cost
            other results.
        is_scripted: It is a page that does nothing without its script.
    """

    module: str
    name: str
    needs: frozenset[Need] = frozenset()
    may_fail: bool = False
    is_scripted: bool = False

    @property
    def writer(self) -> type[Writer]:
        """Import its writer, with what that alone needs."""
        found: type[Writer] = resolve_name(f"headclip_med.write.{self.module}:{self.name}")
        return found

    def unmet(self, screening: Screening) -> tuple[str, str] | None:
        """Say what a screening lacks for it, as a code and a reason; None where it is possible."""
        if "dicom" in self.needs and screening.volume.origin != "dicom":
            return "needs-dicom", "The input is not DICOM."
        if "lesions" in self.needs and not screening.lesions:
            return "needs-lesions", "There is no lesion candidate."
        if "patient" in self.needs and not screening.volume.grid.is_patient:
            return "needs-geometry", "The images do not lie in the patient."
        if "pictures" in self.needs and screening.volume.grid.is_patient:
            return "needs-pictures", "The images lie in the patient, where a picture has no place."
        return None


OUTPUTS: Mapping[str, Output] = MappingProxyType(
    {
        "heatmap": Output("nifti", "HeatmapWriter"),
        "overlay": Output("pictures.sheet", "OverlayWriter"),
        "slices": Output("pictures.sheet", "SlicesWriter"),
        "seg": Output("dicom.seg", "SegWriter", frozenset({"dicom", "lesions"}), may_fail=True),
        "view": Output("pages.study", "StudyViewWriter", is_scripted=True),
        "heatmap-float": Output("nifti", "FloatHeatmapWriter"),
        "seg-labelmap": Output(
            "dicom.seg", "LabelmapWriter", frozenset({"dicom", "lesions"}), may_fail=True
        ),
        "seg-fractional": Output(
            "dicom.seg", "FractionalWriter", frozenset({"dicom"}), may_fail=True
        ),
        "pm": Output("dicom.pm", "PmWriter", frozenset({"dicom", "patient"}), may_fail=True),
        "mask": Output("nifti", "MaskWriter"),
        "mask-png": Output("pictures.plain", "MaskPngWriter", frozenset({"pictures"})),
        "heatmap-png": Output("pictures.plain", "HeatmapPngWriter", frozenset({"pictures"})),
        "sr": Output("dicom.sr", "SrWriter", frozenset({"dicom"}), may_fail=True),
        "sc": Output("dicom.sc", "ScWriter", frozenset({"dicom"}), may_fail=True),
    }
)
"""What can be asked for, by name; result.json is always written. What refers to another comes after
it."""

USUAL_OUTPUTS = ("heatmap", "overlay", "slices", "seg", "view")
"""What is written where nothing is asked for; the others are large, or are for other programs."""

ALL_OUTPUTS = "all"
"""Asks for all of them."""


def check_outputs(names: str | Iterable[str]) -> tuple[str, ...]:
    """Order names of outputs as in ``OUTPUTS``, each once.

    Args:
        names: As they are, or as a text between commas; ``all`` stands for every one.

    Raises:
        InvalidSettings: One is unknown.
    """
    wanted = {one.strip() for one in (names.split(",") if isinstance(names, str) else names)}
    if ALL_OUTPUTS in wanted:
        wanted = wanted - {ALL_OUTPUTS} | OUTPUTS.keys()
    for name in sorted(wanted - OUTPUTS.keys()):
        raise InvalidSettings(
            f"There is no output '{name}'.",
            f"{nearest(name, OUTPUTS)}Choose from {', '.join(OUTPUTS)}, or {ALL_OUTPUTS}.",
            code="unknown-output",
        )
    return tuple(name for name in OUTPUTS if name in wanted)
