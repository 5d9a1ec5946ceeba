"""Scored series whose calibration can be written down by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from headclip_med.calibration import Stratum
from headclip_med.findings import SCORING_VERSION
from headclip_med.pipelines.calibration.file import Binding, Calibration
from headclip_med.pipelines.calibration.normals import ScoredSeries, gathered
from headclip_med.settings import ScoreSettings, ScreenSettings

HEAD = Stratum("CT", "HEAD", "brain")
CHEST = Stratum("CT", "CHEST", "lung")
KEY = b"sixteen bytes, at least"

MODEL: dict[str, object] = {"name": "bright", "method": "bright", "digest": "one"}
SETTINGS: dict[str, Any] = {
    **ScreenSettings().to_json(), "scores": ScoreSettings().to_json(),
}  # fmt: skip
BINDING = Binding.of(MODEL, SETTINGS, SCORING_VERSION)

SERIES = ScoredSeries(HEAD, BINDING, "bright", 0.5, patient="", study="", name="")


def series(number: int, score: float, **changes: Any) -> ScoredSeries:
    """Give a series of a study and a patient of its own."""
    own = {"score": round(score, 6), "study": f"1.2.{number:04}", "patient": f"patient {number}"}
    return replace(SERIES, **{"name": f"series {number}", **own, **changes})


def calibration(*scores: float, alpha: float = 0.2, stratum: Stratum = HEAD) -> Calibration:
    """Calibrate on studies with these scores."""
    scored = [series(number, score, stratum=stratum) for number, score in enumerate(scores)]
    return gathered(scored, alpha, KEY)[0]
