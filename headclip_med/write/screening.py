"""All files of one screening, in a folder that appears complete or not at all."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from headclip_med.atomic import reported_errors, write_folder
from headclip_med.errors import HeadClipError
from headclip_med.findings import Screening
from headclip_med.mapped import BLOCK_SLICES, blocks_of, release
from headclip_med.volume import Volume
from headclip_med.write.ahead import HeatmapAhead
from headclip_med.write.outputs import (
    OUTPUTS,
    USUAL_OUTPUTS,
    SkippedOutput,
    Writer,
    WrittenOutput,
    check_outputs,
)
from headclip_med.write.result import Json, build_result, to_text

NOT_ASKED = "not-asked"
"""The code of an output that nobody asked for."""

BESIDE_ANOTHER = (
    "The folder of these UIDs holds the result of other images (another patient's, or those of the "
    "series before it was changed), which was kept; this one stands beside it."
)

logger = logging.getLogger(__name__)

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class WrittenScreening:
    """Where the results of a screening went.

    Attributes:
        folder: The folder of this series.
        outputs: Paths relative to it, by name: ``result``, ``heatmap``, ``overlay``, ``slices``,
            ``seg``.
        notes: Sentences on how they were written, and on what could not be.
        result: The content of result.json.
    """

    folder: Path
    outputs: Mapping[str, str]
    notes: tuple[str, ...] = ()
    result: Json = field(default_factory=dict, repr=False)


@reported_errors()
def write_screening(
    screening: Screening,
    out: Path,
    *,
    outputs: Iterable[str] = USUAL_OUTPUTS,
    ahead: HeatmapAhead | None = None,
) -> WrittenScreening:
    """Write what was asked for, and result.json, of one volume.

    They go to ``out/<study>/<series>``, which replaces an earlier result of the same content as a
    whole; see ``free_folder``. What cannot be written of this volume stands in result.json with the
    reason; the rest is written all the same.

    Args:
        screening: What was found.
        out: Folder of a run; made if missing.
        outputs: Names of ``OUTPUTS``.
        ahead: What took the heatmap's slices while the model worked.

    Returns:
        Where everything is.

    Raises:
        InvalidSettings: An output is unknown.
        UnwritableOutput: The disk does not take it.
    """
    wanted = check_outputs(outputs)
    place = free_folder(screening.volume, out)
    folder = out / place
    with write_folder(folder) as unfinished:
        tasks, skipped = _tasks(screening, unfinished, wanted)
        if ahead is not None:
            for task in tasks:
                task.writer.made = ahead.made() if task.name == "heatmap" else None
        written = _write_outputs(screening, tasks)
        skipped += [task.given_up() for task in tasks if task.failed is not None]
        skipped += [missing for one in written for missing in one.skipped]
        files = {"result": "result.json"}
        for one in written:
            files |= one.files
        notes = (
            *((BESIDE_ANOTHER,) if place != folder_of(screening.volume) else ()),
            *dict.fromkeys(note for one in written for note in one.notes),
            *(
                f"{one.output} was not written. {one.reason} {one.advice}"
                for one in skipped
                if one.advice
            ),
        )
        spent_s = {f"write_{one.name.replace('-', '_')}": one.spent_s for one in tasks}
        result = build_result(
            replace(screening, timings_s={**screening.timings_s, **spent_s}),
            files=files,
            skipped=skipped,
            written=written,
            notes=notes,
        )
        (unfinished / "result.json").write_bytes(to_text(result))
    return WrittenScreening(folder, files, notes, result)


def _tasks(
    screening: Screening, folder: Path, wanted: Collection[str]
) -> tuple[list[_Task], list[SkippedOutput]]:
    """Choose what is written."""
    marked = _marked(screening)
    skipped, tasks = [], []
    for name, output in OUTPUTS.items():
        if lack := output.unmet(screening):
            skipped.append(SkippedOutput(name, *lack))
        elif name not in wanted:
            skipped.append(SkippedOutput(name, NOT_ASKED, "It was not asked for."))
        else:
            tasks.append(_Task(name, output.writer(screening, folder, marked)))
    return tasks, skipped


def _write_outputs(screening: Screening, tasks: Sequence[_Task]) -> list[WrittenOutput]:
    """Take all writers through the slices together, so that each is read once."""
    for task in tasks:
        task.do(task.writer.begin)
    arrays = (screening.volume.voxels, screening.heatmap.values, screening.labels)
    count = len(screening.labels)
    for start in range(0, count, BLOCK_SLICES):
        slices = range(start, min(start + BLOCK_SLICES, count))
        for task in tasks:
            task.do(partial(task.writer.add, slices))
        for array in arrays:
            release(array)
    written: list[WrittenOutput] = []
    for task in tasks:
        task.writer.segments = {k: v for one in written for k, v in one.segments.items()}
        if (one := task.do(task.writer.end)) is not None:
            written.append(one)
    return written


@dataclass(eq=False)
class _Task:
    """An output that is being written."""

    name: str
    writer: Writer
    failed: Exception | None = None
    spent_s: float = 0.0

    def do(self, step: Callable[[], _Result]) -> _Result | None:
        """Take its next step, unless an earlier one failed."""
        started = time.perf_counter()
        try:
            return step() if self.failed is None else None
        except Exception as error:
            if not OUTPUTS[self.name].may_fail:
                raise
            self.failed = error
            return None
        finally:
            self.spent_s += time.perf_counter() - started

    def given_up(self) -> SkippedOutput:
        """Remove what it left half, and say why it is missing."""
        for pattern in (f"{self.name}.dcm", f"{self.name}-[0-9]*.dcm"):
            for half in self.writer.folder.glob(pattern):
                half.unlink()
        if isinstance(self.failed, HeadClipError):
            return SkippedOutput(
                self.name, self.failed.code, self.failed.reason, self.failed.advice
            )
        kind = type(self.failed).__name__  # the library's own message may quote the header
        logger.warning("no %s: %s while building it", self.name, kind)
        return SkippedOutput(
            self.name,
            "bad-headers",
            f"The source's headers cannot be built upon ({kind}).",
            "The heatmap and the pictures are complete; check the series with a DICOM validator.",
        )


def _marked(screening: Screening) -> frozenset[int]:
    """List the slices that hold candidates."""
    return frozenset(
        index
        for span, block in blocks_of(screening.labels)
        for index, labels in enumerate(block, start=span.start)
        if labels.any()
    )


def folder_of(volume: Volume) -> Path:
    """Name the folder of a volume's results: its UIDs, or digests instead.

    Where there is no UID, the study is named by the content, and the series by content and place:
    equal files of two patients have a folder each, the same whenever they are read from there.
    """
    study, series = volume.study_instance_uid, volume.series_instance_uid
    if not is_uid(study):
        study = volume.content_digest[:16]
    if not is_uid(series):
        series = (volume.place_digest if volume.place else volume.content_digest)[:16]
    return Path(str(study), f"{series}-part{volume.part}" if volume.part > 1 else str(series))


def free_folder(volume: Volume, out: Path) -> Path:
    """Name the folder of a volume's results below ``out``, where it replaces nobody else's.

    UIDs are not always unique: two patients may bear the same. Where the folder of the UIDs holds
    a result of other content, that of this volume has its own, named by a digest of its content in
    addition. It is the same in every run; nothing in it can be searched for a patient's identity
    without the images themselves.

    Returns:
        Relative to ``out``.
    """
    usual = folder_of(volume)
    held = _content_in(out / usual)
    if held in (None, volume.content_digest):
        return usual
    return usual.with_name(f"{usual.name}-{volume.content_digest[:16]}")


def _content_in(folder: Path) -> str | None:
    """Read of which content a result is; None where there is none, or it does not say."""
    try:
        result = json.loads((folder / "result.json").read_text("utf-8"))
        return str(result["input"]["content_digest"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def is_uid(text: str | None) -> bool:
    """Tell whether a text is a UID, and so a harmless name: numbers between single dots.

    Leading zeros are forbidden by PS3.5 9.1, but common and harmless.
    """
    return text is not None and len(text) <= 64 and bool(re.fullmatch(r"[0-9]+(\.[0-9]+)+", text))


def lacks_outputs(result: Mapping[str, Any], outputs: Iterable[str]) -> bool:
    """Tell whether a result.json lacks an output only because nobody asked for it then."""
    left = {one["output"] for one in result["skipped_outputs"] if one["code"] == NOT_ASKED}
    return not left.isdisjoint(outputs)
