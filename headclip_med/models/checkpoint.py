"""Checkpoints: a safetensors file of what was learned, and a header that says the rest.

One form serves every method that is trained; the header names it, and holds the method's settings
as plain JSON values, which are the method's to read. A checkpoint holds no backbone; it names the
one it was trained on and that one's digest, so that it can never be run on another.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from headclip_med.atomic import sha256_of, write_file
from headclip_med.errors import UnusableWeights
from headclip_med.models.header import FORMAT, Header, read_header
from headclip_med.models.registry import method_named
from headclip_med.settings import ScoreSettings

if TYPE_CHECKING:
    from headclip_med.models.clip.towers import Backbone
    from headclip_med.models.inference import InferenceModel, TrainedModel


@dataclass(frozen=True, eq=False, kw_only=True)
class Checkpoint(Header):
    """A checkpoint as read: nothing of it has been tried on a backbone yet.

    Attributes:
        learned: Tensors by name, as the method's ``learned_state`` has them.
        name: Of the file, without what all such files end in.
        digest: SHA-256 of the file.
    """

    learned: Mapping[str, Tensor]
    name: str
    digest: str

    def restore(self, backbone: Backbone) -> TrainedModel:
        """Build the form that learned, on the backbone that it was trained on.

        Raises:
            UnusableWeights: It was trained on another backbone, or is damaged.
        """
        stated = self.backbone
        if stated["digest"] != backbone.digest:
            raise UnusableWeights(
                f"The checkpoint was trained on {stated['name']} ({stated['weights']} weights, "
                f"digest {stated['digest'][:12]}), but the backbone here is {backbone.name} "
                f"({backbone.weights} weights, digest {backbone.digest[:12]}).",
                "Load the one it was trained on.",
                code="wrong-backbone",
            )
        method = method_named(self.method)
        settings = method.settings.from_json(self.settings)
        model = method.trainable(backbone, settings, 0)
        shapes, own = (
            {name: value.shape for name, value in one.items()}
            for one in (self.learned, model.learned_state())
        )
        if shapes != own:
            raise UnusableWeights(
                "The checkpoint's tensors do not have the shapes that its own settings ask for; it "
                "is damaged.",
                "Copy it anew.",
                code="weights-mismatch",
            )
        model.load_learned(self.learned)
        return model

    def build(self, backbone: Backbone) -> InferenceModel:
        """Build the form that is used, on the backbone that it was trained on.

        Raises:
            UnusableWeights: It was trained on another backbone, or is damaged.
        """
        about = {
            "name": self.name,
            "checkpoint_digest": self.digest,
            "training": dict(self.training),
            "calibrated": False,
        }
        model = self.restore(backbone)
        return model.fold(scores=self.scores, threshold=self.threshold, about=about)


def write_checkpoint(
    path: Path,
    model: TrainedModel,
    *,
    scores: ScoreSettings,
    threshold: float,
    training: Mapping[str, object],
) -> None:
    """Write a checkpoint, whole or not at all.

    Args:
        path: Ends in ``.safetensors``.
        model: What was trained.
        scores: How its maps become scores.
        threshold: Map value from which a pixel counts as abnormal.
        training: Data, settings and versions of the run, plain JSON values without any path.
    """
    header = {
        "method": model.method,
        "settings": model.settings.to_json(),
        "scores": scores.to_json(),
        "threshold": threshold,
        "backbone": model.backbone.describe(),
        "training": dict(training),
    }
    state = {key: value.float().cpu().contiguous() for key, value in model.learned_state().items()}
    # One key only: the order of several is random, and the same training shall give the same file.
    metadata = {FORMAT: json.dumps(header, sort_keys=True)}
    write_file(path, save(state, metadata))


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        UnusableWeights: The file is missing, truncated, or something else than a checkpoint.
    """
    return read_tensors(path, read_header(path))


def read_tensors(path: Path, header: Header) -> Checkpoint:
    """Read the rest of a checkpoint whose header is known."""
    with safe_open(path, framework="pt") as file:
        learned = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    name = path.name.removesuffix(".safetensors").removesuffix(".checkpoint")
    return Checkpoint(**vars(header), learned=learned, name=name, digest=sha256_of(path))
