"""SimpleITK as decoder of what no plug-in of pydicom can: JPEG streams of twelve bits with loss."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from jaxtyping import Shaped
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, SecondaryCaptureImageStorage

from headclip_med.errors import UnreadableInput
from headclip_med.read.dicom.pixels.layout import PixelLayout

END_OF_IMAGE = b"\xff\xd9"


def decode_by_itk(
    stream: bytes, syntax: str, layout: PixelLayout
) -> Shaped[np.ndarray, "rows columns"]:
    """Decode one grey frame by writing an object around it that says nothing else.

    Raises:
        UnreadableInput: The stream has no end, which the decoder would fill with grey.
    """
    import SimpleITK as sitk  # noqa: N813 - its usual name; loaded only where it is needed

    if END_OF_IMAGE not in stream[-16:]:
        raise UnreadableInput(
            "The file is cut short: a compressed frame has no end.",
            "Copy or export it again.",
            code="truncated-file",
        )
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    with _file_of(_object_around(stream, syntax, layout)) as path:
        return np.asarray(sitk.GetArrayFromImage(sitk.ReadImage(path, imageIO="GDCMImageIO"))[0])


def _object_around(stream: bytes, syntax: str, layout: PixelLayout) -> Dataset:
    around = Dataset()
    around.file_meta = FileMetaDataset()
    around.file_meta.TransferSyntaxUID = UID(syntax)
    around.SOPClassUID = SecondaryCaptureImageStorage
    around.SOPInstanceUID = "2.25.1"
    around.SamplesPerPixel, around.PhotometricInterpretation = 1, "MONOCHROME2"
    around.Rows, around.Columns = layout.rows, layout.columns
    around.BitsAllocated, around.BitsStored = layout.bits, layout.stored_bits
    around.HighBit, around.PixelRepresentation = layout.stored_bits - 1, int(layout.is_signed)
    around.PixelData = encapsulate([stream])
    around["PixelData"].is_undefined_length = True
    return around


@contextmanager
def _file_of(around: Dataset) -> Iterator[str]:
    """Write an object where a program can open it, in memory if the system has such files."""
    with (
        os.fdopen(os.memfd_create("frame"), "w+b")
        if hasattr(os, "memfd_create")
        else tempfile.NamedTemporaryFile()
    ) as file:
        around.save_as(file, enforce_file_format=True)
        file.flush()
        yield f"/proc/self/fd/{file.fileno()}" if isinstance(file.name, int) else str(file.name)
