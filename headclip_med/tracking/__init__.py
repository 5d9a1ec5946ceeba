"""Runs recorded with MLflow, and models registered there; the only door to that library.

Importing this package is light: MLflow is loaded when a run begins that is recorded, or when a
registered model is asked for.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from headclip_med.errors import named_extras
from headclip_med.ranks import torchrun_ranks
from headclip_med.tracking.options import DEFAULT_URI, REGISTERED, TrackingOptions, check_model_name
from headclip_med.tracking.run import Run, ending

__all__ = [
    "DEFAULT_URI",
    "REGISTERED",
    "Run",
    "TrackingOptions",
    "check_model_name",
    "registered_checkpoint",
    "track",
]

# Read when MLflow is imported, which happens below: it would report its use to its makers, and try
# for minutes to reach a server that is not there; a checkpoint is copied before its progress bar
# could be read, and stdout is for results.
for _name, _value in {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}.items():
    os.environ.setdefault(_name, _value)


@contextmanager
def track(
    kind: str,
    *,
    experiment: str | None = None,
    options: TrackingOptions | None = None,
    parameters: Mapping[str, object] | None = None,
    tags: Mapping[str, object] | None = None,
    at_once: bool = True,
) -> Iterator[Run]:
    """Record a run until the block ends.

    It ends as FINISHED; as FAILED, with the error's code as a tag, when the block raises; as
    KILLED when it is interrupted. Of several processes that train together, the first records.

    Args:
        kind: What is done: ``train``, ``evaluate`` or an experiment's name.
        experiment: Under which heading it is found; the kind by default.
        options: Where, and under what name.
        parameters: What was set.
        tags: What describes the run.
        at_once: Begin it now; else with the first thing that is recorded, so that what is refused
            before leaves no run behind. The tracker is opened now in both cases.

    Yields:
        The run; one that records nothing where the options switch recording off.

    Raises:
        InvalidSettings: The tracker's address is none.
        MissingExtra: MLflow is not installed.
        UnusableTracker: The tracker cannot be reached, or refuses.
    """
    options = options or TrackingOptions()
    if not options.is_on or not torchrun_ranks().first:
        yield Run()
        return
    with named_extras():
        from headclip_med.tracking.tracker import Tracker

    tracker = Tracker(options)
    with ending(tracker.run(kind, experiment or kind, options.run_name)) as run:
        if at_once:
            run.begin()
        run.tags(tags or {})
        run.parameters(parameters or {})
        yield run


def registered_checkpoint(name: str, uri: str | None = None) -> AbstractContextManager[Path]:
    """Fetch the checkpoint of a registered model; it is gone again when the block ends.

    Args:
        name: ``models:/NAME/VERSION`` or ``models:/NAME@ALIAS``.
        uri: Of the tracker; as for ``TrackingOptions``.

    Returns:
        A context that gives the file, whose content is that which was registered.

    Raises:
        InvalidSettings: The name is of another form.
        UnusableTracker: There is no tracker there.
        UnusableWeights: There is no such model or version, or its file is not what was registered.
    """
    from headclip_med.tracking.registry import fetched_checkpoint

    return fetched_checkpoint(name, uri)
