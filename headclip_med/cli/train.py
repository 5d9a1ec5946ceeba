"""``headclip train``: a method learns on a data set of defects, such as MVTec AD."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import tyro
from tyro.conf import UseAppendAction

from headclip_med.cli.groups import (
    DataOptions,
    TrackingGroup,
    WeightsOptions,
    count_step,
    owner_of,
    show_run,
)
from headclip_med.cli.options import Takes
from headclip_med.cli.terminal.progress import progress
from headclip_med.cli.terminal.tables import show_markdown
from headclip_med.cli.terminal.voice import VOICE
from headclip_med.errors import InvalidSettings
from headclip_med.evaluation.spread import DDOF_NOTE
from headclip_med.models.header import free_checkpoint
from headclip_med.models.registry import DEFAULT, METHODS, learning_of
from headclip_med.ranks import torchrun_ranks
from headclip_med.settings import (
    EMBEDDED_NAME,
    MOST_SEEDS,
    MethodSettings,
    ScoreSettings,
    TrainSettings,
    require,
)
from headclip_med.tracking import TrackingOptions, check_model_name, track

if TYPE_CHECKING:
    from headclip_med.pipelines.train import Trained
    from headclip_med.pipelines.train_seeds import SeededTraining


@dataclass(frozen=True, kw_only=True)
class Train(WeightsOptions, DataOptions, TrackingGroup):
    """Train a method on a data set of defects, such as MVTec AD.

    As in the field's protocol, the images of the set's test split are used, which hold the
    anomalies and their masks. Never evaluate on the set that was trained on.

    Examples:
      headclip train --data mvtec:/data/mvtec_ad --out runs/a
      headclip train --data mvtec:/data/mvtec_ad --out runs/b --backbone ViT-L-14-336
      headclip train --data mvtec:DIR --out runs/c --set learning_rate=0.0005
    """

    takes: ClassVar[tuple[Takes, ...]] = (
        Takes(TrainSettings, ("epochs", "batch_size", "precision")),
        Takes(ScoreSettings),
    )
    common: ClassVar[tuple[str, ...]] = (
        "data", "out", "method", "backbone", "weights", "epochs", "resume", "set", "config",
    )  # fmt: skip
    decisive: ClassVar[tuple[str, ...]] = ("method", "backbone")

    data: Annotated[tuple[str, ...], UseAppendAction, tyro.conf.arg(metavar="LAYOUT:DIR")] = ()
    """mvtec:DIR for one category or many, folder:DIR, csv:FILE, meta:DIR, or a set that 'headclip
    datasets' lists; may be repeated."""
    protocol: str | None = None
    """Train on the sets of a protocol below --data-root: visa-to-mvtec or mvtec-to-all."""
    data_root: Path | None = None
    """The folder that holds the protocol's sets."""
    out: Path
    """Folder for the checkpoint."""
    method: str = DEFAULT
    """{methods}; others need no training."""
    backbone: str = EMBEDDED_NAME
    """headclip-mini, a name of open_clip's registry, or a folder."""
    cache: str = "auto"
    """What the frozen tower makes of each image is kept: none, ram, or a folder that later
    trainings read too; auto is ram where --cache-limit-gb allows, or none where torchrun started
    several processes."""
    cache_limit_gb: float = 4.0
    """Most that it may take."""
    seeds: int = 1
    """Train with this many seeds, from the setting seed on, each in a folder seed-N of --out."""
    resume: bool = False
    """Go on with a stopped training."""
    from_epoch: int | None = None
    """Go on from the end of this epoch, and not of the last one; implies --resume."""
    register: str | None = None
    """Register the checkpoint at the tracker, as the next version of this model."""

    @classmethod
    def words(cls) -> dict[str, str]:
        """Name the methods."""
        return {"methods": ", ".join(name for name, one in METHODS.items() if one.learning)}

    @classmethod
    def defaults(cls, named: Mapping[str, Any]) -> tuple[Any, ...]:
        """Give the settings that the method is published with."""
        learning, method = learning_of(named["method"]), METHODS[named["method"]]
        return learning.settings, method.scores, method.usual_settings(named["backbone"])

    def elsewhere(self, name: str) -> str:
        """Say whose setting it is."""
        return owner_of(name, self.method)

    def _specs(self) -> list[str]:
        """Name the sets to train on, once it is clear that there is something to do.

        Raises:
            InvalidSettings: None is named, or the training is finished.
        """
        if not (self.resume or self.from_epoch is not None or self.seeds > 1):
            free_checkpoint(self.out, self.method)
        specs = [*self.named_sets(self.data), *self._protocol_sets()]
        if not specs:
            raise InvalidSettings(
                "Nothing to train on was named.", "Name a set with --data, or a --protocol."
            )
        return specs

    def run(self) -> int:
        """Train, and say where the checkpoint is."""
        learning = learning_of(self.method)
        model_settings, settings, scores = self.chosen_settings()
        self.check_backbone(self.backbone)
        options = self._tracking()
        specs = self._specs()
        from headclip_med.datasets import doubts_of
        from headclip_med.evaluation.datasets import open_datasets

        dataset = open_datasets(specs)
        doubts = doubts_of(dataset, dataset.split("test").samples, _tell)
        from headclip_med.evaluation.examples import Examples
        from headclip_med.models.clip.vision import default_image_size
        from headclip_med.models.loading import choose_device
        from headclip_med.pipelines.train import TrainRequest, described_data, from_labels
        from headclip_med.pipelines.train_seeds import seeds_of, train_seeds
        from headclip_med.training.processes import own_device

        if "mosaic" not in self.changes(TrainSettings):
            settings = replace(settings, mosaic=learning.mosaics.get(dataset.name, 0.0))
        if dataset.level == "image" and self.changes(TrainSettings).get("local_weight"):
            raise InvalidSettings(
                "The set has no masks, so that no local term can be weighed.",
                "Leave local_weight out.",
            )
        settings = from_labels(settings, dataset, self.method, _tell)
        backbone = self.load_backbone(self.backbone).to(own_device(choose_device(self.device)))
        examples = Examples(dataset, default_image_size(model_settings, backbone.vision))
        steps = self.seeds * settings.epochs * -(-len(examples) // settings.batch_size)
        places: dict[str, Literal["ram"] | None] = {"none": None, "auto": "ram", "ram": "ram"}
        request = TrainRequest(
            method=self.method,
            model=model_settings,
            settings=settings,
            scores=scores,
            data=described_data(dataset, doubts),
            cache=places.get(self.cache, Path(self.cache)),
            cache_limit_gb=self.cache_limit_gb,
            needs_cache=self.cache != "auto",
            resume=self.resume or self.from_epoch is not None,
            from_epoch=self.from_epoch,
            register=self.register,
        )
        is_first = torchrun_ranks().first
        with track("train", options=options, at_once=False) as run, progress(steps, "step") as bar:
            trained = train_seeds(
                seeds_of(request, self.seeds), examples, backbone,
                out=self.out, run=run, report=partial(count_step, bar), say=_tell,
            )  # fmt: skip
        if is_first:
            show_run(run, options)
            _show(trained, as_json=self.json)
        return 0

    def chosen_settings(self) -> tuple[MethodSettings, TrainSettings, ScoreSettings]:
        """Say what the model is made of, how it is trained, and how its maps become scores."""
        method = METHODS[self.method]
        usual = method.usual_settings(self.backbone)
        return (
            self.settings(type(usual), usual),
            self.settings(TrainSettings, learning_of(self.method).settings),
            self.settings(ScoreSettings, method.scores),
        )

    def _protocol_sets(self) -> Sequence[str]:
        """Find the sets of the protocol that was named; those that are absent are said."""
        if not self.protocol:
            return ()
        from headclip_med.datasets.discover import protocol_sets

        found, absent = protocol_sets(self.protocol, self.data_root, "train")
        if absent:
            VOICE.say(f"absent, and left out: {', '.join(absent)}")
        return found

    def _tracking(self) -> TrackingOptions:
        """Say how the run is recorded; refuse what cannot be registered before it is trained."""
        options = self.tracked
        require(1 <= self.seeds <= MOST_SEEDS, f"--seeds must lie from 1 to {MOST_SEEDS}.")
        if self.seeds > 1 and self.register is not None:
            raise InvalidSettings(
                "--register takes one checkpoint, and --seeds gives several.",
                "Leave one of them out.",
            )
        if self.register is not None:
            check_model_name(self.register)
            if not options.is_on:
                raise InvalidSettings("--register needs the tracker.", "Leave --no-tracking out.")
        return options


def _tell(line: str) -> None:
    if torchrun_ranks().first:
        VOICE.say(line)


def _show(trained: SeededTraining, *, as_json: bool) -> None:
    """Print where the checkpoints are, and how to use them."""
    if as_json:
        found = [_plain(one) for one in trained.each]
        print(json.dumps({**found[0]} if len(found) == 1 else {"seeds": found, **trained.spread}))
        return
    if len(trained.each) == 1:
        _show_one(trained.each[0])
        return
    rows = [
        f"| {one.seed} | {one.losses[-1]:.4f} | {one.threshold:.3f} | {one.checkpoint} |"
        for one in trained.each
    ]
    spread = "".join(f" {text} |" for text in trained.shown)
    head = ["| seed | loss | threshold | checkpoint |", "|---|---|---|---|"]
    show_markdown("\n".join([*head, *rows, f"| mean |{spread} |"]))
    print(f"\n{DDOF_NOTE}")
    print(f"use them: headclip evaluate ... --model {trained.folder} --seeds {len(rows)}")


def _plain(trained: Trained) -> dict[str, object]:
    return {"checkpoint": str(trained.checkpoint), "registered": trained.registered,
            "losses": list(trained.losses), "threshold": trained.threshold}  # fmt: skip


def _show_one(trained: Trained) -> None:
    if trained.losses:
        print(f"loss {trained.losses[0]:.4f} -> {trained.losses[-1]:.4f}")
    print(f"use it: headclip screen --model {trained.registered or trained.checkpoint} ...")
