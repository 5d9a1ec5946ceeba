"""Small files that claim, or grow to, far more than they are; each a function that writes some."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from openjpeg.utils import encode_array
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence as Items
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    EnhancedMRImageStorage,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from tests.phantoms import edit, make_grid, write_phantom

Write = Callable[[Path], object]
MIB = 1 << 20


# --- DICOM: an ordinary slice with something changed ---------------------------------------------


def slice_with(change: Callable[[Dataset], object]) -> Write:
    """Change the elements of a slice."""

    def write(folder: Path) -> None:
        path = write_phantom(folder, make_grid(shape=(1, 64, 64)))[0]
        edit([path], lambda dataset, _: change(dataset))

    return write


def raw(change: Callable[[bytes], bytes]) -> Write:
    """Change the bytes of a slice."""

    def write(folder: Path) -> None:
        path = write_phantom(folder, make_grid(shape=(1, 64, 64)))[0]
        path.write_bytes(change(path.read_bytes()))

    return write


def claim(**elements: object) -> Write:
    """Say something else than what is there, in plain pixels."""
    return slice_with(lambda dataset: dataset.update(elements))


def encoded(
    syntax: str, streams: Callable[[], list[bytes]], *, bits: int = 8, **elements: object
) -> Write:
    """Put streams into a slice."""

    def change(dataset: Dataset) -> None:
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.BitsAllocated = dataset.BitsStored = bits
        dataset.HighBit, dataset.PixelRepresentation = bits - 1, 0
        dataset.update(elements)
        dataset.PixelData = encapsulate(streams(), has_bot=False)
        dataset["PixelData"].is_undefined_length = True

    return slice_with(change)


def size(side: int, frames: int | None = None, samples: int = 1) -> dict[str, object]:
    """Give the elements of the Image Pixel module that say how large it is."""
    colour = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    return {
        "Rows": side,
        "Columns": side,
        **({} if frames is None else {"NumberOfFrames": frames}),
        **({} if samples == 1 else colour),
    }


def run_length(pixels: int, segments: int = 1) -> bytes:
    """Encode pixels of one value, 128 by two bytes."""
    part = b"\x81\x00" * (pixels // 128)
    starts = [64 + index * len(part) for index in range(segments)]
    return struct.pack("<16I", segments, *starts, *[0] * (15 - segments)) + part * segments


def j2k(
    side: int, *, tile: int | None = None, components: int | None = None, levels: int | None = None
) -> bytes:
    """Let a small JPEG 2000 stream claim another size (ISO 15444-1 A.5.1)."""
    stream = bytearray(encode_array(np.zeros((64, 64), np.uint8)))
    place = stream.find(b"\xff\x51")
    struct.pack_into(">2I", stream, place + 6, side, side)
    struct.pack_into(">2I", stream, place + 22, tile or side, tile or side)
    if components:
        stream[place + 40 : place + 43] = stream[place + 40 : place + 43] * components
        struct.pack_into(">H", stream, place + 2, 38 + 3 * components)
        struct.pack_into(">H", stream, place + 38, components)
    if levels:
        stream[stream.find(b"\xff\x52") + 9] = levels
    return bytes(stream)


def jpeg(side: int, marker: int) -> bytes:
    """Let a JPEG stream without content claim a size (ISO 10918-1 B.2.2)."""
    frame = struct.pack(">2BHB2H", 0xFF, marker, 11, 8, side, side) + b"\x01\x01\x11\0"
    scan = (
        b"\xff\xda\0\x08\x01\x01\0\0\x3f\0" if marker != 0xF7 else b"\xff\xda\0\x08\x01\x01\0\0\0\0"
    )
    table = b"\xff\xc4\0\x14\0\x01" + bytes(15) + b"\0"
    return b"\xff\xd8" + frame + table + scan + bytes(1000) + b"\xff\xd9"


def deflated(content: bytes, count: int) -> bytes:
    """Deflate content that repeats, in the time that one costs."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (packer.compress(content) + packer.flush(zlib.Z_FULL_FLUSH)) * count + b"\x03\0"


def deflated_slice(tail: Callable[[], bytes], *, keep_pixels: bool = True) -> Write:
    """Put a deflated tail behind the elements of a slice."""

    def write(folder: Path) -> None:
        path = write_phantom(folder, make_grid(shape=(1, 64, 64)))[0]
        plain = path.read_bytes()
        edit([path], lambda data, _: setattr(data.file_meta, "TransferSyntaxUID", DEFLATE))
        packed = path.read_bytes()
        start = 144 + int(struct.unpack_from("<I", packed, 140)[0])
        body = plain[144 + int(struct.unpack_from("<I", plain, 140)[0]) :]
        if not keep_pixels:
            body = body[: body.index(b"\xe0\x7f\x10\0OW")]
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        head = packer.compress(body) + packer.flush(zlib.Z_FULL_FLUSH)
        path.write_bytes(packed[:start] + head + tail())

    return write


DEFLATE = DeflatedExplicitVRLittleEndian


def before(marker: bytes, more: Callable[[], bytes]) -> Write:
    """Put bytes before an element of a slice."""

    def change(content: bytes) -> bytes:
        place = content.index(marker)
        return content[:place] + more() + content[place:]

    return raw(change)


ROWS = b"\x28\0\x10\0US"
PIXELS = b"\xe0\x7f\x10\0OW"
SQ_OPEN = b"SQ\0\0\xff\xff\xff\xff"
ITEM_OPEN = b"\xfe\xff\0\xe0\xff\xff\xff\xff"
CLOSED = b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0"
PER_FRAME, UNWANTED = b"\0\x52\x30\x92", b"\x09\0\x10\x10"


def nested(depth: int, tag: bytes = PER_FRAME, *, close: bool = True) -> bytes:
    """Open sequences within sequences."""
    return (tag + SQ_OPEN + ITEM_OPEN) * depth + (CLOSED * depth if close else b"")


def nested_by_length(depth: int) -> bytes:
    """Nest sequences whose lengths are given."""
    inner = b""
    for _ in range(depth):
        item = b"\xfe\xff\0\xe0" + struct.pack("<I", len(inner)) + inner
        inner = PER_FRAME + b"SQ\0\0" + struct.pack("<I", len(item)) + item
    return inner


def items(count: int, tag: bytes) -> bytes:
    """Make a sequence of empty items."""
    content = b"\xfe\xff\0\xe0\0\0\0\0" * count
    return tag + b"SQ\0\0" + struct.pack("<I", len(content)) + content


def element(tag: bytes, kind: bytes, value: bytes) -> bytes:
    """Write an element, whatever its length."""
    if kind in (b"OB", b"UN", b"UT", b"OW"):
        return tag + kind + b"\0\0" + struct.pack("<I", len(value)) + value
    return tag + kind + struct.pack("<H", len(value)) + value


def private(count: int) -> bytes:
    """Make empty elements, each of another number."""
    numbers = np.arange(count, dtype="<u4")
    whole = np.zeros((count, 2), "<u4")
    whole[:, 0] = (0x0011 + 2 * (numbers >> 15)) | ((0x1000 + (numbers & 0x7FFF)) << 16)
    whole[:, 1] = int.from_bytes(b"LO\0\0", "little")
    return whole.tobytes()


def odd_planes(count: int, *, spacing: bool = False) -> Write:
    """Make an enhanced object whose frames all lie otherwise, or are all of another spacing."""

    def change(dataset: Dataset) -> None:
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
        dataset.NumberOfFrames, dataset.Rows, dataset.Columns = count, 4, 4
        dataset.PixelData = bytes(32 * count)
        frames = []
        for index in range(count):
            angle = 0.0 if spacing else np.pi * index / count
            frame, plane, turn, measures = (Dataset() for _ in range(4))
            plane.ImagePositionPatient = [0, 0, index]
            cosine, sine = f"{np.cos(angle):.9f}", f"{np.sin(angle):.9f}"
            turn.ImageOrientationPatient = [cosine, sine, "0", f"{-np.sin(angle):.9f}", cosine, "0"]
            measures.PixelSpacing = [1 + spacing * index / 50, 1]
            frame.PlanePositionSequence = Items([plane])
            frame.PlaneOrientationSequence = Items([turn])
            frame.PixelMeasuresSequence = Items([measures])
            frames.append(frame)
        dataset.PerFrameFunctionalGroupsSequence = Items(frames)

    return slice_with(change)


def odd_files(folder: Path) -> None:
    """Make a series of which every slice lies otherwise."""
    count = 400

    def turn(dataset: Dataset, index: int) -> None:
        angle = np.pi * index / count
        cosine, sine = f"{np.cos(angle):.9f}", f"{np.sin(angle):.9f}"
        dataset.ImageOrientationPatient = [cosine, sine, "0", f"{-np.sin(angle):.9f}", cosine, "0"]

    edit(write_phantom(folder, make_grid(shape=(count, 4, 4))), turn)


def fragments(count: int) -> Write:
    """Put many empty fragments into a slice."""

    def change(dataset: Dataset) -> None:
        dataset.file_meta.TransferSyntaxUID = RLELossless
        dataset.PixelData = b"\xfe\xff\0\xe0\0\0\0\0" * count + b"\xfe\xff\xdd\xe0\0\0\0\0"
        dataset["PixelData"].is_undefined_length = True

    return slice_with(change)


def offsets(count: int) -> Write:
    """Put a long table of offsets before one frame."""

    def change(dataset: Dataset) -> None:
        dataset.file_meta.TransferSyntaxUID = RLELossless
        dataset.NumberOfFrames = 20000
        table = b"\xfe\xff\0\xe0" + struct.pack("<I", 4 * count) + bytes(4 * count)
        dataset.PixelData = table + encapsulate([run_length(4096, 2)], has_bot=False)[8:]
        dataset["PixelData"].is_undefined_length = True

    return slice_with(change)


def palette(dataset: Dataset) -> None:
    """Let segments of a palette repeat each other (PS3.3 C.7.9.2)."""
    dataset.PhotometricInterpretation = "PALETTE COLOR"
    once = struct.pack("<3H", 1, 65535, 9)
    again = struct.pack("<4H", 2, 60000, 0, 0)
    for colour in ("Red", "Green", "Blue"):
        descriptor, name = (
            f"{colour}PaletteColorLookupTableDescriptor",
            f"Segmented{colour}PaletteColorLookupTableData",
        )
        dataset.add_new(descriptor, "US", [0, 0, 16])
        dataset.add_new(name, "OW", struct.pack("<3H", 0, 1, 7) + once * 4000 + again * 100)


# --- other formats -------------------------------------------------------------------------------


def nifti(
    shape: tuple[int, ...], *, kind: int = 2, size: int | None = None, offset: float = 352.0,
    extensions: int = 0, packed: bool = True,
) -> Write:  # fmt: skip
    """Write a NIfTI header, and zeros behind it."""

    def write(folder: Path) -> None:
        head = bytearray(352)
        struct.pack_into("<i", head, 0, 348)
        struct.pack_into("<8h", head, 40, len(shape), *shape, *[1] * (7 - len(shape)))
        bits = {2: 8, 4: 16, 16: 32, 64: 64, 128: 24}[kind]
        struct.pack_into("<2h", head, 70, kind, bits)
        struct.pack_into("<8f", head, 76, *[1.0] * 8)
        struct.pack_into("<f", head, 108, offset)
        struct.pack_into("<2h", head, 252, 1, 0)
        head[344:348] = b"n+1\0"
        if extensions:
            head[348] = 1
            head += struct.pack("<2i", 16, 0) * extensions * 1
            head += bytes(8 * extensions)
        body = int(np.prod(np.abs(shape), dtype=float)) * bits // 8 if size is None else size
        path = folder / ("a.nii.gz" if packed else "a.nii")
        folder.mkdir(parents=True, exist_ok=True)
        if packed:
            path.write_bytes(gzipped(bytes(head), body))
        else:
            path.write_bytes(bytes(head) + bytes(body))

    return write


def gzipped(head: bytes, zeros: int) -> bytes:
    """Pack a head and zeros behind it, in the time that a MiB of zeros costs."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    start = packer.compress(head) + packer.flush(zlib.Z_FULL_FLUSH)
    check, chunk = zlib.crc32(head), bytes(MIB)
    count = -(-zeros // MIB)
    for _ in range(count):
        check = zlib.crc32(chunk, check)
    tail = struct.pack("<2I", check, (len(head) + count * MIB) & 0xFFFFFFFF)
    body = start + deflated(chunk, count)
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + body + tail


def png(width: int, height: int, *, mode: int, depth: int = 8, extra: bytes = b"") -> Write:
    """Write a PNG of one colour."""

    def write(folder: Path) -> None:
        row = 1 + width * {0: 1, 2: 3, 6: 4}[mode] * depth // 8
        packer = zlib.compressobj(9)
        lines = max(1, MIB // row)
        packed = b"".join(
            packer.compress(bytes(row * min(lines, height - start)))
            for start in range(0, height, lines)
        )
        head = struct.pack(">2I5B", width, height, depth, mode, 0, 0, 0)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "a.png").write_bytes(
            b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra
            + chunk(b"IDAT", packed + packer.flush()) + chunk(b"IEND", b"")
        )  # fmt: skip

    return write


def chunk(kind: bytes, value: bytes) -> bytes:
    """Write one chunk of a PNG."""
    return (
        struct.pack(">I", len(value)) + kind + value + struct.pack(">I", zlib.crc32(kind + value))
    )


def picture(name: str, side: int, pages: int = 1, mode: str = "L", **options: object) -> Write:
    """Have Pillow write a picture of one colour."""

    def write(folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        page = Image.new(mode, (side, side))
        more = {"save_all": True, "append_images": [page] * (pages - 1)} if pages > 1 else {}
        page.save(folder / name, **more, **options)

    return write


def many_scans(folder: Path) -> None:
    """Repeat the last scan of a progressive JPEG: each goes over the whole picture again."""
    out = io.BytesIO()
    Image.new("L", (4000, 4000)).save(out, "JPEG", progressive=True)
    stream = out.getvalue()
    last = stream.rindex(b"\xff\xda")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "a.jpg").write_bytes(stream[:last] + stream[last:-2] * 300 + b"\xff\xd9")


def pages_in_a_ring(folder: Path) -> None:
    """Let the only page of a TIFF be its own next."""
    picture("a.tif", 32)(folder)
    path = folder / "a.tif"
    content = bytearray(path.read_bytes())
    place = int(struct.unpack_from("<I", content, 4)[0])
    count = int(struct.unpack_from("<H", content, place)[0])
    struct.pack_into("<I", content, place + 2 + 12 * count, place)
    path.write_bytes(content)


def text_volume(name: str, head: str, zeros: int = 0) -> Write:
    """Write a header in words, and packed zeros behind it."""

    def write(folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        packed = zlib.compress(b"") if not zeros else b""
        if zeros:
            packed = gzipped(b"", zeros) if "nrrd" in name else zlib_of(zeros)
        (folder / name).write_bytes(head.encode() + packed)

    return write


def zlib_of(zeros: int) -> bytes:
    """Pack zeros as zlib does, check sum included."""
    check, chunk = 1, bytes(MIB)
    for _ in range(zeros // MIB):
        check = zlib.adler32(chunk, check)
    return b"\x78\xda" + deflated(chunk, zeros // MIB) + struct.pack(">I", check)


def zipped(members: int, mib: int) -> Write:
    """Write a ZIP of zeros."""

    def write(folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as file:
            for number in range(members):
                with file.open(f"{number}.dcm", "w", force_zip64=True) as one:
                    for _ in range(mib):
                        one.write(bytes(MIB))

    return write


def tarred(folder: Path) -> None:
    """Write a packed tar of very many empty files."""
    folder.mkdir(parents=True, exist_ok=True)
    one = tarfile.TarInfo("a.dcm").tobuf()
    (folder / "a.tar.gz").write_bytes(gzip.compress(one * 120_000, 6))


def mha(shape: str, zeros: int) -> Write:
    """Write a packed MetaImage."""
    head = (
        f"ObjectType = Image\nNDims = 3\nDimSize = {shape}\nElementType = MET_UCHAR\n"
        "CompressedData = True\nElementDataFile = LOCAL\n"
    )
    return text_volume("a.mha", head, zeros)


def nrrd(shape: str, zeros: int) -> Write:
    """Write a packed NRRD."""
    head = f"NRRD0004\ntype: uchar\ndimension: 3\nsizes: {shape}\nencoding: gzip\n\n"
    return text_volume("a.nrrd", head, zeros)


rle, ls = partial(encoded, RLELossless), partial(encoded, JPEGLSLossless)
j2000 = partial(encoded, JPEG2000Lossless)

BOMBS: dict[str, Write] = {
    # sizes that are claimed
    "plain 60000 x 60000": claim(**size(60000)),
    "plain 20000 x 20000 of 64 bits": claim(**size(20000), BitsAllocated=64),
    "plain 2**31 - 1 frames": claim(NumberOfFrames=2147483647),
    "plain 20000 frames": claim(NumberOfFrames=20000),
    "plain -1 frames": claim(NumberOfFrames=-1),
    "plain no frames": claim(NumberOfFrames=0),
    "plain 255 samples": claim(SamplesPerPixel=255),
    "plain no rows": claim(Rows=0),
    "RLE 65535 x 65535": rle(lambda: [run_length(128000)], **size(65535)),
    "RLE 20000 x 20000": rle(lambda: [run_length(400_000_000)], **size(20000)),
    "RLE 16384 x 16384 of 16 bits": rle(lambda: [run_length(16384**2, 2)], bits=16, **size(16384)),
    "RLE 9000 x 9000 of 16 bits": rle(lambda: [run_length(9000**2, 2)], bits=16, **size(9000)),
    "RLE 8000 x 8000 colours": rle(lambda: [run_length(8000**2, 3)], **size(8000, samples=3)),
    "RLE 4000 frames": rle(lambda: [run_length(512**2)] * 4000, **size(512, 4000)),
    "RLE 900 deep frames": rle(lambda: [run_length(512**2, 2)] * 900, bits=16, **size(512, 900)),
    "RLE 2**31 - 1 frames": rle(lambda: [run_length(4096)], **size(64, 2147483647)),
    "RLE 20000 frames of one": rle(lambda: [run_length(4096)], **size(64, 20000)),
    "J2K stream of 60000 in 64": j2000(lambda: [j2k(60000)], **size(64)),
    "J2K 60000 x 60000": j2000(lambda: [j2k(60000)], **size(60000)),
    "J2K 20000 x 20000": j2000(lambda: [j2k(20000)], **size(20000)),
    "J2K 9000 x 9000": j2000(lambda: [j2k(9000)], **size(9000)),
    "J2K in tiles of one pixel": j2000(lambda: [j2k(5000, tile=1)], **size(5000)),
    "J2K of 5000 components": j2000(lambda: [j2k(2000, components=5000)], **size(2000)),
    "J2K of 32 levels": j2000(lambda: [j2k(64, levels=32)], **size(64)),
    "HTJ2K 20000 x 20000": encoded(HTJ2KLossless, lambda: [j2k(20000)], **size(20000)),
    "JPEG-LS 65535 x 65535": ls(lambda: [jpeg(65535, 0xF7)], **size(65535)),
    "JPEG-LS 9000 x 9000": ls(lambda: [jpeg(9000, 0xF7)], **size(9000)),
    "JPEG 65500 x 65500": encoded(JPEGBaseline8Bit, lambda: [jpeg(65500, 0xC0)], **size(65500)),
    "JPEG 9000 x 9000": encoded(JPEGBaseline8Bit, lambda: [jpeg(9000, 0xC0)], **size(9000)),
    "JPEG lossless 20000": encoded(JPEGLosslessSV1, lambda: [jpeg(20000, 0xC3)], **size(20000)),
    "JPEG lossless 9000": encoded(JPEGLosslessSV1, lambda: [jpeg(9000, 0xC3)], **size(9000)),
    "a million fragments": fragments(1_000_000),
    "a table of 5 million offsets": offsets(5_000_000),
    "a palette that repeats itself": slice_with(palette),
    # what is inflated
    "deflated element of 1 GiB": deflated_slice(
        lambda: deflated(struct.pack("<HH2sHI", 0x7FE1, 0x1010, b"OB", 0, 1 << 30), 1)[:-2]
        + deflated(bytes(MIB), 1024)
    ),
    "deflated zeros of 512 MiB": deflated_slice(lambda: deflated(bytes(MIB), 512)),
    "deflated zeros before the pixels": deflated_slice(
        lambda: deflated(bytes(MIB), 200), keep_pixels=False
    ),
    "deflated names of 300 MiB": deflated_slice(
        lambda: deflated(element(b"\x11\0\x10\x10", b"LO", b"A\\" * 30000), 5000), keep_pixels=False
    ),
    # what is parsed
    "nested 300": before(ROWS, lambda: nested(300)),
    "nested 3000": before(ROWS, lambda: nested(3000)),
    "nested 20000": before(ROWS, lambda: nested(20000)),
    "nested 20000, never closed": before(ROWS, lambda: nested(20000, close=False)),
    "nested 20000 in what nobody wants": before(ROWS, lambda: nested(20000, UNWANTED)),
    "nested 2000 by length": before(ROWS, lambda: nested_by_length(2000)),
    "two million elements": before(ROWS, lambda: private(2_000_000)),
    "zeros of 64 MiB before the pixels": before(PIXELS, lambda: bytes(64 * MIB)),
    "zeros of 64 MiB after the pixels": raw(lambda content: content + bytes(64 * MIB)),
    "zeros of 64 MiB and nothing else": raw(lambda content: content[:132] + bytes(64 * MIB)),
    "a million items": before(ROWS, lambda: items(1_000_000, PER_FRAME)),
    "two million items that nobody wants": before(ROWS, lambda: items(2_000_000, UNWANTED)),
    "fifty million values": before(
        ROWS, lambda: element(b"\x18\0\x30\x10", b"UN", b"1\\" * 50_000_000)
    ),
    "a tag of image types of 40 MB": before(
        ROWS, lambda: element(b"\x08\0\x08\0", b"UT", b"A\\" * 20_000_000)
    ),
    "window centres of 30 MB": before(
        ROWS, lambda: element(b"\x28\0\x50\x10", b"UN", b"1\\" * 15_000_000)
    ),
    "an element that claims 4 GiB": before(ROWS, lambda: b"\x11\0\x10\x10OB\0\0\xfe\xff\xff\xff"),
    "an element without end": before(
        ROWS, lambda: b"\x11\0\x10\x10OB\0\0\xff\xff\xff\xff" + bytes(64 * MIB)
    ),
    "meta information of 4 GiB": raw(lambda c: c[:140] + b"\xff\xff\xff\xf0" + c[144:]),
    "meta information of 40 MB": raw(
        lambda c: c[:144] + (b"\x02\0\0\x01UI\xfe\xff" + b"1" * 0xFFFE) * 600 + c[144:]
    ),
    # what is planned
    "1000 frames of 1000 orientations": odd_planes(1000),
    "4000 frames of 4000 orientations": odd_planes(4000),
    "1000 frames of 1000 spacings": odd_planes(1000, spacing=True),
    "400 files of 400 orientations": odd_files,
    # NIfTI
    "NIfTI 1000 x 1000 x 1000": nifti((1000, 1000, 1000)),
    "NIfTI 1000 x 1000 x 500 of 16 bits": nifti((1000, 1000, 500), kind=4),
    "NIfTI 600 x 600 x 600": nifti((600, 600, 600)),
    "NIfTI 32767 x 32767 x 32767": nifti((32767, 32767, 32767), size=MIB),
    "NIfTI of 64 volumes": nifti((500, 500, 400, 64), size=1000 * MIB),
    "NIfTI that begins after 1 GiB": nifti((64, 64, 64), size=1100 * MIB, offset=float(1 << 30)),
    "NIfTI that begins nowhere": nifti((64, 64, 64), offset=float("nan")),
    "NIfTI of negative size": nifti((-64, 64, 64)),
    "NIfTI of a million extensions": nifti((64, 64, 64), extensions=1_000_000, packed=False),
    "NIfTI of packed extensions": nifti((64, 64, 64), extensions=2_000_000),
    # pictures
    "PNG of 88 million colours": png(9400, 9400, mode=2),
    "PNG of 88 million colours with alpha": png(9400, 9400, mode=6),
    "PNG of 88 million deep greys": png(9400, 9400, mode=0, depth=16),
    "PNG of one line": png(80_000_000, 1, mode=0),
    "PNG of 400 million greys": png(20000, 20000, mode=0),
    "PNG with a profile of 1 GiB": png(
        64, 64, mode=0, extra=chunk(b"iCCP", b"a\0\0" + b"\x78\xda" + deflated(bytes(MIB), 1024))
    ),
    "PNG with words of 1 GiB": png(
        64, 64, mode=0, extra=chunk(b"zTXt", b"a\0\0" + b"\x78\xda" + deflated(bytes(MIB), 1024))
    ),
    "TIFF 9000 x 9000": picture("a.tif", 9000, compression="tiff_deflate"),
    "TIFF of 100 pages": picture("a.tif", 3000, 100, compression="tiff_deflate"),
    "TIFF of 1000 pages": picture("a.tif", 2, 1000),
    "TIFF whose page is its own next": pages_in_a_ring,
    "JPEG of 300 scans": many_scans,
    "JPEG 2000 of 9000 x 9000": picture("a.jp2", 9000),
    "WebP of 9000 x 9000": picture("a.webp", 9000),
    "GIF of two pictures of 3000 x 3000": picture("a.gif", 3000, 2),
    # other volumes, archives
    "MHA 1000 x 1000 x 1000": mha("1000 1000 1000", 1000 * MIB),
    "MHA 100000 x 100000 x 100000": mha("100000 100000 100000", MIB),
    "NRRD 1000 x 1000 x 1000": nrrd("1000 1000 1000", 1000 * MIB),
    "NRRD 100000 x 100000 x 100000": nrrd("100000 100000 100000", MIB),
    "ZIP of 1 GiB": zipped(1, 1024),
    "ZIP of 60000 files": zipped(60000, 0),
    "tar of 120000 files": tarred,
}  # fmt: skip
