"""A model as MONAI bundles want it: one tensor in, one tensor out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from headclip_med.content import ImageContent
from headclip_med.errors import InvalidSettings
from headclip_med.models.clip.weights import Activation
from headclip_med.models.inference import InferenceModel, Precision
from headclip_med.models.loading import load_model
from headclip_med.models.model import AnomalyModel, name_content
from headclip_med.pipelines.bundle.guards import reported_errors
from headclip_med.pipelines.bundle.scripted import ScriptedNetwork
from headclip_med.settings import EMBEDDED_NAME, ScoreSettings
from headclip_med.transforms import map_and_score


class ScreeningNetwork(nn.Module):
    """A loaded model whose answer is one float32 tensor, for inferers and exporters.

    Args:
        model: As for ``load_model``: ``headclip-mini`` or a checkpoint.
        backbone: Instead of ``model``, for a method that needs no training or random weights.
        method: One of ``METHODS``; by default the checkpoint's.
        weights: Of the backbone: a file, a tag, or ``random``.
        activation: What they were trained with, for files that do not tell.
        precision: ``fp32`` or ``bf16``.
        r: Weight of the global score (eq. 8); by default the checkpoint's, as of the next two.
        k: Percentage of the map's highest pixels that make the local score (eq. 7).
        sigma: Smoothing of the map, in pixels of an input of 518 px (eq. 12).

    Raises:
        InvalidSettings: The model, the method or a number cannot be used.
        UnusableWeights: There are no weights, or they do not fit.
    """

    def __init__(  # noqa: PLR0913 - each is an option that users override by its name
        self,
        model: str | Path = EMBEDDED_NAME,
        *,
        backbone: str | None = None,
        method: str | None = None,
        weights: str | Path | None = None,
        activation: Activation | None = None,
        precision: Precision = "fp32",
        r: float | None = None,
        k: float | None = None,
        sigma: float | None = None,
    ) -> None:
        super().__init__()
        with reported_errors():
            loaded = load_model(
                _one_name(str(model), backbone),
                method=method, weights=weights, activation=activation, device="cpu",
                precision=precision,
            )  # fmt: skip
            self.model: AnomalyModel = loaded.with_scores(_scores(loaded.scores, r, k, sigma))

    @property
    def image_size(self) -> int:
        """Rows and columns of the images that the model was made for, in pixels."""
        return self.model.image_size

    def forward(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch planes height width"]:
        """Judge images of any size.

        Args:
            images: Values in [0, 1]; three channels, or one where they are grey.

        Returns:
            The anomaly map in [0, 1], and the image's global score in [0, 1] as a constant plane;
            a third one where the model's scores take S_local from its patches.
        """
        return judge(self.model, images)

    def __prepare_scriptable__(self) -> nn.Module:
        """Give ``torch.jit.script`` what it can compile; MONAI's ``ckpt_export`` calls it."""
        return ScriptedNetwork(self, self.image_size)

    def about(self, subject: ImageContent) -> Callable[[Tensor], Tensor]:
        """Give the network for images of something; only sentences that name it differ."""
        named = name_content(self.model, subject)
        return lambda images: judge(named, images)


def judge(
    model: AnomalyModel, images: Float[Tensor, "batch channels height width"]
) -> Float[Tensor, "batch planes height width"]:
    """Judge images, grey ones with a single channel too."""
    with torch.no_grad():
        return map_and_score(model, images.expand(-1, 3, -1, -1), model.image_size)


def module_of(network: ScreeningNetwork) -> InferenceModel:
    """Give the network's model as the module that it is."""
    if not isinstance(network.model, InferenceModel):
        raise TypeError("load_model gives modules")
    return network.model


def _one_name(model: str, backbone: str | None) -> str:
    if backbone is None:
        return model
    if model != EMBEDDED_NAME:
        raise InvalidSettings(
            "Both a model and a backbone are named, but a checkpoint names its own backbone.",
            "Give one of them.",
        )
    return backbone


def _scores(
    given: ScoreSettings, r: float | None, k: float | None, sigma: float | None
) -> ScoreSettings:
    return replace(
        given,
        joint_weight=given.joint_weight if r is None else float(r),
        top_percent=given.top_percent if k is None else float(k),
        sigma_px=given.sigma_px if sigma is None else float(sigma),
    )
