"""``headclip calibrate``: from normal studies to p-values."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, ClassVar

from tyro.conf import Positional

from headclip_med.cli.groups import ModelOptions, RegistryOptions
from headclip_med.cli.options import Takes
from headclip_med.cli.screen import check_any, look_for
from headclip_med.cli.terminal.progress import progress
from headclip_med.cli.terminal.results import show_failures
from headclip_med.cli.terminal.tables import Column, Row, Sheet, show
from headclip_med.cli.terminal.voice import VOICE
from headclip_med.errors import InvalidSettings
from headclip_med.settings import CalibrationSettings, ScreenSettings

if TYPE_CHECKING:
    from headclip_med.pipelines.calibration.file import Normals
    from headclip_med.pipelines.calibration.normals import CalibrationReport


@dataclass(frozen=True, kw_only=True)
class Calibrate(ModelOptions, RegistryOptions):
    """Learn p-values from normal studies.

    Give studies that were read as normal; one of each patient counts. Then screen with
    --calibration FILE and the same model and settings. RESEARCH ONLY - not for clinical use.

    Examples:
      headclip calibrate NORMALS --out calibration.json
      headclip calibrate NORMALS --out north.json --alpha 0.1 --site North --results normals
    """

    takes: ClassVar[tuple[Takes, ...]] = (
        Takes(CalibrationSettings, ("alpha", "site")),
        *ModelOptions.takes,
        Takes(ScreenSettings, ("window", "planes", "symmetry")),
    )
    common: ClassVar[tuple[str, ...]] = (
        "input", "out", "alpha", "site", "patient_key", "results", "hide_names", "model", "method",
        "set",
    )  # fmt: skip

    input: Positional[tuple[Path, ...]] = ()
    """Folders, files or archives with normal studies."""
    out: Path | None = None
    """The file to write."""
    patient_key: Path | None = None
    """File with the key of patients' hashes; random if none."""
    results: Path | None = None
    """Keep results here, and take up those that are there."""
    hide_names: bool = False
    """Give files numbers: no name is written or printed."""

    def run(self) -> int:
        """Screen the normal studies, write the calibration, and say what it means."""
        settings, wanted = self.settings(ScreenSettings), self.settings(CalibrationSettings)
        if not self.input:
            raise InvalidSettings("There are no normal studies.", "Name folders or files.")
        if self.out is None:
            raise InvalidSettings(
                "There is no file for the calibration.", "Name one with --out calibration.json."
            )
        from headclip_med.pipelines.calibration.given import check_enough, read_key
        from headclip_med.transforms import check_window
        from headclip_med.write import check_writable

        check_window(settings.window)
        key = read_key(self.patient_key)
        self.check()
        inputs = look_for(self.input)
        check_any(inputs)
        check_enough(inputs, wanted.alpha)
        check_writable(self.out.absolute().parent)
        from headclip_med.pipelines.calibration.file import write_calibration
        from headclip_med.pipelines.calibration.normals import calibrate
        from headclip_med.pipelines.work.screener import Screener

        model = self.load(tracking_uri=self.tracking_uri)
        with ExitStack() as stack:
            out = self.results or Path(stack.enter_context(TemporaryDirectory()))
            bar = stack.enter_context(progress(sum(one.slices for one in inputs.readable), "slice"))
            screener = Screener(model=model, out=out, settings=settings, outputs=(), report=bar.add)
            report = calibrate(inputs, screener, wanted, key, hide_names=self.hide_names)
        write_calibration(report.calibration, self.out)
        show_calibration(report, self.out, as_json=self.json)
        return report.exit_code


STRATUM_COLUMNS = (
    Column("modality"), Column("body part"), Column("window"), Column("site"),
    Column("studies", is_number=True), Column("flagged, at most", is_number=True),
    Column("true rate (95 %)", is_number=True),
)  # fmt: skip


def _row(one: Normals, alpha: float) -> Row:
    kind, (low, high) = one.stratum, one.known.true_rate(alpha)
    cells = (
        kind.modality or "none", kind.body_part or "none", kind.window, kind.site,
        str(len(one.scores)), f"{100 * alpha:g} %", f"{100 * low:.1f} to {100 * high:.1f} %",
    )  # fmt: skip
    return Row(cells)


def show_calibration(report: CalibrationReport, path: Path, *, as_json: bool) -> None:
    """Print what a calibration means; on stderr what was left out, refused, or failed.

    Args:
        report: What the normal studies gave.
        path: Of the file.
        as_json: For machines.
    """
    from headclip_med.write.plain_text import visible

    show_failures(report.failures)
    for note in report.notes():
        VOICE.say(visible(f"headclip: {note}"))
    calibration = report.calibration
    for left in calibration.left_out:
        names = ", ".join(report.names[left.study])
        VOICE.say(visible(f"headclip: left out ({left.code}): {names}"))
    if as_json:
        more = {
            "calibration": str(path),
            "names": report.names,
            "failures": [asdict(one) for one in report.failures],
            "notes": list(report.notes()),
        }
        print(json.dumps({**calibration.to_json(), **more}, indent=2))
        return
    show(
        Sheet(STRATUM_COLUMNS, [_row(one, calibration.alpha) for one in calibration.strata]),
        (visible(one.sentence(calibration.alpha)) for one in calibration.strata),
    )
    print(f"wrote {path}")
