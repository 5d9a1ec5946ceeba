"""DICOMDIR: the index of a disc, and the files that it lists, inside its own folder only."""

from __future__ import annotations

from pathlib import Path

from pydicom.config import disable_value_validation

from headclip_med.errors import UnreadableInput
from headclip_med.read.dicom.elements import items, texts
from headclip_med.read.dicom.opening import BROKEN, open_object
from headclip_med.read.guards import ReadLimits, silence, translate
from headclip_med.read.inputs import Failure


def read_directory(path: Path, limits: ReadLimits) -> tuple[list[Path], list[Failure]]:
    """Find the files that an index lists.

    Discs may show names in small letters, or with a version behind a semicolon; either is found.

    Returns:
        Those that are there, in the index's order, and a failure for each that is not, or that
        would lie outside the index's folder.

    Raises:
        UnreadableInput: The index is damaged.
    """
    keywords = ("DirectoryRecordSequence",)
    with (
        silence(),
        disable_value_validation(),
        open_object(path, limits, keywords=keywords) as (dataset, _, _),
        translate("broken-dicom", *BROKEN),
    ):
        if "DirectoryRecordSequence" not in dataset:
            raise UnreadableInput(*BROKEN, code="broken-dicom")
        records = items(dataset, "DirectoryRecordSequence")
        listed = dict.fromkeys(tuple(texts(record, "ReferencedFileID")) for record in records)
    found: list[Path] = []
    failures: list[Failure] = []
    for number, parts in enumerate(filter(None, listed), start=1):
        if any(part in ("", ".", "..") or "/" in part or "\0" in part for part in parts):
            failures.append(Failure.of(path.with_name(f"{path.name}-entry-{number}"), _outside()))
            continue
        file = _resolve(path.parent, parts)
        if file is None:
            failures.append(Failure.of(path.parent.joinpath(*parts), _missing()))
        elif not file.resolve().is_relative_to(path.parent.resolve()):
            failures.append(Failure.of(file, _outside()))
        else:
            found.append(file)
    return found, failures


def _resolve(folder: Path, parts: tuple[str, ...]) -> Path | None:
    for spelled in (str, str.lower, str.upper):
        for version in ("", ";1"):
            file = folder.joinpath(*map(spelled, parts))
            try:
                if (file := file.with_name(file.name + version)).is_file():
                    return file
            except (OSError, ValueError):  # a name that no file can have
                return None
    return None


def _missing() -> UnreadableInput:
    return UnreadableInput(
        "An index of DICOM files lists this file, which is not there.",
        "Copy it as well.",
        code="missing-file",
    )


def _outside() -> UnreadableInput:
    return UnreadableInput(
        "An index of DICOM files lists a file outside its own folder, which is not followed.",
        "Give the file by its own name.",
        code="index-outside",
    )
