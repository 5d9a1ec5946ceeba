"""Photographs and exported pictures made into volumes: PNG, JPEG, BMP and TIFF."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from PIL import Image, ImageOps

from headclip_med.errors import UnreadableInput
from headclip_med.geometry import Grid
from headclip_med.mapped import allocate, release
from headclip_med.read.guards import ReadLimits, check_file, check_volume_size, silence, translate
from headclip_med.read.inputs import Input
from headclip_med.reading import Reading
from headclip_med.volume import SliceSource, Volume

FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "MPO")
ORIENTATION_TAG = 0x0112
DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")
"""Modes with more than eight bits of grey, which are kept."""

BROKEN = ("The file is no readable image; it is damaged or cut short.", "Copy or export it again.")


def find_image(path: Path, limits: ReadLimits) -> Input:
    """Look at an image's header.

    Raises:
        UnreadableInput: It is damaged, or larger than the limits.
    """
    with silence(), _open(path, limits) as image, translate("broken-image", *BROKEN):
        slices = len(_pages(image)) if image.format == "TIFF" else 1
    return Input(
        kind="image", slices=slices, paths=(path,), reader=partial(read_image, path, limits)
    )


def read_image(path: Path, limits: ReadLimits) -> Volume:
    """Read an image; the pages of a TIFF become slices.

    EXIF orientation is applied, palettes become colours, transparency is laid over black. Grey
    stays grey, with all its bits.

    Raises:
        UnreadableInput: It is damaged, or larger than the limits.
    """
    with silence(), _open(path, limits) as image, translate("broken-image", *BROKEN):
        pages = _pages(image)
        check_volume_size((len(pages), image.height, image.width, 3), limits)
        skipped = getattr(image, "n_frames", 1) - len(pages)
        voxels = _voxels(image, pages)
    return Volume(
        voxels=voxels,
        grid=Grid.of_pixels(slices=len(voxels), rows=voxels.shape[1], columns=voxels.shape[2]),
        sources=tuple(SliceSource(path, frame=number + 1) for number in pages)
        if len(pages) > 1
        else (SliceSource(path),),
        origin="image",
        name=path.name,
        reading=Reading(skipped_pages=skipped),
    )


def _voxels(
    image: Image.Image, pages: list[int]
) -> Float32[np.ndarray, "slices rows columns *colour"]:
    voxels: np.ndarray | None = None
    for number, page in enumerate(pages):
        image.seek(page)
        values = _to_array(image)
        if not np.isfinite(values).all():
            raise UnreadableInput(
                "The image holds values that are not numbers.",
                "Export it again.",
                code="not-finite",
            )
        if voxels is None:
            voxels = allocate((len(pages), *values.shape))
        voxels[number] = values
        release(voxels)
    return np.asarray(voxels)


def _open(path: Path, limits: ReadLimits) -> Image.Image:
    check_file(path, limits)
    with translate("broken-image", *BROKEN):
        try:
            image = Image.open(path, formats=FORMATS)
        except Image.DecompressionBombError:
            raise _too_large(limits) from None
    if image.width * image.height > limits.image_px:
        image.close()
        raise _too_large(limits)
    return image


def _too_large(limits: ReadLimits) -> UnreadableInput:
    return UnreadableInput(
        f"The image claims more than {limits.image_px} pixels, more than is read.",
        "Crop it, or raise ReadLimits.image_px.",
        code="image-too-large",
    )


def _pages(image: Image.Image) -> list[int]:
    """List the pages that are slices: all of a TIFF if they match, else the first."""
    count = getattr(image, "n_frames", 1)
    if image.format != "TIFF" or count == 1:
        return [0]
    looks = set()
    for page in range(count):
        image.seek(page)
        looks.add((image.size, image.mode, image.getexif().get(ORIENTATION_TAG, 1)))
    image.seek(0)
    return list(range(count)) if len(looks) == 1 else [0]


def _to_array(image: Image.Image) -> Float32[np.ndarray, "rows columns *colour"]:
    upright = ImageOps.exif_transpose(image)
    if upright.mode in DEEP_MODES:
        return np.asarray(upright, dtype=np.float32)
    if upright.mode in ("1", "L"):
        return np.asarray(upright.convert("L"), dtype=np.float32)
    has_alpha = "transparency" in upright.info or upright.mode in ("LA", "La", "PA", "RGBA", "RGBa")
    if has_alpha:
        layered = upright.convert("RGBA")
        black = Image.new("RGBA", layered.size, (0, 0, 0, 255))
        black.alpha_composite(layered)
        flat = black.convert("L" if upright.mode in ("LA", "La") else "RGB")
    else:
        flat = upright.convert("RGB")
    return np.asarray(flat, dtype=np.float32)
