"""Photographs and exported pictures made into volumes: what Pillow reads, of a few formats."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, Shaped
from PIL import Image, ImageOps, UnidentifiedImageError

from headclip_med.errors import UnreadableInput
from headclip_med.geometry import Grid
from headclip_med.mapped import allocate, release
from headclip_med.read.guards import ReadLimits, check_file, check_volume_size, silence, translate
from headclip_med.read.inputs import Input
from headclip_med.reading import Reading
from headclip_med.volume import SliceSource, Volume, count_labels, significant_bits

if TYPE_CHECKING:
    from tifffile import TiffPage

FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "GIF", "WEBP", "JPEG2000")
"""Of Pillow; no other of its readers is ever tried. JPEG includes MPO, several in one file."""

ORIENTATION_TAG = 0x0112
QUARTER_TURNED = (5, 6, 7, 8)
INVERSE = {one: one for one in range(9)} | {6: 8, 8: 6}
"""The orientation that undoes another."""

WIDTH_TAG, LENGTH_TAG = 256, 257
BITS_TAG, PHOTOMETRIC_TAG, SAMPLES_TAG, LARGEST_TAG, PLANAR_TAG = 258, 262, 277, 281, 284
"""Tags of EXIF and TIFF (TIFF 6.0)."""

TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
SEARCHED_BYTES = 4096
"""A PNG's significant bits are told right after its header."""

ROWS_AT_ONCE = 512
DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")
"""Modes with more than eight bits of grey, which are kept."""

_Values = Shaped[np.ndarray, "rows columns *colour"]

BROKEN = ("The file is no readable image; it is damaged or cut short.", "Copy or export it again.")


@dataclass(frozen=True)
class _Picture:
    """An open picture file.

    Attributes:
        rows: Of the upright picture, as ``columns``.
        pages: Numbers of those that become slices.
        skipped: How many pages do not.
        values: Gives those of one page, upright.
        is_white_low: Grey values are to be mirrored.
        full: What white is, where the file says it.
        skipped_samples: Of each pixel, beside those that are taken.
    """

    rows: int
    columns: int
    pages: list[int]
    skipped: int
    values: Callable[[int], _Values]
    is_white_low: bool = False
    full: float | None = None
    skipped_samples: int = 0


def find_image(path: Path, limits: ReadLimits) -> Input:
    """Look at an image's header.

    Raises:
        UnreadableInput: It is damaged, or larger than the limits.
    """
    with silence(), _opened(path, limits) as picture:
        return Input(
            kind="image",
            slices=len(picture.pages),
            rows=picture.rows,
            columns=picture.columns,
            paths=(path,),
            reader=partial(read_image, path, limits),
        )


def read_image(path: Path, limits: ReadLimits) -> Volume:
    """Read an image; the pages of a TIFF become slices.

    EXIF orientation is applied, palettes become colours, transparency that is not the same
    everywhere is laid over black. Grey
    stays grey, with all its bits, and its window ends where its bits do; colours of more than
    eight bits are brought to [0, 255].

    Raises:
        UnreadableInput: It is damaged, or larger than the limits.
    """
    with silence(), _opened(path, limits) as picture, translate("broken-image", *BROKEN):
        pages = picture.pages
        check_volume_size((len(pages), picture.rows, picture.columns, 3), limits)
        voxels, full = _voxels(picture)
    return Volume(
        voxels=voxels,
        grid=Grid.of_pixels(slices=len(voxels), rows=voxels.shape[1], columns=voxels.shape[2]),
        sources=tuple(SliceSource(path, frame=number + 1) for number in pages)
        if len(pages) > 1
        else (SliceSource(path),),
        origin="image",
        window=None if full is None else (full / 2, full),
        name=path.name,
        reading=Reading(
            skipped_pages=picture.skipped,
            skipped_samples=picture.skipped_samples,
            label_values=count_labels(voxels),
        ),
    )


def _voxels(
    picture: _Picture,
) -> tuple[Float32[np.ndarray, "slices rows columns *colour"], float | None]:
    """Read the pages, and find what white is where neither 255 is nor percentiles must tell."""
    voxels, highest, lowest = np.empty(0, np.float32), 0.0, 0.0
    kind = np.dtype(np.uint8)
    for number, page in enumerate(picture.pages):
        values = picture.values(page)
        if not len(voxels):
            voxels = allocate((len(picture.pages), *values.shape))
        for rows in _blocks(values):
            part = values[rows]
            if not np.isfinite(part).all():
                raise UnreadableInput(
                    "The image holds values that are not numbers.",
                    "Export it again.",
                    code="not-finite",
                )
            voxels[number, rows] = part
            highest, lowest = max(highest, float(part.max())), min(lowest, float(part.min()))
            release(voxels)
        kind = values.dtype
    if kind == np.uint8:
        return voxels, None
    full = picture.full if (picture.full or 0) >= highest else _full_scale(kind, highest, lowest)
    if full is not None and (picture.is_white_low or voxels.ndim == 4):
        for number in range(len(voxels)):
            for rows in _blocks(voxels[number]):
                if picture.is_white_low:
                    voxels[number, rows] = np.float32(full) - voxels[number, rows]
                else:
                    voxels[number, rows] *= np.float32(255 / full)
                release(voxels)
    return voxels, full if voxels.ndim == 3 else None


def _blocks(values: Shaped[np.ndarray, "rows ..."]) -> Iterator[slice]:
    return (slice(start, start + ROWS_AT_ONCE) for start in range(0, len(values), ROWS_AT_ONCE))


def _full_scale(kind: np.dtype[np.generic], highest: float, lowest: float) -> float | None:
    """Tell what white is by the bits in use; None where values have no such end."""
    if lowest < 0 or highest > 65535:
        return None
    is_fraction = kind.kind == "f" and highest <= 1
    return 1.0 if is_fraction else float(2 ** significant_bits(highest) - 1)


@contextmanager
def _opened(path: Path, limits: ReadLimits) -> Iterator[_Picture]:
    check_file(path, limits)
    with ExitStack() as stack:
        with translate("broken-image", *BROKEN):
            image = stack.enter_context(opened_by_pillow(path, limits))
            if image is None:
                picture = stack.enter_context(_odd_tiff(path, limits))
            else:
                picture = _by_pillow(path, image)
        yield picture


@contextmanager
def opened_by_pillow(path: Path, limits: ReadLimits) -> Iterator[Image.Image | None]:
    """Open a picture, which is not loaded; None for a TIFF that Pillow gets wrong, or not at all.

    Pillow maps files that it is given by name, and then scrambles a TIFF that lies on its side.

    Raises:
        UnreadableInput: It is larger than the limits.
    """
    with path.open("rb") as file:
        try:
            image = Image.open(file, formats=FORMATS)
        except Image.DecompressionBombError:
            raise _too_large(limits) from None
        except UnidentifiedImageError:
            file.seek(0)
            if file.read(4) not in TIFF_STARTS:
                raise
            image = None
        if image is None or _lies_in_deep_planes(image):
            yield None
            return
        with image:
            if image.width * image.height > limits.image_px:
                raise _too_large(limits)
            yield image


def _too_large(limits: ReadLimits) -> UnreadableInput:
    return UnreadableInput(
        f"The image claims more than {limits.image_px} pixels, more than is read.",
        "Crop it, or raise ReadLimits.image_px.",
        code="image-too-large",
    )


def _lies_in_deep_planes(image: Image.Image) -> bool:
    """Whether it is one of the TIFF files that Pillow opens and gets wrong."""
    tags = getattr(image, "tag_v2", {})
    return max(tags.get(BITS_TAG, (8,))) > 8 and tags.get(PLANAR_TAG) == 2


def _by_pillow(path: Path, image: Image.Image) -> _Picture:
    tags = getattr(image, "tag_v2", {})
    is_cut_off = _is_cut_off(image)
    pages = _pages(image)
    orientation = orientation_of(image)
    deep = cache(partial(_deep_png if image.format == "PNG" else _deep_tiff, path))

    def values(page: int) -> _Values:
        if is_cut_off:
            return turned(deep()(page), orientation)
        image.seek(page)
        return _flat(ImageOps.exif_transpose(image))

    return _Picture(
        *upright_size(image),
        pages,
        getattr(image, "n_frames", 1) - len(pages),
        values,
        is_white_low=is_white_low(image),
        full=_declared_white(path, image),
        skipped_samples=max(0, tags.get(SAMPLES_TAG, 1) - len(image.getbands())),
    )


def is_white_low(image: Image.Image) -> bool:
    """Whether the grey of a deep picture is stored the other way round, which Pillow leaves."""
    return image.mode in DEEP_MODES and getattr(image, "tag_v2", {}).get(PHOTOMETRIC_TAG) == 0


def is_deeper(image: Image.Image) -> bool:
    """Whether a picture that is not loaded yet has more bits than Pillow keeps of it."""
    if image.mode in DEEP_MODES:
        return False
    if image.format == "PNG":  # what is still coded
        return any(str(tile[3]).endswith(";16B") for tile in getattr(image, "tile", ()))
    return bool(max(getattr(image, "tag_v2", {}).get(BITS_TAG, (8,))) > 8)


def _is_cut_off(image: Image.Image) -> bool:
    """Whether Pillow keeps eight bits of more, or passes over a grey that is transparent."""
    if image.format == "PNG":
        tiles = getattr(image, "tile", None)  # what is still coded
        coded = str(tiles[0][3]) if tiles else ""
        is_clear = "transparency" in image.info and image.mode in ("1", "L", *DEEP_MODES)
        return is_clear or coded in ("RGB;16B", "RGBA;16B", "LA;16B")
    is_deep = max(getattr(image, "tag_v2", {}).get(BITS_TAG, (8,))) > 8
    return is_deep and image.mode in ("RGB", "RGBA", "RGBX")


def _declared_white(path: Path, image: Image.Image) -> float | None:
    """Read what a deep grey image says of its own range: TIFF's MaxSampleValue, PNG's sBIT."""
    if image.mode not in DEEP_MODES:
        return None
    if image.format == "PNG":
        with path.open("rb") as file:
            start = file.read(SEARCHED_BYTES)
        at = start.find(b"sBIT")
        return None if at < 0 else float(2 ** start[at + 4] - 1)
    said = getattr(image, "tag_v2", {}).get(LARGEST_TAG)
    return float(said[0] if isinstance(said, tuple) else said) if said else None


def _pages(image: Image.Image) -> list[int]:
    """List the pages that are slices: all of a TIFF if they match, else the first."""
    count = getattr(image, "n_frames", 1)
    if image.format != "TIFF" or count == 1:
        return [0]
    looks = set()
    for page in range(count):
        image.seek(page)
        looks.add((image.size, image.mode, orientation_of(image)))
    image.seek(0)
    return list(range(count)) if len(looks) == 1 else [0]


def _flat(upright: Image.Image) -> _Values:
    if upright.mode in DEEP_MODES:
        return np.asarray(upright)
    if upright.mode in ("1", "L"):
        return np.asarray(upright.convert("L"))
    has_alpha = "transparency" in upright.info or upright.mode in ("LA", "La", "PA", "RGBA", "RGBa")
    colours = "L" if upright.mode in ("LA", "La") else "RGB"
    layered = upright.convert("RGBA") if has_alpha else None
    if layered is None or len(set(layered.getchannel("A").getextrema())) == 1:
        return np.asarray(upright.convert(colours))  # the same everywhere, it hides nothing
    black = Image.new("RGBA", layered.size, (0, 0, 0, 255))
    black.alpha_composite(layered)
    return np.asarray(black.convert(colours))


def _deep_tiff(path: Path) -> Callable[[int], _Values]:
    """Read colours of more than eight bits of a TIFF, which Pillow cuts off, page by page."""
    import tifffile  # loaded only where it is needed

    def values(page: int) -> _Values:
        with tifffile.TiffFile(path) as file:
            one = file.pages[page]
            found = one.asarray()
            # Others are no alpha, or one that lies on the colours already (TIFF 6.0, 18).
            is_clear = [int(kind) for kind in getattr(one.keyframe, "extrasamples", ())] == [2]
        found = found if found.shape[-1] <= 4 else np.moveaxis(found, 0, -1)
        return _over_black(found[..., : 3 + is_clear])

    return values


def _deep_png(path: Path) -> Callable[[int], _Values]:
    """Read sixteen bits of a PNG with colours or transparency, of which Pillow keeps eight."""
    import imagecodecs  # loaded only where it is needed

    pixels = imagecodecs.png_decode(path.read_bytes())
    return lambda _: _over_black(pixels)


def _over_black(found: Shaped[np.ndarray, "rows columns samples"]) -> _Values:
    """Lay deep grey or colours over black where they have an alpha."""
    colours = 1 if found.shape[-1] < 3 else 3
    values: _Values = found[..., :colours]
    alpha = found[..., colours:]
    if alpha.size and alpha.min() < alpha.max():  # the same everywhere, it hides nothing
        over = values * (alpha / np.float32(np.iinfo(found.dtype).max))
        values = np.rint(over).astype(found.dtype)
    return np.asarray(values if colours == 3 else values[..., 0])


@contextmanager
def _odd_tiff(path: Path, limits: ReadLimits) -> Iterator[_Picture]:
    """Open a TIFF that Pillow does not know: double precision, samples without a meaning."""
    import tifffile  # loaded only where it is needed

    with tifffile.TiffFile(path) as file:
        first = file.pages.first
        if first.imagewidth * first.imagelength > limits.image_px:
            raise _too_large(limits)
        same = [page for page in file.pages if page.shape == first.shape]
        pages = list(range(len(file.pages))) if len(same) == len(file.pages) else [0]
        colours = 3 if first.photometric == 2 and first.samplesperpixel >= 3 else 1
        orientation = _orientation_of_page(first)

        def values(page: int) -> _Values:
            found = turned(_in_rows(file.pages[page].aspage()), orientation)
            if first.samplesperpixel == 1:
                return np.asarray(found)
            return np.asarray(found[..., :colours] if colours == 3 else found[..., 0])

        sides = first.imagelength, first.imagewidth
        yield _Picture(
            *(sides[::-1] if orientation in QUARTER_TURNED else sides),
            pages,
            len(file.pages) - len(pages),
            values,
            is_white_low=first.photometric == 0,
            skipped_samples=first.samplesperpixel - colours,
        )


def all_samples(path: Path) -> Shaped[np.ndarray, "rows columns *samples"]:
    """Read all that a PNG, or the first page of a TIFF, stores of each pixel, turned upright."""
    with path.open("rb") as file:
        is_tiff = file.read(4) in TIFF_STARTS
    if is_tiff:
        import tifffile

        with tifffile.TiffFile(path) as tiff:
            first = tiff.pages.first
            return turned(_in_rows(first), _orientation_of_page(first))
    import imagecodecs

    with Image.open(path) as image:
        orientation = orientation_of(image)
    return turned(np.asarray(imagecodecs.png_decode(path.read_bytes())), orientation)


def _orientation_of_page(page: TiffPage) -> int:
    tag = page.tags.get(ORIENTATION_TAG)
    return 1 if tag is None else int(tag.value)


def _in_rows(page: TiffPage) -> Shaped[np.ndarray, "rows columns *samples"]:
    """Decode a page, its samples last whether or not they are stored in planes of their own."""
    found = np.asarray(page.asarray())
    is_one = page.samplesperpixel == 1 or page.planarconfig == 1
    return found if is_one else np.moveaxis(found, 0, -1)


def orientation_of(image: Image.Image) -> int:
    """Say how a picture that is not loaded yet lies, as EXIF counts: 1 is upright.

    Of a TIFF its own tag is asked: once EXIF is asked for, Pillow remembers a turn that it makes
    itself while it loads, and a second turn would follow.
    """
    tags = image.getexif() if (own := getattr(image, "tag_v2", None)) is None else own
    found = tags.get(ORIENTATION_TAG, 1)
    return found if found in range(1, 9) else 1


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Give rows and columns of a picture, not loaded yet, once it is upright."""
    columns, rows = image.size
    tags = getattr(image, "tag_v2", {})  # of a TIFF the size may be the upright one already
    columns, rows = tags.get(WIDTH_TAG, columns), tags.get(LENGTH_TAG, rows)
    return (columns, rows) if orientation_of(image) in QUARTER_TURNED else (rows, columns)


def turned(values: Shaped[np.ndarray, "..."], orientation: int) -> Shaped[np.ndarray, "..."]:
    """Turn as EXIF says: what the first row and the first column show (1 is upright)."""
    if orientation in QUARTER_TURNED:
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return values
