"""The options that say where runs are recorded, and whether they are."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from headclip_med.tracking import DEFAULT_URI, TrackingOptions

if TYPE_CHECKING:
    from headclip_med.tracking import Run


def add_tracking(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Add the options of a command whose runs are recorded, and give their group."""
    group = parser.add_argument_group("tracking")
    add_tracking_uri(group, "record the run")
    group.add_argument("--no-tracking", action="store_true", help="record nothing")
    group.add_argument("--run-name", help="what the run is called (default: its kind and the time)")
    return group


def add_tracking_uri(group: argparse._ActionsContainer, what: str) -> None:
    """Add the tracker's address alone; ``what`` is done there."""
    group.add_argument(
        "--tracking-uri", metavar="URI",
        help=f"{what} at this MLflow server or database, such as http://localhost:5000 (default: "
        f"what MLFLOW_TRACKING_URI says, else {DEFAULT_URI} in the current folder)",
    )  # fmt: skip


def tracking_from(arguments: argparse.Namespace) -> TrackingOptions:
    """Say how the command's run shall be recorded.

    Raises:
        InvalidSettings: The run cannot be called that.
    """
    return TrackingOptions(
        uri=arguments.tracking_uri, run_name=arguments.run_name, is_on=not arguments.no_tracking
    )


def show_run(run: Run, options: TrackingOptions) -> None:
    """Say where a run was recorded."""
    if run.is_recording:
        uri = "" if options.resolved_uri == DEFAULT_URI else " --backend-store-uri ..."
        print(f"recorded as {run.name}; look at it with 'mlflow ui{uri}'", file=sys.stderr)
