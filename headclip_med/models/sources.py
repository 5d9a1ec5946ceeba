"""Where models come from: backbones, checkpoints, and what travels with the package."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from headclip_med.errors import UnusableWeights
from headclip_med.models.checkpoint import Checkpoint, read_checkpoint
from headclip_med.models.clip.hub import Activation
from headclip_med.models.clip.loading import EMBEDDED_PATH, load_backbone
from headclip_med.models.clip.towers import Backbone
from headclip_med.models.inference import InferenceModel
from headclip_med.models.registry import METHODS
from headclip_med.models.trained import model_from
from headclip_med.settings import EMBEDDED_NAME
from headclip_med.settings_training_free import TrainingFreeSettings

BUNDLE_METADATA = Path("configs", "metadata.json")
"""Every MONAI bundle has it, and no folder of weights."""

EMBEDDED_CHECKPOINT = EMBEDDED_PATH.with_name("headclip-mini.checkpoint.safetensors")


@dataclass(frozen=True)
class Source:
    """Where a model comes from, as a user says it.

    Attributes:
        name: ``headclip-mini``, a checkpoint, the folder of a bundle, or a backbone.
        weights: Of the backbone.
        activation: What they were trained with.
        seed: Of random weights.
    """

    name: str
    weights: str | Path | None = None
    activation: Activation | None = None
    seed: int = 0

    @property
    def is_bundle(self) -> bool:
        """Whether the name is the folder of a MONAI bundle, as 'headclip bundle init' writes it."""
        return (Path(self.name) / BUNDLE_METADATA).is_file()

    def bundled(self, embedded: Path) -> Path:
        """Find the bundle's own copy of a file that travels with the package."""
        return Path(self.name) / "models" / embedded.name if self.is_bundle else embedded

    def backbone(self) -> Backbone:
        """Load the towers that the name stands for, where it is no checkpoint's."""
        name = str(self.bundled(EMBEDDED_PATH)) if self.is_bundle else self.name
        return load_backbone(name, weights=self.weights, activation=self.activation, seed=self.seed)

    def backbone_of(self, checkpoint: Checkpoint) -> Backbone:
        """Load the towers that a checkpoint was trained on."""
        stated, weights = checkpoint.backbone, self.weights
        if weights is None and stated["weights"] not in ("embedded", "file"):
            weights = stated["weights"]
        trained_with: Activation = "quickgelu" if stated["activation"] == "quickgelu" else "gelu"
        activation = self.activation or trained_with
        return load_backbone(stated["name"], weights=weights, activation=activation, seed=self.seed)

    def checkpoint(self) -> Checkpoint | None:
        """Read the file that the name stands for, where it is a checkpoint."""
        if not self.name.endswith(".safetensors"):
            return None
        try:
            return read_checkpoint(Path(self.name))
        except UnusableWeights as error:
            if error.code != "not-a-checkpoint":
                raise
            return None


def on_backbone(
    method: str, backbone: Backbone, settings: TrainingFreeSettings | None
) -> InferenceModel:
    """Build a method that needs no training."""
    build = METHODS[method].build
    if build is None:
        raise AssertionError("only methods that need no training come here")
    model = build(backbone, settings)
    about = {"name": f"{method} on {backbone.name}", "calibrated": False}
    model.use = replace(model.use, about=about)
    return model


def learned_model(path: Path, checkpoint: Checkpoint, backbone: Backbone) -> InferenceModel:
    """Build what a checkpoint describes, on the backbone that it was trained on."""
    about = {
        "name": path.name.removesuffix(".safetensors").removesuffix(".checkpoint"),
        "checkpoint_digest": checkpoint.digest,
        "training": dict(checkpoint.training),
        "calibrated": False,
    }
    return model_from(checkpoint, backbone, about=about)


def fresh_model(method: str, source: Source, backbone: Backbone) -> InferenceModel:
    """Build a method that is trained, with nothing learned."""
    fresh = METHODS[method].fresh
    if fresh is None:
        raise AssertionError("only methods that are trained come here")
    model = fresh(backbone, source.seed)
    about = {"name": f"{source.name} with random weights", "calibrated": False}
    model.use = replace(model.use, about=about)
    return model


def untrained(method: str, backbone: str) -> str:
    """Say that a method cannot be used on a backbone yet, and what to do."""
    free = " or ".join(name for name, one in METHODS.items() if not one.needs_training)
    return (
        f"{METHODS[method].title} must be trained on {backbone} first: 'headclip train --method "
        f"{method} --backbone {backbone}' writes a checkpoint to name as --model, or beside others "
        f"as --checkpoint; --method {free} needs none."
    )


def embedded_checkpoint(method: str) -> Path:
    """Say where the embedded backbone's checkpoint of a method lies, if there is one."""
    if method == "headclip":
        return EMBEDDED_CHECKPOINT
    return EMBEDDED_PATH.with_name(f"headclip-mini.{method}.checkpoint.safetensors")


def embedded_checkpoints(name: str) -> list[Path]:
    """List the embedded backbone's checkpoints, where it is that which was named."""
    if name != EMBEDDED_NAME:
        return []
    paths = [embedded_checkpoint(method) for method, one in METHODS.items() if one.needs_training]
    return [path for path in paths if path.is_file()]
