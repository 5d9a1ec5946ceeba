"""What is painted in a mask, whatever it is stored as: by alpha, by palette, by any channel.

A mask is no photograph: a label of 1 is as black as 0 to the eye, dark red has hardly any
luminance, and a palette's colours are not its values. So nothing here is turned to grey.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Shaped, UInt8
from PIL import Image, ImageOps

from headclip_med.datasets.pixels.image import PictureSize, named, require_one
from headclip_med.errors import UnreadableInput
from headclip_med.read import photo
from headclip_med.read.guards import DEFAULT_LIMITS

CODES_AT_MOST = 16
"""A mask of more levels than this is a blurred one, not one of codes."""

MIDDLE = 127
"""JPEG blurs a mask's edges and speckles its background; the middle of the range undoes both."""

SPECKLE = 16
"""Of 255; up to it JPEG paints a black picture by itself."""

Levels = UInt8[np.ndarray, "rows columns"]

Fit = Literal["as-drawn", "turned", "unsure"]
"""How a mask was laid on its image: as it is, turned as the image is, or as it is where a turned
one would have fitted too."""


@dataclass(frozen=True, eq=False)
class PaintedMask:
    """A mask as it was painted.

    Attributes:
        levels: How strongly each pixel is painted; 0 where it is not, 255 at most.
        above: A pixel is marked where its level is above this.
        is_lossy: Compression has changed it, so that ``above`` is not 0.
        is_faint: Of a lossy one: nothing in it stands out of what compression leaves of black.
        is_guessed: The palette can be read in two ways, and the one that marks less was taken.
        fit: How it was laid on its image.
    """

    levels: Levels
    above: int
    is_lossy: bool = False
    is_faint: bool = False
    is_guessed: bool = False
    fit: Fit = "as-drawn"

    @property
    def marked(self) -> Bool[np.ndarray, "rows columns"]:
        """True where it is painted."""
        return self.levels > self.above


def read_painted(path: Path, name: str, above: int = 0) -> tuple[PaintedMask, int]:
    """Read a mask, upright by its own orientation.

    Args:
        path: Of the mask.
        name: To call it by in an error.
        above: A level, of 255, that pixels must exceed to be marked; 0 for what is not 0. Of a
            picture that lost detail to JPEG it is at least ``MIDDLE``, or half of what the
            strongest pixel has where that is less.

    Returns:
        The mask, and its own orientation, as EXIF counts.

    Raises:
        UnreadableInput: The file is missing or broken, holds several pictures, or values that are
            not numbers.
    """
    with named(name):
        with photo.opened_by_pillow(path, DEFAULT_LIMITS) as picture:
            require_one(picture, name)
            is_deeper = picture is None or photo.is_deeper(picture)  # before EXIF loads a PNG
            orientation = 1 if picture is None else photo.orientation_of(picture)
            if picture is None or is_deeper:
                return PaintedMask(_of_samples(photo.all_samples(path), name), above), orientation
            lossy = _is_jpeg(picture)
            may_be_lossy = picture.format in ("WEBP", "JPEG2000")
            is_white_low = photo.is_white_low(picture)
            levels, is_guessed = _levels(ImageOps.exif_transpose(picture), name)
        if is_white_low:
            levels = levels.max() - levels
        if lossy or (may_be_lossy and len(np.unique(levels)) > CODES_AT_MOST):
            return _cut(levels, above or MIDDLE), orientation
        return PaintedMask(levels, above, is_guessed=is_guessed), orientation


def laid_on(painted: PaintedMask, own: int, place: PictureSize) -> PaintedMask | None:
    """Lay a mask on its upright image: drawn on that, or on the pixels as they are stored.

    Args:
        painted: The mask, upright by its own orientation.
        own: That orientation.
        place: Of the image.

    Returns:
        The mask with the image's rows and columns; None where it fits in no way.
    """
    size, levels = (place.rows, place.columns), painted.levels
    stored = photo.turned(levels, photo.INVERSE[own])
    other = photo.turned(levels, place.orientation) if own == 1 else stored
    if levels.shape == size:
        both = own == 1 and place.orientation != 1 and other.shape == size
        return replace(painted, fit="unsure" if both else "as-drawn")
    if other.shape == size:
        return replace(painted, levels=np.ascontiguousarray(other), fit="turned")
    return None


def _is_jpeg(picture: Image.Image) -> bool:
    by_tiff = picture.format == "TIFF" and picture.info.get("compression") in ("jpeg", "tiff_jpeg")
    return by_tiff or picture.format in ("JPEG", "MPO")


def _cut(levels: Levels, above: int) -> PaintedMask:
    """Find the middle between what is painted and what is not."""
    strongest = int(levels.max(initial=0))
    if strongest <= SPECKLE:
        return PaintedMask(levels, SPECKLE, is_lossy=True, is_faint=strongest > 0)
    return PaintedMask(levels, min(above, strongest // 2), is_lossy=True)


def _levels(picture: Image.Image, name: str) -> tuple[Levels, bool]:
    """Tell how strongly each pixel is painted, and whether that is a guess."""
    alpha = _alpha(picture)
    if alpha is not None:
        return alpha - alpha.min(), False
    if picture.mode in ("P", "PA"):
        return _of_palette(picture)
    if picture.mode in photo.DEEP_MODES:
        return _of_samples(np.asarray(picture), name), False
    if picture.mode in ("1", "L", "LA", "La"):
        return np.array(picture.convert("L")), False
    return np.asarray(picture.convert("RGB")).max(axis=2), False


def _alpha(picture: Image.Image) -> Levels | None:
    """Give the transparency of a picture where it tells pixels apart."""
    if "transparency" not in picture.info and "A" not in picture.getbands():
        return None
    bands = picture if "A" in picture.getbands() else picture.convert("RGBA")
    alpha = np.asarray(bands.getchannel("A"))
    return alpha if alpha.min() < alpha.max() else None


def _of_palette(picture: Image.Image) -> tuple[Levels, bool]:
    """Read numbers of a palette: 0 is background, whatever its colour.

    Programs that reduce colours number them as they come. Then the colour numbered 0 may be the
    painted one and another black: of the two readings the one that marks less is taken.
    """
    numbers = np.asarray(picture if picture.mode == "P" else picture.getchannel("P"))
    colours = np.asarray(picture.convert("RGB")).max(axis=2)
    by_number = np.where(numbers > 0, np.maximum(colours, 1), 0).astype(np.uint8)
    background = colours[numbers == 0]
    is_odd = bool(background.size and background[0] > 0 and (colours == 0).any())
    if is_odd and np.count_nonzero(colours) < np.count_nonzero(by_number):
        return colours, True
    return by_number, is_odd


def _of_samples(
    stored: Shaped[np.ndarray, "rows columns *samples"], name: str
) -> UInt8[np.ndarray, "rows columns"]:
    """Bring samples of any type to [0, 255], so that only 0 becomes 0."""
    values = np.abs(stored.astype(np.float64))
    if not np.isfinite(values).all():
        raise UnreadableInput(
            f"The mask {name} holds values that are not numbers.",
            "Write 0 where nothing is painted.",
            code="not-a-number",
        )
    if values.ndim == 3:
        alpha = values[..., -1] if values.shape[-1] in (2, 4) else None
        if alpha is not None and alpha.min() < alpha.max():
            values = alpha - alpha.min()
        else:
            values = values[..., : values.shape[-1] - (alpha is not None)].max(axis=2)
    strongest = values.max(initial=0)
    scaled = values if strongest == 0 else np.ceil(values / strongest * 255)
    return np.asarray(scaled, dtype=np.uint8)
