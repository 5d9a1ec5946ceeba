"""Pages of tiles: a volume's slices side by side in one image (Siemens mosaic, UIH grid)."""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float
from pydicom.dataset import Dataset

from headclip_med.errors import UnreadableInput
from headclip_med.read.dicom.elements import items, numbers, text, texts
from headclip_med.read.dicom.planes.frame import Tile
from headclip_med.read.dicom.planes.plane import Plane
from headclip_med.read.dicom.planes.width import WIDTH_KEYWORDS, shows_several


@dataclass(frozen=True)
class PrivateElement:
    """An element of a vendor's own, whichever of the group's blocks it stands in (PS3.5 7.8)."""

    group: str
    creator: str
    number: str

    @property
    def keywords(self) -> tuple[str, ...]:
        """All places where it and the name of its creator may stand."""
        blocks = [f"{block:02X}" for block in BLOCKS]
        creators = (f"{self.group}00{block}" for block in blocks)
        return (*creators, *(f"{self.group}{block}{self.number}" for block in blocks))

    def keyword_in(self, dataset: Dataset) -> str:
        """Find where it stands; in the first block where no creator is named."""
        present, first = dataset.keys(), int(self.group, 16) << 16
        named = [block for block in BLOCKS if first + block in present]
        for block in named:
            if text(dataset, f"{self.group}00{block:02X}").upper() == self.creator.upper():
                return f"{self.group}{block:02X}{self.number}"
        return f"{self.group}{'FF' if named else '10'}{self.number}"


BLOCKS = range(0x10, 0x18)

SIEMENS_COUNT = PrivateElement("0019", "SIEMENS MR HEADER", "0A")
SIEMENS_CSA = PrivateElement("0029", "SIEMENS CSA HEADER", "10")
UIH_COUNT = PrivateElement("0065", "Image Private Header", "50")
UIH_FRAMES = PrivateElement("0065", "Image Private Header", "51")
SIEMENS_FRAMES = ("002110FE", "002111FE")
SIEMENS_FRAME_WORDS = ("00211175", "00211075")

TILE_KEYWORDS = (
    *("ImageType", "00210011", *SIEMENS_FRAMES, *WIDTH_KEYWORDS),
    *(SIEMENS_COUNT.keywords + SIEMENS_CSA.keywords + UIH_COUNT.keywords + UIH_FRAMES.keywords),
)

MOST_TILES = 1024

ALONG_NORMAL = 1e-3
"""A slice normal is the normal of its plane, one way or the other."""


def find_tiles(
    dataset: Dataset, size: tuple[int, int], planes: Collection[Plane | None]
) -> tuple[Tile, ...]:
    """Find the slices on a page of tiles.

    Args:
        dataset: The object's elements.
        size: Rows and columns of the stored frame.
        planes: Where the object says that its frames lie.

    Returns:
        The tiles that hold a slice, in order; none where the image is one slice.

    Raises:
        UnreadableInput: It is such a page, and which slice lies where is not known.
    """
    # Converters that unpacked a mosaic leave the word behind: frames at several places are slices.
    if len(planes) > 1:
        return ()
    (plane,) = planes
    csa = _csa(dataset)
    count = _count(dataset, csa)
    if count < 2:
        if _is_named(dataset) or (plane is not None and shows_several(dataset, size, plane)):
            raise _refusal("how many slices it holds is not known")
        return ()
    side = math.isqrt(count - 1) + 1
    if plane is None or count > MOST_TILES or size[0] % side or size[1] % side:
        raise _refusal("its size or its plane does not fit them")
    if len(items(dataset, "PerFrameFunctionalGroupsSequence")) > 1:
        raise _refusal("it holds several pages")
    rows, columns = size[0] // side, size[1] // side
    if numbers(dataset, UIH_COUNT.keyword_in(dataset)):
        places = _uih_planes(dataset, plane, count)
    else:
        places = _siemens_planes(plane, csa, count, (size[0] - rows, size[1] - columns))
    return tuple(
        Tile(index // side * rows, index % side * columns, rows, columns, place)
        for index, place in enumerate(places)
    )


def _count(dataset: Dataset, csa: dict[str, list[Any]]) -> int:
    stated = [
        number
        for element in (SIEMENS_COUNT, UIH_COUNT)
        for number in numbers(dataset, element.keyword_in(dataset))[:1]
    ]
    found = [*stated, *csa.get("NumberOfImagesInMosaic", [])[:1]]
    return max((int(number) for number in found if math.isfinite(number)), default=0)


def _is_named(dataset: Dataset) -> bool:
    """Whether the word is there: of the image, or of a frame in Siemens' own sequences."""
    words = [*texts(dataset, "ImageType")]
    for frame in items(dataset, "PerFrameFunctionalGroupsSequence")[:1]:
        for keyword in SIEMENS_FRAMES:
            for own in items(frame, keyword):
                words += [word for one in SIEMENS_FRAME_WORDS for word in texts(own, one)]
    return "MOSAIC" in {word.upper() for word in words}


def _csa(dataset: Dataset) -> dict[str, list[Any]]:
    """Read Siemens' own header of an image; empty where there is none, or it is damaged."""
    keyword = SIEMENS_CSA.keyword_in(dataset)
    if keyword not in dataset:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nibabel's readers of DICOM call themselves experimental
        from nibabel.nicom import csareader
    try:
        tags = csareader.read(dataset[keyword].value)["tags"]  # type: ignore[no-untyped-call]
        return {name: list(tag["items"]) for name, tag in tags.items()}
    except Exception:  # whatever damaged bytes bring about
        return {}


def _siemens_planes(
    plane: Plane, csa: dict[str, list[Any]], count: int, margin: tuple[int, int]
) -> list[Plane]:
    """Place the slices of a mosaic.

    Its position is that of a slice as large as the page around the same centre; the first slice
    lies as far inside as the page is larger.
    """
    normal = np.array(csa.get("SliceNormalVector", [])[:3], dtype=float)
    across = np.cross(*plane.axes)
    if normal.shape != (3,) or not abs(abs(normal @ across) - 1) < ALONG_NORMAL:
        raise _refusal("in which direction its slices follow each other is not known")
    if plane.step_mm is None:
        raise _refusal("how far apart its slices lie is not known")
    inside = plane.axes[1] * plane.spacing_mm[0] * margin[0]
    inside = inside + plane.axes[0] * plane.spacing_mm[1] * margin[1]
    first = np.array(plane.position_lps_mm) + inside / 2
    step = across * np.sign(normal @ across) * plane.step_mm
    return [_at(plane, first + index * step) for index in range(count)]


def _uih_planes(dataset: Dataset, plane: Plane, count: int) -> list[Plane]:
    """Place the slices of a grid: each has an item of its own."""
    positions = [
        numbers(frame, "ImagePositionPatient")
        for frame in items(dataset, UIH_FRAMES.keyword_in(dataset))
    ]
    if len(positions) != count or any(len(position) != 3 for position in positions):
        raise _refusal("where each of them lies is not known")
    return [_at(plane, np.array(position)) for position in positions]


def _at(plane: Plane, position_lps_mm: Float[np.ndarray, "3"]) -> Plane:
    x, y, z = position_lps_mm.tolist()
    return replace(plane, position_lps_mm=(x, y, z))


def _refusal(why: str) -> UnreadableInput:
    return UnreadableInput(
        f"The image is a page of tiles, which are slices of a volume (a mosaic), and {why}.",
        "Export it from the scanner as single slices or an enhanced object, or keep the private "
        "elements that say how it is made.",
        code="page-of-tiles",
    )
