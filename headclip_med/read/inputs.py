"""What was found to be read, and what could not be used: the answer of ``find_inputs``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from headclip_med.errors import HeadClipError, UnreadableInput, UnusableGeometry
from headclip_med.volume import Origin, Volume

Status = Literal["failed", "left-out", "repeat"]
"""Why a file is not used: it cannot be, there is nothing to screen, another is its equal."""

LEFT_OUT_CODES = frozenset({"not-an-image", "own-result", "localizer"})
"""Left out on purpose: nothing is wrong with these files, there is just nothing to screen."""

GEOMETRY_CODES = frozenset({"duplicate-positions"})


@dataclass(frozen=True)
class Failure:
    """A file or folder that was found and not used.

    Attributes:
        path: The file or folder; never part of the texts.
        code: A short stable name, as on errors.
        reason: What was found, and why it is not used.
        advice: What to do.
        repeats: The file with the same content that is used instead, where there is one.
    """

    path: Path = field(repr=False)
    code: str
    reason: str
    advice: str
    repeats: Path | None = field(default=None, repr=False)

    @classmethod
    def of(cls, path: Path, error: HeadClipError, *, repeats: Path | None = None) -> Failure:
        """Record an error that belongs to one path."""
        return cls(path, error.code, error.reason, error.advice, repeats)

    @property
    def status(self) -> Status:
        """Whether it should have been used, and if not, why."""
        if self.repeats is not None:
            return "repeat"
        return "left-out" if self.code in LEFT_OUT_CODES else "failed"

    @property
    def is_error(self) -> bool:
        """Whether it should have been used: a report among the images should not, for one."""
        return self.status == "failed"

    def to_error(self) -> HeadClipError:
        """Make the exception that says the same."""
        kind = UnusableGeometry if self.code in GEOMETRY_CODES else UnreadableInput
        return kind(self.reason, self.advice, code=self.code)


@dataclass(frozen=True)
class Input:
    """One volume that can be read; so far only its headers were.

    Attributes:
        kind: The kind of file.
        slices: How many slices it will have.
        paths: The files it comes from, in slice order, each once.
        modality: DICOM only.
        study_instance_uid: DICOM only, where valid.
        series_instance_uid: DICOM only, where valid.
        part: Which volume of its series (or time point of its file) this is, from 1.
        reader: Reads it; call ``read`` instead.
    """

    kind: Origin
    slices: int
    paths: tuple[Path, ...] = field(repr=False)
    reader: Callable[[], Volume] = field(repr=False, compare=False)
    modality: str | None = None
    study_instance_uid: str | None = None
    series_instance_uid: str | None = None
    part: int = 1

    def read(self) -> Volume:
        """Read the voxels.

        Raises:
            UnreadableInput: The pixel data is damaged, missing, or claims more than the limits.
        """
        return self.reader()


@dataclass(frozen=True)
class Inputs:
    """Everything below some paths: each file found is among the paths of inputs, or a failure.

    Attributes:
        readable: DICOM by study, series and part, then NIfTI, then images, these by path.
        failures: What was found and is not used, one for each file, by path.
    """

    readable: tuple[Input, ...]
    failures: tuple[Failure, ...]
