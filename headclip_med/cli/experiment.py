"""``headclip experiment``: the paper's experiments, with its numbers beside ours."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, get_args

import tyro
from tyro.conf import Positional, UseAppendAction

from headclip_med.cli.groups import DataOptions, TrackingGroup, WeightsOptions, count_step, show_run
from headclip_med.cli.options import Takes
from headclip_med.cli.terminal.progress import Progress, progress
from headclip_med.cli.terminal.tables import Column, Row, Sheet, Tone, show, show_markdown
from headclip_med.cli.terminal.voice import VOICE
from headclip_med.models.header import check_device
from headclip_med.models.registry import DEFAULT, METHODS
from headclip_med.settings import EMBEDDED_NAME, Precision, ScoreSettings, TrainSettings

if TYPE_CHECKING:
    from headclip_med.models.clip.towers import Backbone
    from headclip_med.pipelines.experiments.models import Setup
    from headclip_med.pipelines.experiments.plan import Request
    from headclip_med.pipelines.reproduce.run import StageResult

ExperimentName = Literal["main", "lhw", "layers", "init", "jas", "modules", "readings"]


@dataclass(frozen=True, kw_only=True)
class ExperimentOptions(WeightsOptions, DataOptions, TrackingGroup):
    """What one experiment and all of them take: data, backbone, and how much of it."""

    takes: ClassVar[tuple[Takes, ...]] = (
        Takes(TrainSettings, ("epochs", "batch_size", "precision")),
        Takes(ScoreSettings),
        Takes(type(METHODS[DEFAULT].settings)),
    )
    decisive: ClassVar[tuple[str, ...]] = ("backbone",)

    data_root: Path | None = None
    """Folder below which sets are looked for."""
    datasets: tuple[str, ...] = ()
    """Sets to test, as SET or LAYOUT:PATH; all that are found by default."""
    train: Annotated[tuple[str, ...], UseAppendAction, tyro.conf.arg(metavar="LAYOUT:DIR")] = ()
    """Train on this set for every test, not by the published protocol; may be repeated."""
    limit: int | None = None
    """Test at most this many images per category."""
    out: Path = Path("experiments")
    """Folder for tables, trainings and predictions."""
    cache_limit_gb: float = 4.0
    """Most that the frozen tower's outputs may take on disk while trainings read them; 0 keeps
    none."""
    seeds: int = 1
    """Train with this many seeds, from the setting seed on: means ± standard deviations."""
    images_per_pass: int = 8
    """When predicting."""
    backbone: str = EMBEDDED_NAME
    """headclip-mini, a name of open_clip's registry, or a folder."""
    judging_precision: Precision = "fp32"
    """Of predicting; bf16 is faster where the hardware is made for it, which auto finds out."""

    @classmethod
    def words(cls) -> dict[str, str]:
        """Name the methods."""
        return {"methods": ", ".join(METHODS)}

    @classmethod
    def defaults(cls, named: Mapping[str, Any]) -> tuple[Any, ...]:
        """Give what the method that is varied is made of on the backbone."""
        usual = METHODS[DEFAULT].usual_settings(named["backbone"])
        return TrainSettings(), ScoreSettings(), usual

    def asked(self, methods: tuple[str, ...] = ()) -> Request:
        """Say which data are asked for, after a look at whether they are there.

        Args:
            methods: Of those that an experiment compares; all by default.

        Raises:
            UnreadableInput: There is no such folder.
        """
        from headclip_med.datasets import require_folders
        from headclip_med.pipelines.experiments.plan import Request

        # Sets named with their place get what is said of sets.
        own = [one for one in (*self.datasets, *self.train) if ":" in one]
        told = dict(zip(own, self.named_sets(own), strict=True))
        tested, train = (
            tuple(told.get(one, one) for one in named) for named in (self.datasets, self.train)
        )
        require_folders((*tested, *train), self.data_root)
        return Request(self.data_root, tested, train, methods, self.limit)

    def setup(self, bar: Progress, backbone: Backbone) -> Setup:
        """Say on what and how experiments are run.

        Args:
            bar: Shows how far a training is, or a set, or what is measured.
            backbone: That was asked for.
        """
        from headclip_med.models.loading import choose_device
        from headclip_med.pipelines.experiments.models import Setup

        return Setup(
            backbone=backbone,
            out=self.out,
            device=choose_device(self.device),
            training=self.changes(TrainSettings),
            model=self.changes(type(METHODS[DEFAULT].settings)),
            scores=self.changes(ScoreSettings),
            batch_size=self.images_per_pass,
            precision=self.judging_precision,
            seeds=self.seeds,
            cache_limit_gb=self.cache_limit_gb,
            say=VOICE.say,
            begin=bar.begin,
            seen=bar.add,
            step=partial(count_step, bar),
        )


@dataclass(frozen=True, kw_only=True)
class RunExperiment(ExperimentOptions):
    """Run an experiment of the paper, and write its tables with the paper's beside them.

    main (tables 1-3, 10-26), lhw (4-6), layers (7), init (8), jas (figure 4), modules (9), readings
    (7 and 9, read in several ways). VisA is
    trained on to test MVTec AD, MVTec AD to test all others. What is there already (trainings,
    predictions) is not done again: a stopped run goes on.

    Examples:
      headclip experiment main --data-root /data --backbone ViT-L-14-336 --weights openai
      headclip experiment lhw --data-root /data --datasets BrainMRI Kvasir --epochs 5
    """

    common: ClassVar[tuple[str, ...]] = (
        "name", "data_root", "datasets", "train", "backbone", "out", "set",
    )  # fmt: skip

    name: Positional[ExperimentName]
    """Which experiment."""
    methods: tuple[str, ...] = ()
    """Of main and jas: only these of {methods}."""

    def run(self) -> int:
        """Run the experiment, and print its tables."""
        from headclip_med.atomic import check_writable

        asked = self.asked(self.methods)
        from headclip_med.pipelines.experiments.definitions import experiment_named
        from headclip_med.pipelines.experiments.plan import plan_experiment
        from headclip_med.pipelines.experiments.runner import run_experiment
        from headclip_med.tracking import track
        from headclip_med.write.tables import to_json, to_markdown

        experiment, options = experiment_named(self.name), self.tracked
        plan = plan_experiment(experiment, asked)
        command = shown_command(self.command_line, self.data_root)
        check_writable(self.out)
        with progress(None, "step") as bar:
            setup = self.setup(bar, self.load_backbone(self.backbone))
            setup.refuse_varied(experiment)
            for one in plan.tested:
                if one.reason or one.untrained:
                    setup.say(f"{one.name}: {one.reason or one.untrained}")
            named = experiment.tracked_as
            with track(
                experiment.name, experiment=named, options=options, at_once=False
            ) as tracked:
                outcome = run_experiment(plan, setup, command=command, run=tracked)
        show_run(tracked, options)
        if self.json:
            found = to_json(outcome.document)
            print(json.dumps({**found, "files": {k: str(v) for k, v in outcome.paths.items()}}))
        else:
            text = to_markdown(outcome.document)
            show_markdown(text, text)
        VOICE.say(f"written: {', '.join(map(str, outcome.paths.values()))}")
        return 3 if outcome.failed else 0


@dataclass(frozen=True, kw_only=True)
class Reproduce(ExperimentOptions):
    """Reproduce all of the paper in one go.

    Stages: the machine; the weights; a measured minute; every image opened; a smoke test on small
    sets, beside bands of the paper; the experiments; one report; a folder to publish. Each leaves
    its facts below --out, and the same command goes on where it was stopped. It stops by itself
    where weights, disk, data or smoke test speak against going on. Without the paper's backbone
    everything runs on headclip-mini as well; no band applies then.

    Examples:
      headclip reproduce --data-root /data --weights ViT-L-14-336px.pt
      headclip reproduce --data-root /data --weights ViT-L-14-336px.pt --plan
      headclip reproduce --data-root DIR --backbone headclip-mini --epochs 1 --limit 10
    """

    common: ClassVar[tuple[str, ...]] = (
        "data_root", "weights", "backbone", "out", "experiments", "plan", "go_on", "limit", "set",
    )  # fmt: skip

    backbone: str = "ViT-L-14-336"
    """The paper's, or another: headclip-mini, a name of open_clip's registry, a folder."""
    out: Path = Path("reproduction")
    """Folder for facts, tables, trainings, predictions, and what can be published."""
    cache_limit_gb: float = 100.0
    """Most that the frozen tower's outputs may take on disk while trainings read them; 0 keeps
    none."""
    experiments: tuple[ExperimentName, ...] = get_args(ExperimentName)
    """Only these."""
    plan: bool = False
    """Show the stages and how long they take, measured for a minute, and do none."""
    go_on: bool = False
    """Go on where weights, disk, data or smoke test speak against it; the report says so."""

    def run(self) -> int:
        """Do what is not done yet, and list the stages."""
        asked, tracking = self.asked(), self.tracked
        check_device(self.device)
        self.check_backbone(self.backbone)
        from headclip_med.models.clip.loading import load_backbone
        from headclip_med.models.verification.check import activation_by_digest
        from headclip_med.pipelines.reproduce.bench import ReproduceRequest
        from headclip_med.pipelines.reproduce.run import outline, reproduce

        activation = self.activation or activation_by_digest(self.backbone, self.weights)
        backbone = load_backbone(self.backbone, weights=self.weights, activation=activation)
        request = ReproduceRequest(
            data=asked, backbone=self.backbone, weights=self.weights, activation=activation,
            device=self.device, experiments=self.experiments, go_on=self.go_on, tracking=tracking,
            command=shown_command(self.command_line, self.data_root),
        )  # fmt: skip
        with progress(None, "step") as bar:
            setup = self.setup(bar, backbone)
            if self.plan:
                stages = outline(request, setup)
                show_stages(stages, as_json=self.json)
                return 0
            found = reproduce(request, setup)
        show_stages(found.stages, as_json=self.json, more={
            "objections": [vars(one) for one in found.objections], "smoke": found.checks,
            "files": {kind: str(path) for kind, path in found.paths.items()},
        })  # fmt: skip
        shown = (str(found.paths[kind]) for kind in ("html", "md", "publish"))
        VOICE.say(f"written: {', '.join(shown)}")
        return 0 if found.is_whole else 3


def show_stages(
    stages: Sequence[StageResult], *, as_json: bool, more: Mapping[str, Any] | None = None
) -> None:
    """Print the stages, a line each, or as JSON with what else came out."""
    from headclip_med.pipelines.reproduce.run import describe_whole, describe_work
    from headclip_med.write.plain_text import duration

    if as_json:
        print(json.dumps({"stages": [one.to_json() for one in stages], **(more or {})}))
        return
    rows = []
    for one in stages:
        took = "" if one.seconds is None else f" in {duration(one.seconds)}"
        below = (describe_work(one.work),) if one.work and one.state == "open" else ()
        rows.append(Row((one.name, STATES[one.state] + took, one.title), below, TONES[one.state]))
    columns = Column("stage", 9), Column("state", 24), Column("what it does")
    show(Sheet(columns, rows, gap=" ", indent=" " * 10))
    left = [one.work for one in stages if one.state == "open" and one.work is not None]
    if left:
        print(describe_whole(left))


TONES: Mapping[str, Tone] = {
    "done": "good", "known": "plain", "failed": "bad", "open": "notable",
}  # fmt: skip
STATES = {"done": "done", "known": "done before,", "failed": "FAILED", "open": "to do"}


def shown_command(arguments: Sequence[str], data_root: Path | None) -> str:
    """Write a command line so that it tells no one's folders: they are named DATA, or shortened."""
    root = "" if data_root is None else str(data_root)

    def shown(text: str) -> str:
        option, separator, value = text.partition("=") if text.startswith("--") else ("", "", text)
        layout, colon, folder = value.partition(":")
        path = folder if colon else value
        if root and (path == root or path.startswith(f"{root.rstrip('/')}/")):
            path = f"DATA{path.removeprefix(root.rstrip('/'))}"
        elif Path(path).is_absolute():
            path = Path(path).name
        return f"{option}{separator}{layout + colon if colon else ''}{path}"

    return shlex.join(["headclip", *map(shown, arguments)])
