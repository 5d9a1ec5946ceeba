"""All files of one screening, in a folder that appears complete or not at all."""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from headclip_med.atomic import reported_errors, write_folder
from headclip_med.findings import Screening
from headclip_med.mapped import BLOCK_SLICES, blocks_of, release
from headclip_med.volume import Volume
from headclip_med.write.outputs import (
    ALL_OUTPUTS,
    NOT_ASKED,
    OUTPUTS,
    SkippedOutput,
    WrittenOutput,
    check_outputs,
    unmet,
)
from headclip_med.write.result import Json, build_result, to_text


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
    screening: Screening, out: Path, *, outputs: Iterable[str] = ALL_OUTPUTS
) -> WrittenScreening:
    """Write what was asked for, and result.json, of one volume.

    They go to ``out/<study>/<series>``, which replaces an earlier one as a whole. What cannot be
    written of this volume stands in result.json with the reason; the rest is written all the same.

    Args:
        screening: What was found.
        out: Folder of a run; made if missing.
        outputs: Names of ``OUTPUTS``.

    Returns:
        Where everything is.

    Raises:
        InvalidSettings: An output is unknown.
        UnwritableOutput: The disk does not take it.
    """
    wanted = check_outputs(outputs)
    folder = out / folder_of(screening.volume)
    started = time.perf_counter()
    with write_folder(folder) as unfinished:
        written, skipped = _write_outputs(screening, unfinished, wanted)
        files = {"result": "result.json"}
        for one in written:
            files |= one.files
        notes = tuple(note for one in written for note in one.notes)
        spent_s = time.perf_counter() - started
        result = build_result(
            replace(screening, timings_s={**screening.timings_s, "write": spent_s}),
            outputs=files,
            skipped=skipped,
            pictures={index: path for one in written for index, path in one.pictures.items()},
            segments={lesion: place for one in written for lesion, place in one.segments.items()},
            notes=notes,
        )
        (unfinished / "result.json").write_bytes(to_text(result))
    return WrittenScreening(folder, files, notes, result)


def _write_outputs(
    screening: Screening, folder: Path, wanted: Collection[str]
) -> tuple[list[WrittenOutput], list[SkippedOutput]]:
    """Take all writers through the slices together, so that each is read once."""
    marked = _marked(screening)
    skipped, writers = [], []
    for name, kind in OUTPUTS.items():
        missing = unmet(name, screening)
        if missing is None and name not in wanted:
            missing = SkippedOutput(name, NOT_ASKED, "It was not asked for.")
        if missing is None:
            writers.append(kind(screening, folder, marked))
        else:
            skipped.append(missing)
    for writer in writers:
        writer.begin()
    arrays = (screening.volume.voxels, screening.heatmap.values, screening.labels)
    count = len(screening.labels)
    for start in range(0, count, BLOCK_SLICES):
        slices = range(start, min(start + BLOCK_SLICES, count))
        for writer in writers:
            writer.add(slices)
        for array in arrays:
            release(array)
    written = [writer.end() for writer in writers]
    return written, [*skipped, *(one.skipped for one in written if one.skipped is not None)]


def _marked(screening: Screening) -> frozenset[int]:
    """List the slices that hold candidates."""
    return frozenset(
        index
        for span, block in blocks_of(screening.labels)
        for index, labels in enumerate(block, start=span.start)
        if labels.any()
    )


def folder_of(volume: Volume) -> Path:
    """Name the folder of a volume's results: its UIDs, or a hash of its content instead."""
    digest = volume.content_digest[:16]
    study, series = (
        uid if is_uid(uid) else digest
        for uid in (volume.study_instance_uid, volume.series_instance_uid)
    )
    return Path(str(study), f"{series}-part{volume.part}" if volume.part > 1 else str(series))


def is_uid(text: str | None) -> bool:
    """Tell whether a text is a UID, and so a harmless name: numbers between single dots.

    Leading zeros are forbidden by PS3.5 9.1, but common and harmless.
    """
    return text is not None and len(text) <= 64 and bool(re.fullmatch(r"[0-9]+(\.[0-9]+)+", text))


def lacks_outputs(result: Mapping[str, Any], outputs: Iterable[str]) -> bool:
    """Tell whether a result.json lacks an output only because nobody asked for it then."""
    left = {one["output"] for one in result["skipped_outputs"] if one["code"] == NOT_ASKED}
    return not left.isdisjoint(outputs)
