"""``headclip batch``: much at once, in a run that can be stopped, shared and given again."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import FrameType
from typing import TYPE_CHECKING, ClassVar

from headclip_med.cli.options import Takes
from headclip_med.cli.screen import Screen
from headclip_med.cli.terminal.progress import progress
from headclip_med.cli.terminal.results import show_plan, show_report
from headclip_med.cli.terminal.voice import VOICE
from headclip_med.pipelines.service.settings import BatchWorkSettings, WorkSettings
from headclip_med.settings import ScoreSettings, ScreenSettings, SiteSettings

if TYPE_CHECKING:
    from headclip_med.pipelines.service.execution.executor import Executor
    from headclip_med.pipelines.work.building import ScreenerPlan


@dataclass(frozen=True, kw_only=True)
class ScreenBatch(Screen):
    """Screen much: stopped and taken up, by several processes.

    Writes what 'headclip screen' writes, and a worklist of the folder, which earlier batches stand
    on too. Given again after it was stopped, or with more inputs, it screens what has no result
    yet, or one of other files, another model or other settings. RESEARCH ONLY - not for clinical
    use.

    Examples:
      headclip batch ARCHIVE --out results --workers 2
      headclip batch ARCHIVE --out results --retry
    """

    takes: ClassVar[tuple[Takes, ...]] = (
        Takes(ScoreSettings),
        Takes(ScreenSettings, ("window", "symmetry", "threshold")),
        Takes(SiteSettings),
        Takes(BatchWorkSettings, ("workers", "ray")),
    )
    common: ClassVar[tuple[str, ...]] = (
        "input", "out", "plan", "hide_names", "model", "method", "workers", "ray", "retry",
        "verify", "set", "config",
    )  # fmt: skip

    retry: bool = False
    """Try again what was set aside."""
    verify: bool = False
    """Compare finished results with the voxels, too."""

    def run(self) -> int:
        """Screen what is not finished, and say what was found."""
        work = self.settings(BatchWorkSettings)
        if (found := self.find()) is None:
            return show_plan(self.inputs(), hide_names=self.hide_names, as_json=self.json)
        inputs, plan = found
        plan = replace(plan, of_version=work.of_version)
        from headclip_med.pipelines.service.batch import BatchRequest, run_batch

        slices = sum(one.slices for one in inputs.readable)
        with progress(slices, "slice") as bar, asked_to_end() as asked:
            settings = BatchRequest(
                run_key=f"{plan.run_key}{'-hidden' if self.hide_names else ''}",
                hide_names=self.hide_names,
                retries=self.retry,
                verifies=self.verify,
                is_scripted=self.script,
                is_stopped=lambda: asked.number is not None,
                report=bar.add,
                say=lambda sentence: VOICE.say(f"headclip: {sentence}"),
            )
            report = run_batch(inputs, plan.out, _executor(plan, work), settings)
        show_report(report, as_json=self.json)
        if asked.number is None:
            return report.exit_code
        print("headclip: stopped; what was finished is kept.", file=sys.stderr)
        return 128 + asked.number


def executor_of(plan: ScreenerPlan, work: WorkSettings) -> Executor:
    """Choose who does the work: processes, or this one."""
    from headclip_med.pipelines.service.execution.local import InlineExecutor, LocalExecutor

    return LocalExecutor(plan, work) if work.workers else InlineExecutor(plan)


def _executor(plan: ScreenerPlan, work: BatchWorkSettings) -> Executor:
    if work.ray is None:
        return executor_of(plan, work)
    from headclip_med.pipelines.service.execution.ray import RayExecutor

    return RayExecutor(plan, work, work.ray, plan.out, plan.request.device)


@dataclass
class _Asked:
    """Which signal asked for the end, if any."""

    number: int | None = field(default=None)


@contextmanager
def asked_to_end() -> Iterator[_Asked]:
    """Note Ctrl-C and the system's request to end; asked twice, it ends at once."""
    asked = _Asked()
    if threading.current_thread() is not threading.main_thread():
        yield asked  # whoever has the main thread decides about signals
        return

    def note(number: int, _frame: FrameType | None) -> None:
        if asked.number is not None:
            raise KeyboardInterrupt
        asked.number = number
        print("headclip: ending after this slice; again to end at once.", file=sys.stderr)

    before = {one: signal.signal(one, note) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
