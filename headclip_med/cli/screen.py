"""``headclip screen``, ``batch`` and ``demo``: from images to results that people look at."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tyro.conf import Positional

from headclip_med.cli.groups import ModelOptions, RegistryOptions, header_of
from headclip_med.cli.options import Takes
from headclip_med.cli.terminal.progress import progress
from headclip_med.cli.terminal.results import show_plan, show_report
from headclip_med.cli.terminal.voice import VOICE
from headclip_med.errors import InvalidSettings, UnreadableInput
from headclip_med.models.registry import method_named
from headclip_med.settings import ScreenSettings, SiteSettings

if TYPE_CHECKING:
    from headclip_med.pipelines.calibration import Calibrator
    from headclip_med.pipelines.demo import KnownLesion
    from headclip_med.pipelines.work.building import ScreenerPlan
    from headclip_med.read import Inputs
    from headclip_med.write import SummaryRow


DEMO_SLICES = 37
"""Of the drawn heads, 16 each, and of the real CT."""


@dataclass(frozen=True, kw_only=True)
class Screen(ModelOptions, RegistryOptions):
    """Screen DICOM, NIfTI or images: heatmaps, overlays, DICOM-SEG and a sorted page.

    Of each series it writes OUT/<study>/<series>/, and OUT/index.html sorted by score.
    RESEARCH ONLY - not for clinical use.

    Examples:
      headclip screen STUDY scan.nii.gz photo.png --out results
      headclip screen STUDY --out results --window brain --set overlap=0.25
      headclip screen STUDY --out results --model runs/vitl/headclip.safetensors
    """

    takes: ClassVar[tuple[Takes, ...]] = (
        *ModelOptions.takes,
        Takes(ScreenSettings, ("window", "planes", "symmetry", "threshold")),
        Takes(SiteSettings),
    )
    common: ClassVar[tuple[str, ...]] = (
        "input", "out", "plan", "hide_names", "calibration", "model", "method", "device", "window",
        "threshold", "set", "config",
    )  # fmt: skip

    input: Positional[tuple[Path, ...]] = ()
    """Folders, files or archives: DICOM, NIfTI, PNG, ..."""
    out: Path | None = None
    """Folder for the results."""
    plan: bool = False
    """Tell of each file what would be done; do nothing."""
    hide_names: bool = False
    """Give files numbers: no name is written."""
    outputs: str | None = None
    """What to write beside result.json, several with commas; all of {outputs} by default."""

    script: bool = True
    """Write pages without scripts, so no study view."""
    calibration: Path | None = None
    """What 'headclip calibrate' wrote, for p-values."""

    @classmethod
    def words(cls) -> dict[str, str]:
        """Name the methods and the outputs."""
        from headclip_med.write import USUAL_OUTPUTS

        return {**super().words(), "outputs": ", ".join(USUAL_OUTPUTS)}

    @classmethod
    def defaults(cls, named: Mapping[str, Any]) -> tuple[Any, ...]:
        """Give the threshold of the model in use as well."""
        header = header_of(named["model"], named["method"])
        usual = super().defaults(named)
        if header is None:
            return usual
        calibrated = replace(ScreenSettings(), threshold=header.threshold)
        return tuple(calibrated if isinstance(one, ScreenSettings) else one for one in usual)

    def run(self) -> int:
        """Screen everything and say what was found."""
        if (found := self.find()) is None:
            return show_plan(self.inputs(), hide_names=self.hide_names, as_json=self.json)
        inputs, plan = found
        from headclip_med.pipelines.batch import screen_inputs

        slices = sum(one.slices for one in inputs.readable)
        with progress(slices, "slice") as bar:
            report = screen_inputs(inputs, plan(bar.add), hide_names=self.hide_names)
        show_report(report, as_json=self.json)
        return report.exit_code

    def inputs(self) -> Inputs:
        """Find what there is to screen.

        Raises:
            InvalidSettings: Nothing was named.
        """
        if not self.input:
            raise InvalidSettings("Nothing to screen.", "Name folders or files.")
        return look_for(self.input)

    def find(self) -> tuple[Inputs, ScreenerPlan] | None:
        """Check everything that can be checked before torch is loaded, and find the inputs.

        Returns:
            None where only the plan is wanted.

        Raises:
            HeadClipError: Something is missing, unknown or not to be written to.
        """
        settings = self.settings(ScreenSettings)
        if not self.input:
            raise InvalidSettings("Nothing to screen.", "Name folders or files.")
        if self.out is None and not self.plan:
            raise InvalidSettings(
                "There is no folder for the results.", "Name one with --out, or give --plan."
            )
        from headclip_med.transforms import check_window
        from headclip_med.write import check_writable

        check_window(settings.window)
        outputs = self._outputs()
        self.calibrator()
        if self.plan:
            return None
        if self.method is not None:
            method_named(self.method)  # one, and not all
        self.check()
        inputs = self.inputs()
        check_any(inputs)
        # What is there of it: the folder itself is made when the model is found.
        out = Path(self.out or "").absolute()
        check_writable(next(one for one in (out, *out.parents) if one.exists()))
        from headclip_med.pipelines.work.building import ScreenerPlan

        return inputs, ScreenerPlan(
            request=self.request(), out=out, settings=settings, outputs=outputs,
            calibration=self.calibration, site=self.settings(SiteSettings).site,
            is_scripted=self.script,
        )  # fmt: skip

    def _outputs(self) -> tuple[str, ...]:
        """Name what is written.

        Raises:
            InvalidSettings: There is no such output, or it needs the script that is left out.
        """
        from headclip_med.write import OUTPUTS, USUAL_OUTPUTS, check_outputs

        wanted = USUAL_OUTPUTS if self.outputs is None else check_outputs(self.outputs)
        scripted = [name for name in wanted if OUTPUTS[name].is_scripted and not self.script]
        if scripted and self.outputs is not None:
            raise InvalidSettings(
                f"{', '.join(scripted)} works by a script, which --no-script leaves out.",
                "Leave it out of --outputs, or leave out --no-script.",
                code="needs-script",
            )
        return tuple(name for name in wanted if name not in scripted)

    def calibrator(self) -> Calibrator | None:
        """Give what finds p-values, where a calibration was named.

        Raises:
            InvalidSettings: A site was named, and no calibration.
            UnreadableInput: The file is no calibration.
        """
        site = self.settings(SiteSettings).site
        if self.calibration is None:
            if site is not None:
                raise InvalidSettings(
                    "A site is of use with a calibration only.", "Name one with --calibration."
                )
            return None
        from headclip_med.pipelines.calibration import Calibrator, read_calibration

        return Calibrator(read_calibration(self.calibration), site)


def look_for(paths: Sequence[Path]) -> Inputs:
    """Find what there is to screen, and count the files that were looked at."""
    from headclip_med.read import find_inputs

    with progress(None, "file") as bar:
        return find_inputs(paths, seen=bar.seen)


def check_any(inputs: Inputs) -> None:
    """Refuse to run where there is nothing that could be screened, or could fail.

    Raises:
        UnreadableInput: There is not.
    """
    failed = () if inputs.readable else inputs.failures
    if failed and all(failure.code == "not-found" for failure in failed):
        raise failed[0].to_error()
    if not inputs.readable and not any(failure.is_error for failure in failed):
        raise UnreadableInput(
            "No images were found there, so nothing was written.",
            "Name a folder or file with images, or see --plan for what was found.",
            code="no-images",
        )


@dataclass(frozen=True, kw_only=True)
class Demo(ModelOptions):
    """Screen drawn heads with known lesions and a real CT series, offline.

    The heads, a CT and an MR, are written as real DICOM series; the real CT is the one that
    pydicom's package carries. All go through the same code as any study. RESEARCH ONLY - not for
    clinical use.

    Examples:
      headclip demo --out out/demo
    """

    common: ClassVar[tuple[str, ...]] = ("out", "model", "method", "device", "set", "json")

    out: Path = Path("out/demo")
    """Folder for the results."""

    def run(self) -> int:
        """Run it, and say where to look and how well the lesion was hit."""
        self.check()
        from headclip_med.pipelines.demo import demonstrate

        VOICE.say("headclip: loading the model ...")
        model = self.load()
        VOICE.say("headclip: drawing two heads, and screening them and a real CT ...")
        with progress(DEMO_SLICES, "slice") as bar:
            demo = demonstrate(model, self.out, report=bar.add)
        page = str(demo.batch.outputs["page"])
        results = self.out / "results"
        ct, mr = (_places(row, results) for row in demo.drawn)
        lesions = [asdict(one) for one in demo.lesions]
        if self.json:
            found = {"page": page, **ct, "known_lesion": lesions[0]}
            print(json.dumps({**found, "mr": {**mr, "known_lesion": lesions[1]}}))
            return demo.batch.exit_code
        for number, (places, lesion) in enumerate(zip((ct, mr), demo.lesions, strict=True)):
            seg = places["segmentation"] or "none: nothing passed the threshold"
            print(f"{'drawn MR' if number else 'overlay':14} {places['overlay']}")
            print(f"DICOM-SEG      {seg}")
            if not number:
                print(f"page           {page}")
            _show_lesion(lesion)
        return demo.batch.exit_code


def _places(row: SummaryRow, results: Path) -> dict[str, str | None]:
    folder = results / row.folder
    segmentation = str(folder / "seg.dcm") if "seg" in row.outputs else None
    return {"overlay": str(folder / row.outputs["overlay"]), "segmentation": segmentation}


def _show_lesion(lesion: KnownLesion) -> None:
    """Say how well a lesion that was drawn was hit, and what else was taken for one."""
    print(
        f"known lesion   {lesion.volume_mm3 / 1000:.1f} ml: voxel AUROC {lesion.auroc:.3f}, "
        f"Dice {lesion.dice:.2f}; {lesion.candidates_on_it} of {lesion.candidates} candidates "
        "lie on it"
    )
    if lesion.first_distance_mm is not None:
        print(
            f"               the first candidate lies {lesion.first_distance_mm:.0f} mm from "
            "its centre"
        )
    if others := lesion.candidates - lesion.candidates_on_it:
        print(f"               false alarms: {others}")
