"""Where runs are recorded, and under what name."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from headclip_med.errors import InvalidSettings
from headclip_med.settings import Settings, checked, require

DEFAULT_URI = "sqlite:///mlflow.db"
"""A file in the current folder, which needs no server."""

URI_VARIABLE = "MLFLOW_TRACKING_URI"
"""MLflow's own; an address that is named to a command goes before it."""

REGISTERED = "models:/"
"""How the name of a registered model begins."""

_SQLITE = "sqlite:///"
_RUN_NAME = re.compile(r"[\w.+:=,%-][\w .+:=,%-]*")
_MODEL_NAME = re.compile(r"[\w.-][\w .-]*")


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


def database_of(uri: str) -> Path | None:
    """Give the file of an SQLite address; None for servers and other databases."""
    if not uri.startswith(_SQLITE):
        return None
    return Path(uri.removeprefix(_SQLITE).partition("?")[0]).absolute()


def check_model_name(name: str) -> str:
    """Refuse what no registered model can be called, before anything is trained.

    Raises:
        InvalidSettings: It holds what separates names from versions.
    """
    if not _MODEL_NAME.fullmatch(name):
        raise InvalidSettings(
            "A registered model's name is made of letters, digits, spaces and . _ -.",
            "Choose another.",
            code="model-name",
        )
    return name
