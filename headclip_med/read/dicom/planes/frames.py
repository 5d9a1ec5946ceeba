"""The frames of an object: where each lies, and the signs that tell it from others."""

from __future__ import annotations

from collections.abc import Sequence

from pydicom.dataset import Dataset

from headclip_med.read.dicom.elements import items, texts
from headclip_med.read.dicom.planes.frame import Frame
from headclip_med.read.dicom.planes.groups import find_group
from headclip_med.read.dicom.planes.nuclear import NUCLEAR_KEYWORDS, nuclear_frames
from headclip_med.read.dicom.planes.sign_reader import CREATOR_KEYWORDS, SIGN_KEYWORDS, SignReader
from headclip_med.read.dicom.planes.signs import DIMENSIONS
from headclip_med.read.dicom.planes.stated import read_plane
from headclip_med.read.dicom.planes.tiles import TILE_KEYWORDS, find_tiles

PLANE_KEYWORDS = ("ImagePositionPatient", "ImageOrientationPatient")

FRAME_KEYWORDS = (
    *PLANE_KEYWORDS,
    *("PixelSpacing", "SliceThickness"),
    *("SpacingBetweenSlices", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    *CREATOR_KEYWORDS,
    *SIGN_KEYWORDS,
    *TILE_KEYWORDS,
    *NUCLEAR_KEYWORDS,
)
"""The elements that say where frames lie and what tells them apart."""


def read_frames(dataset: Dataset, count: int, size: tuple[int, int]) -> tuple[Frame, ...]:
    """Read what a header says about each of its frames.

    Args:
        dataset: The object's elements.
        count: How many frames it has.
        size: Rows and columns of each.

    Raises:
        UnreadableInput: It is a page of tiles whose geometry is not known.
    """
    per_frame = items(dataset, "PerFrameFunctionalGroupsSequence")
    if len(per_frame) == count:
        shared = items(dataset, "SharedFunctionalGroupsSequence")[:1]
        signs = SignReader([*shared, dataset])
        frames = tuple(
            _enhanced_frame(number, [own, *shared], signs.of(own))
            for number, own in enumerate(per_frame, start=1)
        )
        find_tiles(dataset, size, {frame.plane for frame in frames})
        return frames
    numbers = [None] if "NumberOfFrames" not in dataset else list(range(1, count + 1))
    usual = SignReader([dataset]).usual
    if nuclear := nuclear_frames(dataset, count):
        return tuple(
            Frame(number, plane, usual, dimensions)
            for number, (plane, dimensions) in zip(numbers, nuclear, strict=True)
        )
    if count > 1:
        return tuple(Frame(number, None) for number in numbers)
    plane = read_plane(dataset, dataset, dataset)
    if tiles := find_tiles(dataset, size, {plane}):
        return tuple(Frame(numbers[0], tile.plane, usual, (), tile) for tile in tiles)
    is_broken = plane is None and all(texts(dataset, keyword) for keyword in PLANE_KEYWORDS)
    return (Frame(numbers[0], plane, usual, is_broken=is_broken),)


def _enhanced_frame(number: int, groups: Sequence[Dataset], signs: tuple[str, ...]) -> Frame:
    measures = find_group(groups, "PixelMeasuresSequence")
    plane = read_plane(
        find_group(groups, "PlanePositionSequence"),
        find_group(groups, "PlaneOrientationSequence"),
        measures,
    ) or read_plane(
        find_group(groups, "PlanePositionVolumeSequence"),
        find_group(groups, "PlaneOrientationVolumeSequence"),
        measures,
        of="Volume",
    )
    dimensions = texts(find_group(groups, "FrameContentSequence"), DIMENSIONS)
    return Frame(number, plane, signs, dimensions)
