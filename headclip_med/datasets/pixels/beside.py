"""What lies among a set's images and is none of them: each file is said by its name."""

from __future__ import annotations

from pathlib import Path

from headclip_med.datasets.report import Finding
from headclip_med.errors import HeadClipError, UnreadableInput
from headclip_med.read.formats import START_BYTES, SYSTEM_FILES, kind_of, refusal_of
from headclip_med.read.guards import read_start

_CONVERT = "Convert it to what the others are, or move it away."


def no_picture(path: Path, name: str, *, of_volumes: bool) -> Finding | UnreadableInput:
    """Say of a file among the images, not called like one, what it is.

    Args:
        path: Of the file.
        name: To call it by.
        of_volumes: The set holds volumes, so that a picture is none of its images.

    Returns:
        An error where it is an image, which would be missing from the set; else a note.
    """
    if path.name.lower() in SYSTEM_FILES:
        return _passed_over(name, "an operating system's")
    try:
        start = read_start(path, START_BYTES)
    except HeadClipError as error:
        return UnreadableInput(
            f"The file {name} cannot be looked at. {error.reason}", error.advice, code=error.code
        )
    kind = kind_of(path.name, start)
    if kind == "image" and of_volumes:
        return _passed_over(name, "no volume")
    if kind == "image":
        return UnreadableInput(
            f"The file {name} is a picture, but its name does not end as one's.",
            "Give it the suffix of its format, such as .png.",
            code="odd-suffix",
        )
    if kind is not None:
        return UnreadableInput(
            f"The file {name} among the images is {_KINDS[kind]}, which is not read here.",
            _CONVERT,
            code="unread-image",
        )
    if refusal_of(path.name, start, is_named=False).code == "unread-format":
        return UnreadableInput(
            f"The file {name} among the images has a format that is not read.",
            _CONVERT,
            code="unread-image",
        )
    return _passed_over(name, "no image")


def inner_folder(name: str, count: int) -> Finding:
    """Say of a folder inside one of images that what it holds is not read.

    Args:
        name: Of the folder.
        count: Pictures in it.
    """
    return Finding(
        "warning",
        "inner-folder",
        f"The folder {name} lies inside one of images, and its {count} pictures are not read.",
        "Move them up if they belong to the set.",
    )


def not_of_a_class(name: str) -> UnreadableInput:
    """Refuse a folder inside a class whose name says that it holds something else."""
    return UnreadableInput(
        f"The folder {name} inside a class is called as one of masks, of a split or of unlabelled "
        "pictures, and its pictures would count as images of the class.",
        "Move it away, or rename it.",
        code="not-a-class",
    )


def _passed_over(name: str, what: str) -> Finding:
    return Finding("note", "passed-over", f"The file {name} is {what}, and was passed over.")


_KINDS = {
    "archive": "an archive",
    "dicom": "a DICOM file",
    "dicom-index": "an index of DICOM files",
    "nifti": "a NIfTI volume",
    "volume": "a volume",
}
