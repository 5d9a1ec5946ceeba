"""What kind of file this is, by its first bytes and the end of its name; nothing is decoded."""

from __future__ import annotations

import re
import tomllib
from codecs import getincrementaldecoder
from functools import cache
from importlib.resources import files
from mimetypes import MimeTypes
from typing import Any, Literal, cast, get_args

from headclip_med.errors import UnreadableInput
from headclip_med.volume import Origin

Kind = Origin | Literal["archive", "dicom-index"]

START_BYTES = 512
"""So much is needed to tell: the mark of a tar archive ends at 262, that of NIfTI at 348."""

SYSTEM_FILES = frozenset({"thumbs.db", "desktop.ini", "autorun.inf", "ehthumbs.db"})

WORDS = {
    "document": "a document or a table",
    "program": "a program or a part of one",
    "sound": "a recording of sound",
    "text-file": "text",
}
"""What holds no image, by code."""

_READ = {*get_args(Origin), "archive"}
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
    if name.lower() == "dicomdir":
        return "dicom-index"
    found = _format(name, start)["is"]
    return cast(Kind, found) if found in _READ else None


def refusal_of(name: str, start: bytes, *, is_named: bool) -> UnreadableInput:
    """Say what a file without a reader is.

    Args:
        name: Of the file, without folder.
        start: Its first ``START_BYTES``.
        is_named: Whether the user asked for this very file: then it is a mistake, whatever it is.
    """
    found = _format(name, start)
    code = found["is"]
    if code == "unread":
        return UnreadableInput(
            f"The file is an image, or an archive, in a format that is not read ({found['name']}).",
            "Convert it to DICOM, NIfTI, NRRD or PNG, or unpack it.",
            code="unread-format",
        )
    if code in WORDS and not is_named:
        return UnreadableInput(
            f"The file is no image ({WORDS[code]}).", "Nothing needs to be done.", code=code
        )
    what = f"no image ({WORDS[code]})" if code in WORDS else "in no format that is known"
    return UnreadableInput(
        f"The file is {what}, so there is nothing to screen.",
        "Convert it to DICOM, NIfTI, NRRD or PNG if it holds an image, or leave it out.",
        code="unknown-format",
    )


def label_map() -> UnreadableInput:
    """Refuse a file that declares its values to be labels."""
    return UnreadableInput(
        "The file says that its values are labels (a mask or a segmentation), so it is no image to "
        "screen.",
        "Nothing needs to be done.",
        code="label-map",
    )


def _format(name: str, start: bytes) -> dict[str, Any]:
    """Find the first format that fits; what none does is told by letters and by its kind."""
    lower, text = name.lower(), start.decode("latin-1")
    for begins, ends, one in _formats():
        if begins.match(text) or lower.endswith(ends):
            return one
    mime = _NAMES.guess_type(lower)[0] or ""
    family = "" if mime == "application/octet-stream" else mime.partition("/")[0]
    if family in ("image", "video"):
        return {"is": "unread", "name": f"another kind of {family}"}
    if _is_text(start):
        return {"is": "text-file"}
    return {"is": {"audio": "sound", "application": "document", "font": "document"}.get(family)}


@cache
def _formats() -> list[tuple[re.Pattern[str], tuple[str, ...], dict[str, Any]]]:
    found = tomllib.loads((files(__package__) / "formats.toml").read_text("utf-8"))["format"]
    never = ["(?!)"]
    return [
        (re.compile("|".join(one.get("begins", never)), re.DOTALL), tuple(one.get("ends", ())), one)
        for one in found
    ]


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
