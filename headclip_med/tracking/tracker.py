"""A tracker, where runs begin."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from tempfile import gettempdir

from filelock import FileLock
from mlflow import MlflowException
from mlflow.entities import Run as Begun

from headclip_med.errors import UnusableTracker
from headclip_med.tracking.client import connect, environment, revision, saying
from headclip_med.tracking.options import LONGEST_NAME, TrackingOptions, to_name
from headclip_med.tracking.run import Run

_KIND = {"mlflow.experimentKind": "custom_model_development"}
"""Its user interface then shows runs and metrics first, and not conversations."""


class RunLocks:
    """Locks of the runs that were begun on this machine: the end of a process releases them.

    A process that is killed outright cannot close its run. The system drops its locks all the same,
    so that a run whose lock is there and free is over. Nothing of a machine or a process is written
    down.

    Args:
        folder: Where they are; made when the first one is taken.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[str, FileLock] = {}

    def take(self, run_id: str) -> bool:
        """Take the lock of a run; False where another has it, or it cannot be had at all."""
        lock = FileLock(self._folder / run_id, thread_local=False)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            lock.acquire(blocking=False)
        except OSError:  # no such right, or no such thing on this file system; taken by another
            return False
        self._held[run_id] = lock
        return True

    def take_over(self, run_id: str) -> bool:
        """Take the lock of a run whose process is gone.

        Returns:
            False where it may still run, as all those of other machines may.
        """
        return (self._folder / run_id).is_file() and self.take(run_id)

    def release(self, run_id: str) -> None:
        """Drop the lock of a run that was closed, if it is held."""
        lock = self._held.pop(run_id, None)
        if lock is not None:
            Path(lock.lock_file).unlink(missing_ok=True)
            lock.release()


class Tracker:
    """Begins runs at an address.

    Args:
        options: Where it is.

    Raises:
        UnusableTracker: It cannot be reached.
    """

    def __init__(self, options: TrackingOptions) -> None:
        self.client = connect(options)
        database = options.database
        # Beside the database, and not in whatever folder is the current one.
        self._files = database.parent / "mlruns" if database else None
        self.locks = RunLocks((self._files or _own_folder()) / ".running")

    def run(self, kind: str, experiment: str, name: str | None) -> Run:
        """Give a run that begins when something of it is recorded; see ``track``.

        Raises:
            UnusableTracker: The tracker refuses the experiment.
        """

        def begin() -> Begun:
            with saying("does not begin a run"):
                label = self._unique(place, name) if name else _timed(kind)
                return self._begin(kind, place, label)

        with saying("does not begin a run"):
            self._close_abandoned()
            place = self._experiment(experiment)
        return Run(self, begin)

    def begin_below(self, above: Begun, name: str) -> Begun:
        """Begin a run below another.

        Raises:
            UnusableTracker: The tracker refuses.
        """
        info, kind = above.info, above.data.tags["headclip.kind"]
        with saying("does not begin a run"):
            label, tags = f"{info.run_name}/{name}", {"mlflow.parentRunId": info.run_id}
            return self._begin(kind, info.experiment_id, label[:LONGEST_NAME], tags)

    def _begin(
        self, kind: str, experiment_id: str, label: str, tags: Mapping[str, str] | None = None
    ) -> Begun:
        commit = revision()
        known = {
            "headclip.kind": kind,
            # The columns of the list of runs that MLflow, left alone, fills with a user's name and
            # a file's path.
            "mlflow.source.name": f"headclip {kind}",
            "mlflow.source.type": "LOCAL",
            **environment(),
            **({"mlflow.source.git.commit": commit} if commit else {}),
            **(tags or {}),
        }
        begun = self.client.create_run(experiment_id, run_name=label, tags=known)
        self.locks.take(begun.info.run_id)
        return begun

    def _close_abandoned(self) -> None:
        """Close runs that say they go on, and whose process on this machine was killed outright."""
        places = [one.experiment_id for one in self.client.search_experiments()]
        for run in self.client.search_runs(places, "attributes.status = 'RUNNING'"):
            run_id = run.info.run_id
            if self.locks.take_over(run_id):
                # It may have ended by itself since it was listed.
                if self.client.get_run(run_id).info.status == "RUNNING":
                    self.client.set_tag(run_id, "headclip.error", "process-gone")
                    self.client.set_terminated(run_id, "KILLED")
                self.locks.release(run_id)

    def _experiment(self, name: str) -> str:
        """Find or make an experiment."""
        found = self.client.get_experiment_by_name(name)
        if found is None:
            folder = self._files / to_name(name).replace("/", "_") if self._files else None
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
        if found.artifact_location.startswith("mlflow-artifacts:") and self._files:
            raise UnusableTracker(
                f"The experiment '{name}' was begun at a server, which alone can take its files.",
                "Start that, and name its address as --tracking-uri.",
                code="server-needed",
            )
        if not {key for key in _KIND if found.tags.get(key)}:
            # Made by other hands: without it the page opens on conversations.
            for key, value in _KIND.items():
                self.client.set_experiment_tag(found.experiment_id, key, value)
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


def _timed(kind: str) -> str:
    """Name a run after its kind and the time; no two runs share a name."""
    return f"{kind}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{token_hex(2)}"


def _own_folder() -> Path:
    """Give a folder of this user and this machine: beside a server there is none."""
    return Path(gettempdir(), f"headclip_med-{getattr(os, 'getuid', int)()}")
