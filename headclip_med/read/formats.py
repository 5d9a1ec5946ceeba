"""What kind of file this is, by its first bytes and the end of its name; nothing is decoded."""

from __future__ import annotations

from codecs import getincrementaldecoder
from mimetypes import MimeTypes
from typing import Literal

from headclip_med.errors import UnreadableInput
from headclip_med.volume import Origin

Kind = Origin | Literal["archive", "dicom-index"]

START_BYTES = 512
"""So much is needed to tell: the mark of a tar archive ends at 262, that of NIfTI at 348."""

NIFTI_SUFFIXES = (
    *(f".{name}{packed}" for name in ("nii", "hdr", "img") for packed in ("", ".gz", ".bz2")),
    *(".mgz", ".mgh"),
)
"""NIfTI, Analyze and FreeSurfer's MGH: what nibabel looks at first."""

VOLUME_SUFFIXES = (".mha", ".mhd", ".nrrd", ".nhdr")
DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
IMAGE_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"),
    *(".gif", ".webp", ".jp2", ".j2k", ".jpx"),
)
IMAGE_STARTS = (
    *(b"\x89PNG", b"\xff\xd8\xff", b"BM", b"II*\0", b"MM\0*", b"GIF8"),
    *(b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51"),
)
ARCHIVE_STARTS = (b"PK\3\4", b"PK\5\6", b"\x1f\x8b", b"BZh")
ARCHIVE_SUFFIXES = (".zip", ".tar", ".tgz", ".tbz2", ".gz", ".bz2")
TAR_MARK = slice(257, 262)
# A data set without preamble begins with (0002,00xx) or (0008,00xx), in either byte order.
BARE_DICOM_GROUPS = (b"\x02\0", b"\x08\0", b"\0\x02", b"\0\x08")

SYSTEM_FILES = frozenset({"thumbs.db", "desktop.ini", "autorun.inf", "ehthumbs.db"})

UNREAD_STARTS = {
    b"\xff\xd8\xff\xf7": "JPEG-LS",
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"8BPS": "Photoshop",
    b"v/1\x01": "OpenEXR",
    b"\x89HDF": "HDF5 or MINC",
    b"CDF\x01": "NetCDF or MINC",
    b"CDF\x02": "NetCDF or MINC",
    b"MATLAB 5.0": "MATLAB",
    b"\x93NUMPY": "NumPy",
    b"# vtk DataFile": "VTK",
    b"<VTKFile": "VTK",
    b"!INTERFILE": "Interfile",
    b"MATRIX7": "ECAT",
    b"mrtrix image": "MRtrix",
    b"# === DATA DESCRIPTION": "Philips PAR/REC",
    b"7z\xbc\xaf\x27\x1c": "7-Zip",
    b"Rar!": "RAR",
    b"\x28\xb5\x2f\xfd": "Zstandard",
    b"\xfd7zXZ\0": "xz",
    b"\x1a\x45\xdf\xa3": "Matroska",
}
"""Formats of images, or of archives that may hold some, that are not read, by their first bytes."""

UNREAD_SUFFIXES = {
    (".mnc", ".mnc.gz"): "MINC",
    (".par", ".rec", ".xml.rec"): "Philips PAR/REC",
    (".brik", ".head", ".brik.gz"): "AFNI",
    (".mif", ".mif.gz", ".mih"): "MRtrix",
    (".vtk", ".vti"): "VTK",
    (".hv", ".h33", ".i33"): "Interfile",
    (".gipl", ".gipl.gz"): "GIPL",
    (".vmr", ".v16"): "BrainVoyager",
    (".h5", ".hdf5", ".hdf"): "HDF5",
    (".nc",): "NetCDF",
    (".npy", ".npz"): "NumPy",
    (".mat",): "MATLAB",
    (".czi", ".lif", ".nd2", ".lsm", ".oib", ".oir"): "microscope's",
    (".mrxs", ".ndpi", ".svs", ".scn", ".vsi"): "whole-slide",
    (".heic", ".heif", ".avif"): "HEIF or AVIF",
    (".jxl",): "JPEG XL",
    (".jls",): "JPEG-LS",
    (
        ".exr",
        ".psd",
        ".dds",
        ".tga",
        ".pcx",
        ".dng",
        ".nef",
        ".cr2",
        ".arw",
    ): "camera's or editor's",
    (".zst", ".xz", ".txz"): "Zstandard or xz",
    (".7z", ".rar", ".iso"): "7-Zip, RAR or ISO",
}
"""The same by the end of the name; a proprietary TIFF among them is no ordinary one."""

OTHER_STARTS = {
    b"%PDF": "document",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "document",
    b"SQLite format 3": "document",
    b"MZ": "program",
    b"\x7fELF": "program",
    b"\xca\xfe\xba\xbe": "program",
    b"MSCF": "program",
    b"ID3": "sound",
    b"OggS": "sound",
}
"""What holds no image, by its first bytes: the code says which."""

OTHER_SUFFIXES = {
    (".docx", ".xlsx", ".pptx", ".odt", ".ods", ".odp", ".epub", ".db", ".pdf"): "document",
    (".jar", ".apk", ".whl", ".exe", ".dll", ".so", ".pyc", ".class", ".msi"): "program",
}

_NAMES = MimeTypes()  # Python's own table, so that no computer knows more than another
_CONTROL = frozenset(range(32)) - {9, 10, 12, 13, 27}


def kind_of(name: str, start: bytes) -> Kind | None:
    """Tell the reader of a file.

    Args:
        name: Of the file, without folder.
        start: Its first ``START_BYTES``.

    Returns:
        None where there is none.
    """
    lower = name.lower()
    if lower == "dicomdir":
        return "dicom-index"
    if start[128:132] == b"DICM":
        return "dicom"
    if lower.endswith(NIFTI_SUFFIXES):
        return "nifti"
    if lower.endswith(VOLUME_SUFFIXES) or start.startswith(b"NRRD000"):
        return "volume"
    if _unread(lower, start) or _other(lower, start):
        return None
    if _is_archive(lower, start):
        return "archive"
    is_webp = start.startswith(b"RIFF") and start[8:12] == b"WEBP"
    if start.startswith(IMAGE_STARTS) or is_webp or lower.endswith(IMAGE_SUFFIXES):
        return "image"
    bare = start.startswith(BARE_DICOM_GROUPS) and 0 in start[2:4]
    return "dicom" if bare or lower.endswith(DICOM_SUFFIXES) else None


def refusal_of(name: str, start: bytes, *, is_named: bool) -> UnreadableInput:
    """Say what a file without a reader is.

    Args:
        name: Of the file, without folder.
        start: Its first ``START_BYTES``.
        is_named: Whether the user asked for this very file: then it is a mistake, whatever it is.
    """
    lower = name.lower()
    unread = _unread(lower, start)
    if unread is not None:
        return UnreadableInput(
            f"The file is an image, or an archive, in a format that is not read ({unread}).",
            "Convert it to DICOM, NIfTI, NRRD or PNG, or unpack it.",
            code="unread-format",
        )
    other = _other(lower, start)
    if other is not None and not is_named:
        return UnreadableInput(
            f"The file is no image ({_WORDS[other]}).", "Nothing needs to be done.", code=other
        )
    return UnreadableInput(
        "The file is in no format that is known, so there is nothing to screen."
        if other is None
        else f"The file is no image ({_WORDS[other]}), so there is nothing to screen.",
        "Convert it to DICOM, NIfTI, NRRD or PNG if it holds an image, or leave it out.",
        code="unknown-format",
    )


_WORDS = {
    "document": "a document or a table",
    "program": "a program or a part of one",
    "sound": "a recording of sound",
    "text-file": "text",
}


def _unread(lower: str, start: bytes) -> str | None:
    for begin, name in UNREAD_STARTS.items():
        if start.startswith(begin):
            return name
    for ends, name in UNREAD_SUFFIXES.items():
        if lower.endswith(ends):
            return name
    if start[4:8] == b"ftyp":
        return "HEIF, AVIF or a film"
    if start.startswith(b"RIFF") and start[8:12] == b"AVI ":
        return "a film"
    if start[344:348] in (b"n+1\0", b"ni1\0"):
        return "NIfTI under a name that does not end in .nii"
    major = _family(lower)
    if major in ("image", "video") and not lower.endswith(IMAGE_SUFFIXES):
        return "another kind of image" if major == "image" else "a film"
    return None


def _other(lower: str, start: bytes) -> str | None:
    for begin, code in OTHER_STARTS.items():
        if start.startswith(begin):
            return code
    for ends, code in OTHER_SUFFIXES.items():
        if lower.endswith(ends):
            return code
    if start.startswith(b"RIFF") and start[8:12] == b"WAVE":
        return "sound"
    if lower.endswith(DICOM_SUFFIXES + IMAGE_SUFFIXES) or _is_archive(lower, start):
        return None
    if _is_text(start):
        return "text-file"
    return {"audio": "sound", "application": "document", "font": "document"}.get(_family(lower))


def _is_archive(lower: str, start: bytes) -> bool:
    by_start = start.startswith(ARCHIVE_STARTS) or start[TAR_MARK] == b"ustar"
    return by_start or lower.endswith(ARCHIVE_SUFFIXES)


def _family(lower: str) -> str:
    kind, packed = _NAMES.guess_type(lower)
    return "" if packed or kind in (None, "application/octet-stream") else str(kind).split("/")[0]


def _is_text(start: bytes) -> bool:
    """Whether these are letters: UTF-8, an older set that is mostly ASCII, or UTF-16's mark."""
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        return b"\0" in start
    if not _CONTROL.isdisjoint(start):
        return False
    try:
        getincrementaldecoder("utf-8")().decode(start)  # the last letter may be cut
    except UnicodeDecodeError:
        return sum(byte < 128 for byte in start) >= 0.8 * len(start)
    return True
