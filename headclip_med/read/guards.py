"""Foreign parsers kept in bounds: their exceptions become ours, their messages stay unheard."""

from __future__ import annotations

import logging
import math
import re
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from headclip_med.errors import HeadClipError, UnreadableInput


@dataclass(frozen=True)
class ReadLimits:
    """Bounds that ordinary studies stay far below and decompression bombs do not."""

    file_bytes: int = 4 << 30
    """Largest file that is opened."""
    inflated_bytes: int = 1 << 30
    """Largest deflated DICOM object, once inflated: a megabyte can inflate to a gigabyte."""
    inflations: tuple[tuple[int, int], ...] = ((128 << 20, 20_000), (1 << 30, 200))
    """From so many bytes of voxels on, they may be at most so many times what their file holds."""
    elements: int = 2_000_000
    """Most elements in one DICOM object; an item of a sequence costs as much as four."""
    element_bytes: int = 1 << 20
    """Longest element that is wanted of a header, sequences aside."""
    volumes: int = 256
    """Most volumes that one DICOM object may give."""
    side_px: int = 20_000
    """Most rows, and most columns; film scanners and mammography stay below 8,000."""
    frames: int = 20_000
    """Most frames in one object."""
    decoded_bytes: int = 2 << 30
    """Largest pixel data of one file, once decoded."""
    volume_bytes: int = 8 << 30
    """Largest volume in float32: 8,192 slices of 512 x 512."""
    image_px: int = 89_478_485
    """Most pixels in one picture or frame; Pillow's own threshold for a decompression bomb."""
    time_points: int = 64
    """Most volumes that a four-dimensional NIfTI may hold; more is a functional series."""
    archive_members: int = 50_000
    """Most files in one archive."""
    archive_bytes: int = 16 << 30
    """Most that one archive may hold, once unpacked."""
    archive_ratio: int = 200
    """How many times its own size an archive may hold; CT packs to a half, masks to a hundredth."""
    isolated: bool = True
    """Whether a process of its own reads, where the system has what that needs."""
    memory_bytes: int = 1_000_000_000
    """What reading a file or series may take in memory, beside voxels that lie in a file."""
    seconds: float = 60.0
    """What parsing a header may take, and what decoding may take beside the next."""
    bytes_per_second: int = 500_000
    """Slowest decoding of what the files of a volume hold, as they are stored."""


DEFAULT_LIMITS = ReadLimits()
"""What every reader uses unless told otherwise."""


# These libraries put the offending value into warnings and log lines: a name, a birth date.
TALKATIVE = ("pydicom", "pylibjpeg", "nibabel", "nibabel.global", "PIL")
VALID_UID = re.compile(r"[0-9.]{1,64}")


@contextmanager
def silence() -> Iterator[None]:
    """Keep values of a file out of warnings and logs while a foreign library reads it."""
    if logging.getLogger(TALKATIVE[0]).level > logging.CRITICAL:  # all are silent already
        yield
        return
    loggers = [logging.getLogger(name) for name in TALKATIVE]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def translate(code: str, reason: str, advice: str) -> Iterator[None]:
    """Turn whatever a foreign parser raises on a damaged file into one sentence.

    The catch is broad on purpose: on malformed files pydicom, nibabel, Pillow and the codecs
    raise more than a dozen types, RecursionError and MemoryError among them. The original is
    dropped, since its text may hold a value of the file.

    Args:
        code: Of the error.
        reason: What was found.
        advice: What to do.

    Raises:
        UnreadableInput: Anything was raised inside; the type's name is added to the reason, but
            for want of memory, which is no fault of the file.
    """
    try:
        yield
    except HeadClipError:
        raise
    except MemoryError:
        raise out_of_memory() from None
    except RecursionError:
        raise UnreadableInput(
            "The file's parts lie within each other deeper than the hundred levels or so that are "
            "read.",
            advice,
            code="nested-too-deep",
        ) from None
    except BaseException as error:
        # A codec written in Rust panics outside of Exception; interrupts and exits pass.
        name = type(error).__name__
        if not isinstance(error, Exception) and name != "PanicException":
            raise
        raise UnreadableInput(f"{reason} The parser says: {name}.", advice, code=code) from None


def out_of_memory() -> UnreadableInput:
    """Say that reading took too much."""
    return UnreadableInput(
        "Reading needed more memory than it is given, or than there is.",
        "Free memory, or raise ReadLimits.memory_bytes.",
        code="reader-memory",
    )


def check_file(path: Path, limits: ReadLimits) -> int:
    """Check that a path may be opened at all, and return its size in bytes.

    Raises:
        UnreadableInput: It is missing, no regular file, empty, or too large.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        raise UnreadableInput(
            "There is no such file or folder.", "Check the path.", code="not-found"
        ) from None
    except PermissionError:
        raise no_permission("file") from None
    except OSError:
        raise UnreadableInput(
            "The file cannot be reached.", "Check the path and the drive.", code="unreachable"
        ) from None
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableInput(
            "This is neither a file nor a folder but a device, pipe or socket, which is never "
            "read.",
            "Give a file.",
            code="not-a-regular-file",
        )
    if status.st_size == 0:
        raise UnreadableInput(
            "The file is empty (0 bytes), so it holds no image.",
            "Export or copy it again.",
            code="zero-byte-file",
        )
    if status.st_size > limits.file_bytes:
        raise UnreadableInput(
            f"The file is larger than {limits.file_bytes >> 20} MiB, more than is read.",
            "Split it, or raise ReadLimits.file_bytes.",
            code="file-too-large",
        )
    return status.st_size


def read_start(path: Path, count: int) -> bytes:
    """Read the first bytes of a file, or all that it has.

    Raises:
        UnreadableInput: The system does not let it be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(count)
    except PermissionError:
        raise no_permission("file") from None
    except OSError:
        raise UnreadableInput(
            "The file cannot be read.", "Check the drive, or copy it again.", code="unreachable"
        ) from None


def no_permission(what: str) -> UnreadableInput:
    """Say that a file or folder may not be read."""
    return UnreadableInput(
        f"There is no permission to read this {what}.",
        f"Grant it, or copy the {what}.",
        code="no-permission",
    )


def check_volume_size(
    shape: tuple[int, ...], limits: ReadLimits, *, stored_bytes: int | None = None, volumes: int = 1
) -> None:
    """Check that an array of this shape, in float32, stays within the limits.

    Args:
        shape: Of the array.
        limits: What it may take.
        stored_bytes: Of the one file that holds it, where it is one.
        volumes: How many of this shape the file claims.

    Raises:
        UnreadableInput: It is too large, or too large for its file.
    """
    claimed = 4 * math.prod(shape)
    if claimed > limits.volume_bytes:
        raise UnreadableInput(
            f"The image claims {claimed >> 20} MiB of voxels, more than the "
            f"{limits.volume_bytes >> 20} MiB that are read.",
            "Crop or split it, or raise ReadLimits.volume_bytes.",
            code="volume-too-large",
        )
    claimed *= volumes
    for free_bytes, times in limits.inflations if stored_bytes is not None else ():
        if claimed > free_bytes and claimed > times * (stored_bytes or 1):
            raise UnreadableInput(
                f"The image claims {claimed >> 20} MiB of voxels, "
                f"{claimed // (stored_bytes or 1)} times what its file holds; above "
                f"{free_bytes >> 20} MiB, {times} times is the most that is read.",
                "Export it uncompressed, or raise ReadLimits.inflations.",
                code="inflated-too-large",
            )
