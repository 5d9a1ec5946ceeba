"""What describes pixels may be missing, odd or contradict itself: it is read as others read it.

Expected values are worked by hand from the bytes that are written.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.pixels import set_pixel_data
from pydicom.uid import ExplicitVRBigEndian

from headclip_med.errors import UnreadableInput
from headclip_med.read import find_inputs, read_volume
from headclip_med.reading import Reading
from headclip_med.volume import Volume
from tests.phantoms import edit, make_grid, write_phantom

GREY = np.array([[0, 100, 200], [300, 3000, 4095]], np.uint16)
RGB = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[9, 8, 7], [0, 0, 0], [255] * 3]], "u1")


def read_x_ray(
    tmp_path: Path,
    pixels: np.ndarray,
    change: Callable[[Dataset], object] = lambda _: None,
    photometric: str = "MONOCHROME2",
) -> Volume:
    """Write a radiograph of 2 x 3 pixels, change its header, and read it."""

    def build(dataset: Dataset, _: int) -> None:
        set_pixel_data(dataset, pixels, photometric, 8 * pixels.dtype.itemsize)
        for keyword in ("RescaleSlope", "RescaleIntercept", "RescaleType"):
            delattr(dataset, keyword)
        dataset.SOPClassUID = pydicom.uid.ComputedRadiographyImageStorage
        dataset.Modality = "CR"
        change(dataset)

    edit(write_phantom(tmp_path, make_grid(shape=(1, 2, 3))), build)
    return read_volume(tmp_path)


def put(**elements: object) -> Callable[[Dataset], None]:
    """Set elements; None takes one away, and "" leaves it empty."""

    def change(dataset: Dataset) -> None:
        for keyword, value in elements.items():
            if value is None:
                delattr(dataset, keyword)
            else:
                setattr(dataset, keyword, value if value != "" else None)

    return change


def packed(values: np.ndarray, bits: int) -> bytes:
    """Put values behind each other without a gap, the lowest bit first."""
    whole = sum(int(value) << (bits * place) for place, value in enumerate(values.reshape(-1)))
    size = -(-values.size * bits // 8)
    return whole.to_bytes(size + size % 2, "little")


@pytest.mark.parametrize(
    ("change", "mended"),
    [
        (put(NumberOfFrames=0), ("NumberOfFrames",)),
        (put(NumberOfFrames=""), ("NumberOfFrames",)),
        (put(PixelRepresentation=None), ("PixelRepresentation",)),
        (put(PixelRepresentation=""), ("PixelRepresentation",)),
        (put(BitsStored=None), ("BitsStored",)),
        (put(BitsStored=0), ("BitsStored",)),
        (put(BitsStored=40, HighBit=39), ("BitsStored", "HighBit")),
        (put(HighBit=None), ("HighBit",)),
        (put(HighBit=3), ("HighBit",)),
        (put(BitsStored=12, HighBit=7), ("HighBit",)),
        (put(BitsAllocated=None), ("BitsAllocated",)),
        (put(BitsAllocated=12, BitsStored=12, HighBit=11), ("BitsAllocated",)),
        (put(BitsAllocated=9, BitsStored=16, HighBit=15), ("BitsAllocated",)),
        (put(BitsAllocated=3), ("BitsAllocated",)),
        (put(BitsAllocated=24), ("BitsAllocated",)),
        (put(BitsAllocated=20), ("BitsAllocated",)),
        (put(SamplesPerPixel=None), ("SamplesPerPixel",)),
        (put(SamplesPerPixel=0), ("SamplesPerPixel",)),
        (put(SamplesPerPixel=3), ("SamplesPerPixel",)),
        (put(PhotometricInterpretation=None), ("PhotometricInterpretation",)),
        (put(PhotometricInterpretation=""), ("PhotometricInterpretation",)),
        (put(PhotometricInterpretation="GREY"), ("PhotometricInterpretation",)),
        (put(PhotometricInterpretation="monochrome 2"), ("PhotometricInterpretation",)),
        (put(PhotometricInterpretation="RGB"), ("PhotometricInterpretation",)),
    ],
)
def test_a_grey_image_whose_description_is_odd_is_read_and_noted(
    tmp_path: Path, change: Callable[[Dataset], None], mended: tuple[str, ...]
) -> None:
    volume = read_x_ray(tmp_path, GREY, change)
    np.testing.assert_array_equal(volume.voxels, GREY[None])
    assert volume.reading.mended_elements == mended
    assert any(mended[0] in note and "as other programs do" in note for note in volume.notes)


@pytest.mark.parametrize(
    ("change", "mended"),
    [
        (put(PlanarConfiguration=None), ("PlanarConfiguration",)),
        (put(PlanarConfiguration=""), ("PlanarConfiguration",)),
        (put(PlanarConfiguration=2), ("PlanarConfiguration",)),
        (put(PhotometricInterpretation=None), ("PhotometricInterpretation",)),
        (put(PhotometricInterpretation="MONOCHROME2"), ("PhotometricInterpretation",)),
        (put(SamplesPerPixel=None), ("SamplesPerPixel",)),
        (put(SamplesPerPixel=1), ("SamplesPerPixel",)),
        (
            put(SamplesPerPixel=1, BitsAllocated=24, BitsStored=24, HighBit=23),
            ("BitsAllocated", "SamplesPerPixel"),
        ),
    ],
)
def test_a_colour_image_whose_description_is_odd_is_read_and_noted(
    tmp_path: Path, change: Callable[[Dataset], None], mended: tuple[str, ...]
) -> None:
    volume = read_x_ray(tmp_path, RGB, change, "RGB")
    np.testing.assert_array_equal(volume.voxels, RGB[None])
    assert volume.reading.mended_elements == mended


def test_a_sign_that_is_neither_0_nor_1_is_a_sign(tmp_path: Path) -> None:
    signed = GREY.astype(np.int16) - 1000
    volume = read_x_ray(tmp_path, signed, put(PixelRepresentation=2))
    np.testing.assert_array_equal(volume.voxels, signed[None])
    assert volume.reading.mended_elements == ("PixelRepresentation",)


def test_frames_beyond_those_that_are_counted_are_told(tmp_path: Path) -> None:
    volume = read_x_ray(
        tmp_path, GREY, lambda dataset: setattr(dataset, "PixelData", dataset.PixelData * 3)
    )
    np.testing.assert_array_equal(volume.voxels, GREY[None])
    assert volume.reading.surplus_frames == 2


def test_padding_behind_the_pixels_is_ordinary(tmp_path: Path) -> None:
    volume = read_x_ray(
        tmp_path, GREY, lambda dataset: setattr(dataset, "PixelData", dataset.PixelData + b"\0" * 6)
    )
    np.testing.assert_array_equal(volume.voxels, GREY[None])
    assert volume.reading == Reading(lacks_geometry=True)  # as any radiograph


@pytest.mark.parametrize("bits", [1, 2, 4, 10, 12])
@pytest.mark.parametrize("is_signed", [False, True])
def test_packed_bits_are_unpacked(tmp_path: Path, bits: int, is_signed: bool) -> None:
    values = np.array([[0, 1, 2**bits - 1], [2 ** (bits - 1), 2**bits // 3, 1]])
    expected = (
        np.where(values >= 2 ** (bits - 1), values - 2**bits, values) if is_signed else values
    )
    change = put(
        BitsAllocated=bits,
        BitsStored=bits,
        HighBit=bits - 1,
        PixelRepresentation=int(is_signed),
        PixelData=packed(values, bits),
    )
    volume = read_x_ray(tmp_path, GREY, change)
    np.testing.assert_array_equal(volume.voxels, expected[None])


def test_packed_frames_start_within_a_byte(tmp_path: Path) -> None:
    values = np.arange(9).reshape(3, 1, 3) + 4000
    change = put(
        Rows=1,
        NumberOfFrames=3,
        BitsAllocated=12,
        BitsStored=12,
        HighBit=11,
        PixelData=packed(values, 12),
    )
    np.testing.assert_array_equal(read_x_ray(tmp_path, GREY, change).voxels, values)


def test_packed_pixels_that_end_early_are_named_so(tmp_path: Path) -> None:
    change = put(BitsAllocated=12, BitsStored=12, HighBit=11, PixelData=b"\0" * 8)
    with pytest.raises(UnreadableInput, match=r"shorter than its header says \(12 bits") as refused:
        read_x_ray(tmp_path, GREY, change)
    assert refused.value.code == "truncated-file"


def test_an_odd_number_of_bytes_may_lack_its_padding(tmp_path: Path) -> None:
    pixels = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]], np.uint8)
    read_x_ray(tmp_path, pixels, put(Rows=3))
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    np.testing.assert_array_equal(read_volume(path).voxels, pixels[None])


@pytest.mark.parametrize("pixels", [GREY, GREY.astype(np.uint8), RGB])
def test_the_byte_order_changes_no_value(tmp_path: Path, pixels: np.ndarray) -> None:
    photometric = "RGB" if pixels.ndim == 3 else "MONOCHROME2"
    read_x_ray(tmp_path, pixels, photometric=photometric)
    (path,) = tmp_path.iterdir()
    dataset = pydicom.dcmread(path)
    words = np.frombuffer(dataset.PixelData, f"<u{max(2, pixels.dtype.itemsize)}")
    dataset.PixelData = words.byteswap().tobytes()  # bytes lie in swapped words, as of VR OW
    dataset["PixelData"].VR = "OW"
    dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    pydicom.dcmwrite(path, dataset, implicit_vr=False, little_endian=False, force_encoding=True)
    np.testing.assert_array_equal(read_volume(path).voxels, pixels[None])


def test_white_is_mirrored_within_a_table_s_own_range(tmp_path: Path) -> None:
    def change(dataset: Dataset) -> None:
        table = Dataset()
        table.add_new("LUTDescriptor", "US", [3, 0, 16])
        table.ModalityLUTType = "OD"
        table.add_new("LUTData", "US", [100, 300, 700])
        dataset.ModalityLUTSequence = [table]
        dataset.PhotometricInterpretation = "MONOCHROME1"

    pixels = np.array([[0, 1, 2], [2, 1, 9]], np.uint16)
    volume = read_x_ray(tmp_path, pixels, change)
    # Mirrored in 100 to 700: 800 less what the table gives.
    np.testing.assert_array_equal(volume.voxels, [[[700, 500, 100], [100, 500, 100]]])


def test_a_display_table_changes_no_value(tmp_path: Path) -> None:
    def change(dataset: Dataset) -> None:
        table = Dataset()
        table.add_new("LUTDescriptor", "US", [3, 0, 16])
        table.add_new("LUTData", "US", [9, 5, 1])
        dataset.VOILUTSequence = [table]
        dataset.PhotometricInterpretation = "MONOCHROME1"

    volume = read_x_ray(tmp_path, GREY, change)
    np.testing.assert_array_equal(volume.voxels, 65535.0 - GREY[None])


def test_floats_whose_white_is_low_change_their_sign(tmp_path: Path) -> None:
    def change(dataset: Dataset) -> None:
        for keyword in ("PixelData", "BitsStored", "HighBit", "PixelRepresentation"):
            delattr(dataset, keyword)
        dataset.BitsAllocated, dataset.PhotometricInterpretation = 64, "MONOCHROME1"
        dataset.DoubleFloatPixelData = (GREY / 8).astype("<f8").tobytes()

    np.testing.assert_array_equal(read_x_ray(tmp_path, GREY, change).voxels, GREY[None] / -8)


@pytest.mark.parametrize(
    ("photometric", "pixels", "expected"),
    [
        ("ARGB", [7, 10, 20, 30], [10, 20, 30]),
        ("CMYK", [55, 155, 205, 0], [200, 100, 50]),
        ("CMYK", [55, 155, 205, 100], [100, 0, 0]),
    ],
)
def test_four_samples_become_three(
    tmp_path: Path, photometric: str, pixels: list[int], expected: list[int]
) -> None:
    change = put(
        SamplesPerPixel=4, PhotometricInterpretation=photometric, PixelData=bytes(pixels) * 6
    )
    volume = read_x_ray(tmp_path, RGB, change, "RGB")
    np.testing.assert_array_equal(volume.voxels, np.broadcast_to(expected, (1, 2, 3, 3)))


@pytest.mark.parametrize(
    ("photometric", "white"), [("YBR_FULL_422", 255), ("YBR_PARTIAL_422", 235)]
)
def test_pixels_that_share_their_colours_are_taken_apart(
    tmp_path: Path, photometric: str, white: int
) -> None:
    black = 0 if white == 255 else 16
    change = put(
        Columns=4,
        PhotometricInterpretation=photometric,
        PixelData=bytes([black, white, 128, 128] * 4),
    )
    volume = read_x_ray(tmp_path, RGB, change, "RGB")
    grey = np.array([0, 255, 0, 255])
    np.testing.assert_array_equal(volume.voxels[0], np.broadcast_to(grey[None, :, None], (2, 4, 3)))


def with_palette(
    entries: np.ndarray, *, bits: int, first: int = 0, segmented: bool = False
) -> Callable[[Dataset], None]:
    def change(dataset: Dataset) -> None:
        dataset.PhotometricInterpretation = "PALETTE COLOR"
        for number, colour in enumerate(("Red", "Green", "Blue")):
            keyword = f"{colour}PaletteColorLookupTable"
            count = 5 if segmented else len(entries)
            dataset.add_new(f"{keyword}Descriptor", "US", [count, first, bits])
            data = entries[:, number].astype("<u2" if bits == 16 else "u1").tobytes()
            name = f"Segmented{keyword}Data" if segmented else f"{keyword}Data"
            dataset.add_new(name, "OW", data + b"\0" * (len(data) % 2))

    return change


COLOURS = np.array([[0, 255, 10], [20, 30, 40], [255, 0, 5]])
NUMBERS = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)


@pytest.mark.parametrize("first", [0, 10])
@pytest.mark.parametrize(("bits", "scale"), [(8, 1), (16, 257), (16, 1)])
def test_a_palette_may_have_eight_bits_in_sixteen(
    tmp_path: Path, bits: int, scale: int, first: int
) -> None:
    change = with_palette(COLOURS * scale, bits=bits, first=first)
    volume = read_x_ray(tmp_path, NUMBERS + np.uint8(first), change)
    np.testing.assert_allclose(volume.voxels[0], COLOURS[NUMBERS], rtol=1e-6)


def test_a_palette_of_many_entries_of_eight_bits_is_not_wrapped(tmp_path: Path) -> None:
    entries = np.stack([np.arange(4096) % 251] * 3, axis=1)
    volume = read_x_ray(tmp_path, GREY, with_palette(entries, bits=8))
    np.testing.assert_array_equal(volume.voxels[0, ..., 1], GREY % 251)


def test_a_segmented_palette_is_spread_out(tmp_path: Path) -> None:
    """One entry of 0, then a line over four entries to 65,532 or 1,028 (PS3.3 C.7.9.2)."""
    segments = np.array([[0] * 3, [1] * 3, [0] * 3, [1] * 3, [4] * 3, [65532, 65532, 1028]])
    change = with_palette(segments, bits=16, segmented=True)
    volume = read_x_ray(tmp_path, np.array([[0, 1, 2], [3, 4, 200]], np.uint8), change)
    steps = np.array([[0, 1, 2], [3, 4, 4]])
    np.testing.assert_allclose(volume.voxels[0, ..., 0], steps * 16383 / 257)
    np.testing.assert_allclose(volume.voxels[0, ..., 2], steps)


def test_a_palette_image_without_its_palette_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableInput, match="no palette") as refused:
        read_x_ray(tmp_path, NUMBERS, put(PhotometricInterpretation="PALETTE COLOR"))
    assert refused.value.code == "no-palette"


def test_a_plan_counts_the_frames_that_will_be_read(tmp_path: Path) -> None:
    read_x_ray(tmp_path, GREY, put(NumberOfFrames=0))
    (one,) = find_inputs([tmp_path]).readable
    assert (one.slices, one.rows, one.columns) == (1, 2, 3)
