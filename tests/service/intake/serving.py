"""A service that screens with a model of known answers: ``python -m ... CONFIG [END]``.

Every process that it starts imports this module, so that it imports nothing heavy itself.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from threading import Event


def run(config: Path, end: str) -> None:
    from headclip_med.pipelines.service import dispatch, queue
    from headclip_med.pipelines.service.configuration import read_configuration
    from headclip_med.pipelines.service.execution.local import LocalExecutor
    from headclip_med.pipelines.service.serve import serve
    from tests.service.intake.even import EvenBuilding

    queue.AFTER_A_LOSS_S = 0.0
    dispatch.LEASE_S, dispatch.RENEW_EVERY_S = 8.0, 2.0
    dispatch.PROBE_EVERY_S, dispatch.ROOM_BYTES = 1.0, 1_000_000
    configuration = read_configuration(config)
    asked = Event()
    signal.signal(signal.SIGTERM, lambda *_: asked.set())
    build = EvenBuilding(configuration.out, end)
    serve(
        configuration,
        lambda _plan: LocalExecutor(build, configuration.service),
        asked.is_set,
        lambda: (configuration.out / "ready").touch(),
    )


if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "kill")
