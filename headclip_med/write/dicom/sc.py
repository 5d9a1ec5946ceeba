"""Overlays as a series of secondary captures: for viewers that show neither masks nor maps."""

from __future__ import annotations

import hashlib

import numpy as np
import pydicom
from highdicom.sc import SCImage
from highdicom.spatial import get_closest_patient_orientation
from jaxtyping import UInt8
from PIL import Image, ImageDraw
from pydicom.sr.codedict import codes
from pydicom.valuerep import format_number_as_ds

from headclip_med.geometry import Grid
from headclip_med.write.dicom.run import MAKER, RESEARCH_ONLY, DicomRun
from headclip_med.write.dicom.source import derived_uid, quiet, stand_ins
from headclip_med.write.outputs import Writer, WrittenOutput
from headclip_med.write.pictures.overlay import BACKGROUND, TEXT, font, panel
from headclip_med.write.pictures.sheet import caption, named_slices

SIDE_PX = 512
"""Longer side of a slice."""

BAND_PX, NARROWEST_PX = 40, 300
"""Below the slice, and how wide it must be to hold the words."""


class ScWriter(Writer):
    """``sc-001.dcm`` and so on: the slices that ``slices`` shows, each under its heatmap.

    Red, green, blue; that it is for research only is part of the pixels, in a band below the slice.
    Each names its source image. Where the images lie in the patient, so does the overlay: viewers
    scroll both together.
    """

    def begin(self) -> None:
        """Read the sources' headers, and choose the slices.

        Raises:
            UnreadableInput: They cannot be referred to; see ``read_sources``.
        """
        self._run = DicomRun(self.screening, self.version)
        self._names = named_slices(self.screening, self.marked)
        self._files: dict[str, str] = {}

    def add(self, slices: range) -> None:
        """Write those that were chosen."""
        for index in slices:
            if index in self._names:
                name = f"sc-{self._names[index]}"
                self._files[name] = f"{name}.dcm"
                with quiet():
                    built = self._build(index)
                    built.save_as(self.folder / f"{name}.dcm", enforce_file_format=True)

    def end(self) -> WrittenOutput:
        """Say what was written."""
        return WrittenOutput(self._files, notes=self._run.notes)

    def _build(self, index: int) -> SCImage:
        run, grid = self._run, self.screening.volume.grid
        slice_px = panel(self.screening, index, side_px=SIDE_PX, with_heat=True)
        pixels = _burnt(slice_px, caption(self.screening, index))
        content = hashlib.sha256(pixels.tobytes()).hexdigest()
        unique = derived_uid(run.key, "sc", index, content)
        (header,) = stand_ins(self.screening.volume, run.sources, {index: unique})
        built = SCImage(
            pixels,
            photometric_interpretation="RGB",
            bits_allocated=8,
            coordinate_system="PATIENT",
            patient_orientation=_orientation(grid),
            study_instance_uid=header.StudyInstanceUID,
            **run.in_series("sc", "Heatmap overlays", unique, list(self._names).index(index) + 1),
        )
        built.ConversionType, built.BurnedInAnnotation = "WSD", "YES"
        built.DerivationDescription = f"Heatmap blended over the image. {RESEARCH_ONLY}"
        built.SourceImageSequence = [self._source(index)]
        run.finish(built)
        if run.is_in_patient:
            _place(built, header, grid, slice_px.size)
        return built

    def _source(self, index: int) -> pydicom.Dataset:
        """Refer to the image that a slice came from."""
        source = self.screening.volume.sources[index]
        item, purpose = pydicom.Dataset(), codes.DCM.SourceImageForImageProcessingOperation
        self._run.point(item, source.sop_instance_uid)
        if frames := self._run.frames(source):
            (item.ReferencedFrameNumber,) = frames
        code = pydicom.Dataset()
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = (
            purpose.value, purpose.scheme_designator, purpose.meaning
        )  # fmt: skip
        item.PurposeOfReferenceCodeSequence = [code]
        return item


def _burnt(slice_px: Image.Image, words: str) -> UInt8[np.ndarray, "height width 3"]:
    """Put a band below a slice that says what it is and what it is not."""
    width = max(slice_px.width, NARROWEST_PX)
    page = Image.new("RGB", (width, slice_px.height + BAND_PX), BACKGROUND)
    page.paste(slice_px, (0, 0))
    draw = ImageDraw.Draw(page)
    draw.text((6, slice_px.height + 3), RESEARCH_ONLY, fill=TEXT, font=font(13))
    draw.text((6, slice_px.height + 21), f"{MAKER}   {words}", fill=TEXT, font=font(12))
    return np.asarray(page, dtype=np.uint8)


def _orientation(grid: Grid) -> tuple[str, str]:
    """Name the patient's sides that rows and columns lead to; any where they lie nowhere."""
    steps = [grid.column_step_lps_mm, grid.row_step_lps_mm, grid.normal_lps]
    across, down, _ = get_closest_patient_orientation(np.array(steps).T)
    return across.value, down.value


def _place(
    built: pydicom.Dataset, header: pydicom.Dataset, grid: Grid, size: tuple[int, int]
) -> None:
    """Put an overlay where its slice lies: its pixels are smaller or larger than the slice's."""
    across, down = grid.columns / size[0], grid.rows / size[1]
    origin = np.array(header.ImagePositionPatient, dtype=float)
    corner = (across - 1) / 2 * grid.column_step_lps_mm + (down - 1) / 2 * grid.row_step_lps_mm
    row_mm, column_mm = grid.pixel_spacing_mm
    for keyword in ("FrameOfReferenceUID", "PositionReferenceIndicator", "SliceThickness",
                    "ImageOrientationPatient"):  # fmt: skip
        built[keyword] = header[keyword]
    built.ImagePositionPatient = [format_number_as_ds(float(mm)) for mm in origin + corner]
    built.PixelSpacing = [format_number_as_ds(mm) for mm in (row_mm * down, column_mm * across)]
