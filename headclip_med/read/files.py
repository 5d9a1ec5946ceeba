"""Files below the given paths, each with the kind its first bytes show."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from headclip_med.errors import UnreadableInput
from headclip_med.read.guards import ReadLimits, check_file, no_permission
from headclip_med.read.inputs import Failure
from headclip_med.volume import Origin

NIFTI_SUFFIXES = (".nii", ".nii.gz", ".hdr", ".img", ".hdr.gz", ".img.gz")
DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
IMAGE_STARTS = (b"\x89PNG", b"\xff\xd8\xff", b"BM", b"II*\0", b"MM\0*")
# A data set without preamble begins with (0002,00xx) or (0008,00xx), in either byte order.
BARE_DICOM_GROUPS = (b"\x02\0", b"\x08\0", b"\0\x02", b"\0\x08")
SYSTEM_FILES = frozenset({"thumbs.db", "desktop.ini", "dicomdir"})
RESULT_FILES = ("result.json", "heatmap.nii.gz")
"""A folder that holds these is one that a screening wrote."""


@dataclass
class Found:
    """Files by kind, in sorted order, and what could not be used.

    Attributes:
        named: The files that were given by name rather than found in a folder.
    """

    files: dict[Path, Origin] = field(default_factory=dict)
    named: set[Path] = field(default_factory=set)
    failures: list[Failure] = field(default_factory=list)

    def of_kind(self, kind: Origin) -> list[Path]:
        """List the files of one kind."""
        return sorted(path for path, found in self.files.items() if found == kind)


def find_files(paths: Sequence[Path], limits: ReadLimits) -> Found:
    """Walk folders, and sort every file by kind without reading more than its start."""
    found = Found()
    seen: set[str] = set()  # a file may be given twice: by name and with its folder, or as ./file

    def add(path: Path, root: Path | None) -> None:
        if (place := os.path.abspath(path)) not in seen:  # noqa: PTH100 - a link stays itself
            seen.add(place)
            _add(path, found, limits, root=root)

    folders = [path for path in paths if _is_folder(path)]
    for path in paths:
        if path not in folders:
            found.named.add(path)
            add(path, None)
    for folder in folders:
        for file in _walk(folder, found.failures):
            add(file, folder)
    return found


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a folder above it may not be entered; what that means is said file by file
        return False


def _walk(root: Path, failures: list[Failure]) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        folder = Path(error.filename or root)
        failures.append(Failure.of(folder, no_permission("folder")))

    for folder, below, names in os.walk(root, onerror=refuse):
        if all(name in names for name in RESULT_FILES):
            below.clear()
            earlier = UnreadableInput(
                "The folder holds results of an earlier screening, which are not screened again.",
                "Nothing needs to be done.",
                code="own-result",
            )
            failures.append(Failure.of(Path(folder), earlier))
            continue
        below[:] = sorted(name for name in below if not name.startswith("."))
        failures += _links_that_lead_out(Path(folder), below, root)
        for name in sorted(names):
            if not name.startswith(".") and name.lower() not in SYSTEM_FILES:
                yield Path(folder, name)


def _links_that_lead_out(folder: Path, below: list[str], root: Path) -> list[Failure]:
    """List linked folders, which are not walked, unless what they point to is walked anyway."""
    failures = []
    for path in filter(Path.is_symlink, (folder / name for name in below)):
        try:
            _check_link(path, root, what="folder")
        except UnreadableInput as error:
            failures.append(Failure.of(path, error))
    return failures


def _add(path: Path, found: Found, limits: ReadLimits, *, root: Path | None) -> None:
    try:
        check_file(path, limits)
        if root is not None and path.is_symlink():
            _check_link(path, root)
        kind = _kind(path)
    except UnreadableInput as error:
        found.failures.append(Failure.of(path, error))
        return
    if kind is None:
        # A text file beside the images is ordinary; one given by name is a mistake.
        code = "not-an-image" if root is not None else "unknown-format"
        unknown = UnreadableInput(
            "The file is neither DICOM nor NIfTI nor a PNG, JPEG, BMP or TIFF image, so there is "
            "nothing to screen.",
            "Convert it, or leave it out.",
            code=code,
        )
        found.failures.append(Failure.of(path, unknown))
    else:
        found.files[path] = kind


def _check_link(path: Path, root: Path, *, what: str = "file") -> None:
    """Refuse a link that leads out of the folder: it could pull in another patient's files."""
    if not path.resolve().is_relative_to(root.resolve()):
        raise UnreadableInput(
            f"The {what} is a link that leads out of the given folder, which is not followed.",
            f"Give the {what} it points to by its own name.",
            code="link-outside",
        )


def _kind(path: Path) -> Origin | None:
    try:
        with path.open("rb") as file:
            start = file.read(132)
    except PermissionError:
        raise no_permission("file") from None
    except OSError:
        raise UnreadableInput(
            "The file cannot be read.", "Check the drive, or copy it again.", code="unreachable"
        ) from None
    name = path.name.lower()
    if start[128:] == b"DICM":
        return "dicom"
    if name.endswith(NIFTI_SUFFIXES):
        return "nifti"
    if start.startswith(IMAGE_STARTS) or name.endswith(IMAGE_SUFFIXES):
        return "image"
    bare = start.startswith(BARE_DICOM_GROUPS) and 0 in start[2:4]
    if bare or name.endswith(DICOM_SUFFIXES):
        return "dicom"
    return None
