"""``headclip experiment``: the paper's experiments, with its numbers beside ours."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import tyro
from tyro.conf import Positional, UseAppendAction

from headclip_med.cli.groups import DataOptions, TrackingGroup, WeightsOptions, progress, show_run
from headclip_med.cli.options import Takes
from headclip_med.models.registry import DEFAULT, METHODS
from headclip_med.settings import EMBEDDED_NAME, Precision, ScoreSettings, TrainSettings

if TYPE_CHECKING:
    from tqdm import tqdm

    from headclip_med.pipelines.experiments.models import Setup


@dataclass(frozen=True, kw_only=True)
class RunExperiment(WeightsOptions, DataOptions, TrackingGroup):
    """Run an experiment of the paper, and write its tables with the paper's beside them.

    main (tables 1-3, 10-26), lhw (4-6), layers (7), init (8), jas (figure 4), modules (9), readings
    (7 and 9, read in several ways). VisA is
    trained on to test MVTec AD, MVTec AD to test all others. What is there already (trainings,
    predictions) is not done again: a stopped run goes on.

    Examples:
      headclip experiment main --data-root /data --backbone ViT-L-14-336 --weights openai
      headclip experiment lhw --data-root /data --datasets BrainMRI Kvasir --epochs 5
    """

    takes: ClassVar[tuple[Takes, ...]] = (
        Takes(TrainSettings, ("epochs", "batch_size", "precision")),
        Takes(ScoreSettings),
        Takes(type(METHODS[DEFAULT].settings)),
    )
    common: ClassVar[tuple[str, ...]] = (
        "name", "data_root", "datasets", "train", "backbone", "out", "set",
    )  # fmt: skip
    decisive: ClassVar[tuple[str, ...]] = ("backbone",)

    name: Positional[Literal["main", "lhw", "layers", "init", "jas", "modules", "readings"]]
    """Which experiment."""
    data_root: Path | None = None
    """Folder below which sets are looked for."""
    datasets: tuple[str, ...] = ()
    """Sets to test, as SET or LAYOUT:PATH; all that are found by default."""
    train: Annotated[tuple[str, ...], UseAppendAction, tyro.conf.arg(metavar="LAYOUT:DIR")] = ()
    """Train on this set for every test, not by the published protocol; may be repeated."""
    methods: tuple[str, ...] = ()
    """Of main and jas: only these of {methods}."""
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

    def run(self) -> int:
        """Run the experiment, and print its tables."""
        from headclip_med.atomic import check_writable
        from headclip_med.datasets import require_folders

        tested, train = self._named_sets()
        require_folders((*tested, *train), self.data_root)
        from headclip_med.pipelines.experiments.definitions import experiment_named
        from headclip_med.pipelines.experiments.plan import Request, plan_experiment
        from headclip_med.pipelines.experiments.runner import run_experiment
        from headclip_med.tracking import track
        from headclip_med.write.tables import to_json, to_markdown

        experiment, options = experiment_named(self.name), self.tracked
        asked = Request(self.data_root, tested, train, self.methods, self.limit)
        plan = plan_experiment(experiment, asked)
        command = shown_command(self.command_line, self.data_root)
        check_writable(self.out)
        with progress(None, "step") as bar:
            setup = self._setup(bar)
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
            print(to_markdown(outcome.document))
        print(f"written: {', '.join(map(str, outcome.paths.values()))}", file=sys.stderr)
        return 3 if outcome.failed else 0

    def _named_sets(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Add what is said of sets to those named with their place: tested, and trained on."""
        own = [one for one in (*self.datasets, *self.train) if ":" in one]
        told = dict(zip(own, self.named_sets(own), strict=True))
        tested, train = (
            tuple(told.get(one, one) for one in named) for named in (self.datasets, self.train)
        )
        return tested, train

    def _setup(self, bar: tqdm) -> Setup:
        from headclip_med.models.loading import choose_device
        from headclip_med.pipelines.experiments.models import Setup

        def step(report: Any, total: int) -> None:
            position = (report.epoch - 1) * report.steps + report.step
            if position < bar.n or bar.total != total:
                bar.reset(total)
            bar.update(position - bar.n)
            bar.set_postfix(loss=f"{report.loss:.3f}", refresh=False)

        return Setup(
            backbone=self.load_backbone(self.backbone),
            out=self.out,
            device=choose_device(self.device),
            training=self.changes(TrainSettings),
            model=self.changes(type(METHODS[DEFAULT].settings)),
            scores=self.changes(ScoreSettings),
            batch_size=self.images_per_pass,
            precision=self.judging_precision,
            seeds=self.seeds,
            cache_limit_gb=self.cache_limit_gb,
            say=lambda text: bar.write(text, file=sys.stderr),
            step=step,
        )


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
