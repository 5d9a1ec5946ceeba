"""What a worker builds: a model, and what screens with it, from plain values."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headclip_med import __version__
from headclip_med.calibration import Stratum
from headclip_med.models.header import find_sources
from headclip_med.models.request import ModelRequest
from headclip_med.settings import ScreenSettings
from headclip_med.tracking import REGISTERED

if TYPE_CHECKING:
    from headclip_med.pipelines.work.screener import Screener


@dataclass(frozen=True, kw_only=True)
class ScreenerPlan:
    """Everything that a screener follows from; it can be sent to another process.

    Attributes:
        request: The model.
        out: Folder of results.
        settings: Of the screening.
        outputs: Names of ``OUTPUTS``.
        calibration: What ``headclip calibrate`` wrote.
        site: Of the studies, as the calibration names it.
        stale: Strata whose p-values drifted; no part of what results depend on.
        of_version: Whether results of another version of this program are made anew.
        is_scripted: Whether pages have scripts; of results, ``outputs`` says it.
    """

    request: ModelRequest
    out: Path
    settings: ScreenSettings
    outputs: tuple[str, ...]
    calibration: Path | None = None
    site: str | None = None
    stale: frozenset[Stratum] = frozenset()
    of_version: bool = False
    is_scripted: bool = True

    def __call__(self, report: Callable[[int], None]) -> Screener:
        """Load the model, and build what screens with it.

        Args:
            report: Told of slices as they are done.

        Raises:
            HeadClipError: The model cannot be loaded.
        """
        from headclip_med.pipelines import loading
        from headclip_med.pipelines.calibration import Calibrator, read_calibration
        from headclip_med.pipelines.work.screener import Screener

        (model,) = loading.load_models(self.request).models.values()
        calibrator = None
        if self.calibration is not None:
            calibrator = Calibrator(read_calibration(self.calibration), self.site, self.stale)
        return Screener(
            model=model, out=self.out, settings=self.settings, outputs=self.outputs,
            report=report, calibrator=calibrator, of_version=self.of_version,
            is_scripted=self.is_scripted,
        )  # fmt: skip

    @property
    def run_key(self) -> str:
        """SHA-256 of what results depend on, the model's files by size and time.

        Raises:
            HeadClipError: A file of the model is missing.
        """
        known: dict[str, Any] = {
            "request": self.request.to_json(),
            "model": [_stamp(path) for path in self._model_files()],
            "settings": self.settings.to_json(),
            "outputs": list(self.outputs),
            "calibration": None if self.calibration is None else _stamp(self.calibration),
            "site": self.site,
            "version": __version__ if self.of_version else None,
        }
        text = json.dumps(known, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def _model_files(self) -> list[Path]:
        if self.request.name.startswith(REGISTERED):
            return []  # of a registry, which names versions
        sources = find_sources(self.request)
        paths = [path for path, _ in sources.checkpoints.values()]
        return [*paths, *([sources.towers.path] if sources.towers.path else [])]


def _stamp(path: Path) -> list[Any]:
    state = path.stat()
    return [path.name, state.st_size, state.st_mtime_ns]
