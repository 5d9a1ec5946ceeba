"""Masks are read as what is painted: one square of 625 pixels, in every way it may be stored."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from headclip_med.datasets import Sample, read_image, read_mask
from headclip_med.datasets.pixels.doubts import MaskDoubts, masks_in_doubt
from headclip_med.errors import UnreadableInput

SIDE, SQUARE = 120, (slice(30, 55), slice(62, 87))
AREA = 625

Write = Callable[[Path], None]


def square(value: object = 1, ground: object = 0, kind: str = "u1") -> np.ndarray:
    """The square in one value, on a ground of another; one number a pixel, or one for each band."""
    shape = (SIDE, SIDE, *np.shape(value))
    drawn = np.broadcast_to(np.array(ground, kind), shape).copy()
    drawn[SQUARE] = value
    return drawn


def png(mode: str | None = None, pixels: np.ndarray | None = None, **options: object) -> Write:
    """What Pillow makes of the pixels, in the format of the file's suffix."""
    drawn = square(255) if pixels is None else pixels

    def write(path: Path) -> None:
        picture = Image.fromarray(drawn)
        (picture.convert(mode) if mode else picture).save(path, **options)  # type: ignore[arg-type]

    return write


def palette(pixels: np.ndarray, colours: list[int], **options: object) -> Write:
    def write(path: Path) -> None:
        picture = Image.fromarray(pixels, "P")
        picture.putpalette(colours)
        picture.save(path, **options)  # type: ignore[arg-type]

    return write


def deep_png(pixels: np.ndarray, kind: int, bits: int = 16) -> Write:
    """A PNG as the standard has it: colour type 0 grey, 2 colours, 4 and 6 the same with alpha."""

    def chunk(name: bytes, data: bytes) -> bytes:
        code = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + code

    def write(path: Path) -> None:
        flat = pixels.reshape(SIDE, -1)
        rows = flat.astype(">u2").view("u1").reshape(SIDE, -1)
        if bits < 8:
            unpacked = (flat[..., None] >> np.arange(bits - 1, -1, -1)) & 1
            rows = np.packbits(unpacked.reshape(SIDE, -1).astype("u1"), axis=1)
        header = struct.pack(">IIBBBBB", SIDE, SIDE, bits, kind, 0, 0, 0)
        data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
        parts = [(b"IHDR", header), (b"IDAT", data), (b"IEND", b"")]
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*one) for one in parts))

    return write


def tiff(pixels: np.ndarray, **options: object) -> Write:
    return lambda path: tifffile.imwrite(path, pixels, **options)  # type: ignore[arg-type]


def clear(value: int = 255, ground: int = 0, colour: tuple[int, ...] = (0, 0, 0)) -> np.ndarray:
    """One colour everywhere; only its alpha differs."""
    return np.dstack([np.full((SIDE, SIDE, len(colour)), colour, "u1"), square(value, ground)])


WHITE_FIRST, RED_THEN_BLACK = [255, 255, 255, 0, 0, 0], [255, 0, 0, 0, 0, 0]

ENCODINGS: dict[str, tuple[str, Write]] = {
    "grey 255": ("png", png()),
    "grey 1": ("png", png(pixels=square(1))),
    "grey label 2": ("bmp", png(pixels=square(2))),
    "labels 1, 2, 3": ("png", png(pixels=square() * (np.arange(SIDE, dtype="u1") % 3 + 1))),
    "one bit": ("png", png("1")),
    "one bit in a TIFF": ("tif", png("1", compression="group4")),
    "two bits": ("png", deep_png(square(1), 0, bits=2)),
    "four bits": ("png", deep_png(square(1), 0, bits=4)),
    "grey in a GIF": ("gif", png()),
    "red in a GIF": ("gif", png(pixels=square((255, 0, 0), (0, 0, 0)))),
    "red": ("png", png(pixels=square((255, 0, 0), (0, 0, 0)))),
    "darkest blue": ("png", png(pixels=square((0, 0, 1), (0, 0, 0)))),
    "colours in a BMP": ("bmp", png(pixels=square((0, 9, 0), (0, 0, 0)))),
    "CMYK": ("tif", png("CMYK", pixels=square((255, 0, 0), (0, 0, 0)))),
    "alpha over black": ("png", png(pixels=clear())),
    "alpha over white": ("png", png(pixels=clear(colour=(255, 255, 255)))),
    "half alpha": ("png", png(pixels=clear(128))),
    "alpha above a veil": ("png", png(pixels=clear(255, 90))),
    "alpha of grey": ("png", png(pixels=clear(colour=(0,)))),
    "alpha in a WebP": ("webp", png(pixels=clear(colour=(9, 9, 9)), lossless=True, exact=True)),
    "opaque": ("png", png(pixels=square((255, 255, 255, 255), (0, 0, 0, 255)))),
    "all of it clear": ("png", png(pixels=square((1, 1, 1, 0), (0, 0, 0, 0)))),
    "opaque grey": ("png", png(pixels=square((1, 255), (0, 255)))),
    "WebP": ("webp", png("RGB", lossless=True)),
    "a palette of colours": ("png", palette(square(), [0, 0, 0, 128, 0, 0])),
    "a palette all black": ("png", palette(square(), [0] * 6)),
    "a palette of white and black": ("png", palette(square(), WHITE_FIRST)),
    "a palette that a program numbered": ("png", palette(square(0, 1), RED_THEN_BLACK)),
    "a palette with a clear colour": ("png", palette(square(), WHITE_FIRST, transparency=0)),
    "a palette, label 200": ("tif", palette(square(200), [0] * 3 * 200 + [3, 2, 1])),
    "a clear grey": ("png", png(pixels=square(9), transparency=0)),
    "16 bits, 65535": ("png", png(pixels=square(65535, kind="u2"))),
    "16 bits, 1": ("png", png(pixels=square(1, kind="u2"))),
    "16 bits, 256": ("tif", png(pixels=square(256, kind="u2"))),
    "16 bits, big end first": ("tif", tiff(square(1, kind="u2"), byteorder=">")),
    "16 bits with a sign": ("tif", tiff(square(-1, kind="i2"))),
    "16 bits, white is low": ("tif", tiff(square(0, 65535, "u2"), photometric="miniswhite")),
    "16 bits of colours": ("png", deep_png(square((0, 1, 0), (0, 0, 0), "u2"), 2)),
    "16 bits of grey and alpha": ("png", deep_png(square((0, 1), (0, 0), "u2"), 4)),
    "16 bits of colours and alpha": ("png", deep_png(square((0, 0, 0, 1), (0,) * 4, "u2"), 6)),
    "16 bits of colours in a TIFF": ("tif", tiff(square((1, 0, 0), (0, 0, 0), "u2"))),
    "16 bits in planes": (
        "tif",
        tiff(
            np.moveaxis(square((1, 0, 0), (0, 0, 0), "u2"), -1, 0).copy(),
            photometric="rgb",
            planarconfig="separate",
        ),
    ),
    "32 bits": ("tif", tiff(square(70_000, kind="u4"))),
    "32 bits with a sign": ("tif", png(pixels=square(1, kind="i4"))),
    "eight bits with a sign": ("tif", tiff(square(-1, kind="i1"))),
    "float 1.0": ("tif", png(pixels=square(1.0, kind="f4"))),
    "float 0.001": ("tif", png(pixels=square(0.001, kind="f4"))),
    "double": ("tif", tiff(square(0.5, kind="f8"))),
    "half precision": ("tif", tiff(square(0.5, kind="f2"))),
}  # fmt: skip

GUESSED = (
    "a palette of white and black", "a palette that a program numbered", "red in a GIF",
)  # fmt: skip
"""Palettes whose first colour is not black while another is."""

LOSSY: dict[str, tuple[str, Write]] = {
    "JPEG": ("jpg", png(quality=75)),
    "JPEG, red": ("jpg", png(pixels=square((255, 0, 0), (0, 0, 0)), quality=95, subsampling=0)),
    "JPEG, dark": ("jpg", png(pixels=square(60), quality=90)),
    "JPEG called PNG": ("png", lambda path: Image.fromarray(square(255)).save(path, "JPEG")),
    "JPEG in a TIFF": ("tif", png(compression="jpeg")),
    "WebP with loss": ("webp", png("RGB", quality=60)),
}


def sample(folder: Path, suffix: str, write: Write, *, label: int | None = 1) -> Sample:
    """An image with the mask that was written."""
    Image.new("L", (SIDE, SIDE), 90).save(folder / "image.png")
    write(folder / f"mask.{suffix}")
    return Sample(folder / "image.png", folder / f"mask.{suffix}", label, "any")  # type: ignore[arg-type]


def codes(one: Sample) -> list[str]:
    return [finding.code for finding in masks_in_doubt([one])]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_square_is_the_same_square_however_it_is_stored(tmp_path: Path, encoding: str) -> None:
    one = sample(tmp_path, *ENCODINGS[encoding])
    found = read_mask(one)
    assert int(found.sum()) == AREA
    assert found[SQUARE].all()
    assert codes(one) == ["palette-guess"] * (encoding in GUESSED)


@pytest.mark.parametrize("encoding", LOSSY)
def test_what_compression_blurred_is_cut_in_the_middle_and_said(
    tmp_path: Path, encoding: str
) -> None:
    one = sample(tmp_path, *LOSSY[encoding])
    found = read_mask(one)
    assert abs(int(found.sum()) - AREA) <= 0.06 * AREA
    assert found[SQUARE].mean() > 0.97
    assert codes(one)[-1] == "lossy-mask"


def test_a_compressed_mask_in_which_nothing_stands_out_marks_nothing_and_says_so(
    tmp_path: Path,
) -> None:
    one = sample(tmp_path, "jpg", png(pixels=square(4), quality=95), label=None)
    assert not read_mask(one).any()
    assert codes(one) == ["faint-mask", "lossy-mask"]


def inverted(path: Path) -> None:
    Image.fromarray(square(0, 255)).save(path)


def blank(path: Path) -> None:
    Image.new("L", (SIDE, SIDE)).save(path)


def filled(path: Path) -> None:
    Image.new("L", (SIDE, SIDE), 1).save(path)


def ramp(path: Path) -> None:
    Image.fromarray(np.maximum(square(), np.arange(SIDE, dtype="u1") // 6)).save(path)


@pytest.mark.parametrize(
    ("write", "code", "said"),
    [
        (inverted, "most-mask", "mask.png marks 96 % of its image image.png. Is it inverted?"),
        (filled, "full-mask", "The mask mask.png marks the whole image image.png."),
        (ramp, "most-mask", "The mask mask.png marks 95 %"),
    ],
)
def test_a_mask_that_marks_most_of_its_image_is_doubted(
    tmp_path: Path, write: Write, code: str, said: str
) -> None:
    found = {one.code: one for one in masks_in_doubt([sample(tmp_path, "png", write)])}
    assert found[code].severity == "warning"
    assert said in found[code].message


@pytest.mark.parametrize(
    ("write", "label", "code"), [(blank, 1, "empty-mask"), (png(), 0, "marked-normal")]
)
def test_a_mask_that_contradicts_its_label_is_refused(
    tmp_path: Path, write: Write, label: int, code: str
) -> None:
    with pytest.raises(UnreadableInput, match=r"mask\.png marks .*datasets check") as caught:
        masks_in_doubt([sample(tmp_path, "png", write, label=label)])
    assert caught.value.code == code


def test_a_mask_that_only_tells_may_be_empty(tmp_path: Path) -> None:
    doubts = MaskDoubts()
    assert not doubts.look_at(sample(tmp_path, "png", blank, label=None))
    assert doubts.all() == []


def test_of_several_errors_the_first_is_said_and_the_others_are_counted(tmp_path: Path) -> None:
    one = sample(tmp_path, "png", blank)
    with pytest.raises(UnreadableInput, match="There are 2 more errors about masks"):
        masks_in_doubt([one, one, one])


@pytest.mark.parametrize(
    ("suffix", "write", "code"),
    [
        ("tif", png(pixels=square(np.nan, kind="f4")), "not-a-number"),
        ("tif", tiff(square(np.inf, kind="f8")), "not-a-number"),
        ("tif", tiff(np.stack([square(), square()])), "several-pictures"),
        ("png", png(pixels=square()[:, :80]), "mask-size"),
        ("png", lambda path: path.write_bytes(b"no mask"), "broken-picture"),
        ("png", lambda path: None, "missing-file"),
    ],
)
def test_what_cannot_be_a_mask_is_refused_in_a_sentence(
    tmp_path: Path, suffix: str, write: Write, code: str
) -> None:
    with pytest.raises(UnreadableInput, match=r"mask\.(tif|png)") as caught:
        read_mask(sample(tmp_path, suffix, write))
    assert caught.value.code == code


def pictures(folder: Path, suffix: str, orientation: int) -> Iterator[tuple[str, Path]]:
    """A mask stored as the image is, one on the upright image, and one with the image's mark."""
    exif, drawn = Image.Exif(), np.zeros((40, 60), np.uint8)
    drawn[:10, :20] = 200
    exif[0x0112] = orientation
    options = {"lossless": True} if suffix == "webp" else {}
    Image.fromarray(np.dstack([drawn] * 3)).save(folder / f"i.{suffix}", exif=exif, **options)  # type: ignore[arg-type]
    Image.fromarray(drawn).save(folder / "stored.png")
    Image.fromarray(drawn).save(folder / "marked.tif", exif=exif)
    turns: list[Callable[[np.ndarray], np.ndarray]] = [
        lambda a: a, np.fliplr, lambda a: a[::-1, ::-1], np.flipud, np.transpose,
        lambda a: np.rot90(a, -1), lambda a: a[::-1, ::-1].T, lambda a: np.rot90(a),
    ]  # fmt: skip
    upright = np.ascontiguousarray(turns[orientation - 1](drawn))
    Image.fromarray(upright).save(folder / "upright.png")
    for name in ("stored.png", "marked.tif", "upright.png"):
        yield name, folder / name


@pytest.mark.parametrize("suffix", ["png", "tif", "webp", "jpg"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_image_and_mask_are_turned_alike_whichever_way_the_mask_was_drawn(
    tmp_path: Path, suffix: str, orientation: int
) -> None:
    """Of a flip the size says nothing: then the mask is taken as drawn on what one sees."""
    for name, path in pictures(tmp_path, suffix, orientation):
        one = Sample(tmp_path / f"i.{suffix}", path, 1, "any")
        seen = read_image(one)[..., 0] > 100
        said = codes(one)
        if name == "stored.png" and orientation in (2, 3, 4):
            assert said == ["mask-orientation"]
            continue
        np.testing.assert_array_equal(read_mask(one), seen)
        if orientation == 1 or name == "marked.tif":
            assert said == []
        elif orientation > 4:
            assert said == ["turned-mask"] * (name == "stored.png")
        else:
            assert said == ["mask-orientation"]
