"""Drawn CT and MR series as real single-frame DICOM files, for the demonstration and the tests.

Everything is derived from the arguments, the identifiers too: equal arguments give equal bytes.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
from jaxtyping import Float, Integer, Num
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, MRImageStorage
from pydicom.valuerep import format_number_as_ds

from headclip_med.errors import UnusableGeometry
from headclip_med.geometry import Grid

STORED_ZERO_HU = -1024
"""Rescale intercept of the CT: what a stored 0 means."""

DATE, TIME = "20240101", "120000"
MANUFACTURER = "headclip_med phantom"
IMPLEMENTATION_UID = "2.25.309340270285218146927893106205436110081"
"""Names this writer (PS3.10 7.1); any fixed UID does."""

RIGHT_ANGLE_TOLERANCE = 1e-6
WINDOWS_HU = {"HEAD": (40, 80), "BRAIN": (40, 80), "CHEST": (-600, 1500)}
SOFT_TISSUE_HU = (40, 400)


def write_ct_series(
    folder: Path,
    voxels_hu: Num[np.ndarray, "slices rows columns"],
    grid: Grid,
    *,
    study_seed: str = "phantom",
    patient_name: str = "Phantom^Headclip",
    body_part: str = "HEAD",
) -> tuple[Path, ...]:
    """Write a CT series, one file per slice.

    Args:
        folder: Made where it is missing; other files in it stay.
        voxels_hu: Hounsfield units, rounded to whole ones, from -33792 to 31743.
        grid: Where the slices lie; any order, tilt and gaps.
        study_seed: Series of one seed belong to one study and frame of reference.
        patient_name: As DICOM writes it, family name first.
        body_part: Defined term of Body Part Examined.

    Returns:
        The files, in the order of the slices.

    Raises:
        UnusableGeometry: The rows and columns of the grid are not at right angles, or it has no
            patient geometry.
    """
    stored = np.clip(np.rint(voxels_hu) - STORED_ZERO_HU, -32768, 32767).astype("<i2")
    common = _common(grid, study_seed, patient_name)
    common.SOPClassUID = CTImageStorage
    common.Modality, common.BodyPartExamined = "CT", body_part
    common.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    common.KVP = "120"
    common.RescaleIntercept, common.RescaleSlope = str(STORED_ZERO_HU), "1"
    common.RescaleType = "HU"
    common.WindowCenter, common.WindowWidth = map(str, WINDOWS_HU.get(body_part, SOFT_TISSUE_HU))
    return _write(folder, stored, grid, common)


def write_mr_series(
    folder: Path,
    signal: Num[np.ndarray, "slices rows columns"],
    grid: Grid,
    *,
    study_seed: str = "phantom",
    patient_name: str = "Phantom^Headclip",
) -> tuple[Path, ...]:
    """Write an MR series of the head, one file per slice.

    Args:
        folder: As for ``write_ct_series``.
        signal: In any unit, rounded to whole numbers from 0 to 65535.
        grid: As for ``write_ct_series``, and so are the rest, the files and the errors.
        study_seed: Likewise.
        patient_name: Likewise.
    """
    stored = np.clip(np.rint(signal), 0, 65535).astype("<u2")
    common = _common(grid, study_seed, patient_name)
    common.SOPClassUID = MRImageStorage
    common.Modality, common.BodyPartExamined = "MR", "HEAD"
    common.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
    common.ScanningSequence, common.SequenceVariant = "SE", "NONE"
    common.ScanOptions, common.MRAcquisitionType = "", "2D"
    common.RepetitionTime, common.EchoTime, common.EchoTrainLength = "500", "10", "1"
    return _write(folder, stored, grid, common)


def _common(grid: Grid, study_seed: str, patient_name: str) -> FileDataset:
    """Everything that the slices of a series share, beside what makes it a CT or an MR."""
    if not grid.is_patient:
        raise UnusableGeometry(
            "The grid has no patient geometry, which a series needs.",
            "Give a Grid in millimetres.",
            code="no-patient-geometry",
        )
    row_mm, column_mm = grid.pixel_spacing_mm
    across, down = grid.column_step_lps_mm / column_mm, grid.row_step_lps_mm / row_mm
    if abs(float(across @ down)) > RIGHT_ANGLE_TOLERANCE:
        raise UnusableGeometry(
            "Rows and columns of the grid are not at right angles, which DICOM cannot express.",
            "Resample first.",
            code="sheared-plane",
        )
    common = FileDataset("", {}, file_meta=FileMetaDataset(), preamble=b"\0" * 128)
    common.SpecificCharacterSet = "ISO_IR 192"
    common.StudyDate = common.SeriesDate = common.AcquisitionDate = common.ContentDate = DATE
    common.StudyTime = common.SeriesTime = common.AcquisitionTime = common.ContentTime = TIME
    common.AccessionNumber = common.ReferringPhysicianName = ""
    common.Manufacturer, common.ManufacturerModelName = MANUFACTURER, "procedural"
    common.StudyDescription = common.SeriesDescription = "Synthetic phantom"
    common.DeviceSerialNumber, common.SoftwareVersions = "0", "1"
    common.PatientName = patient_name
    common.PatientID = f"PHANTOM-{_digest(study_seed)[:8]}"
    common.PatientBirthDate, common.PatientSex = "", "O"
    common.PatientIdentityRemoved, common.DeidentificationMethod = "YES", "Synthetic phantom"
    common.StudyInstanceUID = _uid("study", study_seed)
    common.FrameOfReferenceUID = _uid("frame of reference", study_seed)
    common.PositionReferenceIndicator = ""
    common.StudyID, common.SeriesNumber, common.AcquisitionNumber = "1", 1, 1
    common.PatientPosition = "HFS"
    common.SliceThickness = format_number_as_ds(float(np.median(grid.slice_thicknesses_mm)))
    common.ImageOrientationPatient = [format_number_as_ds(float(v)) for v in (*across, *down)]
    common.PixelSpacing = [format_number_as_ds(row_mm), format_number_as_ds(column_mm)]
    return common


def _write(
    folder: Path,
    stored: Integer[np.ndarray, "slices rows columns"],
    grid: Grid,
    common: FileDataset,
) -> tuple[Path, ...]:
    if stored.shape != grid.shape:
        raise UnusableGeometry(
            f"The voxels are {stored.shape} and the grid {grid.shape}.",
            "Give one grid for both.",
            code="shape-mismatch",
        )
    content = _digest(
        common.StudyInstanceUID, common.Modality, stored.tobytes(), grid.origins_lps_mm.tobytes()
    )
    common.SeriesInstanceUID = _uid("series", content)
    common.SamplesPerPixel, common.PhotometricInterpretation = 1, "MONOCHROME2"
    common.Rows, common.Columns = grid.rows, grid.columns
    common.BitsAllocated, common.BitsStored, common.HighBit = 16, 16, 15
    common.PixelRepresentation = int(stored.dtype.kind == "i")
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for index, (pixels, origin_lps_mm) in enumerate(zip(stored, grid.origins_lps_mm, strict=True)):
        path = folder / f"{content[:8]}_{index:04d}.dcm"
        # Whole or not at all, but not synced to disk: a phantom can be written again, and two syncs
        # a file would cost more than all the rest.
        unfinished = path.with_suffix(".unfinished")
        unfinished.write_bytes(_slice_bytes(common, index, pixels, origin_lps_mm))
        unfinished.replace(path)
        paths.append(path)
    return tuple(paths)


def _slice_bytes(
    common: FileDataset,
    index: int,
    pixels: Integer[np.ndarray, "rows columns"],
    origin_lps_mm: Float[np.ndarray, "3"],
) -> bytes:
    common.SOPInstanceUID = _uid("instance", common.SeriesInstanceUID, str(index))
    common.InstanceNumber = index + 1
    common.ImagePositionPatient = [format_number_as_ds(float(value)) for value in origin_lps_mm]
    common.PixelData = pixels.tobytes()
    meta = common.file_meta
    meta.MediaStorageSOPClassUID = common.SOPClassUID
    meta.MediaStorageSOPInstanceUID = common.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_UID)
    written = io.BytesIO()
    common.save_as(written, enforce_file_format=True)
    return written.getvalue()


def _digest(*parts: str | bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else part.encode()
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()


def _uid(*parts: str) -> str:
    """Derive a UID below 2.25 from 128 bits of a digest (PS3.5 B.2)."""
    return f"2.25.{int(_digest(*parts)[:32], 16)}"
