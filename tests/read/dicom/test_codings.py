"""Transfer syntaxes: what is decoded has the values that it had, what is not is named."""

from __future__ import annotations

import base64
import shutil
import subprocess
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom import uid as uids
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames

from headclip_med.errors import UnreadableInput
from headclip_med.read import find_inputs, read_volume
from tests.phantoms import edit, make_grid, make_voxels, write_phantom
from tests.read.second_readers import dcmtk_slices, itk_slices

GRID = make_grid(shape=(1, 64, 96))
CINE = np.arange(5 * 64 * 96).reshape(5, 64, 96).astype(np.uint16)
JPEG_XL = [f"1.2.840.10008.1.2.4.{number}" for number in (110, 111, 112)]
END = b"\xfe\xff\xdd\xe0\0\0\0\0"


def write_one(folder: Path, change: Callable[[Dataset], object] = lambda _: None) -> Path:
    (path,) = write_phantom(folder, GRID)
    edit([path], lambda dataset, _: change(dataset))
    return path


def write_cine(folder: Path) -> Path:
    def change(dataset: Dataset) -> None:
        dataset.SOPClassUID = uids.MultiFrameGrayscaleWordSecondaryCaptureImageStorage
        dataset.Modality, dataset.NumberOfFrames = "OT", len(CINE)
        dataset.Manufacturer = dataset.ManufacturerModelName = "somebody"
        dataset.PixelRepresentation = 0
        dataset.PixelData = CINE.tobytes()
        for keyword in ("RescaleIntercept", "RescaleSlope", "ImagePositionPatient"):
            delattr(dataset, keyword)

    return write_one(folder, change)


def put_frames(
    path: Path, streams: Sequence[bytes], syntax: str, *, fragments: int = 1, table: bool = False
) -> None:
    """Replace the pixel data by coded frames."""
    known = uids.HTJ2KLossless if syntax in JPEG_XL else syntax  # as pydicom writes no other

    def change(dataset: Dataset, _: int) -> None:
        dataset.file_meta.TransferSyntaxUID = known
        dataset.PixelData = encapsulate(list(streams), fragments_per_frame=fragments, has_bot=table)
        dataset["PixelData"].is_undefined_length = True

    edit([path], change)
    if known != syntax:
        rename(path, known, syntax)


def coded_frames(path: Path, syntax: str) -> list[bytes]:
    """Compress a file, and give its frames."""
    dataset = pydicom.dcmread(path)
    dataset.compress(syntax, generate_instance_uid=False)
    count = int(dataset.get("NumberOfFrames", 1))
    return list(generate_frames(dataset.PixelData, number_of_frames=count))


@pytest.mark.parametrize("syntax", [uids.RLELossless, uids.JPEG2000Lossless, uids.JPEGLSLossless])
@pytest.mark.parametrize("kept", [b"", b"\0\0\0\0"])
def test_compressed_data_without_its_end_mark_is_read_with_a_note(
    tmp_path: Path, syntax: str, kept: bytes
) -> None:
    path = write_one(tmp_path)
    put_frames(path, coded_frames(path, syntax), syntax)
    whole = path.read_bytes()
    assert whole.endswith(END)
    path.write_bytes(whole.removesuffix(END) + kept)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.voxels, make_voxels(GRID.shape))
    assert volume.reading.is_unterminated
    assert any("no end mark" in note for note in volume.notes)


def test_a_fragment_that_is_cut_short_is_named(tmp_path: Path) -> None:
    path = write_one(tmp_path)
    put_frames(path, coded_frames(path, uids.RLELossless), uids.RLELossless)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(UnreadableInput, match="compressed pixel data ends early") as refused:
        read_volume(path)
    assert refused.value.code == "truncated-file"


@pytest.mark.parametrize("syntax", [uids.JPEG2000Lossless, uids.JPEGLSLossless])
@pytest.mark.parametrize(("fragments", "table"), [(1, False), (1, True), (3, False), (3, True)])
def test_frames_are_found_with_and_without_a_table(
    tmp_path: Path, syntax: str, fragments: int, table: bool
) -> None:
    path = write_cine(tmp_path)
    put_frames(path, coded_frames(path, syntax), syntax, fragments=fragments, table=table)
    np.testing.assert_array_equal(read_volume(path).voxels, CINE)


@pytest.mark.parametrize("fragments", [1, 2])
def test_a_table_that_does_not_hold_is_passed_over(tmp_path: Path, fragments: int) -> None:
    path = write_cine(tmp_path)
    syntax = uids.JPEGLSLossless
    put_frames(path, coded_frames(path, syntax), syntax, fragments=fragments, table=True)

    def spoil(dataset: Dataset, _: int) -> None:
        data = bytearray(dataset.PixelData)
        data[12:16] = (12345).to_bytes(4, "little")  # the second offset
        dataset.PixelData = bytes(data)

    edit([path], spoil)
    np.testing.assert_array_equal(read_volume(path).voxels, CINE)


@pytest.mark.parametrize("syntax", [uids.JPEG2000Lossless, uids.JPEGLSLossless, uids.RLELossless])
@pytest.mark.parametrize("counted", [0, 1, 3])
def test_compressed_frames_beyond_those_that_are_counted_are_told(
    tmp_path: Path, syntax: str, counted: int
) -> None:
    path = write_cine(tmp_path)
    put_frames(path, coded_frames(path, syntax), syntax)
    edit([path], lambda dataset, _: setattr(dataset, "NumberOfFrames", counted))
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.voxels, CINE[: counted or 1])
    assert volume.reading.surplus_frames == len(CINE) - (counted or 1)


def test_end_marks_within_a_fragment_are_no_end(tmp_path: Path) -> None:
    path = write_one(tmp_path)
    words = make_voxels(GRID.shape).astype("<i2")
    words[0, 1, :4] = np.frombuffer(END, "<i2")
    put_frames(path, [words.tobytes()], "1.2.840.10008.1.2.1.98")
    np.testing.assert_array_equal(read_volume(path).voxels, words - 1024.0)


def test_uncompressed_and_deflated_frames_in_fragments_are_read(tmp_path: Path) -> None:
    path = write_cine(tmp_path)
    plain = [frame.tobytes() for frame in CINE]
    put_frames(path, plain, "1.2.840.10008.1.2.1.98")
    np.testing.assert_array_equal(read_volume(path).voxels, CINE)
    deflated = [zlib.compress(frame, wbits=-zlib.MAX_WBITS) for frame in plain]
    put_frames(path, deflated, "1.2.840.10008.1.2.1.98")
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b"1.2.840.10008.1.2.1.98", b"1.2.840.10008.1.2.8.1\0", 1))
    np.testing.assert_array_equal(read_volume(path).voxels, CINE)


def rename(path: Path, syntax: str, other: str) -> None:
    """Give a file the name of another transfer syntax, of the same length."""
    path.write_bytes(path.read_bytes().replace(syntax.encode() + b"\0", other.encode() + b"\0", 1))


def test_plain_pixels_under_a_compressed_name_are_read(tmp_path: Path) -> None:
    path = write_one(tmp_path)
    rename(path, uids.ExplicitVRLittleEndian, uids.RLELossless)
    np.testing.assert_array_equal(read_volume(path).voxels, make_voxels(GRID.shape))


def test_compressed_pixels_under_a_plain_name_are_named_so(tmp_path: Path) -> None:
    path = write_one(tmp_path)
    put_frames(path, coded_frames(path, uids.RLELossless), uids.RLELossless)
    rename(path, uids.RLELossless, uids.ExplicitVRLittleEndian)
    with pytest.raises(
        UnreadableInput, match=r"compressed although its transfer syntax \(Explicit VR Little"
    ) as refused:
        read_volume(path)
    assert refused.value.code == "unsupported-coding"


@pytest.mark.parametrize(
    ("syntax", "named"),
    [
        ("1.2.840.10008.1.2.4.100", r"is a video \(MPEG2 Main Profile / Main Level\)"),
        ("1.2.840.10008.1.2.4.102", r"is a video \(MPEG-4 AVC/H.264 High Profile"),
        ("1.2.840.10008.1.2.4.107", r"is a video \(HEVC/H.265 Main Profile"),
        ("1.2.840.10008.1.2.4.94", r"somewhere else \(JPIP Referenced\)"),
        ("1.2.840.10008.1.2.7.1", r"somewhere else \(SMPTE ST 2110-20"),
        ("1.2.840.10008.1.2.4.58", r"compressed as JPEG Lossless, Non-Hierarchical \(Process 15\)"),
        ("1.2.840.10008.1.2.4.61", r"compressed as JPEG Spectral Selection, Hierarchical"),
        ("1.2.840.10008.1.2.4.65", r"compressed as JPEG Lossless, Hierarchical"),
        ("1.2.840.10008.1.2.4.92", r"compressed as JPEG 2000 Part 2"),
        ("1.3.46.670589.33.1.4.1", r"compressed as a private transfer syntax"),
    ],
)
def test_what_is_not_decoded_is_named(tmp_path: Path, syntax: str, named: str) -> None:
    path = write_one(tmp_path)
    put_frames(path, [b"\0" * 64], syntax)
    (failure,) = find_inputs([path]).failures
    assert failure.code == "unsupported-coding"
    with pytest.raises(UnreadableInput, match=named):
        read_volume(path)


@pytest.mark.parametrize("bits", [20, 24, 128])
def test_impossible_bits_of_compressed_pixels_are_refused(tmp_path: Path, bits: int) -> None:
    path = write_one(tmp_path)
    put_frames(path, coded_frames(path, uids.RLELossless), uids.RLELossless)
    edit([path], lambda dataset, _: setattr(dataset, "BitsAllocated", bits))
    with pytest.raises(UnreadableInput, match="The header claims") as refused:
        read_volume(path)
    assert refused.value.code == "impossible-size"


@pytest.mark.parametrize("keyword", ["ReferencedStudySequence", "RequestAttributesSequence"])
@pytest.mark.parametrize("missing", [["item"], ["sequence"], ["item", "sequence"]])
def test_a_sequence_without_its_end_is_named(
    tmp_path: Path, keyword: str, missing: list[str]
) -> None:
    def nest(dataset: Dataset) -> None:
        inner = Dataset()
        inner.PatientComments = "any"
        inner.is_undefined_length_sequence_item = True
        setattr(dataset, keyword, [inner])
        dataset[keyword].is_undefined_length = True

    path = write_one(tmp_path, nest)
    marks = {"item": b"\xfe\xff\x0d\xe0\0\0\0\0", "sequence": END}
    raw = path.read_bytes()
    for one in missing:
        assert marks[one] in raw
        raw = raw.replace(marks[one], b"", 1)
    path.write_bytes(raw)
    (failure,) = find_inputs([path]).failures
    assert failure.code == "broken-dicom"
    assert "a sequence that does not end" in failure.reason


def test_damaged_pixels_are_told_with_their_coding(tmp_path: Path) -> None:
    path = write_one(tmp_path)
    (stream,) = coded_frames(path, uids.JPEG2000Lossless)
    put_frames(path, [stream[:-200]], uids.JPEG2000Lossless)
    with pytest.raises(UnreadableInput, match=r"JPEG 2000 .*cannot be decoded") as refused:
        read_volume(path)
    assert refused.value.code == "cannot-decode"


def test_pixels_of_ge_in_big_endian_are_read(tmp_path: Path) -> None:
    path = write_one(
        tmp_path,
        lambda dataset: setattr(
            dataset, "PixelData", np.frombuffer(dataset.PixelData, "<i2").byteswap().tobytes()
        ),
    )
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = "1.2.840.113619.5.2"
    pydicom.dcmwrite(path, dataset, implicit_vr=True, little_endian=True, force_encoding=True)
    np.testing.assert_array_equal(read_volume(path).voxels, make_voxels(GRID.shape))


needs_dcmcjpeg = pytest.mark.skipif(
    not (shutil.which("dcmcjpeg") and shutil.which("dcmdjpeg")), reason="dcmtk is not installed"
)


def waves(bits: int) -> np.ndarray:
    row, column = np.mgrid[:64, :96]
    return ((np.sin(column / 7) + np.cos(row / 9) + 2) / 4 * (2**bits - 1)).astype(np.uint16)


def by_dcmtk(path: Path, option: str, bits: int) -> Path:
    """Compress waves of so many bits with dcmtk."""

    def change(dataset: Dataset, _: int) -> None:
        dataset.BitsAllocated = 8 if bits == 8 else 16
        dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = bits, bits - 1, 0
        dataset.RescaleIntercept = -1024
        dataset.PixelData = waves(bits).astype("u1" if bits == 8 else "<u2").tobytes()

    edit([path], change)
    coded = path.with_name("coded.dcm")
    program = str(shutil.which("dcmcjpeg"))
    subprocess.run([program, option, path, coded], check=True, capture_output=True)
    return coded


@needs_dcmcjpeg
@pytest.mark.parametrize("bits", [8, 12])
@pytest.mark.parametrize("option", ["+eb", "+ee", "+es", "+ep", "+el", "+e1"])
def test_every_process_of_jpeg_is_read_as_by_two_others(
    tmp_path: Path, option: str, bits: int
) -> None:
    """Baseline, extended, spectral selection, progressive, lossless: equal to the last bit."""
    coded = by_dcmtk(write_one(tmp_path), option, bits)
    (mine,) = read_volume(coded).voxels
    for others in (dcmtk_slices(coded, tmp_path), itk_slices(coded)):
        assert others is not None
        np.testing.assert_allclose(mine, others[0].values, rtol=1e-6, atol=1e-3)
    slack = 0 if option in ("+el", "+e1") else 0.02 * 2**bits
    assert np.abs(mine + 1024 - waves(bits)).max() <= slack


@needs_dcmcjpeg
def test_a_scan_that_ends_at_no_coefficient_is_read_as_by_two_others(tmp_path: Path) -> None:
    """Some writers of twelve bits say 0 where sequential JPEG must say 63 (ISO 10918-1 B.2.3)."""
    coded = by_dcmtk(write_one(tmp_path), "+ee", 12)
    (stream,) = generate_frames(pydicom.dcmread(coded).PixelData, number_of_frames=1)
    scan = stream.index(b"\xff\xda\x00\x08\x01")
    spoiled = stream[: scan + 8] + b"\0" + stream[scan + 9 :]
    assert stream[scan + 7 : scan + 10] == b"\0\x3f\0"
    put_frames(coded, [spoiled], uids.JPEGExtended12Bit)
    (mine,) = read_volume(coded).voxels
    for others in (dcmtk_slices(coded, tmp_path), itk_slices(coded)):
        assert others is not None
        np.testing.assert_array_equal(mine, others[0].values)


@needs_dcmcjpeg
def test_twelve_bits_that_are_cut_short_are_refused(tmp_path: Path) -> None:
    coded = by_dcmtk(write_one(tmp_path), "+ee", 12)
    (stream,) = generate_frames(pydicom.dcmread(coded).PixelData, number_of_frames=1)
    put_frames(coded, [stream[: len(stream) // 2]], uids.JPEGExtended12Bit)
    with pytest.raises(UnreadableInput, match="has no end") as refused:
        read_volume(coded)
    assert refused.value.code == "truncated-file"


HIGH_THROUGHPUT = [uids.HTJ2KLossless, uids.HTJ2KLosslessRPCL, uids.HTJ2K]
RED = np.stack([waves(8), 255 - waves(8), waves(8) // 2], axis=-1).astype(np.uint8)


def grey_of(bits: int, *, signed: bool = False) -> Callable[[Dataset], None]:
    def change(dataset: Dataset) -> None:
        dataset.BitsAllocated = 8 if bits == 8 else 16
        dataset.BitsStored, dataset.HighBit = bits, bits - 1
        dataset.PixelRepresentation, dataset.RescaleIntercept = int(signed), 0

    return change


def red_of(dataset: Dataset) -> None:
    grey_of(8)(dataset)
    dataset.SamplesPerPixel, dataset.PlanarConfiguration = 3, 0
    dataset.PhotometricInterpretation = "RGB"


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("syntax", [*HIGH_THROUGHPUT, *JPEG_XL])
def test_the_newer_codings_are_read_to_the_last_bit(
    tmp_path: Path, syntax: str, bits: int, signed: bool
) -> None:
    """Coded by OpenJPH and libjxl; the former are decoded by another library, OpenJPEG."""
    values = waves(bits).astype("u1" if bits == 8 else "u2")
    path = write_one(tmp_path, grey_of(bits, signed=signed))
    if syntax in JPEG_XL:
        stream = imagecodecs.jpegxl_encode(values, lossless=True, bitspersample=bits)
    else:
        stream = imagecodecs.htj2k_encode(values, reversible=True)
    put_frames(path, [stream], syntax)
    negative = values.astype(int) - (values.astype(int) >> (bits - 1) << bits)
    np.testing.assert_array_equal(read_volume(path).voxels[0], negative if signed else values)


@pytest.mark.parametrize("syntax", [*HIGH_THROUGHPUT, *JPEG_XL])
def test_colours_of_the_newer_codings_are_read(tmp_path: Path, syntax: str) -> None:
    path = write_one(tmp_path, red_of)
    encode = imagecodecs.htj2k_encode if syntax in HIGH_THROUGHPUT else imagecodecs.jpegxl_encode
    lossless = {"reversible": True} if syntax in HIGH_THROUGHPUT else {"lossless": True}
    put_frames(path, [encode(RED, **lossless)], syntax)
    np.testing.assert_array_equal(read_volume(path).voxels[0], RED)


def test_a_jpeg_that_was_packed_again_by_jpeg_xl_is_read(tmp_path: Path) -> None:
    path = write_one(tmp_path, red_of)
    put_frames(
        path, [imagecodecs.jpegxl_encode_jpeg(imagecodecs.jpeg8_encode(RED, 95))], JPEG_XL[1]
    )
    assert np.abs(read_volume(path).voxels[0] - RED).mean() < 3


@pytest.mark.parametrize("claimed", [(6400, 9600), (32, 96)])
def test_jpeg_xl_of_another_size_is_not_decoded(tmp_path: Path, claimed: tuple[int, int]) -> None:
    path = write_one(tmp_path, grey_of(8))
    put_frames(path, [imagecodecs.jpegxl_encode(np.zeros(claimed, np.uint8))], JPEG_XL[0])
    with pytest.raises(UnreadableInput, match="claims another size") as refused:
        read_volume(path)
    assert refused.value.code == "codestream-mismatch"


ARITHMETIC = {
    "1.2.840.10008.1.2.4.52": (
        "|JeWF01!$>Nk#wx0RR9200961|JwjV00smF1_cBL1_cHO2L=cV5DE$j2?`Vr4-60&6c`v66c!d59VH(c8zUSR79"
        "cDjBPJ&)Dk&KsEif%8FeNA{DF4X-3kU!Z02l!Q5di<p00saM5C#9*00;pA002J#{{YK74PW#7{TDu96$>bg{wa7a"
        "*(e<E{N%v@*#"
    ),
    "1.2.840.10008.1.2.4.56": (
        "|JeWF01!$>Nk#wx0RR9200961|JwjV00smF1_cBL1_cHO2L=cV5DE$j2?`Vr4-60&6c`v66c!d59VH(c8zUSR79"
        "cDjBPJ&)Dk&KsEif%8FeNA{DF4a;3kU!Z02l!Q5di<p00aOK|Jncu0RaF200I91mY!=@8u5Vt%m4%s1^?Or2mt{A"
        "0R;jY?8eo+B+Fg@%m4%s1^?Or2mt{A20sG8|I7dc5C#9*00;pA00BQCrZL^n|Jncu0RaF201(js%m4%s1^?Or2mt"
        "{A0Y4BYw6j?M*#"
    ),
}
"""A ramp by IJG's jpegtran, as no library writes this code: in one pass, and progressively."""


@pytest.mark.parametrize("syntax", ARITHMETIC)
def test_arithmetic_coding_is_read(tmp_path: Path, syntax: str) -> None:
    row, column = np.mgrid[:16, :24]
    ramp = np.clip(row * 8 + column * 4, 0, 255)

    def change(dataset: Dataset) -> None:
        grey_of(8)(dataset)
        dataset.Rows, dataset.Columns = ramp.shape

    path = write_one(tmp_path, change)
    put_frames(path, [base64.b85decode(ARITHMETIC[syntax])], syntax)
    assert np.abs(read_volume(path).voxels[0] - ramp).max() <= 2


@pytest.mark.parametrize("option", ["+il", "+is", "+in"])
def test_colours_of_jpeg_ls_are_read_however_they_are_woven(tmp_path: Path, option: str) -> None:
    program = shutil.which("dcmcjpls")
    if program is None:
        pytest.skip("dcmtk is not installed")

    def change(dataset: Dataset) -> None:
        red_of(dataset)
        dataset.PixelData = RED.tobytes()

    coded = tmp_path / "coded.dcm"
    subprocess.run([program, option, write_one(tmp_path / "a", change), coded], check=True)
    np.testing.assert_array_equal(read_volume(coded).voxels[0], RED)
