"""One volume after the other: screened, judged, written; or its finished result taken up."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from headclip_med import __version__
from headclip_med.atomic import reported_errors, write_file
from headclip_med.content import content_of_volume
from headclip_med.errors import UnreadableInput
from headclip_med.findings import SCORING_VERSION
from headclip_med.models.model import AnomalyModel, name_content
from headclip_med.pipelines.calibration import Calibrator
from headclip_med.pipelines.screen import screen
from headclip_med.settings import ScreenSettings
from headclip_med.transforms import check_window
from headclip_med.volume import Volume
from headclip_med.write import (
    USUAL_OUTPUTS,
    HeatmapAhead,
    SummaryRow,
    check_outputs,
    free_folder,
    lacks_outputs,
    write_screening,
)
from headclip_med.write.result import SCHEMA_VERSION, to_text, with_calibration


@dataclass(frozen=True, kw_only=True)
class Screener:
    """Screens one volume after the other, and writes what was found.

    Attributes:
        model: As ``load_model`` gives it.
        out: Folder of the run.
        settings: Of the screening.
        outputs: Names of ``OUTPUTS``.
        report: Called with the number of slices done since the last call.
        calibrator: Gives scores their p-values.
        of_version: Whether a result of another version of this program is no finished one.
        is_scripted: Whether pages have scripts.

    Raises:
        InvalidSettings: The window or an output is unknown; said before any work.
    """

    model: AnomalyModel
    out: Path
    settings: ScreenSettings = field(default_factory=ScreenSettings)
    outputs: tuple[str, ...] = USUAL_OUTPUTS
    report: Callable[[int], None] = lambda slices: None
    calibrator: Calibrator | None = None
    of_version: bool = False
    is_scripted: bool = True

    def __post_init__(self) -> None:
        """Check names whatever the volume."""
        check_window(self.settings.window)
        check_outputs(self.outputs)

    def screen(self, volume: Volume) -> SummaryRow:
        """Screen a volume, and give the row of its results."""
        with HeatmapAhead(volume.grid, self.outputs) as ahead:
            found = screen(
                volume, self.model, settings=self.settings, report=self.report, follow=ahead.add
            )
            if self.calibrator is not None:
                found = replace(found, calibration=self.calibrator.of(found))
            written = write_screening(found, self.out, outputs=self.outputs, ahead=ahead)
        return SummaryRow.of(written, self.out)

    def finished(self, volume: Volume) -> SummaryRow | None:
        """Give the row of an earlier result that screening again would only repeat.

        Returns:
            None where there is no result, or it is of other voxels, another model, other settings
            or another way of scoring, or lacks an output. Where a calibration is in use, one of
            another is judged anew: its score stays; unless a report was written of it, which must
            not keep the other p-value.
        """
        folder = free_folder(volume, self.out)
        try:
            result = json.loads((self.out / folder / "result.json").read_text("utf-8"))
            model = name_content(self.model, content_of_volume(volume))
            wanted: dict[str, Any] = {
                **({"version": __version__} if self.of_version else {}),
                "schema_version": SCHEMA_VERSION,
                "scoring_version": SCORING_VERSION,
                "model": model.describe(),
                "settings": {**self.settings.to_json(), "scores": model.scores.to_json()},
            }
            same = {key: result[key] for key in wanted} == json.loads(json.dumps(wanted))
            if not same or result["input"]["content_digest"] != volume.content_digest:
                return None
            if volume.name is None and result["input"]["name"] is not None:
                return None  # it says what is now to be hidden
            if lacks_outputs(result, self.outputs):
                return None
            judged = result
            if self.calibrator is not None:
                judged = with_calibration(result, self.calibrator.of_result(result))
            if judged != result and "sr" in result["outputs"]:
                return None  # its report states the other p-value
            row = SummaryRow.from_result(judged, folder.as_posix())
        except (OSError, ValueError, KeyError, TypeError, UnreadableInput):  # damaged, or older
            return None
        if judged != result:
            with reported_errors():
                write_file(self.out / folder / "result.json", to_text(judged))
        return row
