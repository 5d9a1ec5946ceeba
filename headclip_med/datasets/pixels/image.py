"""A picture of a set as a model sees it: the same reader and window as when it is screened."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from headclip_med.errors import HeadClipError, UnreadableInput
from headclip_med.read import photo
from headclip_med.read.guards import DEFAULT_LIMITS, silence
from headclip_med.transforms.window import apply_window, choose_window

# What Pillow and tifffile raise on a file that is broken, cut short or absurdly large.
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, KeyError, Image.DecompressionBombError)

_CODES_OF_BROKEN = ("broken-image", "zero-byte-file")

_CODES_OF_NAMED = ("several-pictures", "unknown-range", "not-a-number")
"""Of errors that bear the file's name already."""


class PictureSize(NamedTuple):
    """How a picture lies, before any pixel of it is decoded.

    Attributes:
        rows: Of the upright picture, as ``columns``.
        orientation: By which it is turned upright, as EXIF counts; 1 where it lies upright.
    """

    rows: int
    columns: int
    orientation: int


def read_picture(path: Path, name: str) -> UInt8[np.ndarray, "rows columns 3"]:
    """Read a picture as red, green, blue in [0, 255]; deeper levels fall into 256 equal steps.

    Args:
        path: Of the file.
        name: To call it by in an error.

    Raises:
        UnreadableInput: The file is missing, broken, holds several pictures, or values of no known
            range.
    """
    with named(name):
        with photo.opened_by_pillow(path, DEFAULT_LIMITS) as opened:
            require_one(opened, name)
        volume = photo.read_image(path, DEFAULT_LIMITS)
        if len(volume.voxels) > 1:
            raise _several(name)
        if not volume.is_colour and (volume.voxels % 1).any():
            raise UnreadableInput(
                f"The image {name} has floating-point values of no known range.",
                "Save it with 8 or 16 bits per channel.",
                code="unknown-range",
            )
        grey = apply_window(volume.voxels[0], choose_window(volume))
        shown = np.minimum(grey * 256, 255).astype(np.uint8)
        return shown if shown.ndim == 3 else np.repeat(shown[..., None], 3, axis=2)


def place_of(path: Path, name: str) -> PictureSize:
    """Read from a picture's header how large it is, and how it is turned upright.

    Raises:
        UnreadableInput: The file is missing, broken, or holds several pictures.
    """
    with named(name), photo.opened_by_pillow(path, DEFAULT_LIMITS) as opened:
        if opened is None:
            found = photo.find_image(path, DEFAULT_LIMITS)
            return PictureSize(found.rows, found.columns, 1)
        require_one(opened, name)
        return PictureSize(*photo.upright_size(opened), photo.orientation_of(opened))


def require_one(opened: Image.Image | None, name: str) -> None:
    """Refuse files of several pictures, but for a camera's, whose others are previews.

    Raises:
        UnreadableInput: There are several.
    """
    if getattr(opened, "n_frames", 1) > 1 and opened is not None and opened.format != "MPO":
        raise _several(name)


def _several(name: str) -> UnreadableInput:
    return UnreadableInput(
        f"The file {name} holds several pictures, but one is needed.",
        "Save the one that is meant.",
        code="several-pictures",
    )


@contextmanager
def named(name: str) -> Iterator[None]:
    """Say whatever fails on a file's bytes with the file's name.

    Raises:
        UnreadableInput: Something did.
    """
    try:
        with silence():
            yield
    except FileNotFoundError as error:
        raise _missing(name) from error
    except HeadClipError as error:
        if error.code == "not-found":
            raise _missing(name) from error
        if error.code in _CODES_OF_BROKEN:
            raise _broken(name) from error
        if error.code in _CODES_OF_NAMED:
            raise
        raise UnreadableInput(
            f"The file {name} cannot be used. {error.reason}", error.advice, code=error.code
        ) from error
    except _BROKEN as error:
        raise _broken(name) from error


def _missing(name: str) -> UnreadableInput:
    return UnreadableInput(
        f"The file {name} is not there.",
        "Fetch the set again, or correct the path.",
        code="missing-file",
    )


def _broken(name: str) -> UnreadableInput:
    return UnreadableInput(
        f"The file {name} is not a readable picture (empty, cut short or another format).",
        "Fetch it again.",
        code="broken-picture",
    )
