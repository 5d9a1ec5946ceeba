"""What the core does without: libraries that an extra of the package installs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from headclip_med.errors import HeadClipError

EXTRAS = {
    "filelock": "tracking",
    "fire": "bundle",
    "ignite": "train",
    "jsonschema": "bundle",
    "mlflow": "tracking",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "onnxscript": "onnx",
    "pandas": "train",
    "sqlalchemy": "tracking",
}
"""The extra that installs a library, by the library's module."""


class MissingExtra(HeadClipError):
    """A library that only an extra of the package installs, and that is not there."""

    default_code = "missing-extra"


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
