"""Arrays of a whole volume's size, kept in a file without a name instead of in memory.

Such an array is an ordinary ``ndarray``; what is touched of it counts as this process's memory
until ``release`` gives it back. The file is gone with the process, whatever ends it, and nothing
of a patient stays on the disk.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Callable, Iterator
from math import prod

import numpy as np
from jaxtyping import Bool, Float32, Shaped
from numpy.typing import DTypeLike

SMALLEST_FILE_BYTES = 16 << 20
"""A smaller array stays in ordinary memory: a batch of a model's images takes as much."""

BLOCK_SLICES = 16
"""Slices that are worked on at once: 16 MiB at 512 x 512 in float32."""

before_mapping: list[Callable[[int], None]] = []
"""Called with the bytes of every array that is mapped: no memory, though systems may count it."""


class _Pages(mmap.mmap):
    """The pages of one file; an array over them has them as its ``base``.

    Attributes:
        file: The descriptor that another process may be handed.
    """

    file: int = -1

    def __del__(self) -> None:
        if self.file >= 0:
            os.close(self.file)


def allocate(shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> Shaped[np.ndarray, "*shape"]:
    """Make an array of zeros, in a file where it is large.

    The file lies in the system's folder for temporary files (``TMPDIR``), and the disk's room is
    reserved at once. Where there is none the array stays in ordinary memory.
    """
    size = prod(shape) * np.dtype(dtype).itemsize
    if size < SMALLEST_FILE_BYTES:
        return np.zeros(shape, dtype)
    try:
        with tempfile.TemporaryFile() as file:
            os.posix_fallocate(file.fileno(), 0, size)
            return map_file(os.dup(file.fileno()), shape, dtype)
    except (OSError, AttributeError):  # a full disk, or a system that can reserve nothing
        return np.zeros(shape, dtype)


def release(array: Shaped[np.ndarray, "..."] | None) -> None:
    """Let what was touched of an array, or of one it is a view of, leave this process's memory.

    Args:
        array: Of ``allocate``, or mapped from a file of its own; any other is left as it is.
    """
    pages = _pages_of(array)
    if pages is not None and hasattr(mmap, "MADV_DONTNEED"):
        pages.madvise(mmap.MADV_DONTNEED)


def put(target: Shaped[np.ndarray, "..."], values: Shaped[np.ndarray, "..."]) -> None:
    """Set what is in an array of ``allocate``, or in a part of it in one piece.

    Written to its file, in half the time that touching its pages takes.
    """
    pages = _pages_of(target)
    if not isinstance(pages, _Pages) or not target.flags.c_contiguous:
        target[...] = values
        return
    whole: np.ndarray = np.frombuffer(pages, np.uint8)
    place = target.ctypes.data - whole.ctypes.data
    left = np.ascontiguousarray(values, target.dtype).reshape(-1).view(np.uint8).data
    while left:
        done = os.pwrite(pages.file, left, place)
        left, place = left[done:], place + done


def blocks_of(
    array: Shaped[np.ndarray, "..."], size: int = BLOCK_SLICES
) -> Iterator[tuple[slice, Shaped[np.ndarray, "..."]]]:
    """Go through an array in memory that one block takes.

    Args:
        array: With slices first.
        size: Slices of a block; the last has what is left.

    Yields:
        Which slices these are, and a copy of them.
    """
    for start in range(0, len(array), size):
        part = slice(start, min(start + size, len(array)))
        block = np.array(array[part], order="C")
        release(array)
        yield part, block


def fill_missing(
    voxels: Float32[np.ndarray, "slices *rest"],
    is_missing: Callable[[np.ndarray], Bool[np.ndarray, "*shape"]],
    value: float | None = None,
) -> int:
    """Give every voxel that is missing one value.

    Args:
        voxels: Changed in place.
        is_missing: Marks those that are.
        value: What they are given; by default the lowest of the others, 0 where there is none.

    Returns:
        How many there were.
    """
    count, lowest = 0, []
    for _, block in blocks_of(voxels):
        missing = is_missing(block)
        count += int(np.count_nonzero(missing))
        if not missing.all():
            lowest.append(block[~missing].min())
    if not count:
        return 0
    if value is None:
        value = float(np.min(lowest)) if lowest else 0.0
    for part, block in blocks_of(voxels):
        voxels[part] = np.where(is_missing(block), np.float32(value), block)
        release(voxels)
    return count


def file_of(array: Shaped[np.ndarray, "..."]) -> int | None:
    """Give the file of an array of ``allocate``, which another process can map as well.

    Returns:
        Its descriptor; None where the array lies in memory, or is a view in another order.
    """
    base: object = array.base
    return base.file if isinstance(base, _Pages) else None


def map_file(file: int, shape: tuple[int, ...], dtype: DTypeLike) -> Shaped[np.ndarray, "*shape"]:
    """Make an array of a file's content.

    Args:
        file: Its descriptor, which is closed together with the array.
        shape: Of the array.
        dtype: Of the array.
    """
    size = prod(shape) * np.dtype(dtype).itemsize
    for tell in before_mapping:
        tell(size)
    pages = _Pages(file, size)
    pages.file = file
    return np.ndarray(shape, dtype, buffer=pages)


def _pages_of(array: Shaped[np.ndarray, "..."] | None) -> mmap.mmap | None:
    base: object = array
    while isinstance(base, np.ndarray):
        base = base.base
    return base if isinstance(base, mmap.mmap) else None
