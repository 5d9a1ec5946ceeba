"""MLflow runs that MONAI's own handler keeps: named once, and marked as failed when they fail."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ignite.engine import Engine
from monai.handlers.mlflow_handler import MLFlowHandler

_UNIQUE = re.compile(r"-\d{8}-\d{6}-\d{6}-\d+$")


def unique_run_name(kind: str) -> str:
    """Name a run: MONAI's handler goes on with an unfinished run of the same name.

    Args:
        kind: What the name begins with; a name of this function stays as it is.
    """
    if _UNIQUE.search(kind):
        return kind
    now = datetime.now(UTC).strftime("%Y%m%d-%H%M%S-%f")
    return f"{kind}-{now}-{os.getpid()}"


def executed_config(output_dir: Any) -> str | None:
    """Find the configuration that MONAI has just written as it is about to be run.

    MONAI's own reference to it breaks where ``output_dir`` is overridden by a plain path.
    """
    written = sorted(Path(str(output_dir)).glob("config_*.json"))
    return str(written[-1]) if written else None


def fail_runs(engine: Engine, error: BaseException) -> None:
    """Mark the runs of an engine as failed, then let the error go on.

    MONAI's handler leaves them as running for ever.

    Raises:
        BaseException: What ended the engine.
    """
    for handler in tracking_handlers(engine):
        if handler.cur_run is not None:
            run = handler.cur_run.info
            # MONAI goes on with any run of the same name that is not finished.
            handler.client.update_run(run.run_id, name=f"{run.run_name}-failed")
            handler.client.set_terminated(run.run_id, status="FAILED")
            handler.cur_run = None
    raise error


def tracking_handlers(engine: Engine) -> list[Any]:
    """Find the MLflow handlers that are attached to an engine."""
    listeners = (
        listener for listeners in engine._event_handlers.values() for listener, *_ in listeners
    )
    owners = [getattr(getattr(one, "func", one), "__self__", None) for one in listeners]
    return list({id(one): one for one in owners if isinstance(one, MLFlowHandler)}.values())
