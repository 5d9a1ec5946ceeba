"""Real files: from pydicom's wheel, and from scanners where HEADCLIP_DATA names them."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest

from headclip_med.errors import HeadClipError
from headclip_med.read import find_inputs, read_volume

WHEEL = Path(pydicom.__file__).parent / "data" / "test_files"


def test_a_real_ct_slice_is_read() -> None:
    volume = read_volume(WHEEL / "CT_small.dcm")
    dataset = pydicom.dcmread(WHEEL / "CT_small.dcm")
    np.testing.assert_array_equal(volume.voxels[0], dataset.pixel_array - 1024.0)
    np.testing.assert_allclose(volume.grid.origins_lps_mm, [dataset.ImagePositionPatient])
    assert volume.modality == "CT"


@pytest.mark.parametrize(
    "name", ["MR_small_bigendian.dcm", "MR_small_RLE.dcm", "MR_small_jp2klossless.dcm"]
)
def test_a_real_mr_slice_is_the_same_in_every_encoding(name: str) -> None:
    if not (WHEEL / name).is_file():
        pytest.skip(f"this pydicom does not bring {name}")
    plain, other = read_volume(WHEEL / "MR_small.dcm"), read_volume(WHEEL / name)
    np.testing.assert_array_equal(other.voxels, plain.voxels)
    np.testing.assert_array_equal(other.grid.affine_lps, plain.grid.affine_lps)


def test_a_tilted_head_ct_keeps_the_place_of_every_slice(shared_data: Path) -> None:
    volume = read_volume(shared_data / "dicom" / "ct_GE_human_head")
    assert volume.voxels.shape == (28, 512, 512)
    assert (volume.modality, volume.body_part) == ("CT", "HEAD")
    assert any("gantry tilt of about 18.5 degrees" in note for note in volume.notes)
    assert (np.diff(volume.grid.slice_positions_mm) > 0).all()
    for index in (0, 13, 27):
        dataset = pydicom.dcmread(volume.sources[index].path)
        stored = dataset.pixel_array * dataset.RescaleSlope + dataset.RescaleIntercept
        scanned = dataset.pixel_array != dataset.PixelPaddingValue
        np.testing.assert_array_equal(volume.voxels[index][scanned], stored[scanned])
        np.testing.assert_allclose(
            volume.grid.origins_lps_mm[index], dataset.ImagePositionPatient, atol=1e-6
        )
    air = np.median(volume.voxels[:, :20, :20])
    brain = np.median(volume.voxels[14, 200:300, 200:300])
    assert (air, brain) == (pytest.approx(-1000, abs=30), pytest.approx(30, abs=15))


def test_every_codec_gives_the_same_image(shared_data: Path) -> None:
    folder = shared_data / "dicom" / "wg04_codecs"
    for image in ("CT1", "MR1", "MR2"):
        read = {}
        for path in sorted(folder.rglob(f"{image}_*")):
            read[path.name] = read_volume(path).voxels
        reference = read.pop(f"{image}_RLE")
        assert {f"{image}_J2KR", f"{image}_JLSL", f"{image}_JPLL"} <= set(read)
        for name, voxels in read.items():
            lossy = name.endswith(("J2KI", "JLSN", "JPLY"))
            if lossy:  # it blurs the padding value too; below air there is nothing to see
                pair = voxels.clip(-1000).ravel(), reference.clip(-1000).ravel()
                assert np.corrcoef(*pair)[0, 1] > 0.99, name
            else:
                np.testing.assert_array_equal(voxels, reference, err_msg=name)


@pytest.mark.parametrize("part", ["pydicom_test_files", "wg04_codecs", "highdicom"])
def test_real_collections_end_in_volumes_or_reasons(shared_data: Path, part: str) -> None:
    found = find_inputs([shared_data / "dicom" / part])
    assert found.readable
    for one in found.readable:
        try:
            assert np.isfinite(one.read().voxels).all()
        except HeadClipError as error:
            assert error.code == "cannot-decode"  # noqa: PT017


def test_real_nifti_files_lie_where_nibabel_puts_them(shared_data: Path) -> None:
    for path in sorted((shared_data / "nifti").rglob("*.nii.gz"))[:40]:
        one = find_inputs([path]).readable[0]
        volume, image = one.read(), nibabel.load(path)
        index = np.array([[1.0, 2.0, 3.0]])
        ras = nibabel.affines.apply_affine(image.affine, index)
        np.testing.assert_allclose(
            volume.grid.to_lps_mm(index[:, ::-1].copy()), ras * [-1, -1, 1], atol=1e-3
        )
        stored = np.asarray(image.dataobj)[1, 2, 3]
        np.testing.assert_allclose(volume.voxels[3, 2, 1], stored.ravel()[0], rtol=1e-5)
