"""Names and values in the form that a tracker takes, with nothing that betrays a machine."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import PurePath

BLANKED = "<path>"

LONGEST_VALUE = 5000
"""Characters of a parameter or tag; MLflow takes 6000."""

_NOT_IN_NAMES = re.compile(r"[^\w./: -]")
_PATH = re.compile(
    r"(?P<before>^|[\s:='\"(\[,])(?!(?<=:)//)(?:file:)?(?:~|[A-Za-z]:[\\/]|/|\\\\).*", re.DOTALL
)


def to_name(name: str) -> str:
    """Replace what MLflow takes in no name, such as brackets."""
    return "/".join(_NOT_IN_NAMES.sub("_", part).strip() or "_" for part in name.split("/"))


def to_text(value: object) -> str:
    """Write a value in one line; from an absolute path on, nothing of it is kept."""
    if isinstance(value, PurePath):
        return BLANKED
    text = value if isinstance(value, str) else json.dumps(value, default=_plain)
    return without_paths(text)[:LONGEST_VALUE]


def without_paths(text: str) -> str:
    """Cut a text at the first absolute path: a folder's name may be a patient's or a user's."""
    return _PATH.sub(lambda found: found["before"] + BLANKED, text, count=1)


def flattened(values: Mapping[str, object], *, before: str = "") -> Iterator[tuple[str, str]]:
    """Give nested values as pairs of ``outer.inner`` and a line of text."""
    for key, value in values.items():
        name = f"{before}{key}"
        if isinstance(value, Mapping) and value:
            yield from flattened(value, before=f"{name}.")
        else:
            yield to_name(name), to_text(value)


def _plain(value: object) -> object:
    if isinstance(value, PurePath):
        return BLANKED
    return list(value) if isinstance(value, (tuple, set, frozenset)) else str(value)
