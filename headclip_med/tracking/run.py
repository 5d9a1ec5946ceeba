"""A run: what was set, what came out, and files, under one name; recorded, or left alone."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from headclip_med.errors import HeadClipError
from headclip_med.tracking.options import flattened, to_name, to_text

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import UInt8
    from mlflow.entities import Run as Begun

    from headclip_med.tracking.tracker import Tracker

Begin = Callable[[], "Begun"]
"""Begins a run at a tracker."""

_logger = logging.getLogger(__name__)

BATCH = 500
"""Metrics that are written together: one at a time costs 20 ms each."""

PATIENCE_S = 10.0
"""Numbers wait no longer than this, so that a running training can be watched."""

_METRICS_A_CALL, _OTHERS_A_CALL = 1000, 100
_DIGEST_LENGTH, _NAME_LENGTH = 36, 500
"""As MLflow limits them."""


@runtime_checkable
class Savable(Protocol):
    """A figure of Matplotlib, which this package does not load."""

    def savefig(self, fname: Any, **options: Any) -> None:
        """Write it to a file."""


class Run:
    """A run at a tracker, or one that records nothing.

    Whoever records decides what is recorded: no name of an input's file, no value of a patient.
    Absolute paths in parameters and tags are blanked, whatever they are. A tracker that fails while
    something is computed costs numbers, never the computation.

    Args:
        tracker: Where it is recorded; without one nothing is.
        begin: Begins the run there, when the first thing of it is recorded.
    """

    def __init__(self, tracker: Tracker | None = None, begin: Begin | None = None) -> None:
        self._tracker, self._begin = tracker, begin
        self._begun: Begun | None = None
        self._waiting: list[tuple[str, float, int, int]] = []
        self._written_s = time.monotonic()
        self._parameters: dict[str, str] = {}
        self._children: set[str] = set()

    @property
    def is_recording(self) -> bool:
        """Whether anything is kept; false spares the drawing of pictures that nobody sees."""
        return self._tracker is not None

    @property
    def id(self) -> str:
        """What the tracker knows it by; empty where nothing is recorded."""
        begun = self.begin()
        return begun.info.run_id if begun else ""

    @property
    def name(self) -> str:
        """What it is called by in its experiment; empty where nothing is recorded."""
        begun = self.begin()
        return begun.info.run_name if begun else ""

    @property
    def has_begun(self) -> bool:
        """Whether there is a run at the tracker yet."""
        return self._begun is not None

    def begin(self) -> Begun | None:
        """Begin it, unless it has begun, or nothing is recorded.

        Raises:
            UnusableTracker: The tracker refuses.
        """
        if self._begun is None and self._begin is not None:
            self._begun = self._begin()
        return self._begun

    def parameters(self, values: Mapping[str, object]) -> None:
        """Record what was set; nested mappings become ``outer.inner``, and nothing may change.

        Raises:
            ValueError: A parameter has another value already.
        """
        given = list(flattened(values))
        for name, text in given:
            if self._parameters.setdefault(name, text) != text:
                raise ValueError(f"the parameter {name} was recorded already, with another value")
        self._log("params", given)

    def tags(self, values: Mapping[str, object]) -> None:
        """Record what describes the run; a later value takes the place of an earlier one."""
        self._log("tags", list(flattened(values)))

    def metrics(self, values: Mapping[str, float], *, step: int = 0) -> None:
        """Record numbers; those that are not finite are undefined, and left out.

        Args:
            values: By name, such as ``loss`` or ``BrainMRI/pixels/AUROC``.
            step: Where on its curve a number stands: an optimiser's step, an epoch.
        """
        now = int(time.time() * 1000)
        self._waiting += [
            (to_name(name), float(value), now, step)
            for name, value in values.items()
            if math.isfinite(value)
        ]
        late = time.monotonic() - self._written_s > PATIENCE_S
        if len(self._waiting) >= BATCH or late:
            self._write()

    def dataset(self, name: str, digest: str | None, *, use: str) -> None:
        """Record what a run works on.

        Args:
            name: Of the data set.
            digest: Of its content.
            use: ``training`` or ``evaluation``.
        """
        if self._tracker:
            from mlflow.entities import Dataset, DatasetInput, InputTag

            # MLflow wants to know where data come from; that is nobody's business here.
            about = Dataset(
                to_text(name)[:_NAME_LENGTH], (digest or "unknown")[:_DIGEST_LENGTH], "local", "{}"
            )
            used = DatasetInput(about, [InputTag("mlflow.data.context", use)])
            self._send("log_inputs", datasets=[used])
        if digest:
            self.tags({f"dataset.{to_name(name)}": digest})

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Keep a copy of a file of ours, under its own name."""
        self._send("log_artifact", str(path), folder)

    def text(self, text: str, name: str) -> None:
        """Keep a text as a file, for example ``table.md``."""
        self._send("log_text", text, name)

    def figure(self, figure: Savable, name: str) -> None:
        """Keep a drawing as a file, for example ``heads.png``."""
        self._send("log_figure", figure, name)

    def image(self, pixels: UInt8[np.ndarray, "height width 3"], name: str) -> None:
        """Keep a picture as a PNG file."""
        self._send("log_image", pixels, name)

    def register(
        self, checkpoint: Path, name: str, about: Mapping[str, object] | None = None
    ) -> str | None:
        """Register a checkpoint as the next version of a model.

        Args:
            checkpoint: That ``headclip train`` wrote.
            name: Of the registered model.
            about: What its page shall say of it.

        Returns:
            What ``load_model`` takes, for example ``models:/headclip/3``; None where nothing is
            recorded.

        Raises:
            UnusableTracker: The tracker refuses.
        """
        if self._tracker is None:
            return None
        from headclip_med.tracking.registry import register

        return register(
            self._tracker.client, self.id, checkpoint, name, dict(flattened(about or {}))
        )

    @contextmanager
    def child(
        self, name: str, parameters: Mapping[str, object] | None = None, *, at_once: bool = True
    ) -> Iterator[Run]:
        """Begin a run below this one, for one point of a sweep; it ends with the block.

        Args:
            name: Behind this one's name.
            parameters: What was set.
            at_once: Begin it now; else with the first thing that is recorded.
        """
        if name in self._children:
            raise ValueError(f"this run has a child '{name}' already")
        self._children.add(name)
        below, tracker = Run(), self._tracker
        if tracker:

            def begin() -> Begun:
                above = self.begin()
                if above is None:
                    raise AssertionError("a run at a tracker has begun by now")
                return tracker.begin_below(above, name)

            below = Run(tracker, begin)
        with ending(below) as run:
            if at_once:
                run.begin()
            run.parameters(parameters or {})
            yield run

    def end(self, status: str) -> None:
        """Send what waits, and close."""
        if not self.has_begun:
            return
        self._write()
        if self._waiting:
            _logger.warning("%d numbers could not be recorded", len(self._waiting))
        self._send("set_terminated", status)
        if self._tracker:
            self._tracker.locks.release(self.id)

    def _write(self) -> None:
        """Send the numbers that wait; those that cannot be sent wait on."""
        self._written_s = time.monotonic()
        while self._waiting and self._log("metrics", self._waiting[:_METRICS_A_CALL]):
            del self._waiting[:_METRICS_A_CALL]

    def _log(self, kind: Literal["params", "tags", "metrics"], rows: Sequence[Any]) -> bool:
        """Send names and values; False where a part of them could not be sent."""
        if self._tracker is None or not rows:
            return True
        from mlflow.entities import Metric, Param, RunTag

        row = {"params": Param, "tags": RunTag, "metrics": Metric}[kind]
        most = _METRICS_A_CALL if kind == "metrics" else _OTHERS_A_CALL
        parts = [rows[start : start + most] for start in range(0, len(rows), most)]
        sent = [self._send("log_batch", **{kind: [row(*one) for one in part]}) for part in parts]
        return all(sent)

    def _send(self, call: str, *values: object, **named: object) -> bool:
        """Call MLflow's client; False, and a warning in the log, where the tracker fails."""
        if self._tracker is None:
            return True
        self.begin()
        from headclip_med.tracking.client import FAILURES

        try:
            getattr(self._tracker.client, call)(self.id, *values, **named)
        except FAILURES as error:
            _logger.warning("the tracker does not answer (%s); going on", type(error).__name__)
            return False
        return True


@contextmanager
def ending(run: Run) -> Iterator[Run]:
    """Close a run, whichever way its block ends."""
    try:
        yield run
    except BaseException as error:
        # The message stays out: it may name a file.
        reason = error.code if isinstance(error, HeadClipError) else type(error).__name__
        if run.has_begun:
            run.tags({"headclip.error": reason})
        run.end("FAILED" if isinstance(error, Exception) else "KILLED")
        raise
    run.end("FINISHED")
