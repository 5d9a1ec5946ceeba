"""What a run will do, file by file, before it does anything: no model, no pixels, no torch."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from headclip_med.errors import HeadClipError
from headclip_med.read import Failure, Input, Inputs
from headclip_med.volume import Volume
from headclip_med.write import FileRow


@dataclass(frozen=True)
class Job:
    """One volume to be screened.

    Attributes:
        name: What it is called in a summary; no patient values.
        read: Gives the volume, or raises why there is none.
        files: The files it is made of, as the summary calls them.
        key: A stable name of what it is, for a queue: a digest of identifiers and of the place.
        stamps: Of each file a digest of its name, its bytes and when it changed, in nanoseconds.
        origin: What the headers say of it; None where they cannot be read.
    """

    name: str
    read: Callable[[], Volume]
    files: tuple[str, ...] = ()
    key: str = ""
    stamps: tuple[tuple[str, int, int], ...] = ()
    origin: Input | None = None


@dataclass(frozen=True)
class Plan:
    """All that was found, and what will be made of it.

    Attributes:
        inputs: As ``find_inputs`` gives them.
        hide_names: Whether files are called by numbers, in the order of their names. The same plan
            without it is the key.
    """

    inputs: Inputs
    hide_names: bool = False

    @cached_property
    def numbers(self) -> dict[Path, int]:
        """The number of each file, from 1."""
        return {path: number for number, path in enumerate(self.inputs.names, start=1)}

    @cached_property
    def names(self) -> dict[Path, str]:
        """What each file is called in whatever is written or printed."""
        if self.hide_names:
            digits = len(str(len(self.numbers)))
            return {path: f"file {number:0{digits}}" for path, number in self.numbers.items()}
        return self.inputs.names

    def jobs(self) -> Iterator[Job]:
        """Make a job of every input, and of every file that should be one but cannot be used."""
        for failure in self.inputs.failures:
            if failure.is_error:
                name, place = self.names[failure.path], self.inputs.places.place_of(failure.path)
                yield Job(
                    name, partial(_refuse, failure.to_error()), (name,), _digest(place),
                    self._stamps([failure.path]),
                )  # fmt: skip
        for one in self.inputs.readable:
            files = tuple(self.names[path] for path in one.paths)
            known = one.place, one.kind, one.study_instance_uid, one.series_instance_uid, one.part
            yield Job(
                one.series_instance_uid or files[0], self._reader(one), files,
                _digest(*map(str, known)), self._stamps(one.paths), one,
            )  # fmt: skip

    def _stamps(self, paths: Iterable[Path]) -> tuple[tuple[str, int, int], ...]:
        """Tell files by name, size and time; of those in an archive, that is the archive's."""
        found = set()
        for path in paths:
            archive, member = self.inputs.places.archive_of(path) or (path, Path())
            try:
                state = archive.stat()
            except OSError:  # gone since; reading it will say so
                continue
            name = _digest(archive.name, member.as_posix())
            found.add((name, state.st_size, state.st_mtime_ns))
        return tuple(sorted(found))

    def _reader(self, one: Input) -> Callable[[], Volume]:
        """Read a volume, which says of its file no more than it may, and of which archive it is."""
        if self.hide_names:
            return partial(_read_as, one, None)
        if (found := self.inputs.places.archive_of(one.paths[0])) is None:
            return one.read
        archive, member = found
        return partial(_read_as, one, f"{archive.name}/{member.as_posix()}")

    @property
    def unused(self) -> tuple[FileRow, ...]:
        """What was left out, and what repeats another file."""
        return tuple(
            FileRow(
                self.names[one.path],
                one.status,
                repeats=None if one.repeats is None else self.names[one.repeats],
                code=one.code,
                reason=one.reason,
                what_to_do=one.advice,
            )
            for one in self.inputs.failures
            if not one.is_error
        )

    def counts(self) -> dict[str, int]:
        """How many files there are, and how many of each status; ``planned`` ones are read."""
        planned = {path for one in self.inputs.readable for path in one.paths}
        rest = Counter(one.status for one in self.inputs.failures if one.path not in planned)
        return {
            "files": len(self.numbers),
            "planned": len(planned),
            **{status: rest[status] for status in ("repeat", "left-out", "failed")},
        }

    def to_json(self) -> dict[str, Any]:
        """Put the plan into plain values: the counts, each series, each file that is not used."""
        return {
            "counts": self.counts(),
            "series": [
                {
                    "kind": one.kind,
                    "modality": one.modality,
                    "slices": one.slices,
                    "rows": one.rows,
                    "columns": one.columns,
                    "bytes": _bytes(one),
                    "study_instance_uid": one.study_instance_uid,
                    "series_instance_uid": one.series_instance_uid,
                    "part": one.part,
                    "files": [self._entry(path) for path in one.paths],
                }
                for one in self.inputs.readable
            ],
            "not_used": [
                {
                    **self._entry(one.path),
                    "status": one.status,
                    "code": one.code,
                    "repeats": None if one.repeats is None else self._entry(one.repeats),
                    "reason": one.reason,
                    "what_to_do": one.advice,
                }
                for one in self._refused()
            ],
        }

    def _entry(self, path: Path) -> dict[str, Any]:
        return {"number": self.numbers[path], "file": self.names[path]}

    def _refused(self) -> list[Failure]:
        return sorted(self.inputs.failures, key=lambda one: self.numbers[one.path])

    def lines(self) -> Iterator[str]:
        """Say all of it, a file a line, with the number of each."""
        counts = self.counts()
        yield (
            f"{counts['files']} found: {counts['planned']} in {len(self.inputs.readable)} series, "
            f"{counts['repeat']} repeated, {counts['left-out']} left out, {counts['failed']} failed"
        )
        for number, one in enumerate(self.inputs.readable, start=1):
            part = f", part {one.part}" if one.part > 1 else ""
            yield ""
            yield (
                f"series {number}: {one.modality or one.kind}{part}, {one.slices} slices of "
                f"{one.rows} x {one.columns}, {len(one.paths)} files, {_bytes(one) / 1e6:.1f} MB"
            )
            yield from (self._line(path) for path in one.paths)
        if self.inputs.failures:
            yield ""
            yield "not used:"
        for refused in self._refused():
            about = "" if refused.repeats is None else f" of {self.numbers[refused.repeats]}"
            why = f"{refused.status} ({refused.code}{about}): {refused.reason}"
            yield f"{self._line(refused.path)}  {why}"

    def _line(self, path: Path) -> str:
        number = f"{self.numbers[path]:6}"
        return number if self.hide_names else f"{number}  {self.names[path]}"


def _digest(*known: str) -> str:
    """Hide names, which may hold a patient's, behind a digest that tells them apart."""
    return hashlib.sha256("\x1f".join(known).encode(errors="surrogateescape")).hexdigest()[:32]


def _bytes(one: Input) -> int:
    total = 0
    for path in one.paths:
        try:
            total += path.stat().st_size
        except OSError:  # gone since; reading it will say so
            continue
    return total


def _read_as(one: Input, name: str | None) -> Volume:
    volume = one.read()
    return volume if volume.name is None else replace(volume, name=name)


def _refuse(error: HeadClipError) -> Volume:
    raise error
