"""Many inputs in one run: what cannot be used costs only itself, and what is finished is kept."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

from monai.data.dataset import Dataset
from monai.engines.evaluator import SupervisedEvaluator

from headclip_med.errors import HeadClipError, UnreadableInput
from headclip_med.pipelines.batch import finished_row, own_error, summed_up, title_of
from headclip_med.pipelines.bundle.guards import is_command_line, paths_of, reported_errors
from headclip_med.pipelines.bundle.network import ScreeningNetwork
from headclip_med.pipelines.bundle.volumes import volume_of
from headclip_med.read import Failure, find_inputs
from headclip_med.settings import ScreenSettings
from headclip_med.volume import Volume
from headclip_med.write import FailedInput, SummaryRow

FAILED = "failed"
"""The key of a case that could not be used; the value is a ``FailedInput`` as a JSON text."""

TALKATIVE = ("pydicom", "PIL", "matplotlib", "highdicom")
"""Loggers whose messages may quote what stands in a patient's file."""

_log = logging.getLogger(__name__)


def find_cases(dataset_dir: Any) -> list[dict[str, Any]]:
    """List every volume below a path, and every file that should be one but cannot be used.

    Args:
        dataset_dir: A folder or a file, or several.

    Returns:
        One entry for each, its input under ``image``; none where the path does not exist.
    """
    inputs = find_inputs([path for path in paths_of(dataset_dir) if path.exists()])
    failures = [failure for failure in inputs.failures if failure.is_error]
    return [{"image": one} for one in (*inputs.readable, *failures)]


class Cases(Dataset):
    """MONAI's data set, but a case that cannot be read is handed on as failed."""

    def _transform(self, index: int) -> Any:
        try:
            return super()._transform(index)
        except Exception as error:
            one = self.data[index]["image"]
            failed = FailedInput.of(_name(one), own_error(_cause(error)))
            return {FAILED: json.dumps(asdict(failed))}


class CaseEvaluator(SupervisedEvaluator):
    """MONAI's evaluator, but a case that fails costs only itself.

    Args:
        output_dir: Gets the results and their summary.
        settings: Of the screening; with the model they say whether a result is finished.
        seg: Whether DICOM segmentations are written.
        skip_finished: Leave a case alone whose result by the same model and settings is there.
        options: Of ``SupervisedEvaluator``; its ``network`` is a ``ScreeningNetwork``.
    """

    def __init__(
        self,
        *,
        output_dir: str | Path,
        settings: ScreenSettings,
        seg: bool = True,
        skip_finished: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.output_dir = Path(output_dir)
        self.settings = settings
        self.seg = seg
        self.skip_finished = skip_finished
        self.rows: list[SummaryRow] = []
        self.failures: list[FailedInput] = []

    def run(self, global_epoch: int = 1) -> None:  # type: ignore[override]  # as MONAI has it
        """Screen every case, write the summary, and say what failed.

        Raises:
            UnreadableInput: Not a single case could be screened.
            SystemExit: On a command line, with 3, where some of several failed.
        """
        self.rows, self.failures = [], []
        for talkative in TALKATIVE:
            logging.getLogger(talkative).setLevel(logging.CRITICAL)
        super().run(global_epoch)
        self.worklist = summed_up(self.rows, self.failures, self.output_dir)
        self.rows = list(self.worklist.rows)
        for failure in self.failures:
            _log.warning("%s: %s %s", failure.code, failure.reason, failure.what_to_do)
        _log.info("screened %d, failed %d", len(self.rows), len(self.failures))
        self._leave()

    def _leave(self) -> None:
        if self.failures and not self.rows:
            first = self.failures[0]
            with reported_errors():
                raise UnreadableInput(first.reason, first.what_to_do, code=first.code)
        if self.worklist.exit_code and is_command_line():
            raise SystemExit(self.worklist.exit_code)

    def _iteration(self, engine: SupervisedEvaluator, batchdata: dict[str, Any]) -> Any:
        output = self._screened(engine, batchdata)
        counts = {"screened": float(len(self.rows)), "failed": float(len(self.failures))}
        engine.state.metrics.update(counts)  # for handlers that track
        return output

    def _screened(self, engine: SupervisedEvaluator, batchdata: dict[str, Any]) -> Any:
        if FAILED in batchdata:
            self.failures.append(FailedInput(**json.loads(batchdata[FAILED][0])))
            return {}
        volume = volume_of(batchdata["volume"][0])
        finished = self._finished(volume) if self.skip_finished else None
        if finished is not None:
            self.rows.append(finished)
            return {}
        try:
            output: Any = super()._iteration(engine, batchdata)
            self.rows += [one["row"] for one in output if "row" in one]
        except Exception as error:  # the cases behind it shall get their results
            name = volume.series_instance_uid or volume.name or "input"
            self.failures.append(FailedInput.of(name, own_error(_cause(error))))
            return {}
        return output

    def _finished(self, volume: Volume) -> SummaryRow | None:
        """Give the row of an earlier result that screening again would only repeat."""
        if not isinstance(self.network, ScreeningNetwork):
            return None
        return finished_row(
            volume, self.network.model, out=self.output_dir, settings=self.settings, seg=self.seg
        )


def _cause(error: Exception) -> Exception:
    """Find this project's own error among those that MONAI raised from it, if there is one."""
    one: BaseException | None = error
    while one is not None and not isinstance(one, HeadClipError):
        one = one.__cause__
    return one or error


def _name(one: Any) -> str:
    if isinstance(one, Failure):
        return one.path.name
    return title_of(one) if hasattr(one, "paths") else Path(str(one)).name
