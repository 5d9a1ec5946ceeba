"""Lesion candidates as a DICOM segmentation that goes back into the study they came from.

One segment per candidate (PS3.3 A.51). Each of its frames names the image, and of multi-frame
objects the frame, that it was found on; masks are bound to sources by identifier, never by the
order of a list.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from highdicom.color import CIELabColor
from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentDescription
from jaxtyping import Float, Integer, UInt8
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from headclip_med.findings import Box, Lesion
from headclip_med.mapped import release
from headclip_med.write.dicom.run import MAKER, RESEARCH_ONLY, DicomRun
from headclip_med.write.dicom.source import derived_uid, quiet, stand_ins
from headclip_med.write.nifti import COMPACT
from headclip_med.write.outputs import SkippedOutput, Writer, WrittenOutput

MOST_SEGMENTS = 50
"""Candidates beyond share the last one: viewers list every segment, and hundreds help nobody."""

GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))
"""Between the hues of one candidate and the next: none comes again, and they never crowd."""

CHROMA = 60.0
NO_PROBABILITY = (
    "How abnormal each pixel looks, in [0, 1]; not a calibrated probability of disease."
)


@dataclass(frozen=True, eq=False)
class _Part:
    """One object: the slices it is about, those with something on, and a digest of its pixels."""

    name: str
    slices: range
    marked: list[int] = field(default_factory=list)
    ranks: set[int] = field(default_factory=set)
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)


class SegWriter(Writer):
    """``seg.dcm``: the lesion candidates of a screening that was read from DICOM.

    Images that lie in the patient give one ``seg.dcm``. Those that do not (radiographs, ultrasound,
    photographs) share no space, so each slice with a candidate gives its own object of one series:
    ``seg.dcm`` if it is the only one, else ``seg-001.dcm`` and so on by slice.
    """

    name, kind, syntax = "seg", "BINARY", ExplicitVRLittleEndian
    title, label = "Lesion candidates", "LESION_CANDIDATE"

    def begin(self) -> None:
        """Read the sources' headers.

        Raises:
            UnreadableInput: They cannot be referred to; see ``read_sources``.
        """
        self._run = DicomRun(self.screening, self.version)
        self._parts: list[_Part] = []
        if self._run.is_in_patient:
            self._parts.append(_Part(f"{self.name}.dcm", range(len(self.screening.labels))))
        lesions = self.screening.lesions
        self._rank_of_id = np.zeros(max((one.id for one in lesions), default=0) + 1, dtype=np.uint8)
        for place, lesion in enumerate(lesions, start=1):
            self._rank_of_id[lesion.id] = min(place, MOST_SEGMENTS)

    def add(self, slices: range) -> None:
        """See what lies on the next slices."""
        for index in slices:
            values = self._values(index)
            ranks = self._ranks(values)
            if ranks and not self._run.is_in_patient:
                name = f"{self.name}-{index + 1:03d}.dcm"
                self._parts.append(_Part(name, range(index, index + 1)))
            if ranks:
                self._parts[-1].marked.append(index)
                self._parts[-1].ranks.update(ranks)
            if self._run.is_in_patient or ranks:
                self._parts[-1].digest.update(values.tobytes())

    def end(self) -> WrittenOutput:
        """Write the files."""
        parts = [part for part in self._parts if part.marked]
        if len(parts) == 1:
            parts = [replace(parts[0], name=f"{self.name}.dcm")]
        segments: dict[int, tuple[str, int]] = {}
        for instance, part in enumerate(parts, start=1):
            number_of_rank = {rank: n for n, rank in enumerate(sorted(part.ranks), start=1)}
            with quiet():
                built = self._build(part, number_of_rank, instance)
                built.save_as(self.folder / part.name, enforce_file_format=True)
            for place, lesion in enumerate(self.screening.lesions, start=1):
                rank = min(place, MOST_SEGMENTS)
                if rank in number_of_rank:
                    segments.setdefault(lesion.id, (part.name, number_of_rank[rank]))
        files = {Path(part.name).stem: part.name for part in parts}
        return WrittenOutput(files, segments=segments, notes=self._run.notes)

    def _values(self, index: int) -> UInt8[np.ndarray, "rows columns"]:
        """Mark each pixel with its lesion's place in the list, from 1, at most the last segment."""
        return _looked_up(self._rank_of_id, self.screening.labels[index])

    def _ranks(self, values: UInt8[np.ndarray, "rows columns"]) -> list[int]:
        """List the candidates on a slice."""
        ranks: list[int] = np.unique(values[values > 0]).tolist()
        return ranks

    def _build(self, part: _Part, number_of_rank: Mapping[int, int], instance: int) -> Segmentation:
        run = self._run
        found = derived_uid(run.key, part.digest.hexdigest(), instance)
        # The same candidates in another form are another object.
        unique = found if self.kind == "BINARY" else derived_uid(found, self.kind)
        uids = {index: derived_uid(unique, "stand-in", index) for index in part.slices}
        headers = dict(zip(uids, stand_ins(self.screening.volume, run.sources, uids), strict=True))
        built = Segmentation(
            source_images=[headers[index] for index in part.marked],
            pixel_array=self._pixels(part, number_of_rank),
            segmentation_type=self.kind,
            segment_descriptions=[
                self._describe(rank, number, found) for rank, number in number_of_rank.items()
            ],
            transfer_syntax_uid=self.syntax,
            **run.in_series(self.name, self.title, unique, instance),
            **run.content(self.label),
        )
        run.place(built, headers)
        run.finish(built)
        return built

    def _pixels(
        self, part: _Part, number_of_rank: Mapping[int, int]
    ) -> UInt8[np.ndarray, "marked rows columns"] | Float[np.ndarray, "marked rows columns"]:
        """Mark the slices with candidates by segment; all others are left out of the object."""
        numbers = np.zeros(MOST_SEGMENTS + 1, dtype=np.uint8)
        numbers[list(number_of_rank)] = list(number_of_rank.values())
        pixels = np.empty((len(part.marked), *self.screening.labels.shape[1:]), dtype=np.uint8)
        for place, index in enumerate(part.marked):
            pixels[place] = _looked_up(numbers, self._values(index))
            release(self.screening.labels)
        return pixels

    def _describe(self, rank: int, number: int, found: str) -> SegmentDescription:
        lesions = self.screening.lesions[rank - 1 :]
        shared = rank == MOST_SEGMENTS and len(lesions) > 1
        label = f"Lesion candidate {rank}" + " and further" * shared
        described = self._segment(rank, number, label, found)
        described.SegmentDescription = f"{RESEARCH_ONLY}. {_measures(lesions[0])}"
        return described

    def _segment(self, rank: int, number: int, label: str, found: str) -> SegmentDescription:
        return SegmentDescription(
            segment_number=number,
            segment_label=label,
            segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
            segmented_property_type=codes.SCT.Lesion,
            algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=self._run.algorithm(),
            tracking_uid=derived_uid(found, "segment", rank),
            tracking_id=f"{MAKER} {self._run.key[:12]} candidate {rank}",
            display_color=_colour(rank),
        )


def _looked_up(
    table: UInt8[np.ndarray, "known"], indices: Integer[np.ndarray, "rows columns"]
) -> UInt8[np.ndarray, "rows columns"]:
    """Look indices up in a table that has 0 for 0, which most of them are."""
    found = np.zeros(indices.shape, dtype=np.uint8)
    box = Box.around(indices)
    if box is not None:
        found[box.indices] = table[indices[box.indices]]
    return found


class LabelmapWriter(SegWriter):
    """``seg-labelmap.dcm``: the same candidates, a number in each pixel (PS3.3 A.51, LABELMAP)."""

    name, kind, syntax = "seg-labelmap", "LABELMAP", RLELossless

    def end(self) -> WrittenOutput:
        """Write the files."""
        return replace(super().end(), segments={})


class FractionalWriter(SegWriter):
    """``seg-fractional.dcm``: the heatmap as one segment, in 255 steps (PS3.3 A.51, FRACTIONAL).

    The standard has two meanings for a fraction: how much of a pixel is filled, and a probability.
    The second is nearer, so it is declared; the segment's own description says that the values are
    a heatmap's and no calibrated probability. Frames that are 0 everywhere are left out.
    """

    name, kind, syntax = "seg-fractional", "FRACTIONAL", RLELossless
    title, label = "Heatmap", "HEATMAP"

    def end(self) -> WrittenOutput:
        """Write the files."""
        written = replace(super().end(), segments={})
        if written.files:
            return written
        nothing = SkippedOutput(self.name, "empty-heatmap", "The heatmap is 0 everywhere.")
        return replace(written, skipped=(nothing,))

    def _values(self, index: int) -> UInt8[np.ndarray, "rows columns"]:
        heat = self.screening.heatmap.values[index]
        return np.frombuffer(COMPACT.encode(heat), dtype=np.uint8).reshape(heat.shape)

    def _ranks(self, values: UInt8[np.ndarray, "rows columns"]) -> list[int]:
        return [1] if values.any() else []

    def _pixels(
        self, part: _Part, number_of_rank: Mapping[int, int]
    ) -> Float[np.ndarray, "marked rows columns"]:
        pixels = np.empty((len(part.marked), *self.screening.labels.shape[1:]), dtype=np.float32)
        for place, index in enumerate(part.marked):
            pixels[place] = self._values(index) / np.float32(COMPACT.steps)
            release(self.screening.heatmap.values)
        return pixels

    def _describe(self, rank: int, number: int, found: str) -> SegmentDescription:
        described = self._segment(rank, number, "Heatmap", found)
        described.SegmentDescription = f"{RESEARCH_ONLY}. {NO_PROBABILITY}"
        return described


def _colour(rank: int) -> CIELabColor:
    """Give each candidate a colour of its own, neighbours in the list far apart."""
    angle = rank * GOLDEN_ANGLE
    lightness = (70.0, 55.0, 85.0)[rank % 3]
    return CIELabColor(lightness, CHROMA * math.cos(angle), CHROMA * math.sin(angle))


def _measures(lesion: Lesion) -> str:
    size = {"mm3": "volume {:.0f} mm3", "px": "area {:.0f} pixels"}[lesion.unit].format(lesion.size)
    return f"Highest heatmap value {lesion.max_score:.3f}, {size}."
