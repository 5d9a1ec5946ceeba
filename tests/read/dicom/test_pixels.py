"""Stored pixels: every encoding becomes the same physical values, and damage is refused."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import dcmwrite
from pydicom.pixels import compress, set_pixel_data
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from headclip_med.errors import UnreadableInput
from headclip_med.read import ReadLimits, find_inputs, read_volume
from headclip_med.volume import Volume
from tests.phantoms import edit, make_grid, make_voxels, write_phantom


def read_one(tmp_path: Path, change: Callable[[Dataset], object]) -> Volume:
    """Read a CT slice of 2 x 3 pixels (-100 ... -95, the second one 2000) after a change."""
    paths = write_phantom(tmp_path, make_grid(shape=(1, 2, 3)))
    edit(paths, lambda dataset, _: change(dataset))
    return read_volume(tmp_path)


def store(dataset: Dataset, pixels: np.ndarray, photometric: str = "MONOCHROME2") -> None:
    """Replace the pixels, and take the rescale away."""
    set_pixel_data(dataset, pixels, photometric, 8 * pixels.dtype.itemsize)
    del dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType


def as_x_ray(dataset: Dataset) -> None:
    dataset.SOPClassUID = pydicom.uid.ComputedRadiographyImageStorage
    dataset.Modality = "CR"


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
def test_a_lossless_compression_changes_no_value(tmp_path: Path, syntax: str) -> None:
    grid = make_grid(shape=(3, 64, 65))
    edit(write_phantom(tmp_path, grid), lambda dataset, _: compress(dataset, syntax))
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.voxels, make_voxels(grid.shape))
    assert volume.notes == ()


@pytest.mark.parametrize(
    ("syntax", "implicit", "little"),
    [
        (ImplicitVRLittleEndian, True, True),
        (ExplicitVRBigEndian, False, False),
        (DeflatedExplicitVRLittleEndian, False, True),
    ],
)
def test_any_byte_order_and_deflation_change_no_value(
    tmp_path: Path, syntax: str, implicit: bool, little: bool
) -> None:
    for path in write_phantom(tmp_path):
        dataset = pydicom.dcmread(path)
        if not little:
            dataset.PixelData = dataset.pixel_array.astype(">i2").tobytes()
        dataset.file_meta.TransferSyntaxUID = syntax
        dcmwrite(path, dataset, implicit_vr=implicit, little_endian=little, force_encoding=True)
    np.testing.assert_array_equal(read_volume(tmp_path).voxels, make_voxels())


@pytest.mark.parametrize("implicit", [True, False])
def test_a_file_without_preamble_and_meta_is_read(tmp_path: Path, implicit: bool) -> None:
    for index, path in enumerate(write_phantom(tmp_path)):
        dataset = pydicom.dcmread(path)
        raw = pydicom.Dataset(dataset)
        raw.save_as(path.with_name(f"{index}"), implicit_vr=implicit, little_endian=True)
        path.unlink()
    np.testing.assert_array_equal(read_volume(tmp_path).voxels, make_voxels())


def test_slope_and_intercept_are_applied(tmp_path: Path) -> None:
    def change(dataset: Dataset) -> None:
        store(dataset, np.array([[0, 1, 2], [3, 4, 65535]], np.uint16))
        dataset.RescaleSlope, dataset.RescaleIntercept = "0.5", "-10"

    np.testing.assert_array_equal(
        read_one(tmp_path, change).voxels, [[[-10, -9.5, -9], [-8.5, -8, 32757.5]]]
    )


def test_a_ct_without_rescale_is_never_taken_as_hounsfield_in_silence(tmp_path: Path) -> None:
    volume = read_one(tmp_path, lambda d: store(d, np.array([[-5, 0, 7], [1, 2, 3]], np.int16)))
    np.testing.assert_array_equal(volume.voxels, [[[-5, 0, 7], [1, 2, 3]]])
    assert volume.reading.lacks_rescale
    assert volume.notes == (
        "The CT declares no rescale to Hounsfield units that could be right, so its values may be "
        "something else.",
    )


@pytest.mark.parametrize(
    ("slope", "intercept"),
    [
        ("NaN", "0"),
        ("0", "0"),
        ("1", "inf"),
        ("1e300", "0"),
        ("1", "-nan"),
        ("one", "0"),
        ("1\\2", "0"),
        ("1,024,0", "0"),
    ],
)
def test_a_rescale_that_is_no_number_is_refused(tmp_path: Path, slope: str, intercept: str) -> None:
    def change(dataset: Dataset) -> None:
        for keyword, value in (("RescaleSlope", slope), ("RescaleIntercept", intercept)):
            dataset.add_new(keyword, "LO", value)  # which takes any text
            dataset[keyword].VR = "DS"

    with pytest.raises(UnreadableInput, match="rescale slope or intercept") as refused:
        read_one(tmp_path, change)
    assert refused.value.code == "bad-rescale"


def test_a_rescale_with_decimal_commas_is_read_and_told(tmp_path: Path) -> None:
    def change(dataset: Dataset) -> None:
        store(dataset, np.array([[0, 1, 2], [3, 4, 65535]], np.uint16))
        dataset.add_new("RescaleSlope", "LO", "0,5")
        dataset.add_new("RescaleIntercept", "LO", "-1000,5")
        dataset["RescaleSlope"].VR = dataset["RescaleIntercept"].VR = "DS"

    volume = read_one(tmp_path, change)
    np.testing.assert_array_equal(volume.voxels[0, 0], [-1000.5, -1000, -999.5])
    assert volume.reading.has_decimal_commas


def test_an_empty_rescale_is_none(tmp_path: Path) -> None:
    def change(dataset: Dataset) -> None:
        dataset.RescaleSlope = None

    np.testing.assert_array_equal(
        read_one(tmp_path, change).voxels, [[[-100, 2000, -98], [-97, -96, -95]]]
    )


def test_a_modality_table_replaces_the_rescale(tmp_path: Path) -> None:
    def change(dataset: Dataset) -> None:
        store(dataset, np.array([[0, 1, 2], [2, 1, 9]], np.uint16))
        table = Dataset()
        table.add_new("LUTDescriptor", "US", [3, 0, 16])
        table.ModalityLUTType = "US"
        table.add_new("LUTData", "US", [100, 300, 700])
        dataset.ModalityLUTSequence = [table]
        as_x_ray(dataset)

    np.testing.assert_array_equal(
        read_one(tmp_path, change).voxels, [[[100, 300, 700], [700, 300, 700]]]
    )


def test_an_x_ray_that_is_dark_on_white_is_turned(tmp_path: Path) -> None:
    def change(dataset: Dataset) -> None:
        store(dataset, np.array([[0, 1, 2], [3, 4, 1023]], np.uint16), "MONOCHROME1")
        dataset.BitsStored, dataset.HighBit = 10, 9
        as_x_ray(dataset)

    volume = read_one(tmp_path, change)
    np.testing.assert_array_equal(volume.voxels, [[[1023, 1022, 1021], [1020, 1019, 0]]])
    assert "The image is MONOCHROME1 (white is low) and was inverted." in volume.notes
    assert volume.window is None  # it was meant for the other polarity


def test_signed_values_are_turned_within_their_own_range(tmp_path: Path) -> None:
    def change(dataset: Dataset) -> None:
        store(dataset, np.array([[-128, -1, 0], [1, 2, 127]], np.int8), "MONOCHROME1")
        dataset.RescaleSlope, dataset.RescaleIntercept = "2", "10"
        as_x_ray(dataset)

    volume = read_one(tmp_path, change)
    np.testing.assert_array_equal(volume.voxels, [[[264, 10, 8], [6, 4, -246]]])


def test_hounsfield_units_are_never_turned(tmp_path: Path) -> None:
    volume = read_one(tmp_path, lambda d: setattr(d, "PhotometricInterpretation", "MONOCHROME1"))
    np.testing.assert_array_equal(volume.voxels, [[[-100, 2000, -98], [-97, -96, -95]]])
    assert volume.notes == ("The image is MONOCHROME1; Hounsfield units are kept as they are.",)
    assert volume.window == (40, 80)


def test_padding_of_a_ct_becomes_air(tmp_path: Path) -> None:
    def change(dataset: Dataset) -> None:
        store(dataset, np.array([[-2000, 0, 40], [41, -2000, 42]], np.int16))
        dataset.RescaleSlope, dataset.RescaleIntercept = "1", "-24"
        dataset.add_new("PixelPaddingValue", "SS", -2000)

    np.testing.assert_array_equal(
        read_one(tmp_path, change).voxels, [[[-1000, -24, 16], [17, -1000, 18]]]
    )


def test_padding_above_the_stored_bits_is_still_padding(tmp_path: Path) -> None:
    def change(dataset: Dataset) -> None:
        store(dataset, np.array([[63536, 0, 40], [1024, 63536, 1064]], np.uint16))
        dataset.BitsStored, dataset.HighBit = 12, 11
        dataset.RescaleSlope, dataset.RescaleIntercept = "1", "-1024"
        dataset.add_new("PixelPaddingValue", "US", 63536)  # -2000 in sixteen bits

    # Without care it would be 63536 & 4095 = 2096, bone at 1072 HU.
    np.testing.assert_array_equal(
        read_one(tmp_path, change).voxels, [[[-1000, -1024, -984], [0, -1000, 40]]]
    )


def test_padding_that_would_blank_tissue_is_not_believed(tmp_path: Path) -> None:
    def change(dataset: Dataset) -> None:
        store(dataset, np.array([[0, 0, 40], [41, 0, 42]], np.int16))
        dataset.add_new("PixelPaddingValue", "SS", 0)

    volume = read_one(tmp_path, change)
    np.testing.assert_array_equal(volume.voxels, [[[0, 0, 40], [41, 0, 42]]])
    assert any("padding value lies among tissue" in note for note in volume.notes)


def test_padding_of_other_images_becomes_the_lowest_value_measured(tmp_path: Path) -> None:
    def change(dataset: Dataset) -> None:
        store(dataset, np.array([[7, 900, 901], [50, 60, 905]], np.uint16))
        dataset.add_new("PixelPaddingValue", "US", 900)
        dataset.add_new("PixelPaddingRangeLimit", "US", 910)
        as_x_ray(dataset)

    np.testing.assert_array_equal(read_one(tmp_path, change).voxels, [[[7, 7, 7], [50, 60, 7]]])


def test_bits_around_the_stored_ones_are_cleared(tmp_path: Path) -> None:
    def high(dataset: Dataset) -> None:
        store(dataset, np.array([[0xF00F, 0x0123, 0], [1, 2, 3]], np.uint16))
        dataset.BitsStored, dataset.HighBit = 12, 11

    np.testing.assert_array_equal(
        read_one(tmp_path / "a", high).voxels, [[[0x00F, 0x123, 0], [1, 2, 3]]]
    )

    def low(dataset: Dataset) -> None:
        store(dataset, np.array([[0xFFF7, 0x1230, 0], [16, 32, 48]], np.uint16))
        dataset.BitsStored, dataset.HighBit = 12, 15

    np.testing.assert_array_equal(
        read_one(tmp_path / "b", low).voxels, [[[0xFFF, 0x123, 0], [1, 2, 3]]]
    )

    def signed(dataset: Dataset) -> None:
        store(dataset, np.array([[0x0FFF, 0x0001, 0], [1, 2, 3]], np.int16))
        dataset.BitsStored, dataset.HighBit = 12, 11

    np.testing.assert_array_equal(
        read_one(tmp_path / "c", signed).voxels, [[[-1, 1, 0], [1, 2, 3]]]
    )


def test_thirty_two_bits_and_floats_are_read(tmp_path: Path) -> None:
    def integers(dataset: Dataset) -> None:
        store(dataset, np.zeros((2, 3), np.uint16))
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 32, 32, 31
        dataset.PixelData = np.array([[1, 2, 3], [4, 5, 70000]], "<u4").tobytes()

    volume = read_one(tmp_path / "int", integers)
    np.testing.assert_array_equal(volume.voxels, [[[1, 2, 3], [4, 5, 70000]]])

    def floats(dataset: Dataset) -> None:
        store(dataset, np.zeros((2, 3), np.uint16))
        dataset.BitsAllocated = 32
        del dataset.PixelData, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation
        pixels = np.array([[0.5, np.nan, 2], [np.inf, 4, -1]], "<f4")
        dataset.FloatPixelData = pixels.tobytes()
        as_x_ray(dataset)

    volume = read_one(tmp_path / "float", floats)
    np.testing.assert_array_equal(volume.voxels, [[[0.5, -1, 2], [-1, 4, -1]]])


RGB = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[9, 8, 7], [0, 0, 0], [255] * 3]])


def test_colours_are_red_green_blue_up_to_255(tmp_path: Path) -> None:
    volume = read_one(tmp_path, lambda d: store(d, RGB.astype(np.uint8), "RGB"))
    np.testing.assert_array_equal(volume.voxels, RGB[None])
    assert volume.is_colour


def test_sixteen_bit_colours_are_brought_to_255(tmp_path: Path) -> None:
    volume = read_one(tmp_path, lambda d: store(d, (RGB * 257).astype(np.uint16), "RGB"))
    np.testing.assert_allclose(volume.voxels, RGB[None], rtol=1e-6)


def test_colours_stored_plane_by_plane_are_joined(tmp_path: Path) -> None:
    def change(dataset: Dataset) -> None:
        store(dataset, RGB.astype(np.uint8), "RGB")
        dataset.PlanarConfiguration = 1
        dataset.PixelData = RGB.astype(np.uint8).transpose(2, 0, 1).tobytes()

    np.testing.assert_array_equal(read_one(tmp_path, change).voxels, RGB[None])


def test_luminance_and_chrominance_become_red_green_blue(tmp_path: Path) -> None:
    ybr = np.array([[[76, 85, 255], [150, 44, 21], [29, 255, 107]], [[128] * 3] * 3], np.uint8)
    volume = read_one(tmp_path, lambda d: store(d, ybr, "YBR_FULL"))
    expected = np.array([RGB[0], [[128] * 3] * 3])
    np.testing.assert_allclose(volume.voxels, expected[None], atol=2)


def test_a_palette_becomes_colours(tmp_path: Path) -> None:
    def change(dataset: Dataset) -> None:
        store(dataset, np.array([[0, 1, 2], [2, 1, 0]], np.uint8))
        dataset.PhotometricInterpretation = "PALETTE COLOR"
        for number, colour in enumerate(("Red", "Green", "Blue")):
            keyword = f"{colour}PaletteColorLookupTable"
            dataset.add_new(f"{keyword}Descriptor", "US", [3, 0, 16])
            entries = np.zeros(3, "<u2")
            entries[number] = 65535
            setattr(dataset, f"{keyword}Data", entries.tobytes())

    volume = read_one(tmp_path, change)
    red, green, blue = np.eye(3) * 255
    np.testing.assert_allclose(volume.voxels, [[[red, green, blue], [blue, green, red]]])


def test_a_screenshot_of_a_ct_has_no_hounsfield_units(tmp_path: Path) -> None:
    def change(dataset: Dataset) -> None:
        dataset.SOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
        dataset.Manufacturer = "somebody"

    assert read_one(tmp_path, change).modality is None


def test_a_file_that_ends_early_is_left_out_and_told(tmp_path: Path) -> None:
    paths = write_phantom(tmp_path)
    paths[0].write_bytes(paths[0].read_bytes()[:-40])
    with pytest.raises(UnreadableInput, match="pixel data ends early") as refused:
        read_volume(paths[0])
    assert refused.value.code == "truncated-file"
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.voxels, make_voxels()[1:])
    assert volume.notes == (
        "1 file(s) of this series could not be used and are missing here.",
        "1 file(s) beside this volume could not be used.",
    )


def test_a_header_without_pixels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableInput, match="ends before its pixel data") as refused:
        read_one(tmp_path, lambda dataset: delattr(dataset, "PixelData"))
    assert refused.value.code == "no-pixel-data"


def test_a_series_that_is_damaged_between_finding_and_reading_is_refused(tmp_path: Path) -> None:
    paths = write_phantom(tmp_path)
    (found,) = find_inputs([tmp_path]).readable
    edit(paths[1:2], lambda dataset, _: setattr(dataset, "Columns", 3))
    with pytest.raises(UnreadableInput, match="changed while it was being read"):
        found.read()
    paths[1].unlink()
    with pytest.raises(UnreadableInput, match="no such file"):
        found.read()


def encapsulated(syntax: str, frame: bytes, rows: int, columns: int) -> Callable[[Dataset], None]:
    def change(dataset: Dataset) -> None:
        dataset.Rows, dataset.Columns = rows, columns
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.PixelData = encapsulate([frame])
        dataset["PixelData"].is_undefined_length = True

    return change


def jpeg_2000_start(height: int, width: int) -> bytes:
    """The first markers of a codestream that claims this size."""
    sizes = [width, height, 0, 0, width, height, 0, 0]
    return b"\xff\x4f\xff\x51\0\x29\0\0" + b"".join(n.to_bytes(4, "big") for n in sizes) + b"\0\1"


@pytest.mark.parametrize(
    ("syntax", "frame"),
    [
        (JPEG2000Lossless, jpeg_2000_start(60000, 60000)),
        (JPEG2000Lossless, b"no codestream at all" * 9),
        (JPEGLSLossless, b"\xff\xd8\xff\xf7\0\x0b\x10\xea\x60\xea\x60\1\1\x11\0" + bytes(20)),
        (JPEGLSLossless, b"\xff\xd8\xff\xff\xff\xff"),
        (RLELossless, (1).to_bytes(4, "little") + (64).to_bytes(4, "little") + bytes(90)),
        (RLELossless, (2).to_bytes(4, "little") + b"\xff" * 8 + bytes(90)),
        (RLELossless, b"short"),
    ],
)
def test_a_codestream_that_claims_another_size_is_never_decoded(
    tmp_path: Path, syntax: str, frame: bytes
) -> None:
    with pytest.raises(UnreadableInput, match="another size than its header") as refused:
        read_one(tmp_path, encapsulated(syntax, frame, 64, 64))
    assert refused.value.code == "codestream-mismatch"


def test_a_tiny_run_length_file_cannot_claim_a_huge_image(tmp_path: Path) -> None:
    header = (2).to_bytes(4, "little") + (64).to_bytes(4, "little") + (600).to_bytes(4, "little")
    with pytest.raises(UnreadableInput) as refused:
        read_one(tmp_path, encapsulated(RLELossless, header.ljust(1200, b"\0"), 16000, 16000))
    assert refused.value.code == "impossible-size"


def test_a_damaged_codestream_of_the_right_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableInput, match="cannot be decoded") as refused:
        read_one(tmp_path, encapsulated(JPEG2000Lossless, jpeg_2000_start(64, 64), 64, 64))
    assert refused.value.code == "cannot-decode"


@pytest.mark.parametrize(
    ("keyword", "value"),
    [("Rows", 0), ("Columns", 65535), ("NumberOfFrames", "2147483647"), ("NumberOfFrames", "-1"),
     ("SamplesPerPixel", 4)],
)  # fmt: skip
def test_impossible_sizes_are_refused_before_anything_is_decoded(
    tmp_path: Path, keyword: str, value: object
) -> None:
    with pytest.raises(UnreadableInput, match="The header claims") as refused:
        read_one(tmp_path, lambda dataset: setattr(dataset, keyword, value))
    assert refused.value.code == "impossible-size"


def test_limits_bound_the_file_the_pixels_and_the_volume(tmp_path: Path) -> None:
    write_phantom(tmp_path)
    for limits, code in (
        (ReadLimits(file_bytes=500), "file-too-large"),
        (ReadLimits(decoded_bytes=50), "impossible-size"),
        (ReadLimits(side_px=6), "impossible-size"),
        (ReadLimits(volume_bytes=500), "volume-too-large"),
    ):
        with pytest.raises(UnreadableInput) as refused:
            read_volume(tmp_path, limits=limits)
        assert refused.value.code == code


def test_a_deflate_bomb_is_stopped_while_it_grows(tmp_path: Path) -> None:
    path = write_phantom(tmp_path)[0]
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(path)
    raw = path.read_bytes()
    head = raw[: 144 + int.from_bytes(raw[140:144], "little")]
    bomb = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    path.write_bytes(head + bomb.compress(bytes(8 << 20)) + bomb.flush())
    assert path.stat().st_size < 10_000
    with pytest.raises(UnreadableInput, match="grows beyond the 1 MiB") as refused:
        read_volume(path, limits=ReadLimits(inflated_bytes=1 << 20))
    assert refused.value.code == "inflated-too-large"


def test_what_is_deflated_without_preamble_is_refused(tmp_path: Path) -> None:
    path = write_phantom(tmp_path)[0]
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(path)
    path.write_bytes(path.read_bytes()[132:])
    with pytest.raises(UnreadableInput) as refused:
        read_volume(path)
    assert refused.value.code == "broken-dicom"
