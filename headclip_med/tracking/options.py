"""Where runs are recorded, and names and values as a tracker takes them, no machine betrayed."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath
from urllib.parse import urlsplit

from headclip_med.errors import InvalidSettings
from headclip_med.settings import Settings, checked, require

DEFAULT_URI = "sqlite:///mlflow.db"
"""A file in the current folder, which needs no server."""

URI_VARIABLE = "MLFLOW_TRACKING_URI"
"""MLflow's own; an address that is named to a command goes before it."""

REGISTERED = "models:/"
"""How the name of a registered model begins."""

_LONGEST_RUN_NAME = 200
"""A number, and the names of runs below it, come behind."""

_SQLITE = "sqlite:///"
_RUN_NAME = re.compile(r"[\w.+:=,%-][\w .+:=,%-]*")
_MODEL_NAME = re.compile(r"[\w.-][\w .-]*")

BLANKED = "<path>"

LONGEST_NAME = 250
"""Characters of any name that MLflow takes."""

LONGEST_VALUE = 5000
"""Characters of a parameter or tag; MLflow takes 6000."""

_NOT_IN_NAMES = re.compile(r"[^\w./: -]")
_PATH = re.compile(
    r"(?P<before>^|[\s:='\"(\[,])(?!(?<=:)//)(?:file:)?(?:~|[A-Za-z]:[\\/]|/|\\\\).*", re.DOTALL
)


@checked
class TrackingOptions(Settings):
    """How a run shall be recorded."""

    uri: str | None = None
    """Of the tracker: ``sqlite:///FILE``, ``http://HOST:PORT`` or another that MLflow takes; by
    default what ``MLFLOW_TRACKING_URI`` says, else ``sqlite:///mlflow.db``."""
    run_name: str | None = None
    """What the run is called; by default its kind and the time. A name that its experiment has
    already gets a number."""
    is_on: bool = True
    """Whether it is recorded at all."""

    def __post_init__(self) -> None:
        """Check what MLflow's search would break at."""
        require(
            self.run_name is None or bool(_RUN_NAME.fullmatch(self.run_name)),
            "A run's name is made of letters, digits, spaces and . + : = , % _ -.",
            "Choose another --run-name.",
        )
        require(
            len(self.run_name or "") <= _LONGEST_RUN_NAME,
            f"A run's name has at most {_LONGEST_RUN_NAME} characters.",
            "Choose another --run-name.",
        )

    @property
    def resolved_uri(self) -> str:
        """The tracker's address, from the option, the environment, or by default.

        Raises:
            InvalidSettings: It is a folder, which MLflow no longer writes to.
        """
        uri = self.uri or os.environ.get(URI_VARIABLE) or DEFAULT_URI
        if uri.startswith(_SQLITE) or urlsplit(uri).scheme not in ("", "file", "sqlite"):
            return uri
        raise InvalidSettings(
            "The tracker's address must be a database or a server, such as sqlite:///mlflow.db "
            "or http://localhost:5000.",
            "MLflow no longer records into plain folders.",
            code="tracking-uri",
        )

    @property
    def database(self) -> Path | None:
        """The file of an SQLite address; None for servers and other databases."""
        uri = self.resolved_uri
        if not uri.startswith(_SQLITE):
            return None
        return Path(uri.removeprefix(_SQLITE).partition("?")[0]).absolute()


def check_model_name(name: str) -> str:
    """Refuse what no registered model can be called, before anything is trained.

    Raises:
        InvalidSettings: It holds what separates names from versions.
    """
    if not _MODEL_NAME.fullmatch(name) or not name.strip(".") or len(name) > LONGEST_NAME:
        raise InvalidSettings(
            "A registered model's name is made of letters, digits, spaces and . _ -, no dots alone "
            f"and at most {LONGEST_NAME} characters.",
            "Choose another.",
            code="model-name",
        )
    return name


def to_name(name: str) -> str:
    """Replace what MLflow takes in no name: brackets, steps up a path, more than its length.

    Of names that are too long the end is kept, where the metric stands, and all of it in a digest.
    """
    parts = (_NOT_IN_NAMES.sub("_", part).strip() for part in name.split("/"))
    found = "/".join(part if part.strip(".") else "_" * max(1, len(part)) for part in parts)
    if len(found) <= LONGEST_NAME:
        return found
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{digest}_{found[9 - LONGEST_NAME :].lstrip('/')}"


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
