"""Every depth and kind of pixel that PNG and TIFF know, by its own bits: one table each."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile

from headclip_med.read import read_volume

ROWS, COLUMNS = 11, 13
GREY, COLOUR, PALETTE, GREY_ALPHA, COLOUR_ALPHA = 0, 2, 3, 4, 6
SAMPLES = {GREY: 1, COLOUR: 3, PALETTE: 1, GREY_ALPHA: 2, COLOUR_ALPHA: 4}
DEPTHS = {
    GREY: (1, 2, 4, 8, 16),
    PALETTE: (1, 2, 4, 8),
    **dict.fromkeys((COLOUR, GREY_ALPHA, COLOUR_ALPHA), (8, 16)),
}
ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2),
         (1, 0, 2, 1))  # fmt: skip
"""First row and column of each pass, and steps (PNG 8.2)."""


def samples_of(bits: int, samples: int) -> np.ndarray:
    """Make values that use all bits, the lowest and the highest among them."""
    values = np.random.default_rng(bits * 10 + samples).integers(
        0, 2**bits, (ROWS, COLUMNS, samples), dtype=np.uint16
    )
    values[0, 0], values[-1, -1] = 0, 2**bits - 1
    return values


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def packed(rows: np.ndarray, bits: int) -> bytes:
    """Write rows of samples, each row without a filter, beginning at a byte (PNG 7.2)."""
    if bits == 16:
        lines = [row.astype(">u2").tobytes() for row in rows]
    else:
        digits = (rows[..., None] >> np.arange(bits - 1, -1, -1)) & 1
        lines = [np.packbits(row.reshape(-1)).tobytes() for row in digits]
    return b"".join(b"\0" + line for line in lines)


def write_png(
    path: Path, values: np.ndarray, bits: int, kind: int, extra: bytes = b"", *, woven: bool = False
) -> Path:
    """Write a PNG by hand, as no library here writes all kinds."""
    parts = [(0, 0, 1, 1)] if not woven else ADAM7
    passes = [values[top::down, left::across] for top, left, down, across in parts]
    data = b"".join(packed(part.reshape(len(part), -1), bits) for part in passes if part.size)
    head = struct.pack(">IIBBBBB", COLUMNS, ROWS, bits, kind, 0, 0, int(woven))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + extra
        + chunk(b"IDAT", zlib.compress(data))
        + chunk(b"IEND", b"")
    )
    return path


def expected(values: np.ndarray, bits: int, *, alpha: np.ndarray | None = None) -> np.ndarray:
    """Grey of more than eight bits as it is; all else in [0, 255]; over black by its alpha."""
    is_grey = values.shape[-1] == 1
    scale = 1.0 if bits == 16 and is_grey else 255 / (2**bits - 1)
    over = 1.0 if alpha is None else alpha / (2**bits - 1)
    found = values * scale * over
    return found[..., 0] if is_grey else found


KINDS = [(kind, bits) for kind, depths in DEPTHS.items() for bits in depths]


@pytest.mark.parametrize("woven", [False, True])
@pytest.mark.parametrize(("kind", "bits"), KINDS)
def test_every_kind_of_png_keeps_its_bits(
    tmp_path: Path, kind: int, bits: int, woven: bool
) -> None:
    values = samples_of(bits, SAMPLES[kind])
    if kind == PALETTE:
        colours = np.random.default_rng(1).integers(0, 256, (2**bits, 3), dtype=np.uint8)
        path = write_png(
            tmp_path / "a.png", values, bits, kind, chunk(b"PLTE", colours.tobytes()), woven=woven
        )
        np.testing.assert_array_equal(read_volume(path).voxels[0], colours[values[..., 0]])
        return
    path = write_png(tmp_path / "a.png", values, bits, kind, woven=woven)
    has_alpha = kind in (GREY_ALPHA, COLOUR_ALPHA)
    shown = (
        expected(values[..., :-1], bits, alpha=values[..., -1:])
        if has_alpha
        else expected(values, bits)
    )
    slack = (
        {"atol": 1}
        if bits <= 8 and has_alpha
        else {"rtol": 1e-5, "atol": 0.6 if kind == GREY_ALPHA else 3e-3}
    )
    np.testing.assert_allclose(read_volume(path).voxels[0], shown, **slack)


@pytest.mark.parametrize(("kind", "bits"), [one for one in KINDS if SAMPLES[one[0]] in (1, 3)])
def test_a_png_colour_that_is_transparent_lies_over_black(
    tmp_path: Path, kind: int, bits: int
) -> None:
    values = samples_of(bits, SAMPLES[kind])
    clear = values[-1, -1].copy()
    is_clear = (values == clear).all(axis=-1)
    if kind == PALETTE:
        colours = np.random.default_rng(1).integers(1, 256, (2**bits, 3), dtype=np.uint8)
        opaque = np.full(2**bits, 255, np.uint8)
        opaque[int(clear[0])] = 0
        extra = chunk(b"PLTE", colours.tobytes()) + chunk(b"tRNS", opaque.tobytes())
        shown = colours[values[..., 0]].astype(float)
    else:
        extra = chunk(b"tRNS", clear.astype(">u2").tobytes())
        shown = expected(values, bits)
    shown[is_clear] = 0
    found = read_volume(write_png(tmp_path / "a.png", values, bits, kind, extra)).voxels[0]
    if found.ndim > shown.ndim:
        shown = np.repeat(shown[..., None], 3, axis=-1)
    np.testing.assert_allclose(found, shown, rtol=1e-5, atol=1e-3)


TIFF_KINDS = {
    "8": (8, np.uint8), "10 in 16": (10, np.uint16), "12 in 16": (12, np.uint16),
    "16": (16, np.uint16), "32": (32, np.uint32), "float": (0, np.float32),
    "double": (0, np.float64), "signed": (15, np.int16),
}  # fmt: skip
TIFF_WAYS: dict[str, dict[str, object]] = {
    "plain": {},
    "big endian": {"byteorder": ">"},
    "tiled": {"tile": (16, 16)},
    "deflated": {"compression": "zlib"},
    "predicted": {"compression": "zlib", "predictor": True},
    "LZW": {"compression": "lzw"},
    "BigTIFF": {"bigtiff": True},
    "planes": {"planarconfig": "separate"},
}


TIFF_LOOKS = [
    (look, kind, way)
    for look in ("minisblack", "miniswhite", "rgb")
    for kind, (bits, _) in TIFF_KINDS.items()
    for way in TIFF_WAYS
    if (look == "minisblack" or bits in (8, 10, 12, 16)) and (look == "rgb" or way != "planes")
]


@pytest.mark.parametrize(("look", "kind", "way"), TIFF_LOOKS)
def test_every_kind_of_tiff_keeps_its_bits(tmp_path: Path, look: str, kind: str, way: str) -> None:
    """Grey as it is (white mirrored within its bits), colours in [0, 255]."""
    bits, dtype = TIFF_KINDS[kind]
    if (look != "minisblack" and bits not in (8, 10, 12, 16)) or (
        way == "planes" and look != "rgb"
    ):
        pytest.skip("no such kind")
    samples = 3 if look == "rgb" else 1
    if bits:
        values = samples_of(min(bits, 16), samples).astype(dtype) + dtype(70_000 * (bits == 32))
    else:
        values = samples_of(16, samples).astype(dtype) / 65535
    options = dict(TIFF_WAYS[way])
    apart = way == "planes"
    stored = np.moveaxis(values, -1, 0) if apart else values if look == "rgb" else values[..., 0]
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric=look, **options)
    full = 2**bits - 1
    shown = values * (255 / full) if look == "rgb" else values[..., 0]
    if look == "miniswhite":
        shown = full - shown.astype(float)
    volume = read_volume(tmp_path / "a.tif")
    np.testing.assert_allclose(volume.voxels[0], shown, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("bits", [1, 2, 4, 10, 12])
@pytest.mark.parametrize("look", ["minisblack", "miniswhite"])
def test_packed_grey_of_tiff_is_read_by_its_bits(tmp_path: Path, bits: int, look: str) -> None:
    values = samples_of(bits, 1)[..., 0]
    digits = (values[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    data = b"".join(np.packbits(row.reshape(-1)).tobytes() for row in digits)
    entries = {256: COLUMNS, 257: ROWS, 258: bits, 259: 1, 262: int(look == "minisblack"),
               273: 134, 277: 1, 278: ROWS, 279: len(data)}  # fmt: skip
    fields = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries.items())
    head = b"II*\0" + struct.pack("<IH", 8, len(entries)) + fields + bytes(4)
    (tmp_path / "a.tif").write_bytes(head.ljust(134, b"\0") + data)
    full = 2**bits - 1
    shown = values if look == "minisblack" else full - values
    found = read_volume(tmp_path / "a.tif").voxels[0]
    np.testing.assert_allclose(found, shown * (255 / full if bits < 8 else 1), atol=1e-3)
