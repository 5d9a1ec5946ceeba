"""What of a result travels: the DICOM objects that its result.json names."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from headclip_med.errors import HeadClipError

SOP_CLASSES = {
    "seg": ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"),
    "sr": ("1.2.840.10008.5.1.4.1.1.88.",),
    "sc": ("1.2.840.10008.5.1.4.1.1.7",),
}
"""What the UIDs of an output's classes begin with: segmentations, reports, secondary captures."""

_TAGS = ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"]


@dataclass(frozen=True)
class ResultObject:
    """A DICOM object of a result.

    Attributes:
        path: Of its file.
        output: What it is, by its class: a key of ``SOP_CLASSES``.
    """

    path: Path
    output: str
    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    transfer_syntax_uid: str


def objects_of(folder: Path, outputs: Collection[str]) -> tuple[ResultObject, ...]:
    """Read what a result holds of these outputs, in the order of its result.json.

    Raises:
        HeadClipError: ``result-missing``: its files are gone or damaged.
    """
    try:
        names = json.loads((folder / "result.json").read_bytes())["outputs"].values()
        found = [_read(folder / name) for name in names if name.endswith(".dcm")]
    except (OSError, ValueError, KeyError, AttributeError, InvalidDicomError):
        raise HeadClipError(
            "The files of this result are gone or damaged.",
            "Screen the series again, then send the new result.",
            code="result-missing",
        ) from None
    return tuple(one for one in found if one.output in outputs)


def _read(path: Path) -> ResultObject:
    header = dcmread(path, stop_before_pixels=True, specific_tags=_TAGS)
    uid = str(header.SOPClassUID)
    outputs = [name for name, starts in SOP_CLASSES.items() if uid.startswith(starts)]
    return ResultObject(
        path,
        outputs[0] if outputs else "",
        uid,
        str(header.SOPInstanceUID),
        str(header.StudyInstanceUID),
        str(header.SeriesInstanceUID),
        str(header.file_meta.TransferSyntaxUID),
    )
