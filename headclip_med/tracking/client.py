"""A client of MLflow that keeps quiet, calls nobody but its tracker, and fails in a sentence."""

from __future__ import annotations

import logging
import os
import platform
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib import metadata
from pathlib import Path

from mlflow import MlflowClient, MlflowException
from sqlalchemy.exc import SQLAlchemyError

import headclip_med
from headclip_med.errors import UnusableTracker
from headclip_med.tracking.options import TrackingOptions

FAILURES = (MlflowException, SQLAlchemyError, OSError)
"""What a tracker raises; what goes wrong while a database is opened, MLflow passes on as it is."""

_LIBRARIES = ("torch", "torchvision", "monai", "open_clip_torch", "numpy", "mlflow")


def connect(options: TrackingOptions, *, to_record: bool = True) -> MlflowClient:
    """Open a tracker.

    Args:
        options: Where it is.
        to_record: Whether an SQLite file that is not there yet is made.

    Raises:
        UnusableTracker: It cannot be reached, or is not there.
    """
    uri, database = options.resolved_uri, options.database
    if database is not None and not to_record and not database.is_file():
        raise UnusableTracker(
            "There is no tracking database here to look the model up in.",
            "Name the tracker with --tracking-uri or in MLFLOW_TRACKING_URI.",
            code="no-tracking-database",
        )
    if database is not None:
        _prepare(database.parent)
    for chatty in ("mlflow", "alembic"):  # "Creating initial MLflow database tables..."
        logging.getLogger(chatty).setLevel(logging.ERROR)
    # Everything goes through this client: MLflow's global address is never set, which would
    # change where the user's own runs go.
    with quietly(), saying("cannot be opened"):
        return MlflowClient(tracking_uri=uri, registry_uri=uri)


@contextmanager
def quietly() -> Iterator[None]:
    """Keep warnings away that MLflow causes in libraries below it, or that ask for examples."""
    with warnings.catch_warnings():
        for message in (
            "The ``noload`` loader strategy",  # its own tables, under SQLAlchemy 2.1
            r".*Any type hint is inferred",  # importing its pyfunc
            r".*An input example was not provided",  # it would be a picture of somebody
        ):
            warnings.filterwarnings("ignore", message=message)
        yield


@contextmanager
def saying(what: str) -> Iterator[None]:
    """Turn MLflow's errors into one of ours.

    Args:
        what: Is wrong with the tracker, as "cannot be opened".

    Raises:
        UnusableTracker: MLflow raised.
    """
    try:
        yield
    except FAILURES as error:
        raise UnusableTracker(
            f"The tracker {what} ({_short(error)}).",
            "Name another with --tracking-uri, or record nothing with --no-tracking.",
        ) from error


def _short(error: Exception) -> str:
    """Name an error; MLflow's messages quote addresses, which may hold passwords."""
    code = getattr(error, "error_code", None)
    return str(code) if code else type(error).__name__


def _prepare(folder: Path) -> None:
    """Make sure of the folder first: MLflow would try a dozen times before it gives up."""
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise UnusableTracker(
            "The folder of the tracker's database cannot be made, or may not be written to.",
            "Name another with --tracking-uri, or record nothing with --no-tracking.",
        )


@cache
def environment() -> dict[str, str]:
    """Name the versions that results depend on; nothing that tells whose machine it is."""
    found = {
        "version.headclip_med": headclip_med.__version__,
        "version.python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
    }
    for library in _LIBRARIES:
        try:
            found[f"version.{library}"] = metadata.version(library)
        except metadata.PackageNotFoundError:
            continue
    return found


@cache
def revision(package: Path = Path(headclip_med.__file__)) -> str | None:
    """Name the commit that this package's checkout is at, ``+changed`` where files differ from it.

    Args:
        package: A file of the package.

    Returns:
        None where the package is installed rather than checked out, or there is no git.
    """
    try:
        # A virtual environment may lie inside somebody else's repository.
        _git(package, "ls-files", "--error-unmatch", package.name)
        commit = _git(package, "rev-parse", "HEAD")
        changed = _git(package, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{commit}+changed" if changed else commit


def _git(package: Path, *arguments: str) -> str:
    done = subprocess.run(  # noqa: S603 - fixed words
        ["git", "-C", str(package.parent), *arguments],  # noqa: S607 - git from PATH, as users do
        capture_output=True, text=True, check=True, timeout=10,
    )  # fmt: skip
    return done.stdout.strip()
