"""What is known of a DICOM file's header; pydicom is not needed to look at it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from headclip_med.errors import UnreadableInput
from headclip_med.read.dicom.planes import Frame


@dataclass(frozen=True)
class ImageHeader:
    """One DICOM image object.

    Attributes:
        series_key: What its series is known by, even where the UIDs are not valid.
        patient_key: Equal for the images of one patient; a digest, empty where nothing is said.
        sop_class_uid: As it stands.
        series_number: Written one way; empty where nothing is said.
        detector_spacing_mm: Between rows and columns where the rays meet the detector, which is
            more than in the patient; None where nothing is said.
        pixel_bytes: The pixel data is what the file ends with, so many bytes.
        is_capture: A screenshot or scan of film: its values have no unit whatever its modality.
        is_map: Its values were computed (perfusion, material) or coloured: no modality's unit.
        pixels: How its pixels are read without parsing the file again, sealed by the process that
            read it for one like it; None where that takes more than is kept of a file.
        may_be_page: A slice of MR of which nothing says that it is one, and no page of several.
        stamp: Of the file as it was parsed; see ``stamp_of``.
        problem: Why its pixels cannot be used although the header can be read, or None.
    """

    path: Path = field(repr=False)
    series_key: tuple[str, str] = field(repr=False)
    patient_key: str = field(repr=False)
    sop_class_uid: str
    series_number: str
    sop_instance_uid: str | None
    study_instance_uid: str | None
    series_instance_uid: str | None
    frame_of_reference_uid: str | None
    modality: str | None
    body_part: str | None
    window: tuple[float, float] | None
    instance_number: int
    rows: int
    columns: int
    is_colour: bool
    is_localizer: bool
    is_capture: bool
    is_map: bool
    frames: tuple[Frame, ...]
    detector_spacing_mm: tuple[float, float] | None = None
    pixel_bytes: int = 0
    pixels: bytes | None = field(default=None, compare=False, repr=False)
    may_be_page: bool = False
    stamp: tuple[int, int] | None = field(default=None, compare=False)
    problem: UnreadableInput | None = field(default=None, compare=False)

    @property
    def unit_modality(self) -> str | None:
        """The modality whose units the values have: a capture of a CT has no Hounsfield units."""
        return None if self.is_capture else self.modality


def stamp_of(path: Path) -> tuple[int, int] | None:
    """Size in bytes and time of the last change, in ns, of a file; None where it is gone."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns
