"""Many inputs in a run that can be stopped and taken up: what is finished is left alone.

While the model looks at one volume, another process reads the next.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader, Dataset

from headclip_med import __version__
from headclip_med.models.anomaly import AnomalyModel, name_subject
from headclip_med.pipelines.subjects import subject_of_volume
from headclip_med.pipelines.worklist import Worklist, judging, read_one, title_of, work_through
from headclip_med.read import Input, Inputs
from headclip_med.settings import ScreenSettings
from headclip_med.volume import Volume
from headclip_med.write import FailedInput, SummaryRow, folder_of, lacks_segmentation


def screen_batch(
    inputs: Inputs,
    model: AnomalyModel,
    *,
    out: Path,
    settings: ScreenSettings | None = None,
    seg: bool = True,
    report: Callable[[int], None] = lambda slices: None,
) -> Worklist:
    """Screen every input that is not finished, and write the summary of all.

    Args:
        inputs: As ``find_inputs`` gives them.
        model: As ``load_model`` gives it.
        out: Folder of the run; what an earlier one finished there is taken up.
        settings: Of the screening.
        seg: Whether to write DICOM segmentations.
        report: Called with the number of slices done since the last call.

    Returns:
        Rows and failures, as they stand in ``summary.json``; those left alone are counted.
    """
    settings = settings or ScreenSettings()
    judge = judging(model, out=out, settings=settings, seg=seg, report=report)
    left_alone = 0

    def judge_or_leave(volume: Volume) -> SummaryRow:
        nonlocal left_alone
        finished = finished_row(volume, model, out=out, settings=settings, seg=seg)
        if finished is None:
            return judge(volume)
        left_alone += 1
        report(len(volume.voxels))
        return finished

    worklist = work_through(inputs, read_ahead(inputs.readable), judge_or_leave, out=out)
    return replace(worklist, left_alone=left_alone)


def finished_row(
    volume: Volume, model: AnomalyModel, *, out: Path, settings: ScreenSettings, seg: bool = True
) -> SummaryRow | None:
    """Give the row of an earlier result that screening again would only repeat.

    Args:
        volume: What would be screened.
        model: What would judge it.
        out: Folder of the run.
        settings: Of the screening.
        seg: Whether a DICOM segmentation is wanted.

    Returns:
        None where there is no result, or it is of other voxels, another model, other settings or
        another version of this program, or lacks a segmentation.
    """
    folder = folder_of(volume)
    try:
        result = json.loads((out / folder / "result.json").read_text("utf-8"))
        named = name_subject(model, subject_of_volume(volume))
        wanted: dict[str, Any] = {
            "version": __version__,
            "model": named.describe(),
            "settings": {**settings.to_json(), "scores": named.scores.to_json()},
        }
        if any(result[key] != json.loads(json.dumps(wanted[key])) for key in wanted):
            return None
        if result["input"]["content_digest"] != volume.content_digest:
            return None
        if seg and lacks_segmentation(result):
            return None
        return SummaryRow.from_result(result, folder.as_posix())
    except (OSError, ValueError, KeyError, TypeError):  # damaged, or of another version
        return None


def read_ahead(inputs: Sequence[Input]) -> Iterator[Volume | FailedInput]:
    """Read volumes in another process, one ahead of the one in use.

    Args:
        inputs: In the order in which they are wanted.

    Yields:
        Each input's volume, or why it has none. One that brings the other process down, by taking
        all memory for instance, costs itself as well; the next is read by a new process.
    """
    done = 0
    while done < len(inputs):
        reading = DataLoader(
            _Reading(inputs[done:]), batch_size=None, num_workers=1, prefetch_factor=1,
            collate_fn=_as_it_is,
        )  # fmt: skip
        volumes = iter(reading)
        while done < len(inputs):
            try:
                volume = next(volumes)
            except RuntimeError:  # PyTorch's word for a worker that is gone
                volume = _lost(inputs[done])
                done += 1
                yield volume
                break
            done += 1
            yield volume


class _Reading(Dataset[Volume | FailedInput]):
    def __init__(self, inputs: Sequence[Input]) -> None:
        self._inputs = inputs

    def __len__(self) -> int:
        return len(self._inputs)

    def __getitem__(self, index: int) -> Volume | FailedInput:
        return read_one(self._inputs[index])


def _as_it_is(volume: Any) -> Any:
    return volume


def _lost(one: Input) -> FailedInput:
    return FailedInput(
        title_of(one),
        "reader-lost",
        "The process that read this input was ended by the system, most likely for want of memory.",
        "Free memory, or screen this input alone.",
    )
