"""The options that several commands share: weights, the model, and the tracker of runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import tyro
from tyro.conf import UseAppendAction

from headclip_med.cli.options import Command, Takes
from headclip_med.cli.terminal.progress import Progress
from headclip_med.cli.terminal.voice import VOICE
from headclip_med.models.clip.hub import find_model, refuse_unused
from headclip_med.models.header import (
    Header,
    check_device,
    checkpoint_of,
    find_sources,
    read_header,
)
from headclip_med.models.registry import METHODS, method_named
from headclip_med.models.request import ALL, ModelRequest
from headclip_med.settings import EMBEDDED_NAME, MethodSettings, Precision, ScoreSettings
from headclip_med.tracking import DEFAULT_URI, REGISTERED, TrackingOptions

if TYPE_CHECKING:
    from headclip_med.models.clip.towers import Backbone
    from headclip_med.models.model import AnomalyModel
    from headclip_med.tracking import Run
    from headclip_med.training.handlers import StepReport


TRAINING_FREE = {name: one.settings for name, one in METHODS.items() if not one.needs_training}
"""Settings of the methods that need no training, as published."""


@dataclass(frozen=True, kw_only=True)
class WeightsOptions(Command):
    """The options that lead to a backbone's weights."""

    weights: str | None = None
    """The backbone's weights: a file, a tag such as openai, or random."""
    activation: Literal["gelu", "quickgelu"] | None = None
    """What the weights were trained with, for files that do not tell."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""

    def check_backbone(self, name: str) -> None:
        """Refuse a backbone that there is not, or options that it has no use for, before torch.

        Raises:
            InvalidSettings: The name is unknown, or an option would not be used.
            UnusableWeights: There are no weights.
        """
        refuse_unused(find_model(name, self.weights), activation=self.activation)

    def load_backbone(self, name: str) -> Backbone:
        """Load a backbone with the weights that were asked for, into main memory."""
        from headclip_med.models.clip.loading import load_backbone

        return load_backbone(name, weights=self.weights, activation=self.activation)


@dataclass(frozen=True, kw_only=True)
class DataOptions(Command):
    """What is said of sets of one's own: of folder:, mvtec: and csv:, all that are named."""

    normal_class: Annotated[tuple[str, ...], UseAppendAction, tyro.conf.arg(metavar="NAME")] = ()
    """A class folder, or a label of a table, that means normal, where the names do not tell; may be
    repeated."""
    mask_folder: str | None = None
    """The folder of the masks, beside the images' or beside the classes; masks/ by default."""
    mask_suffix: str | None = None
    """What a mask's name has after its image's, such as _gt or .mask.png."""
    image_folder: str | None = None
    """The folder of the images beside that of the masks; images/ by default."""
    columns: Annotated[tuple[str, ...], UseAppendAction, tyro.conf.arg(metavar="ROLE=NAME")] = ()
    """Of a table, the column of image, mask, label, category or split, where its name does not
    tell; may be repeated."""

    def named_sets(self, specs: Sequence[str]) -> tuple[str, ...]:
        """Add to each set what is said of all.

        Args:
            specs: As ``LAYOUT:PATH``.

        Raises:
            InvalidSettings: Something is said, and no set is named; or a column is of no known use.
        """
        from headclip_med.datasets.own.spec import with_options

        single = {"masks": self.mask_folder, "mask_suffix": self.mask_suffix,
                  "images": self.image_folder}  # fmt: skip
        said = {name: [value] for name, value in single.items() if value is not None}
        for column in self.columns:
            role, _, name = column.partition("=")
            said[role] = [name]
        said |= {"normal": list(self.normal_class)} if self.normal_class else {}
        return with_options(specs, said)


@dataclass(frozen=True, kw_only=True)
class ModelOptions(WeightsOptions):
    """The options of ``load_model``, and how the model's maps become scores.

    Attributes:
        own: Settings of methods that mean something of the command's own.
    """

    decisive: ClassVar[tuple[str, ...]] = ("model", "method")
    takes: ClassVar[tuple[Takes, ...]] = (
        Takes(ScoreSettings, ("joint_weight", "top_percent", "sigma_px")),
    )
    own: ClassVar[tuple[str, ...]] = ()

    model: str = EMBEDDED_NAME
    """headclip-mini; a checkpoint that 'headclip train' wrote or registered (models:/NAME/VERSION,
    models:/NAME@ALIAS); a bundle's folder; or, for a method that needs no training, a backbone such
    as ViT-L-14-336."""
    method: str | None = None
    """{methods}; the checkpoint's by default."""
    precision: Precision = "fp32"
    """bf16 is faster where the hardware is made for it, which auto finds out."""

    @classmethod
    def words(cls) -> dict[str, str]:
        """Name the methods."""
        return {"methods": ", ".join(METHODS)}

    @classmethod
    def defaults(cls, named: Mapping[str, Any]) -> tuple[Any, ...]:
        """Give the settings of the model in use, as its checkpoint or its method has them."""
        method = named["method"]
        header = header_of(named["model"], method)
        free = TRAINING_FREE if method == ALL else {method: TRAINING_FREE.get(method)}
        scores = ScoreSettings() if header is None else header.scores
        if method in TRAINING_FREE:
            scores = METHODS[method].scores
        usual = super().defaults(named)
        known = (scores if isinstance(one, ScoreSettings) else one for one in usual)
        return (*known, *(one for one in free.values() if one is not None))

    def elsewhere(self, name: str) -> str:
        """Say whose setting it is."""
        return owner_of(name, self.method)

    def check(self) -> None:
        """Refuse a model, a method or weights that there are not, before torch is loaded.

        Raises:
            InvalidSettings: A name is unknown.
            UnusableWeights: A file is missing, or another method's.
        """
        self.check_model(self.request())

    def check_model(self, request: ModelRequest) -> None:
        """Refuse what was asked for; see ``check``.

        Args:
            request: The model; of several seeds the first.
        """
        check_device(self.device)
        if not request.name.startswith(REGISTERED):
            find_sources(request)
        for settings in TRAINING_FREE.values():
            self.settings(type(settings), settings)

    def load(self, *, tracking_uri: str | None = None) -> AnomalyModel:
        """Load the model that was asked for.

        Args:
            tracking_uri: Where registered models are looked up.
        """
        if self.method is not None:
            method_named(self.method)  # one, and not all
        from headclip_med.pipelines.loading import load_models

        request = self.request().changed(tracking_uri=tracking_uri)
        (model,) = load_models(request).models.values()
        return model

    def request(self, checkpoints: Sequence[Path] = ()) -> ModelRequest:
        """Say which model, or that all methods, were asked for.

        Args:
            checkpoints: With all methods, those of trained ones on the same backbone.
        """
        return ModelRequest(
            name=self.model, method=self.method, weights=self.weights, activation=self.activation,
            device=self.device, precision=self.precision, checkpoints=tuple(checkpoints),
            settings=self._method_settings(), scores=self.changes(ScoreSettings),
            tracking_uri=getattr(self, "tracking_uri", None),
        )  # fmt: skip

    def _method_settings(self) -> dict[str, MethodSettings]:
        found = {}
        for name, usual in TRAINING_FREE.items():
            changes = {k: v for k, v in self.changes(usual).items() if k not in self.own}
            found[name] = usual.changed(**changes)
        return found


@dataclass(frozen=True, kw_only=True)
class RegistryOptions(Command):
    """Where registered models are."""

    tracking_uri: str | None = None
    """The MLflow server or database, such as http://localhost:5000, of runs and of models:/...; by
    default what MLFLOW_TRACKING_URI says, else sqlite:///mlflow.db in the current folder."""


@dataclass(frozen=True, kw_only=True)
class TrackingGroup(RegistryOptions):
    """Where a command's runs are recorded, and whether they are."""

    tracking: bool = True
    """Record nothing."""
    run_name: str | None = None
    """What the run is called; by default its kind and the time."""

    @property
    def tracked(self) -> TrackingOptions:
        """Say how the command's run shall be recorded.

        Raises:
            InvalidSettings: The run cannot be called that.
        """
        return TrackingOptions(uri=self.tracking_uri, run_name=self.run_name, is_on=self.tracking)


def header_of(name: str, method: str | None) -> Header | None:
    """Read the header of the checkpoint that a model's name stands for, where there is one here."""
    if name.startswith(REGISTERED) or method == ALL or method in TRAINING_FREE:
        return None
    path = checkpoint_of(name, method)
    is_there = path is not None and (path.is_file() or name.endswith(".safetensors"))
    return read_header(path) if path is not None and is_there else None


def owner_of(name: str, method: str | None) -> str:
    """Say which methods a setting belongs to, if to any."""
    owners = [
        one.name for one in METHODS.values() if name in {own.name for own in fields(one.settings)}
    ]
    if not owners:
        return ""
    return f" It is {' and '.join(owners)}'s, and {method or 'what was named'} has none like it."


def count_step(bar: Progress, step: StepReport) -> None:
    """Count a step of a training, behind those that an earlier run did.

    Args:
        bar: Counts them.
        step: Just done.
    """
    if not bar.done:
        bar.skip((step.epoch - 1) * step.steps + step.step - 1)
    bar.note(epoch=str(step.epoch), loss=f"{step.loss:.3f}")
    bar.add()


def show_run(run: Run, options: TrackingOptions) -> None:
    """Say where a run was recorded."""
    if run.is_recording:
        uri = "" if options.resolved_uri == DEFAULT_URI else " --backend-store-uri ..."
        VOICE.say(f"recorded as {run.name}; look at it with 'mlflow ui{uri}'")
