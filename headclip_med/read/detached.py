"""Headers that name the files of their voxels: only such as lie in the header's own folder."""

from __future__ import annotations

import re
from pathlib import Path

from headclip_med.errors import UnreadableInput
from headclip_med.read.guards import ReadLimits, check_file, read_start

HEADER_BYTES = 1 << 20
"""Longest header; that of a list of a thousand slices has 20 kB."""

META = re.compile(rb"(?m)^[ \t]*ElementDataFile[ \t]*[=:][ \t]*([^\r\n]*)")
META_AXES = re.compile(rb"(?mi)^[ \t]*NDims[ \t]*[=:][ \t]*([^\r\n]*)")
NRRD = re.compile(rb"(?mi)^[ \t]*data[ \t]?file[ \t]*:[ \t]*([^\r\n]*)")
META_WORD = re.compile(rb"(?i)ElementDataFile")
NRRD_WORD = re.compile(rb"(?mi)^[^#\r\n]*?data[ \t]?file")


NRRD_SEGMENTS = re.compile(rb"(?m)^(Segment\d+_\w+|org\.mitk\.multilabel[\w.]*)[ \t]*:=")
"""What 3D Slicer and MITK write of each segment."""


def declares_segments(path: Path) -> bool:
    """Tell whether an NRRD header says that its values are the labels of segments."""
    header = read_start(path, HEADER_BYTES)
    return header.startswith(b"NRRD") and NRRD_SEGMENTS.search(header) is not None


def data_files(path: Path, limits: ReadLimits) -> tuple[Path, ...]:
    """List the files that hold the voxels of a MetaImage or NRRD header, in its order.

    Args:
        path: Of the header. Of any other kind of file nothing is listed.
        limits: What a file may claim.

    Raises:
        UnreadableInput: It names a file that lies elsewhere or does not exist, or names files in a
            way that is not read.
    """
    check_file(path, limits)
    start = read_start(path, HEADER_BYTES)
    if path.name.lower().endswith((".mha", ".mhd")):
        named, rest = _named(start, META, META_WORD)
        local = named is not None and named.lower() == b"local"
        if not all(re.fullmatch(rb"[1-5]\s*", axes) for axes in META_AXES.findall(start)):
            raise _unclear()  # ITK writes beyond its memory from eleven axes on
    elif start.startswith(b"NRRD"):
        header = re.split(rb"\r?\n\r?\n", start, maxsplit=1)[0]
        named, rest = _named(header, NRRD, NRRD_WORD)
        local = named is None
    else:
        return ()
    if named is None and not local:
        raise _unclear()
    if local:
        return ()
    names = rest.split(b"\n") if named is not None and named[:4] == b"LIST" else [named or b""]
    return tuple(_inside(path.parent, one.strip()) for one in names if one.strip())


def _named(
    header: bytes, field: re.Pattern[bytes], word: re.Pattern[bytes]
) -> tuple[bytes | None, bytes]:
    """Find the one place where files are named: its value, and what follows it."""
    found = field.search(header)
    # Another reader must have no choice which of several it takes.
    if len(word.findall(header)) > (found is not None):
        raise _unclear()
    return (None, b"") if found is None else (found[1].strip(), header[found.end() :])


def _inside(folder: Path, name: bytes) -> Path:
    """Find a file that a header names."""
    # A pattern for printf would be handed to it as it is; "-" is standard input.
    if b"%" in name or name == b"-":
        raise _unclear()
    try:
        file = folder / name.decode()
        if not file.resolve().is_relative_to(folder.resolve()):
            raise UnreadableInput(
                "The header names a file outside its own folder, which is not followed.",
                "Put the data beside the header.",
                code="data-outside",
            )
        if not file.is_file():
            raise UnreadableInput(
                "The header names a file of voxels that is not there.",
                "Copy it as well, beside the header.",
                code="missing-data",
            )
    except (ValueError, OSError):  # a name that no file can have
        raise _unclear() from None
    return file


def _unclear() -> UnreadableInput:
    return UnreadableInput(
        "The header names its data files more than once, not at all, or by a pattern.",
        "Write the volume as one file.",
        code="unclear-data",
    )
