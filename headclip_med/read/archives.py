"""Archives as input: checked, then unpacked within limits into a private folder.

Nothing that an archive says leads anywhere: a name that climbs or starts at the root costs the
whole archive, links and devices are never made, and what is written is counted as it is written.
"""

from __future__ import annotations

import bz2
import gzip
import re
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from copy import copy
from dataclasses import dataclass
from functools import partial
from io import BufferedIOBase
from pathlib import Path
from typing import cast

from headclip_med.errors import HeadClipError, UnreadableInput
from headclip_med.read.detached import data_files
from headclip_med.read.files import Found, find_files
from headclip_med.read.formats import START_BYTES
from headclip_med.read.guards import ReadLimits, check_file, translate
from headclip_med.read.inputs import Failure
from headclip_med.read.isolation import isolated_each, isolated_reading
from headclip_med.read.scratch import private_folder

CHUNK_BYTES = 1 << 20
LONGEST_NAME_BYTES = 255
DEEPEST = 32
SMALL_BYTES = 64 << 20
"""Up to here any ratio passes: an empty mask packs a thousand times smaller."""

SPARE_BYTES = 1 << 30
"""Of the disk's room, which is left."""

PACKERS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)
"""Of ZIP's. LZMA is none: an archive chooses how much memory it takes."""

ENCRYPTED = 1
"""Of a member's flags in a ZIP."""

OUTSIDE = re.compile(r"/|[A-Za-z]:|.*\0")

BROKEN = (
    "The archive is damaged, or packed in a way that is not read.",
    "Unpack it yourself, or pack it again as ZIP or tar.gz.",
)


_Open = Callable[[], BufferedIOBase | None]


@dataclass(frozen=True)
class Member:
    """One file of an archive.

    Attributes:
        name: Where it lies in the archive.
        is_file: Whether it is a regular file, rather than a link or a device.
        open: Gives its content.
    """

    name: str
    is_file: bool
    open: _Open


class Budget:
    """What an archive may still take.

    Args:
        packed_bytes: Its own size.
        room_bytes: The disk's.
        limits: What an archive may claim.
    """

    def __init__(self, packed_bytes: int, room_bytes: int, limits: ReadLimits) -> None:
        by_ratio = max(SMALL_BYTES, packed_bytes * limits.archive_ratio)
        self._bytes = min(limits.archive_bytes, by_ratio)
        self._room = room_bytes - SPARE_BYTES
        self._members = limits.archive_members

    def check(self, size: int) -> None:
        """Refuse what would not fit as a whole.

        Raises:
            UnreadableInput: It would not.
        """
        if size > self._room:
            raise UnreadableInput(
                "The disk for temporary files has no room for what the archive holds.",
                "Free some, or set TMPDIR to a larger disk.",
                code="no-room",
            )
        if size > self._bytes:
            raise UnreadableInput(
                "The archive holds more, or packs it smaller, than is unpacked.",
                "Unpack it yourself, or raise ReadLimits.archive_bytes or archive_ratio.",
                code="archive-too-large",
            )

    def take(self, size: int) -> None:
        """Count bytes that are about to be there."""
        self.check(size)
        self._bytes -= size
        self._room -= size

    def count(self, members: int = 1) -> None:
        """Count members."""
        self._members -= members
        if self._members < 0:
            raise UnreadableInput(
                "The archive holds more files than are unpacked.",
                "Unpack it yourself, or raise ReadLimits.archive_members.",
                code="archive-too-many",
            )


def open_archives(found: Found, limits: ReadLimits) -> dict[Path, Path]:
    """Unpack the archives among some files, and list what is in them as files beside the others.

    Args:
        found: The archives become files left out, or failures; their members are added.
        limits: What an archive may claim.

    Returns:
        The archive that was unpacked into each private folder.
    """
    unpacked = {}
    archives = found.of_kind("archive")
    named = _named_by_headers(found, limits) if archives else set()
    for archive in archives:
        if archive in named:
            continue
        del found.files[archive]
        folder = private_folder()
        try:
            read = partial(unpack, archive, folder, limits)
            refused = isolated_reading(read, [archive], limits)
        except UnreadableInput as error:
            shutil.rmtree(folder, ignore_errors=True)
            found.failures.append(Failure.of(archive, error))
            continue
        unpacked[folder] = archive
        within = find_files([folder], limits)
        for nested in within.of_kind("archive"):
            del within.files[nested]
            within.failures.append(Failure.of(nested, _refusal("nested-archive")))
        found.files |= within.files
        done = Failure.of(archive, _refusal("unpacked-archive"))
        found.failures += [done, *refused, *within.failures]
    return unpacked


def _named_by_headers(found: Found, limits: ReadLimits) -> set[Path]:
    """Find the packed files that are the voxels of a MetaImage's or NRRD's header beside them."""
    headers = [
        path for path in found.of_kind("volume") if path.name.lower().endswith((".mhd", ".nhdr"))
    ]
    listed = isolated_each(partial(data_files, limits=limits), headers, limits)
    return {path for files in listed if not isinstance(files, HeadClipError) for path in files}


def unpack(archive: Path, into: Path, limits: ReadLimits) -> list[Failure]:
    """Unpack one archive.

    Args:
        archive: ZIP, tar, packed tar, or one packed file.
        into: An empty folder that nobody else uses.
        limits: What it may claim, and hold.

    Returns:
        Members that were not unpacked, because they are no regular files.

    Raises:
        UnreadableInput: It is damaged, or claims or holds more than the limits, or a name in it is
            none that a file may have. What was written so far is the caller's to remove.
    """
    size = check_file(archive, limits)
    refused: list[Failure] = []
    with translate("broken-archive", *BROKEN):
        budget = Budget(size, shutil.disk_usage(into).free, limits)
        for member in _members(archive, budget):
            path = _place(into, member.name)
            content = member.open() if member.is_file else None
            if content is None:
                refused.append(Failure.of(path, _refusal("archive-link")))
            else:
                _write(content, path, budget)
    return refused


def _write(content: BufferedIOBase, path: Path, budget: Budget) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with closing(content) as source, path.open("xb") as target:
        while chunk := source.read(CHUNK_BYTES):
            budget.take(len(chunk))
            target.write(chunk)


def _place(into: Path, name: str) -> Path:
    """Say where a member goes; Windows separates folders by backslashes."""
    plain = name.replace("\\", "/")
    parts = [part for part in plain.split("/") if part not in ("", ".")]
    longest = max((len(part.encode("utf-8", "surrogateescape")) for part in parts), default=0)
    if (
        OUTSIDE.match(plain)
        or ".." in parts
        or not 1 <= len(parts) <= DEEPEST
        or longest > LONGEST_NAME_BYTES
    ):
        raise _refusal("unsafe-archive")
    return into.joinpath(*parts)


def _members(archive: Path, budget: Budget) -> Iterator[Member]:
    with archive.open("rb") as file:
        start = file.read(START_BYTES)
    if start.startswith(b"PK"):
        yield from _zip_members(archive, budget)
        return
    packed = start.startswith((b"\x1f\x8b", b"BZ"))
    with _inflated(archive, start) if packed else archive.open("rb") as content:
        is_one_file = packed and content.read(START_BYTES)[257:262] != b"ustar"
        content.seek(0)
        if not is_one_file:
            yield from _tar_members(content, budget)
        else:
            yield Member(archive.stem, True, lambda: content)


def _inflated(archive: Path, start: bytes) -> BufferedIOBase:
    return bz2.open(archive) if start.startswith(b"BZ") else gzip.open(archive)


def _zip_members(archive: Path, budget: Budget) -> Iterator[Member]:
    with zipfile.ZipFile(archive) as packed:
        files = [one for one in packed.infolist() if not one.is_dir()]
        budget.count(len(files))
        budget.check(sum(one.file_size for one in files))
        if any(one.flag_bits & ENCRYPTED for one in files):
            raise _refusal("encrypted-archive")
        if any(one.compress_type not in PACKERS for one in files):
            raise UnreadableInput(*BROKEN, code="broken-archive")
        for one in files:
            kind = stat.S_IFMT(one.external_attr >> 16)
            is_file = kind in (0, stat.S_IFREG)
            yield Member(one.orig_filename, is_file, cast(_Open, partial(packed.open, one)))


def _tar_members(file: BufferedIOBase, budget: Budget) -> Iterator[Member]:
    counted = Counted(file, copy(budget))
    with tarfile.open(fileobj=counted, mode="r|") as packed:  # type: ignore[call-overload]
        for one in packed:
            budget.count()
            if not one.isdir():
                open_ = cast(_Open, partial(packed.extractfile, one))
                yield Member(one.name, one.isfile(), open_)


class Counted:
    """What is inflated of a tar archive, counted: also what is only skipped costs time.

    Args:
        file: What is read.
        budget: Of its own: what is written is counted besides.
    """

    def __init__(self, file: BufferedIOBase, budget: Budget) -> None:
        self._file = file
        self._budget = budget

    def read(self, size: int) -> bytes:
        """Read some bytes, as ``tarfile`` asks for them."""
        content = self._file.read(size)
        self._budget.take(len(content))
        return content


def _refusal(code: str) -> UnreadableInput:
    return UnreadableInput(*_REFUSALS[code], code=code)


_REFUSALS = {
    "unpacked-archive": (
        "The file is an archive; what is in it is listed file by file.",
        "Nothing needs to be done.",
    ),
    "nested-archive": (
        "The file is an archive within an archive, which is not unpacked.",
        "Unpack the outer one yourself.",
    ),
    "archive-link": (
        "This member of the archive is a link or a device, which is never made.",
        "Pack the file itself.",
    ),
    "unsafe-archive": (
        "A name in the archive leads out of it, or is none that a file may have, so nothing of it "
        "is used.",
        "Pack it again.",
    ),
    "encrypted-archive": ("The archive is protected by a password.", "Unpack it yourself."),
}
"""Reason and advice by code."""
