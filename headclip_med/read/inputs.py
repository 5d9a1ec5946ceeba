"""What was found to be read, and what could not be used: the answer of ``find_inputs``."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Literal

from headclip_med.errors import HeadClipError, UnreadableInput, UnusableGeometry
from headclip_med.volume import Origin, Volume

Status = Literal["failed", "left-out", "repeat"]
"""Why a file is not used: it cannot be, there is nothing to screen, another is its equal."""

LEFT_OUT_CODES = frozenset(
    {
        *("not-an-image", "text-file", "document", "program", "sound"),
        *("hidden-file", "hidden-folder", "system-file", "dicom-index", "unpacked-archive"),
        *("own-result", "localizer", "label-map"),
    }
)
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
        rows: Of each slice, as the header says.
        columns: Likewise.
        reader: Reads it; call ``read`` instead.
        place: Where it was found, as ``Volume.place``.
    """

    kind: Origin
    slices: int
    paths: tuple[Path, ...] = field(repr=False)
    reader: Callable[[], Volume] = field(repr=False, compare=False)
    modality: str | None = None
    study_instance_uid: str | None = None
    series_instance_uid: str | None = None
    part: int = 1
    rows: int = 0
    columns: int = 0
    place: str = field(default="", repr=False)

    def read(self) -> Volume:
        """Read the voxels.

        Raises:
            UnreadableInput: The pixel data is damaged, missing, or claims more than the limits.
        """
        started = perf_counter()
        volume = self.reader()
        # Made once and never again: until it is handed out nobody has seen it.
        object.__setattr__(volume, "place", self.place)
        object.__setattr__(volume, "read_s", perf_counter() - started)
        return volume


@dataclass(frozen=True)
class Places:
    """How a file is called in results: as it lies below what the user gave.

    Attributes:
        base: The folder that holds all that was given; no part of a name.
        unpacked: The archive that was unpacked into each private folder.
    """

    base: Path = field(default=Path(), repr=False)
    unpacked: Mapping[Path, Path] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, given: Sequence[Path]) -> Places:
        """Find the folder that all that is given has in common."""
        whole = [os.path.abspath(path) for path in given]  # noqa: PTH100 - links stay links
        bases = [path if os.path.isdir(path) else os.path.dirname(path) for path in whole]  # noqa: PTH112, PTH120
        return cls(Path(os.path.commonpath(bases))) if bases else cls()

    def archive_of(self, path: Path) -> tuple[Path, Path] | None:
        """Find the archive that a file was unpacked from, and the member that it was there."""
        for folder in path.parents if self.unpacked else ():
            if folder in self.unpacked:
                return self.unpacked[folder], path.relative_to(folder)
        return None

    def place_of(self, path: Path) -> str:
        """Tell a file from all others, for as long as it stays where it is."""
        archive, member = self.archive_of(path) or (path, Path())
        return f"{os.path.abspath(archive)}/{member.as_posix()}"  # noqa: PTH100 - links stay links

    def name_of(self, path: Path) -> str:
        """Call a file ``folder/file``, or ``folder/archive.zip/folder/file``."""
        if (found := self.archive_of(path)) is not None:
            archive, member = found
            return f"{self.name_of(archive)}/{_legible(member.as_posix())}"
        return _legible(Path(os.path.relpath(path, self.base)).as_posix())


def _legible(name: str) -> str:
    """Spell out the bytes of a file's name that are no letters."""
    return name.encode("utf-8", "backslashreplace").decode()


@dataclass(frozen=True)
class Inputs:
    """Everything below some paths: each file found is among the paths of inputs, or a failure.

    Attributes:
        readable: DICOM by study, series and part, then NIfTI, then images, these by path.
        failures: What was found and is not used, one for each file, by path.
        places: How the files are called.
    """

    readable: tuple[Input, ...]
    failures: tuple[Failure, ...]
    places: Places = field(default_factory=Places, compare=False)

    @property
    def names(self) -> dict[Path, str]:
        """What each file found is called, in the order of these names."""
        paths = {path for one in self.readable for path in one.paths}
        paths |= {failure.path for failure in self.failures}
        named = {path: self.places.name_of(path) for path in paths}
        return dict(sorted(named.items(), key=lambda item: item[1]))
