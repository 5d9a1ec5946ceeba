"""PNG, JPEG, BMP and TIFF: upright, with all their bits, and never larger than they may be."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as tries
from hypothesis import strategies as st
from PIL import Image

from headclip_med.errors import HeadClipError, UnreadableInput
from headclip_med.read import ReadLimits, find_inputs, read_volume

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
