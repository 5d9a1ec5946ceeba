"""A CT's values are Hounsfield units only where they can be; else percentiles, and a note."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedCTImageStorage, SecondaryCaptureImageStorage

from headclip_med.read import read_volume
from headclip_med.transforms.window import apply_window, choose_window
from headclip_med.volume import Volume
from tests.phantoms import edit, make_grid, write_phantom

SHAPE = (4, 16, 20)


def head(*, offset: int, pixels: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """A brain of 30 to 50 HU in bone of 900, skin of -80 and air, as words with an offset."""
    _, rows, columns = pixels
    row, column = np.mgrid[:rows, :columns]
    away = np.hypot((row - rows / 2) / rows, (column - columns / 2) / columns)
    brain = 30 + (row * 7 + column) % 20
    values = np.select([away < 0.33, away < 0.4, away < 0.46], [brain, 900, -80], -1000)
    return np.broadcast_to(values + offset, pixels)


def read_ct(
    folder: Path,
    stored: np.ndarray,
    change: Callable[[Dataset], object],
    *,
    kind: type[np.generic] = np.uint16,
) -> Volume:
    """Write a head CT of these words without any rescale, change its header, and read it."""

    def build(dataset: Dataset, index: int) -> None:
        for keyword in ("RescaleSlope", "RescaleIntercept", "RescaleType", "WindowCenter",
                        "WindowWidth"):  # fmt: skip
            delattr(dataset, keyword)
        dataset.PixelRepresentation = int(np.issubdtype(kind, np.signedinteger))
        dataset.PixelData = stored[index].astype(kind).tobytes()
        dataset.BodyPartExamined = "HEAD"
        change(dataset)

    edit(write_phantom(folder, make_grid(shape=SHAPE)), build)
    return read_volume(folder)


def rescale(slope: object, intercept: object, kind: str | None = None) -> Callable[[Dataset], None]:
    def change(dataset: Dataset) -> None:
        dataset.RescaleSlope, dataset.RescaleIntercept = slope, intercept
        if kind is not None:
            dataset.RescaleType = kind

    return change


def is_seen(volume: Volume) -> bool:
    """Whether the inside of the head has shades, rather than being black or white."""
    grey = apply_window(volume.voxels, choose_window(volume))
    inside = grey[:, 7:10, 8:13]
    return bool(0.02 < inside.mean() < 0.98 and np.ptp(inside) > 0.005)


def nothing(_: Dataset) -> None:
    pass


@pytest.mark.parametrize(
    ("change", "kind", "stored"),
    [
        (rescale("1", "-1024"), np.uint16, head(offset=1024)),
        (rescale("1", "-1024", "HU"), np.uint16, head(offset=1024)),
        (rescale("1", "-1024", " hu "), np.uint16, head(offset=1024)),
        (rescale("1", "-1024", ""), np.uint16, head(offset=1024)),
        (rescale("1", "0", "HU"), np.int16, head(offset=0)),
        (rescale("0.5", "-1024", "HU"), np.uint16, 2 * head(offset=1024)),
    ],
)
def test_a_declared_scale_that_reaches_air_is_believed(
    tmp_path: Path, change: Callable[[Dataset], None], kind: type[np.generic], stored: np.ndarray
) -> None:
    volume = read_ct(tmp_path, stored, change, kind=kind)
    np.testing.assert_array_equal(volume.voxels, head(offset=0))
    assert volume.notes == ()
    assert choose_window(volume).name == "brain"
    assert is_seen(volume)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (nothing, np.uint16),
        (rescale(None, None), np.uint16),
        (rescale("1", None), np.uint16),
        (rescale("1", "0"), np.uint16),  # words that cannot reach the air at -1000
        (rescale("1", "0", "HU"), np.uint16),
        (nothing, np.int16),
    ],
)
def test_an_offset_without_a_scale_never_blanks_the_head(
    tmp_path: Path, change: Callable[[Dataset], None], kind: type[np.generic]
) -> None:
    volume = read_ct(tmp_path, head(offset=1024), change, kind=kind)
    np.testing.assert_array_equal(volume.voxels, head(offset=1024))
    assert volume.reading.lacks_rescale
    assert len(volume.notes) == 1
    assert choose_window(volume).name == "percentile"
    assert is_seen(volume)


def test_an_offset_that_a_declared_scale_forgot_is_seen_by_content(tmp_path: Path) -> None:
    """Signed words could reach air, and these do not: everything would be white."""
    volume = read_ct(tmp_path, head(offset=1024), rescale("1", "0", "HU"), kind=np.int16)
    assert not volume.reading.lacks_rescale
    window = choose_window(volume)
    assert window.name == "percentile"
    assert "without air" in window.reason
    assert is_seen(volume)


def test_words_that_look_like_hounsfield_are_taken_so_with_a_note(tmp_path: Path) -> None:
    volume = read_ct(tmp_path, head(offset=0), nothing, kind=np.int16)
    assert volume.reading.lacks_rescale
    window = choose_window(volume)
    assert window.name == "brain"
    assert "no rescale is declared" in window.reason


@pytest.mark.parametrize("unit", ["US", "OD", "Z_EFF", "ED", "MGML", "HU_MOD", "PCT"])
def test_another_unit_is_none_of_hounsfield(tmp_path: Path, unit: str) -> None:
    volume = read_ct(tmp_path, head(offset=1024), rescale("1", "-1024", unit))
    np.testing.assert_array_equal(volume.voxels, head(offset=0))
    assert volume.reading.has_other_unit
    assert choose_window(volume).name == "percentile"
    assert is_seen(volume)


def test_another_unit_of_a_table_is_none_of_hounsfield(tmp_path: Path) -> None:
    def change(dataset: Dataset) -> None:
        table = Dataset()
        table.add_new("LUTDescriptor", "US", [2000, 0, 16])
        table.ModalityLUTType = "OD"
        table.add_new("LUTData", "US", list(range(2000)))
        dataset.ModalityLUTSequence = [table]

    volume = read_ct(tmp_path, head(offset=1024), change)
    assert volume.reading.has_other_unit
    assert choose_window(volume).name == "percentile"


@pytest.mark.parametrize(
    "change",
    [
        lambda dataset: setattr(dataset, "ImageType", ["DERIVED", "SECONDARY", "AXIAL", "CBF"]),
        lambda dataset: setattr(dataset, "ImageType", ["DERIVED", "SECONDARY", "SCREEN SAVE"]),
        lambda dataset: setattr(dataset, "PixelPresentation", "COLOR"),
    ],
)
def test_a_computed_map_of_a_ct_is_none_of_hounsfield(
    tmp_path: Path, change: Callable[[Dataset], None]
) -> None:
    def as_map(dataset: Dataset) -> None:
        rescale("1", "-1024")(dataset)
        change(dataset)

    volume = read_ct(tmp_path, head(offset=1024), as_map)
    assert volume.reading.has_other_unit
    assert volume.modality == "CT"
    assert choose_window(volume).name == "percentile"


def test_a_capture_called_ct_is_none_of_hounsfield_and_says_so(tmp_path: Path) -> None:
    def as_capture(dataset: Dataset) -> None:
        rescale("1", "-1024", "HU")(dataset)
        dataset.SOPClassUID = SecondaryCaptureImageStorage
        dataset.Manufacturer = "somebody"

    volume = read_ct(tmp_path, head(offset=1024), as_capture)
    assert volume.reading.has_other_unit
    assert choose_window(volume).name == "percentile"
    assert is_seen(volume)


@pytest.mark.parametrize("modality", ["PT", "NM", "MR"])
def test_no_other_modality_has_hounsfield_units(tmp_path: Path, modality: str) -> None:
    def change(dataset: Dataset) -> None:
        rescale("0.5", "0", "HU")(dataset)
        dataset.Modality = modality
        dataset.Units = "BQML"

    volume = read_ct(tmp_path, head(offset=1024), change)
    np.testing.assert_array_equal(volume.voxels, head(offset=1024) / 2)
    assert not volume.reading.lacks_rescale
    assert choose_window(volume).name == "percentile"


@pytest.mark.parametrize("is_shared", [True, False])
@pytest.mark.parametrize(("unit", "name"), [("HU", "brain"), ("US", "percentile")])
def test_an_enhanced_ct_keeps_its_scale_and_unit_in_its_groups(
    tmp_path: Path, unit: str, name: str, is_shared: bool
) -> None:
    paths = write_phantom(tmp_path, make_grid(shape=SHAPE))
    single = pydicom.dcmread(paths[0])
    for path in paths:
        path.unlink()

    def item(**elements: object) -> list[Dataset]:
        built = Dataset()
        for keyword, value in elements.items():
            setattr(built, keyword, value)
        return [built]

    groups = []
    for index in range(SHAPE[0]):
        group = item(
            PlanePositionSequence=item(ImagePositionPatient=[0, 0, 3 * index]),
            PixelValueTransformationSequence=item(
                RescaleSlope=1 + index, RescaleIntercept=-1024, RescaleType=unit
            ),
        )[0]
        groups.append(group)
    shared = item(
        PlaneOrientationSequence=item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0]),
        PixelMeasuresSequence=item(PixelSpacing=[1, 1], SliceThickness=3),
    )[0]
    factors = np.arange(1, SHAPE[0] + 1).reshape(-1, 1, 1)
    if is_shared:
        shared.PixelValueTransformationSequence = groups[0].PixelValueTransformationSequence
        for group in groups:
            del group.PixelValueTransformationSequence
        factors = np.ones_like(factors)
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing",
                    "RescaleSlope", "RescaleIntercept", "RescaleType"):  # fmt: skip
        delattr(single, keyword)
    single.SOPClassUID = single.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    single.NumberOfFrames, single.PixelRepresentation = SHAPE[0], 0
    single.SharedFunctionalGroupsSequence = [shared]
    single.PerFrameFunctionalGroupsSequence = groups
    single.BodyPartExamined = "HEAD"
    single.PixelData = ((head(offset=1024)) // factors).astype("<u2").tobytes()
    single.save_as(tmp_path / "enhanced.dcm")
    volume = read_volume(tmp_path)
    expected = head(offset=1024) // factors * factors - 1024
    np.testing.assert_array_equal(volume.voxels, expected)
    assert volume.reading.has_other_unit == (unit != "HU")
    assert choose_window(volume).name == name


def test_padding_of_a_ct_without_a_scale_becomes_its_lowest_value(tmp_path: Path) -> None:
    stored = head(offset=1024).copy()
    stored[:, 0] = 60000

    def change(dataset: Dataset) -> None:
        dataset.add_new("PixelPaddingValue", "US", 60000)

    volume = read_ct(tmp_path, stored, change)
    assert (volume.voxels[:, 0] == 24).all()
