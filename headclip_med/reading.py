"""How a volume was read: what its files lack, and what was left out, assumed and changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

NAMED_GAPS = 3
"""So many uneven steps are named one by one; more are only counted."""


@dataclass(frozen=True)
class Spacing:
    """Steps between slices of which some differ from the usual one.

    Attributes:
        steps: How many there are in all.
        usual_mm: The median.
        uneven_mm: Those that differ, by the slice before, from 0, in order.
    """

    steps: int
    usual_mm: float
    uneven_mm: tuple[tuple[int, float], ...]

    def sentences(self) -> Iterator[str]:
        """Name the first few uneven steps, and count them where there are more."""
        for index, step_mm in self.uneven_mm[:NAMED_GAPS]:
            missing = ": slices may be missing" if step_mm > self.usual_mm else ""
            yield (
                f"The step after slice {index} (counted from 0) is {step_mm:.2f} mm where "
                f"{self.usual_mm:.2f} mm is usual{missing}."
            )
        if (uneven := len(self.uneven_mm)) > NAMED_GAPS:
            yield f"{uneven} of {self.steps} steps between slices differ from the usual one."


@dataclass(frozen=True)
class Reading:
    """What a reader found unusual and what it did about it; nothing here is a patient's value.

    Attributes:
        lacks_geometry: Places are not known, so lengths are in pixels (DICOM).
        is_localizer: A scout, which only planned the scan.
        lacks_frame_of_reference: The series names none.
        is_numbered_backwards: Instance numbers fall where positions rise.
        tilt_degrees: Of a gantry: the slices are sheared.
        spacing: Where steps between slices are uneven.
        stacks_at_same_place: How many the series holds (phases, echoes), where several.
        told_apart_by: Names of the elements by which images of the series were told apart.
        mixes: Names of elements in which its own slices differ, kept together all the same.
        disbelieves: Names of elements that differ at every position, which made them no sign of
            another volume.
        copied_slices: Of the same pixels at the same position as one that is read; left out.
        unusable_frames: Of the series; they are missing here.
        tiles: Of a page that holds them side by side, which the slices are.
        unplaced: Images of a series that state no place, in the order of their numbers.
        views: Of a series whose images turn around an axis: no slices, and no common place.
        mended_orientation: Direction cosines were too coarse for unit vectors.
        jitter_degrees: By which the directions of the slices differ; their mean is used.
        has_decimal_commas: Numbers of the geometry, or of the rescale, were written with commas.
        lacks_thickness: Of a lone slice, for which 1 mm is assumed.
        volume_spacing_mm: Between slices, rows and columns of an ultrasound volume.
        detector_spacing_mm: Between rows and columns at the detector, not in the patient.
        unusable_files: Of the series; they are missing here.
        repeated_files: That repeat an object of the series and were left out.
        differing_files: Of the repeated ones, those that differ from the one kept.
        is_inverted: White was low (MONOCHROME1), and the values were mirrored.
        keeps_white_low: MONOCHROME1 in Hounsfield units, which were not mirrored.
        lacks_rescale: A CT whose header gives no scale of Hounsfield: no rescale, or one that
            cannot reach the air around a patient.
        has_other_unit: A CT whose header says that its values are something else.
        mended_elements: Keywords of what describes pixels, missing or contradicting others.
        is_unterminated: Compressed pixel data without its end mark.
        surplus_frames: That the pixel data holds beyond those that its header counts.
        disbelieves_padding: The declared padding value lies among tissue, and was kept as tissue.
        lacks_orientation: A file that does not say how its axes lie; they were assumed.
        replaced_voxels: That were no finite number, and were given the lowest value.
        declares_labels: The file says that its values are labels: a mask or a segmentation.
        label_values: Values of a volume that looks like a mask or a label map, though its file does
            not say so; 0 where it does not.
        skipped_pages: Of an image file, which differ from the first.
        skipped_samples: Of each pixel of an image, beside its grey or its colours.
        files_beside: In the same folder, which could not be used.
    """

    lacks_geometry: bool = False
    is_localizer: bool = False
    lacks_frame_of_reference: bool = False
    is_numbered_backwards: bool = False
    tilt_degrees: float | None = None
    spacing: Spacing | None = None
    stacks_at_same_place: int = 0
    told_apart_by: tuple[str, ...] = ()
    mixes: tuple[str, ...] = ()
    disbelieves: tuple[str, ...] = ()
    copied_slices: int = 0
    unusable_frames: int = 0
    tiles: int = 0
    unplaced: int = 0
    views: int = 0
    mended_orientation: bool = False
    jitter_degrees: float | None = None
    has_decimal_commas: bool = False
    lacks_thickness: bool = False
    volume_spacing_mm: tuple[float, float, float] | None = None
    detector_spacing_mm: tuple[float, float] | None = None
    unusable_files: int = 0
    repeated_files: int = 0
    differing_files: int = 0
    is_inverted: bool = False
    keeps_white_low: bool = False
    lacks_rescale: bool = False
    has_other_unit: bool = False
    mended_elements: tuple[str, ...] = ()
    is_unterminated: bool = False
    surplus_frames: int = 0
    disbelieves_padding: bool = False
    lacks_orientation: bool = False
    replaced_voxels: int = 0
    declares_labels: bool = False
    label_values: int = 0
    skipped_pages: int = 0
    skipped_samples: int = 0
    files_beside: int = 0

    def joined(self, other: Reading) -> Reading:
        """Add what another step of reading found; where both know of one thing, this one's."""
        names = [one.name for one in fields(self)]
        return Reading(**{name: getattr(self, name) or getattr(other, name) for name in names})

    def sentences(self) -> tuple[str, ...]:
        """Say all of it in words, a sentence each; for people, never to be taken apart again."""
        told: list[str] = []
        for one in fields(self):
            fact = getattr(self, one.name)
            if isinstance(fact, Spacing):
                told += fact.sentences()
            elif fact:
                told.append(_SENTENCES[one.name].format(_in_words(fact)))
        return tuple(told)


def _in_words(fact: object) -> object:
    if not isinstance(fact, tuple):
        return fact
    return ", ".join(one if isinstance(one, str) else f"{one:.3g}" for one in fact)


ORDINARY = Reading()
"""Nothing was unusual."""

_SENTENCES = {
    "lacks_geometry": "The file has no usable patient geometry, so lengths are in pixels.",
    "is_localizer": "This is a localizer (scout), which only planned the scan.",
    "lacks_frame_of_reference": "The series names no frame of reference.",
    "is_numbered_backwards": "The series is numbered against its slice positions; slices follow "
    "position.",
    "tilt_degrees": "The slices are sheared (a gantry tilt of about {:.1f} degrees); each is "
    "worked on where it lies.",
    "stacks_at_same_place": "The series holds {} stacks at the same positions (acquisitions, "
    "phases or echoes); this is one of them.",
    "told_apart_by": "The series holds more than this volume; its images were told apart by {}.",
    "mixes": "Slices of this volume differ in {} and were kept together: apart they would be "
    "incomplete.",
    "disbelieves": "Every position of the series has its own {}, so that it tells nothing; it was "
    "passed over.",
    "copied_slices": "{} slice(s) hold the same pixels at the same position as another under "
    "another UID and were left out.",
    "unusable_frames": "{} image(s) of this series share positions and could not be told apart; "
    "they are missing here.",
    "tiles": "The file is a page of {} tiles (a mosaic), which are the slices.",
    "unplaced": "The {} images state no place in the patient; they are taken in the order of their "
    "numbers.",
    "views": "The {} images turn around an axis: each is a view of its own, so sizes are in pixels "
    "and no place in the patient is given.",
    "mended_orientation": "The direction cosines are no unit vectors at right angles and were "
    "normalised; places may be off by a degree.",
    "jitter_degrees": "The slices' directions differ by up to {:.2f} degrees; their mean is used.",
    "has_decimal_commas": "Numbers of the header are written with decimal commas.",
    "lacks_thickness": "The header of this single slice states no thickness; 1 mm is assumed.",
    "volume_spacing_mm": "Slices, rows and columns are {} mm apart in a frame of the volume's own, "
    "whose place in the patient is not known.",
    "detector_spacing_mm": "Pixels measure {} mm at the detector and less in the patient by an "
    "unknown factor, so sizes are in pixels.",
    "unusable_files": "{} file(s) of this series could not be used and are missing here.",
    "repeated_files": "{} file(s) repeat an object of this series and were left out.",
    "differing_files": "{} of them differ from the one that was kept (encoded otherwise, or with "
    "other pixels); which is kept depends on what is in them, not on their names.",
    "is_inverted": "The image is MONOCHROME1 (white is low) and was inverted.",
    "keeps_white_low": "The image is MONOCHROME1; Hounsfield units are kept as they are.",
    "lacks_rescale": "The CT declares no rescale to Hounsfield units that could be right, so its "
    "values may be something else.",
    "has_other_unit": "The CT's values are no Hounsfield units by its own header (another rescale "
    "type, a screen capture, or a computed or coloured map).",
    "mended_elements": "What describes the pixels is missing or contradicts itself and was "
    "completed as other programs do: {}.",
    "is_unterminated": "The compressed pixel data has no end mark; it was read to its last "
    "complete fragment.",
    "surplus_frames": "The pixel data holds {} more frame(s) than its header counts; they were "
    "passed over.",
    "disbelieves_padding": "The declared padding value lies among tissue values and was not "
    "treated as padding.",
    "lacks_orientation": "The file states no orientation (NIfTI: no sform, no qform); axes are "
    "assumed.",
    "replaced_voxels": "{} voxels are not finite and were given the lowest value instead.",
    "declares_labels": "The file says that its values are labels, so it is a mask or a "
    "segmentation, and its scores mean nothing.",
    "label_values": "All voxels have one of {} whole numbers, as in a mask or a label map; if it "
    "is one, its scores mean nothing.",
    "skipped_pages": "Only the first page was read: others differ in size, or are previews.",
    "skipped_samples": "{} sample(s) of each pixel were passed over: they are neither its grey nor "
    "its colours.",
    "files_beside": "{} file(s) beside this volume could not be used.",
}
"""Of each fact, in the order of its fields."""
