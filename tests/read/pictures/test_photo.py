"""PNG, JPEG, BMP and TIFF: upright, with all their bits, and never larger than they may be."""

from __future__ import annotations

import contextlib
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import settings as tries
from hypothesis import strategies as st
from PIL import Image, ImageOps

from headclip_med.errors import HeadClipError, UnreadableInput
from headclip_med.read import ReadLimits, find_inputs, read_volume
from headclip_med.transforms.window import apply_window, choose_window

GREY = np.array([[0, 50, 100], [150, 200, 255]], np.uint8)
COLOURS = np.stack([GREY, 255 - GREY, GREY // 2], axis=-1)


def save(path: Path, pixels: np.ndarray, **options: object) -> Path:
    Image.fromarray(pixels).save(path, **options)  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize("ending", ["png", "bmp", "tif", "tiff"])
def test_grey_stays_grey_and_colours_stay_colours(tmp_path: Path, ending: str) -> None:
    grey = read_volume(save(tmp_path / f"grey.{ending}", GREY))
    np.testing.assert_array_equal(grey.voxels, GREY[None])
    assert grey.voxels.dtype == np.float32
    assert (grey.origin, grey.name, grey.modality) == ("image", f"grey.{ending}", None)
    assert not grey.grid.is_patient
    assert grey.grid.shape == (1, 2, 3)
    assert (grey.sources[0].sop_instance_uid, grey.sources[0].frame) == (None, None)
    colours = read_volume(save(tmp_path / f"colour.{ending}", COLOURS))
    np.testing.assert_array_equal(colours.voxels, COLOURS[None])


def test_a_jpeg_is_read(tmp_path: Path) -> None:
    flat = np.full((16, 24, 3), (200, 100, 50), np.uint8)
    volume = read_volume(save(tmp_path / "a.JPG", flat, quality=95))
    np.testing.assert_allclose(volume.voxels, flat[None], atol=4)


def test_an_image_is_known_by_its_content_not_its_name(tmp_path: Path) -> None:
    save(tmp_path / "a.png", GREY).rename(tmp_path / "a")
    np.testing.assert_array_equal(read_volume(tmp_path / "a").voxels, GREY[None])


def test_sixteen_bits_of_grey_are_kept(tmp_path: Path) -> None:
    deep = np.array([[0, 256, 1000], [40000, 65534, 65535]], np.uint16)
    for ending in ("png", "tif"):
        np.testing.assert_array_equal(
            read_volume(save(tmp_path / f"a.{ending}", deep)).voxels, deep[None]
        )
    np.testing.assert_array_equal(
        read_volume(save(tmp_path / "f.tif", deep.astype(np.float32) / 8)).voxels, deep[None] / 8
    )


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def save_deep_png(path: Path, pixels: np.ndarray, kind: int, extra: bytes = b"") -> Path:
    """Write sixteen bits a sample, which Pillow does for grey alone (PNG 11.2.2)."""
    rows, columns = pixels.shape[:2]
    lines = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels.reshape(rows, -1))
    header = struct.pack(">IIBBBBB", columns, rows, 16, kind, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + extra
        + chunk(b"IDAT", zlib.compress(lines))
        + chunk(b"IEND", b"")
    )
    return path


def shown(path: Path) -> np.ndarray:
    """Read a picture as the model will see it, in [0, 1]."""
    volume = read_volume(path)
    return apply_window(volume.voxels, choose_window(volume))[0]


DEEP = np.array([[0, 512, 1024], [2048, 3000, 4095]], np.uint16)
"""Twelve bits."""


@pytest.mark.parametrize(("bits", "highest"), [(10, 1023), (12, 4095), (14, 16383), (16, 65535)])
@pytest.mark.parametrize("ending", ["png", "tif"])
def test_white_is_where_the_bits_in_use_end(
    tmp_path: Path, ending: str, bits: int, highest: int
) -> None:
    pixels = np.array([[0, highest // 5], [highest // 2 + 1, highest - 1]], np.uint16)
    path = save(tmp_path / f"a.{ending}", pixels)
    np.testing.assert_array_equal(read_volume(path).voxels[0], pixels)
    np.testing.assert_allclose(shown(path), pixels / (2**bits - 1), atol=1e-6)


def test_a_file_may_say_itself_where_white_is(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", DEEP // 8, extratags=[(281, "H", 1, 4095, True)])
    np.testing.assert_allclose(shown(tmp_path / "a.tif"), DEEP // 8 / 4095, atol=1e-6)
    path = save_deep_png(tmp_path / "a.png", DEEP // 8, 0, chunk(b"sBIT", bytes([12])))
    np.testing.assert_allclose(shown(path), DEEP // 8 / 4095, atol=1e-6)


@pytest.mark.parametrize("pixels", [DEEP, DEEP * 16, (DEEP >> 4).astype(np.uint8)])
def test_a_tiff_whose_white_is_zero_is_mirrored_within_its_bits(
    tmp_path: Path, pixels: np.ndarray
) -> None:
    white = {4095: 4095, 65520: 65535, 255: 255}[int(pixels.max())]
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, (white - pixels).astype(pixels.dtype), photometric="miniswhite")
    np.testing.assert_array_equal(read_volume(path).voxels[0], pixels)


def test_floats_of_a_picture_end_at_one_or_where_they_do(tmp_path: Path) -> None:
    fractions = np.array([[0, 0.25], [0.5, 1]], np.float32)
    for kind in (np.float32, np.float64):
        tifffile.imwrite(tmp_path / "a.tif", fractions.astype(kind))
        np.testing.assert_allclose(shown(tmp_path / "a.tif"), fractions)
    signed = np.linspace(-1000, 3000, 600, dtype=np.int16).reshape(20, 30)
    tifffile.imwrite(tmp_path / "a.tif", signed)
    assert 0.4 < shown(tmp_path / "a.tif").mean() < 0.6
    tifffile.imwrite(tmp_path / "a.tif", signed.astype(np.uint32) * 0 + np.arange(600).reshape(
        20, 30).astype(np.uint32) * 1000)  # fmt: skip
    assert 0.4 < shown(tmp_path / "a.tif").mean() < 0.6


def test_colours_of_sixteen_bits_keep_what_is_in_the_lower_ones(tmp_path: Path) -> None:
    deep = COLOURS.astype(np.uint16)
    for scale, white in ((257, 65535), (16, 4095)):
        expected = deep * (scale * 255 / white)
        paths = [save_deep_png(tmp_path / f"{scale}.png", deep * scale, 2)]
        for name, pixels, order in (
            ("together", deep * scale, "contig"),
            ("apart", np.moveaxis(deep * scale, -1, 0), "separate"),
        ):
            paths.append(tmp_path / f"{scale}-{name}.tif")
            tifffile.imwrite(paths[-1], pixels, photometric="rgb", planarconfig=order)
        for path in paths:
            np.testing.assert_allclose(read_volume(path).voxels[0], expected, rtol=1e-5)


def test_pages_of_deep_colours_are_slices(tmp_path: Path) -> None:
    pages = np.stack([COLOURS, COLOURS // 2, COLOURS // 3]).astype(np.uint16) * 257
    tifffile.imwrite(tmp_path / "a.tif", pages, photometric="rgb")
    np.testing.assert_allclose(read_volume(tmp_path / "a.tif").voxels, pages / 257, rtol=1e-5)


def test_deep_transparency_is_laid_over_black(tmp_path: Path) -> None:
    pixels = np.full((1, 3, 4), 40000, np.uint16)
    pixels[0, :, 3] = 65535, 0, 13107
    path = save_deep_png(tmp_path / "a.png", pixels, 6)
    np.testing.assert_allclose(
        read_volume(path).voxels[0, 0, :, 0], np.array([1, 0, 0.2]) * 40000 / 257, rtol=1e-5
    )


@pytest.mark.parametrize("pixels", [DEEP, (DEEP >> 4).astype(np.uint8)])
@pytest.mark.parametrize("count", [2, 5])
def test_samples_without_a_meaning_are_passed_over_and_counted(
    tmp_path: Path, pixels: np.ndarray, count: int
) -> None:
    path = tmp_path / "a.tif"
    samples = np.stack([pixels, *[pixels * 0] * (count - 1)], axis=-1)
    tifffile.imwrite(path, samples, photometric="minisblack", planarconfig="contig")
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.voxels[0], pixels)
    assert volume.reading.skipped_samples == count - 1


def test_ink_becomes_light(tmp_path: Path) -> None:
    flat = np.full((16, 24, 3), (200, 100, 50), np.uint8)
    Image.fromarray(flat).convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    np.testing.assert_allclose(read_volume(tmp_path / "a.jpg").voxels, flat[None], atol=5)


def test_a_palette_with_transparency_is_laid_over_black(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    image.putpalette([10, 20, 30, 200, 100, 0])
    image.save(tmp_path / "a.png", transparency=bytes([255, 0]))
    np.testing.assert_array_equal(
        read_volume(tmp_path / "a.png").voxels[0, 0], [[10, 20, 30], [0] * 3]
    )


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("is_deep", [False, True])
def test_every_orientation_of_a_camera_is_turned_upright(
    tmp_path: Path, orientation: int, is_deep: bool
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "a.png", COLOURS, exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(path)))
    if is_deep:
        data = exif.tobytes()[6:]  # as JPEG has it, behind a word of six bytes
        save_deep_png(path, COLOURS.astype(np.uint16) * 257, 2, chunk(b"eXIf", data))
    (one,) = find_inputs([path]).readable
    assert (one.rows, one.columns) == upright.shape[:2]
    np.testing.assert_allclose(one.read().voxels[0], upright, rtol=1e-5)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["grey", "deep", "colour", "double"])
def test_a_tiff_is_turned_as_a_png_is(tmp_path: Path, orientation: int, kind: str) -> None:
    shown = COLOURS if kind == "colour" else GREY
    pixels = shown.astype({"deep": "<u2", "double": "<f8"}.get(kind, "u1"))
    exif = Image.Exif()
    exif[0x0112] = orientation
    png = read_volume(save(tmp_path / "a.png", shown, exif=exif))
    if kind == "double":
        tag = (0x0112, "H", 1, orientation, False)
        tifffile.imwrite(tmp_path / "a.tif", pixels, extratags=[tag], photometric="minisblack")
    else:
        save(tmp_path / "a.tif", pixels, exif=exif)
    (one,) = find_inputs([tmp_path / "a.tif"]).readable
    found = one.read().voxels
    assert (one.rows, one.columns) == found.shape[1:3]
    np.testing.assert_array_equal(found, png.voxels)


@pytest.mark.parametrize("alpha", [0, 90, 255])
def test_transparency_that_is_the_same_everywhere_hides_nothing(tmp_path: Path, alpha: int) -> None:
    seen = np.dstack([COLOURS, np.full_like(GREY, alpha)])
    np.testing.assert_array_equal(read_volume(save(tmp_path / "a.png", seen)).voxels[0], COLOURS)
    grey = read_volume(save(tmp_path / "b.png", np.dstack([GREY, np.full_like(GREY, alpha)])))
    np.testing.assert_array_equal(grey.voxels[0], GREY)


def test_floats_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", np.array([[1, np.nan]], np.float32))
    with pytest.raises(UnreadableInput, match="not numbers"):
        read_volume(path)


def test_the_camera_says_which_way_is_up(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise to see it upright
    path = save(tmp_path / "a.png", GREY, exif=exif)
    np.testing.assert_array_equal(read_volume(path).voxels, np.rot90(GREY, -1)[None])


def test_a_palette_becomes_colours(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8), "P")
    image.putpalette([10, 20, 30, 200, 100, 0])
    image.save(tmp_path / "a.png")
    volume = read_volume(tmp_path / "a.png")
    np.testing.assert_array_equal(
        volume.voxels, [[[[10, 20, 30], [200, 100, 0]], [[200, 100, 0], [10, 20, 30]]]]
    )


def test_black_and_white_becomes_0_and_255(tmp_path: Path) -> None:
    Image.fromarray(GREY > 120).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_volume(tmp_path / "a.png").voxels, (GREY[None] > 120) * 255)


def test_transparency_is_laid_over_black(tmp_path: Path) -> None:
    pixels = np.full((1, 3, 4), 200, np.uint8)
    pixels[0, :, 3] = 255, 0, 51
    volume = read_volume(save(tmp_path / "a.png", pixels))
    np.testing.assert_allclose(volume.voxels[0, 0, :, 0], [200, 0, 40], atol=1)
    grey = read_volume(save(tmp_path / "b.png", pixels[..., [0, 3]]))
    assert not grey.is_colour
    np.testing.assert_allclose(grey.voxels[0, 0], [200, 0, 40], atol=1)


def test_the_pages_of_a_tiff_are_slices(tmp_path: Path) -> None:
    pages = [Image.fromarray(GREY // (number + 1)) for number in range(3)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    (one,) = find_inputs([tmp_path]).readable
    assert one.slices == 3
    volume = one.read()
    np.testing.assert_array_equal(volume.voxels, [GREY, GREY // 2, GREY // 3])
    assert [source.frame for source in volume.sources] == [1, 2, 3]


def test_pages_of_other_sizes_are_previews(tmp_path: Path) -> None:
    pages = [Image.fromarray(GREY), Image.fromarray(GREY[:1])]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    volume = read_volume(tmp_path / "a.tif")
    np.testing.assert_array_equal(volume.voxels, GREY[None])
    assert "Only the first page was read" in volume.notes[0]


@pytest.mark.parametrize("ending", ["png", "jpg", "bmp", "tif"])
def test_a_damaged_image_is_refused(tmp_path: Path, ending: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    path = save(tmp_path / f"a.{ending}", noise)
    whole = path.read_bytes()
    for kept in (5, len(whole) // 2):
        path.write_bytes(whole[:kept])
        with pytest.raises(UnreadableInput) as refused:
            read_volume(path)
        assert refused.value.code == "broken-image"


def test_a_tiff_with_a_broken_second_page_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", GREY)
    raw = bytearray(path.read_bytes())
    directory = int.from_bytes(raw[4:8], "little")
    entries = int.from_bytes(raw[directory : directory + 2], "little")
    at = directory + 2 + 12 * entries
    raw[at : at + 4] = len(raw).to_bytes(4, "little")
    path.write_bytes(raw + bytes(6))  # the next directory has no entries, not even a size
    with pytest.raises(UnreadableInput) as refused:
        read_volume(path)
    assert refused.value.code == "broken-image"


def test_text_called_png_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("not a picture")
    with pytest.raises(UnreadableInput) as refused:
        read_volume(tmp_path)
    assert refused.value.code == "broken-image"


def test_more_pixels_than_allowed_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", GREY)
    with pytest.raises(UnreadableInput) as refused:
        read_volume(path, limits=ReadLimits(image_px=5))
    assert refused.value.code == "image-too-large"
    Image.new("1", (20_000, 10_000)).save(path)
    assert path.stat().st_size < 50_000
    with pytest.raises(UnreadableInput) as refused:
        read_volume(path)
    assert refused.value.code == "image-too-large"


@tries(max_examples=40)
@given(at=st.integers(0, 99), value=st.integers(0, 255))
@pytest.mark.parametrize("ending", ["png", "tif", "bmp"])
def test_a_changed_byte_ends_in_a_volume_or_a_reason(
    tmp_path_factory: pytest.TempPathFactory, ending: str, at: int, value: int
) -> None:
    path = save(tmp_path_factory.mktemp("image") / f"a.{ending}", GREY)
    raw = bytearray(path.read_bytes())
    raw[at % len(raw)] = value
    path.write_bytes(raw)
    with contextlib.suppress(HeadClipError):
        read_volume(path)


def test_a_picture_is_read_without_the_libraries_of_other_files(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", GREY)
    told = (
        "import sys; from headclip_med.read import read_volume; read_volume(sys.argv[1]);"
        "print(*sorted({'pydicom', 'nibabel', 'torch', 'scipy'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", told, path], capture_output=True, check=True)
    assert run.stdout.split() == []
