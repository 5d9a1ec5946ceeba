"""Many inputs in one run: what cannot be used costs only itself, and what is finished is kept."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

from ignite.engine import Engine, Events
from monai.data.dataset import Dataset
from monai.data.utils import list_data_collate
from monai.engines.evaluator import SupervisedEvaluator
from torch import Tensor

from headclip_med.errors import UnreadableInput, own_error
from headclip_med.pipelines.bundle.guards import cause_of, is_command
from headclip_med.pipelines.bundle.network import ScreeningNetwork
from headclip_med.pipelines.bundle.transforms import PREPARED_S, VOLUME, boxed
from headclip_med.pipelines.plan import Plan
from headclip_med.pipelines.work.report import BatchReport, summed_up
from headclip_med.pipelines.work.screener import Screener
from headclip_med.read import find_inputs
from headclip_med.settings import ScreenSettings
from headclip_med.volume import Volume
from headclip_med.write import USUAL_OUTPUTS, FailedInput, SummaryRow, check_outputs

FAILED = "failed"
"""The key of a case that could not be read; the value is its ``FailedInput``."""

TALKATIVE = ("pydicom", "PIL", "matplotlib", "highdicom")
"""Loggers whose messages may quote what stands in a patient's file."""

_log = logging.getLogger(__name__)


class Cases(Dataset):
    """What lies below some paths, case by case, and what became of each: MONAI's data set.

    Its ``screen`` is the evaluator's ``iteration_update``; as one of the evaluator's handlers it
    writes the summary.

    Args:
        dataset_dir: A folder or a file, or several.
        transform: Reads a case and prepares it for the network.
        output_dir: Gets the results and their summary.
        settings: Fields of ``ScreenSettings``; with the model they say whether a result is
            finished.
        outputs: Names of what is written, of ``OUTPUTS``; a list, or a text with commas.
        skip_finished: Leave a case alone whose result by the same model and settings is there.

    Attributes:
        report: What the run came to, once it is over.

    Raises:
        InvalidSettings: A number is out of its range, or an output unknown.
    """

    def __init__(
        self,
        dataset_dir: Any,
        transform: Any,
        *,
        output_dir: str | Path,
        settings: Mapping[str, Any],
        outputs: str | Sequence[str] = USUAL_OUTPUTS,
        skip_finished: bool = False,
    ) -> None:
        self.output_dir, self.settings = Path(output_dir), ScreenSettings(**settings)
        self.outputs, self.skip_finished = check_outputs(outputs), skip_finished
        many = dataset_dir if isinstance(dataset_dir, (list, tuple)) else [dataset_dir]
        self.paths = [Path(str(one)).expanduser() for one in many]
        self.rows: list[SummaryRow] = []
        self.failures: list[FailedInput] = []
        self.report = BatchReport((), (), {})
        inputs = find_inputs([path for path in self.paths if path.exists()])
        self._plan = Plan(inputs)
        self._files = {
            (one.paths[0], one.part): tuple(self._plan.names[path] for path in one.paths)
            for one in inputs.readable
        }
        super().__init__([{"image": job} for job in self._plan.jobs()], transform)

    def check(self) -> None:
        """Refuse to run where there is nothing to screen.

        Raises:
            UnreadableInput: A path does not exist, or there is no image below it.
        """
        if any(not path.exists() for path in self.paths):
            raise UnreadableInput(
                "dataset_dir does not exist, so nothing was written.",
                "Give the folder or file with DICOM, NIfTI, PNG or JPEG images as --dataset_dir.",
                code="missing-path",
            )
        if not self.data:
            raise UnreadableInput(
                "dataset_dir holds no image, so nothing was written.",
                "Give a folder or file with DICOM, NIfTI, PNG or JPEG images as --dataset_dir.",
                code="no-images",
            )

    def _transform(self, index: int) -> dict[str, Any]:
        started = perf_counter()
        try:
            case: Any = super()._transform(index)
        except Exception as error:  # it shall cost the other cases nothing
            job = self.data[index]["image"]
            return {FAILED: _failed(job.name, error, job.files)}
        return {**case, PREPARED_S: perf_counter() - started}

    @staticmethod
    def collate(cases: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Make a batch: tensors as MONAI does, and objects in boxes, which its decollate opens."""
        objects = [key for key, value in cases[0].items() if not isinstance(value, Tensor)]
        tensors = [{k: v for k, v in case.items() if k not in objects} for case in cases]
        boxes = {key: [boxed(case[key]) for case in cases] for key in objects}
        return {**list_data_collate(tensors), **boxes}

    def attach(self, engine: Engine) -> None:
        """Listen to the evaluator."""
        engine.add_event_handler(Events.STARTED, self._begin)
        engine.add_event_handler(Events.COMPLETED, self._sum_up)

    def screen(self, engine: SupervisedEvaluator, batch: dict[str, Any]) -> Any:
        """Screen the case of a batch; one that fails costs only itself.

        Args:
            engine: Its network is a ``ScreeningNetwork``.
            batch: One case, as ``collate`` made it.
        """
        output = self._outcome(engine, batch)
        counts = {"screened": float(len(self.rows)), "failed": float(len(self.failures))}
        engine.state.metrics.update(counts)  # for handlers that track
        return output

    def finish(self) -> None:
        """Say how a run that is over ended.

        Raises:
            UnreadableInput: Not a single case could be screened.
            SystemExit: Of MONAI's command, with 3, where some of several failed.
        """
        if self.report.failures and not self.report.rows:
            first = self.report.failures[0]
            raise UnreadableInput(first.reason, first.what_to_do, code=first.code)
        if self.report.exit_code and is_command():
            raise SystemExit(self.report.exit_code)

    def _begin(self) -> None:
        self.rows, self.failures = [], []
        for talkative in TALKATIVE:
            logging.getLogger(talkative).setLevel(logging.CRITICAL)

    def _outcome(self, engine: SupervisedEvaluator, batch: dict[str, Any]) -> Any:
        if FAILED in batch:
            self.failures.append(batch[FAILED][0].item())
            return {}
        volume = batch[VOLUME][0].item()
        files = self._files.get((volume.sources[0].path, volume.part), ())
        finished = self._finished(engine, volume) if self.skip_finished else None
        if finished is not None:
            self.rows.append(replace(finished, files=files))
            return {}
        try:
            output: Any = engine._iteration(engine, batch)
            self.rows += [replace(one["row"], files=files) for one in output]
        except Exception as error:  # the cases behind it shall get their results
            name = volume.series_instance_uid or volume.name or "input"
            self.failures.append(_failed(name, error, files))
            return {}
        return output

    def _finished(self, engine: SupervisedEvaluator, volume: Volume) -> SummaryRow | None:
        """Give the row of an earlier result that screening again would only repeat."""
        network = engine.network
        if not isinstance(network, ScreeningNetwork):
            return None
        screener = Screener(
            model=network.model, out=self.output_dir, settings=self.settings, outputs=self.outputs
        )
        return screener.finished(volume)

    def _sum_up(self) -> None:
        self.report = summed_up(self.rows, self.failures, self.output_dir, unused=self._plan.unused)
        for failure in self.failures:
            _log.warning("%s: %s %s", failure.code, failure.reason, failure.what_to_do)
        _log.info("screened %d, failed %d", len(self.rows), len(self.failures))


def _failed(name: str, error: Exception, files: tuple[str, ...]) -> FailedInput:
    return FailedInput.of(name, cause_of(error) or own_error(error), files)
