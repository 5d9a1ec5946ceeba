"""Small pictures of results, for pages that list many; each is made once and kept."""

from __future__ import annotations

import io
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from headclip_med.atomic import write_file

THUMBNAIL_PX = (440, 280)
"""The most in width and height; such a JPEG has about 15 kB."""

_UNREADABLE = OSError, ValueError, Image.DecompressionBombError


@dataclass(frozen=True)
class Thumbnail:
    """A small picture.

    Attributes:
        content: A JPEG.
        width: In pixels.
        height: In pixels.
    """

    content: bytes
    width: int
    height: int


def thumbnail(picture: Path) -> Thumbnail | None:
    """Give a picture of a result small; that is kept beside it, and goes with the result.

    A picture of many slices takes longer to read than all else that a page says of its result.

    Returns:
        None where the picture is missing or cannot be read.
    """
    kept = picture.with_name(f"{picture.stem}.thumbnail.jpg")
    if not kept.is_symlink() and picture.is_file():
        with suppress(*_UNREADABLE):
            content = kept.read_bytes()
            with Image.open(io.BytesIO(content), formats=["JPEG"]) as small:
                return Thumbnail(content, *small.size)
    found = _made(picture)
    if found is not None:
        with suppress(OSError):  # on a disk that is full or read-only it is made again
            write_file(kept, found.content)
    return found


def _made(picture: Path) -> Thumbnail | None:
    try:
        with Image.open(picture) as whole:
            small = whole.convert("RGB")
    except _UNREADABLE:
        return None
    small.thumbnail(THUMBNAIL_PX, Image.Resampling.LANCZOS)
    content = io.BytesIO()
    small.save(content, format="JPEG", quality=82)
    return Thumbnail(content.getvalue(), *small.size)
