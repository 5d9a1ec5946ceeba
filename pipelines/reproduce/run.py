"""All stages in their order."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from headclip_med.atomic import check_writable
from headclip_med.errors import HeadClipError, InvalidSettings
from headclip_med.models.verification.check import verify_weights
from headclip_med.pipelines.experiments.definitions import EXPERIMENTS
from headclip_med.pipelines.experiments.models import Setup
from headclip_med.pipelines.experiments.plan import ExperimentPlan, replan
from headclip_med.pipelines.reproduce.bench import Bench, ReproduceRequest
from headclip_med.pipelines.reproduce.data import DATA, check_data, data_objection
from headclip_med.pipelines.reproduce.experiments import (
    experiment_facts,
    is_whole,
    settle_experiment,
)
from headclip_med.pipelines.reproduce.facts import FactFile, Facts, Objection, StageFacts
from headclip_med.pipelines.reproduce.machine import GB, look_at_machine, taken_bytes
from headclip_med.pipelines.reproduce.publish import publish
from headclip_med.pipelines.reproduce.rates import Rates, measure_rates
from headclip_med.pipelines.reproduce.report import Gathered, write_report
from headclip_med.pipelines.reproduce.smoke import (
    SMOKE,
    BandCheck,
    causes_of,
    check_bands,
    smoke_objection,
    smoke_plan,
)
from headclip_med.pipelines.reproduce.work import StageWork, estimate_work
from headclip_med.write.plain_text import duration

MACHINE, WEIGHTS, RATES = "machine", "weights", "rates"
REPORT, PUBLISH = "report", "publish"

TITLES = {
    WEIGHTS: "the backbone's weights: digest, and drawn pictures",
    RATES: "a measured minute of every kind of work",
    DATA: "every image and mask opened",
    SMOKE: "small sets in full, beside the band of the paper",
    REPORT: "one report of all tables, beside the paper's",
    PUBLISH: "checkpoints, digests and card",
}

State = Literal["done", "known", "failed", "open"]


@dataclass(frozen=True)
class StageResult:
    """One stage, as it is listed.

    Attributes:
        name: Its name.
        title: What it does.
        state: ``done`` in this run, ``known`` from one before, ``failed``, or ``open``.
        seconds: That it took; None where it is not done.
        work: What it has to do and how long that takes about, where that was estimated.
        reason: Why it failed.
    """

    name: str
    title: str
    state: State
    seconds: float | None = None
    work: StageWork | None = None
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Give it as plain values."""
        return asdict(self)


@dataclass(eq=False)
class Reproduction:
    """What a run came to.

    Attributes:
        stages: In their order.
        objections: What spoke against going on, and was gone on against.
        checks: Numbers of the smoke test beside the paper's bands.
        paths: Of the report and the folder to publish, by kind.
    """

    stages: list[StageResult] = field(default_factory=list)
    objections: list[Objection] = field(default_factory=list)
    checks: list[Facts] = field(default_factory=list)
    paths: dict[str, Path] = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        """Whether every stage came to its end, and nothing spoke against any."""
        return not self.objections and all(one.state != "failed" for one in self.stages)


def reproduce(request: ReproduceRequest, setup: Setup) -> Reproduction:
    """Do every stage that is not done yet.

    Args:
        request: What is to be reproduced.
        setup: On which backbone, with which settings, and where everything is kept.

    Raises:
        HeadClipError: Something speaks against going on, or a stage without which there is nothing
            to report failed; what was finished is kept.
    """
    check_writable(setup.out)
    return _Run(request, setup).whole()


def outline(request: ReproduceRequest, setup: Setup) -> list[StageResult]:
    """Say what each stage has to do, and which are done; nothing is written.

    How fast this machine is, is measured for it, unless it is known from a run before.

    Raises:
        HeadClipError: The sets cannot be read, or nothing can be tested.
    """
    bench = Bench.of(request, setup)
    known = _rates_file(bench).read()
    rates = Rates(**known.values) if known else measure_rates(bench)
    work = estimate_work(bench, _smoke_or_none(bench), rates)
    files: dict[str, FactFile] = {
        WEIGHTS: _weights_file(request, setup), RATES: _rates_file(bench),
        SMOKE: experiment_facts(bench, SMOKE),
        **{name: experiment_facts(bench, name) for name in request.experiments},
    }  # fmt: skip
    machine = look_at_machine(setup.device, setup.out)
    found = [StageResult(MACHINE, machine.describe(), "open")]
    for name in _names(request)[1:]:
        kept = files[name].read() if name in files else None
        is_known = kept is not None and ("files" not in kept.values or
                                         is_whole(setup.out, kept.values))  # fmt: skip
        state: State = "known" if is_known else "open"
        seconds = kept.seconds if kept and is_known else None
        found.append(StageResult(name, _title(name), state, seconds, work.get(name)))
    return found


def _names(request: ReproduceRequest) -> tuple[str, ...]:
    return (MACHINE, WEIGHTS, RATES, DATA, SMOKE, *request.experiments, REPORT, PUBLISH)


def _title(name: str) -> str:
    return TITLES.get(name) or EXPERIMENTS[name].title


def _weights_file(request: ReproduceRequest, setup: Setup) -> FactFile:
    backbone = setup.backbone
    identity = {
        "digest": backbone.digest,
        "activation": backbone.activation,
        "name": backbone.name,
        "file": Path(request.weights or request.backbone).name,
    }
    return FactFile(setup.out, WEIGHTS, identity)


def _rates_file(bench: Bench) -> FactFile:
    setup = bench.setup
    about = {
        "device": look_at_machine(setup.device, setup.out).device,
        "backbone": setup.backbone.digest,
        "batch": setup.batch_size,
        "cache_limit_gb": setup.cache_limit_gb,
        "rests_on": bench.rests_on,
    }
    return bench.facts(RATES, about)


def _smoke_or_none(bench: Bench) -> ExperimentPlan | None:
    try:
        return smoke_plan(bench)
    except InvalidSettings:
        return None


@dataclass
class _Run:
    """A run on its way."""

    request: ReproduceRequest
    setup: Setup
    result: Reproduction = field(default_factory=Reproduction)

    def whole(self) -> Reproduction:
        """Do all stages."""
        machine = look_at_machine(self.setup.device, self.setup.out)
        self.setup.say(f"machine: {machine.describe()}")
        self.result.stages.append(StageResult(MACHINE, machine.describe(), "done", 0.0))
        weights = self._weights()
        bench = Bench.of(self.request, self.setup)
        smoke_planned = _smoke_or_none(bench)
        rates = self._stage(RATES, lambda: _rates_file(bench).settle(
            lambda: measure_rates(bench).to_json()))  # fmt: skip
        work = estimate_work(bench, smoke_planned, Rates(**rates.values))
        self._tell(work)
        self._object(disk_objection(work, self.setup.out, machine.free_disk_gb))
        sets = self._stage(DATA, lambda: check_data(bench), work).values["sets"]
        self._object(data_objection(sets))
        smoke = None if smoke_planned is None else self._smoke(bench, smoke_planned, work)
        experiments, failures = self._experiments(bench, work)
        found = Gathered(
            machine, weights, rates.values, sets, smoke, experiments, failures,
            self.result.objections,
        )  # fmt: skip
        paths = self._files(REPORT, lambda: write_report(bench, found))
        tables = (*experiments.values(), *((smoke,) if smoke else ()))
        files = [self.setup.out / name for one in tables for name, _ in one["files"].values()]
        self._files(PUBLISH, lambda: {PUBLISH: publish(bench, [*paths.values(), *files], weights)})
        return self.result

    def _weights(self) -> Facts:
        request = self.request

        def verify() -> Facts:
            return verify_weights(
                request.backbone, weights=request.weights, activation=request.activation,
                device=request.device, loaded=self.setup.backbone_to_train(),
            ).to_json()  # fmt: skip

        file = _weights_file(request, self.setup)
        found = self._stage(WEIGHTS, lambda: file.settle(verify)).values
        if found["code"]:
            self._object(Objection(WEIGHTS, found["code"], found["reason"], found["advice"]))
        return found

    def _smoke(self, bench: Bench, plan: ExperimentPlan, work: Mapping[str, StageWork]) -> Facts:
        causes = causes_of(bench)
        found = self._stage(SMOKE, lambda: settle_experiment(bench, plan, lambda outcome: {
            "checks": [one.to_json() for one in check_bands(outcome.document.tables, causes)],
        }), work).values  # fmt: skip
        self.result.checks = list(found["checks"])
        self._object(smoke_objection([BandCheck.from_json(one) for one in found["checks"]]))
        return found

    def _experiments(
        self, bench: Bench, work: Mapping[str, StageWork]
    ) -> tuple[dict[str, Facts], dict[str, str]]:
        """Run every experiment; one that cannot be done costs its tables alone."""
        found: dict[str, Facts] = {}
        failures: dict[str, str] = {}
        for name in self.request.experiments:

            def settle(name: str = name) -> StageFacts:
                return settle_experiment(bench, replan(bench.plan, EXPERIMENTS[name]))

            try:
                found[name] = self._stage(name, settle, work).values
            except HeadClipError as error:
                failures[name] = str(error)
                failed = StageResult(name, _title(name), "failed", None, work.get(name), str(error))
                self.result.stages.append(failed)
                self.setup.say(f"without {name}: {error}")
        return found, failures

    def _files(self, name: str, work: Callable[[], dict[str, Path]]) -> dict[str, Path]:
        """Do a stage that is always done anew: it only puts together what is there."""
        found: dict[str, Path] = {}

        def settle() -> StageFacts:
            found.update(work())
            return StageFacts({}, 0.0, is_new=True)

        self._stage(name, settle)
        self.result.paths |= found
        return found

    def _stage(
        self,
        name: str,
        settle: Callable[[], StageFacts],
        work: Mapping[str, StageWork] | None = None,
    ) -> StageFacts:
        names = _names(self.request)
        number = f"{names.index(name) + 1} of {len(names)}"
        self.setup.say(f"stage {number}, {name}: {_title(name)}")
        found = settle()
        self._list(name, found, (work or {}).get(name))
        return found

    def _list(self, name: str, found: StageFacts, work: StageWork | None = None) -> None:
        state: State = "done" if found.is_new else "known"
        if found.values.get("failed"):
            state = "failed"
        one = StageResult(name, _title(name), state, found.seconds, work)
        self.result.stages.append(one)

    def _tell(self, work: Mapping[str, StageWork]) -> None:
        for name, one in work.items():
            self.setup.say(f"  {name}: {describe_work(one)}")
        self.setup.say(f"  {describe_whole(work.values())}")

    def _object(self, objection: Objection | None) -> None:
        if objection is None:
            return
        if not self.request.go_on:
            raise objection.error()
        self.setup.say(f"going on against: {objection.reason}")
        self.result.objections.append(objection)


def disk_objection(work: Mapping[str, StageWork], out: Path, free_gb: float) -> Objection | None:
    """Say what the disk lacks; what lies in the folder already is not needed again."""
    need_gb = sum(one.disk_gb for one in work.values())
    need_gb += max(one.features_gb for one in work.values())
    lacking_gb = need_gb - taken_bytes(out) / GB - free_gb
    if lacking_gb <= 0:
        return None
    return Objection(
        MACHINE,
        "disk-too-small",
        f"Predictions and features take about {need_gb:.0f} GB, and the disk of the folder has "
        f"{free_gb:.0f} GB left.",
        "Choose another folder, fewer experiments, or a smaller --cache-limit-gb.",
    )


def describe_whole(work: Collection[StageWork]) -> str:
    """Say what all stages take together."""
    seconds = sum(one.seconds or 0.0 for one in work)
    disk_gb = sum(one.disk_gb for one in work)
    return f"in all about {duration(seconds)}, and {disk_gb:.1f} GB of predictions"


def describe_work(work: StageWork) -> str:
    """Say what a stage has to do, and how long that takes."""
    parts = []
    if work.trainings:
        parts.append(f"{work.trainings} trainings ({work.trained_images} images)")
    if work.asked_images:
        parts.append(f"{work.asked_images} predictions")
    if work.seconds is not None:
        parts.append(f"about {duration(work.seconds)}")
    return ", ".join(parts)
