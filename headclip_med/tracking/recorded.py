"""Runs that MLflow records."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING

from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag

from headclip_med.errors import HeadClipError, UnusableTracker
from headclip_med.tracking.client import FAILURES, MlflowException, connect, saying
from headclip_med.tracking.environment import environment, revision
from headclip_med.tracking.options import database_of
from headclip_med.tracking.processes import is_gone, this_process
from headclip_med.tracking.registry import register
from headclip_med.tracking.run import REGISTERED_NAME, Run
from headclip_med.tracking.values import flattened, to_name, to_text

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import UInt8
    from matplotlib.figure import Figure

_log = logging.getLogger(__name__)

BATCH = 500
"""Metrics that are written together: one at a time costs 20 ms each."""

PATIENCE_S = 10.0
"""Numbers wait no longer than this, so that a running training can be watched."""

_METRICS_A_CALL, _OTHERS_A_CALL = 1000, 100
_DIGEST_LENGTH = 36
"""As MLflow limits them."""

_PROCESS = "headclip.process"

_KIND = {"mlflow.experimentKind": "custom_model_development"}
"""Its user interface then shows runs and metrics first, and not conversations."""


class Recorder:
    """Begins runs at one tracker.

    Args:
        uri: Of the tracker.

    Raises:
        UnusableTracker: It cannot be reached.
    """

    def __init__(self, uri: str) -> None:
        self.client = connect(uri)
        database = database_of(uri)
        # Beside the database, and not in whatever folder is the current one.
        self._artifacts = database.parent / "mlruns" if database else None

    @contextmanager
    def run(
        self, kind: str, experiment: str, *, name: str | None = None, parent: Run | None = None
    ) -> Iterator[RecordedRun]:
        """Begin a run, and end it with the block; see ``track``."""
        above = parent if isinstance(parent, RecordedRun) else None
        with saying("does not begin a run"):
            self._close_abandoned()
            place = self._experiment(experiment)
            label = self._unique(place, name) if name else _timed(kind)
            run = self.begin(kind, place, label, above)
        with _ending(run):
            yield run

    def begin(
        self, kind: str, experiment_id: str, label: str, above: RecordedRun | None
    ) -> RecordedRun:
        """Begin a run in an experiment that is there."""
        tags = {
            "headclip.kind": kind,
            # The columns of the list of runs that MLflow, left alone, fills with a user's name and
            # a file's path.
            "mlflow.source.name": f"headclip {kind}",
            "mlflow.source.type": "LOCAL",
            **environment(),
        }
        process = this_process()
        if process:
            tags[_PROCESS] = process
        commit = revision()
        if commit:
            tags["mlflow.source.git.commit"] = commit
        if above:
            tags["mlflow.parentRunId"] = above.id
        began = self.client.create_run(experiment_id, run_name=label, tags=tags)
        return RecordedRun(self, began.info.run_id, label, kind, experiment_id)

    def _close_abandoned(self) -> None:
        """Close runs that say they go on, and whose process on this machine was killed outright."""
        places = [one.experiment_id for one in self.client.search_experiments()]
        for run in self.client.search_runs(places, "attributes.status = 'RUNNING'"):
            if is_gone(run.data.tags.get(_PROCESS, "")):
                with suppress(MlflowException):  # another process closes it as well
                    self.client.set_tag(run.info.run_id, "headclip.error", "process-gone")
                    self.client.set_terminated(run.info.run_id, "KILLED")

    def _experiment(self, name: str) -> str:
        """Find or make an experiment."""
        found = self.client.get_experiment_by_name(name)
        if found is None:
            folder = self._artifacts / to_name(name).replace("/", "_") if self._artifacts else None
            try:
                location = folder.as_uri() if folder else None
                made = self.client.create_experiment(name, location, _KIND)
                return str(made)
            except MlflowException:  # another process was faster
                found = self.client.get_experiment_by_name(name)
                if found is None:
                    raise
        if found.lifecycle_stage != "active":
            raise UnusableTracker(
                f"The experiment '{name}' was deleted at the tracker, which keeps its name.",
                "Restore it with 'mlflow experiments restore', or remove it with 'mlflow gc'.",
                code="experiment-deleted",
            )
        if found.artifact_location.startswith("mlflow-artifacts:") and self._artifacts:
            raise UnusableTracker(
                f"The experiment '{name}' was begun at a server, which alone can take its files.",
                "Start that, and name its address as --tracking-uri.",
                code="server-needed",
            )
        return str(found.experiment_id)

    def _unique(self, experiment: str, name: str) -> str:
        """Number a name that was used: MLflow and MONAI's handler would mix up the two runs."""
        pattern = f"attributes.run_name LIKE '{name.replace('%', '_')}%'"
        runs = self.client.search_runs([experiment], pattern, max_results=1000)
        used = {run.info.run_name for run in runs}
        number, label = 1, name
        while label in used:
            number += 1
            label = f"{name}-{number}"
        return label


class RecordedRun:
    """A run at a tracker; see ``Run``.

    A tracker that fails while something is computed costs numbers, never the computation.
    """

    is_recording = True

    def __init__(
        self, recorder: Recorder, run_id: str, name: str, kind: str, experiment_id: str
    ) -> None:
        self.id, self.name = run_id, name
        self._recorder, self._kind, self._experiment_id = recorder, kind, experiment_id
        self._client = recorder.client
        self._waiting: list[Metric] = []
        self._written_s = time.monotonic()
        self._parameters: dict[str, str] = {}
        self._children: set[str] = set()

    def parameters(self, values: Mapping[str, object]) -> None:
        """Record what was set."""
        given = dict(flattened(values))
        for name, text in given.items():
            if self._parameters.setdefault(name, text) != text:
                raise ValueError(f"the parameter {name} was recorded already, with another value")
        pairs = [Param(name, text) for name, text in given.items()]
        for start in range(0, len(pairs), _OTHERS_A_CALL):
            part = pairs[start : start + _OTHERS_A_CALL]
            self._attempt(self._client.log_batch, params=part)

    def tags(self, values: Mapping[str, object]) -> None:
        """Record what describes the run."""
        pairs = [RunTag(name, text) for name, text in flattened(values)]
        for start in range(0, len(pairs), _OTHERS_A_CALL):
            part = pairs[start : start + _OTHERS_A_CALL]
            self._attempt(self._client.log_batch, tags=part)

    def metrics(self, values: Mapping[str, float], *, step: int = 0) -> None:
        """Record numbers."""
        now = int(time.time() * 1000)
        self._waiting += [
            Metric(to_name(name), float(value), now, step)
            for name, value in values.items()
            if math.isfinite(value)
        ]
        late = time.monotonic() - self._written_s > PATIENCE_S
        if len(self._waiting) >= BATCH or late:
            self.write()

    def write(self) -> None:
        """Send the numbers that wait; those that cannot be sent wait on."""
        self._written_s = time.monotonic()
        while self._waiting:
            part = self._waiting[:_METRICS_A_CALL]
            if not self._attempt(self._client.log_batch, metrics=part):
                return
            del self._waiting[: len(part)]

    def dataset(self, name: str, digest: str | None, *, use: str) -> None:
        """Record what the run works on."""
        # MLflow wants to know where data come from; that is nobody's business here.
        about = Dataset(to_text(name), (digest or "unknown")[:_DIGEST_LENGTH], "local", "{}")
        used = DatasetInput(about, [InputTag("mlflow.data.context", use)])
        self._attempt(self._client.log_inputs, datasets=[used])
        if digest:
            self.tags({f"dataset.{to_name(name)}": digest})

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Keep a copy of a file of ours."""
        self._attempt(self._client.log_artifact, str(path), folder)

    def text(self, text: str, name: str) -> None:
        """Keep a text."""
        self._attempt(self._client.log_text, text, name)

    def figure(self, figure: Figure, name: str) -> None:
        """Keep a drawing."""
        self._attempt(self._client.log_figure, figure, name)

    def image(self, pixels: UInt8[np.ndarray, "height width 3"], name: str) -> None:
        """Keep a picture."""
        self._attempt(self._client.log_image, pixels, name)

    def register_headclip(
        self,
        checkpoint: Path,
        name: str = REGISTERED_NAME,
        about: Mapping[str, object] | None = None,
    ) -> str:
        """Register a checkpoint as the next version of a model."""
        tags = dict(flattened(about or {}))
        with saying("does not register the model"):
            return register(self._client, self.id, checkpoint, name=name, tags=tags)

    @contextmanager
    def child(self, name: str, parameters: Mapping[str, object] | None = None) -> Iterator[Run]:
        """Begin a run below this one."""
        if name in self._children:
            raise ValueError(f"this run has a child '{name}' already")
        self._children.add(name)
        with saying("does not begin a run"):
            label = f"{self.name}/{name}"
            below = self._recorder.begin(self._kind, self._experiment_id, label, self)
        with _ending(below) as run:
            run.parameters(parameters or {})
            yield run

    def end(self, status: str) -> None:
        """Send what waits, and close."""
        self.write()
        if self._waiting:
            _log.warning("%d numbers could not be recorded", len(self._waiting))
        self._attempt(self._client.set_terminated, status)

    def _attempt(self, call: Callable[..., object], *values: object, **named: object) -> bool:
        try:
            call(self.id, *values, **named)
        except FAILURES as error:
            _log.warning("the tracker does not answer (%s); going on", type(error).__name__)
            return False
        return True


@contextmanager
def _ending(run: RecordedRun) -> Iterator[RecordedRun]:
    """Close a run, whichever way its block ends."""
    try:
        yield run
    except BaseException as error:
        # The message stays out: it may name a file.
        reason = error.code if isinstance(error, HeadClipError) else type(error).__name__
        run.tags({"headclip.error": reason})
        run.end("FAILED" if isinstance(error, Exception) else "KILLED")
        raise
    run.end("FINISHED")


def _timed(kind: str) -> str:
    """Name a run after its kind and the time; no two runs share a name."""
    return f"{kind}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{token_hex(2)}"
