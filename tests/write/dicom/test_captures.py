"""Secondary captures: the overlay as pixels, its warning among them, where its slice lies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest

from headclip_med.write import write_screening
from headclip_med.write.dicom.sc import BAND_PX, _burnt
from headclip_med.write.dicom.source import derived_uid
from headclip_med.write.pictures.overlay import panel
from tests.write.dicom.test_seg import PATIENT, STACKS, ct_volume, screening_of, two_lesions


def captured(name: str, folder: Path) -> tuple[dict[str, pydicom.Dataset], Path]:
    grid = STACKS[name]()
    screening = screening_of(ct_volume(folder / "in", grid), two_lesions(grid.shape))
    written = write_screening(screening, folder / "out", outputs=["sc"])
    paths = {key: written.folder / path for key, path in written.outputs.items() if key != "result"}
    return {key: pydicom.dcmread(path) for key, path in paths.items()}, written.folder


def test_the_slices_with_candidates_become_one_series(tmp_path: Path) -> None:
    found, _ = captured("axial", tmp_path)
    assert list(found) == ["sc-002", "sc-003", "sc-005", "sc-006", "sc-007"]
    assert len({one.SeriesInstanceUID for one in found.values()}) == 1
    assert len({one.SOPInstanceUID for one in found.values()}) == 5
    assert [one.InstanceNumber for one in found.values()] == [1, 2, 3, 4, 5]
    for name, one in found.items():
        (source,) = one.SourceImageSequence
        index = int(name.removeprefix("sc-")) - 1
        assert source.ReferencedSOPInstanceUID == derived_uid("slice", index)
        assert source.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
        assert {keyword: one[keyword].value for keyword in PATIENT} == PATIENT
        assert (one.BurnedInAnnotation, one.Modality) == ("YES", "OT")
        assert "RESEARCH ONLY" in one.SeriesDescription
        assert one.DateOfSecondaryCapture == "20240506"


def test_the_pixels_are_the_overlay_with_the_warning_below(tmp_path: Path) -> None:
    grid = STACKS["axial"]()
    screening = screening_of(ct_volume(tmp_path / "in", grid), two_lesions(grid.shape))
    written = write_screening(screening, tmp_path / "out", outputs=["sc"])
    pixels = pydicom.dcmread(written.folder / "sc-002.dcm").pixel_array
    picture = panel(screening, 1, side_px=512, with_heat=True)
    np.testing.assert_array_equal(pixels[:-BAND_PX], np.asarray(picture))
    band = pixels[-BAND_PX:].max(axis=-1)
    assert (band > 128).any(axis=1).sum() > 15  # two lines of bright letters
    words = _burnt(picture, "other words")
    assert (words[-BAND_PX:-20] == pixels[-BAND_PX:-20]).all()  # the warning is in each
    assert not (words[-20:] == pixels[-20:]).all()


@pytest.mark.parametrize("name", STACKS)
def test_an_overlay_lies_where_its_slice_does(name: str, tmp_path: Path) -> None:
    grid = STACKS[name]()
    found, _ = captured(name, tmp_path)
    capture = found["sc-002"]
    across, down = np.array(capture.ImageOrientationPatient, float).reshape(2, 3)
    row_mm, column_mm = map(float, capture.PixelSpacing)
    height = capture.Rows - BAND_PX
    width = round(grid.columns * grid.pixel_spacing_mm[1] / column_mm)
    # Outer corners of the slice, half a pixel from the centres of its first and last one.
    first = np.array(capture.ImagePositionPatient, float)
    first = first - across * column_mm / 2 - down * row_mm / 2
    last = first + across * column_mm * width + down * row_mm * height
    corners = np.array([[1, -0.5, -0.5], [1, grid.rows - 0.5, grid.columns - 0.5]])
    np.testing.assert_allclose([first, last], grid.to_lps_mm(corners), atol=1e-3)
