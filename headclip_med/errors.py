"""Every error this library raises on purpose: a code for machines, a sentence for people.

An error has two texts, full sentences both: ``reason`` says what was found and why it cannot be
used, ``advice`` what to do. Neither ever embeds a value read from a patient's file. Texts are for
people only: programs tell errors apart by class and ``code``.

    HeadClipError
    ├── UnreadableInput     no image, a broken file, a folder without permission
    ├── UnusableGeometry    slices that form no stack
    ├── UnusableWeights     a missing, truncated or mismatched model file
    ├── InvalidSettings     an option outside its range, an unknown name
    ├── UnusableTracker     a tracker of runs that cannot be reached, or refuses
    ├── UnwritableOutput    results that the disk does not take
    ├── OutOfMemory         a batch too large for the device
    └── MissingExtra        a library that an extra of the package installs
"""

import difflib
import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

_log = logging.getLogger(__name__)

MOST_GUESSES = 3
"""Names that are offered for one that is nearly right."""

EXTRAS = {
    "dicomweb_client": "service",
    "filelock": "tracking",
    "fire": "bundle",
    "ignite": "train",
    "ipyniivue": "viewer",
    "jsonschema": "bundle",
    "mlflow": "tracking",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "onnxscript": "onnx",
    "pandas": "train",
    "prometheus_client": "service",
    "psycopg": "postgres",
    "pynetdicom": "service",
    "ray": "ray",
    "requests": "service",
    "starlette": "service",
    "uvicorn": "service",
}
"""The extra that installs a library, by the library's module."""


class HeadClipError(Exception):
    """The root of every error raised on purpose.

    Attributes:
        reason: What was found, and why it cannot be used: one sentence or more.
        advice: What to do about it; empty where nothing can be done.
        code: A short stable name for reports, for example ``"zero-byte-file"``.
    """

    def __init__(self, reason: str, advice: str = "", *, code: str | None = None) -> None:
        super().__init__(reason, advice)
        self.reason = reason
        self.advice = advice
        self.code = code or self.default_code

    def __str__(self) -> str:
        """Say both, the reason first."""
        return f"{self.reason} {self.advice}".strip()

    default_code = "failed"


class UnreadableInput(HeadClipError):
    """An input that holds no readable image."""

    default_code = "unreadable-input"


class UnusableGeometry(HeadClipError):
    """Slices whose positions do not form a stack that can be worked on."""

    default_code = "unusable-geometry"


class UnusableWeights(HeadClipError):
    """A model file that is missing, damaged, or made for something else."""

    default_code = "unusable-weights"


class InvalidSettings(HeadClipError):
    """An option that is unknown or outside its range.

    Attributes:
        field: Of the settings, which refuses its value; None where it is not one alone.
    """

    field: str | None = None
    default_code = "invalid-settings"


class UnusableTracker(HeadClipError):
    """A tracker of runs, or a registry of models, that cannot be reached or refuses."""

    default_code = "unusable-tracker"


class UnwritableOutput(HeadClipError):
    """Results that cannot be written: a full disk, no permission, a file where a folder belongs."""

    default_code = "unwritable-output"


class OutOfMemory(HeadClipError):
    """The device ran out of memory."""

    default_code = "out-of-memory"


class MissingExtra(HeadClipError):
    """A library that only an extra of the package installs, and that is not there."""

    default_code = "missing-extra"


def own_error(error: Exception) -> HeadClipError:
    """Give the error to report: ours as it is, of others the kind only."""
    if isinstance(error, HeadClipError):
        return error
    # Its text may quote a file.
    kind = type(error).__name__
    _log.debug("unexpected %s", kind)
    return UnreadableInput(
        f"This input met a fault of this program ({kind}).",
        "Report it with the program's version and the kind of input.",
        code="unexpected",
    )


def nearest(name: str, known: Iterable[str]) -> str:
    """Ask whether one of the names was meant that are nearly the one given; empty where none is."""
    by_plain = {one.lower(): one for one in known}
    near = difflib.get_close_matches(name.lower(), by_plain, n=MOST_GUESSES)
    return f"Did you mean {' or '.join(by_plain[one] for one in near)}? " if near else ""


def reason_of(error: OSError) -> str:
    """Say why the system refused; its own text may hold the path of a patient's file."""
    return os.strerror(error.errno) if error.errno else type(error).__name__


@contextmanager
def named_extras(extra: str | None = None) -> Iterator[None]:
    """Say of a library that is missing which extra installs it.

    Args:
        extra: What installs all that the block imports; by default the library's own.

    Raises:
        MissingExtra: One was imported in the block.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library not in EXTRAS:
            raise
        raise MissingExtra(
            f"This needs {library}, which is not installed.",
            f"Install it with: pip install 'headclip-med[{extra or EXTRAS[library]}]'.",
        ) from error
