"""A model as MONAI bundles want it: one tensor in, one tensor out."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, no_type_check

import torch
from jaxtyping import Float
from monai.data.meta_tensor import MetaTensor
from monai.inferers.inferer import SliceInferer
from monai.utils.enums import BlendMode
from torch import Tensor, nn
from torch.nn import functional

from headclip_med.content import ImageContent, content_of_part
from headclip_med.errors import InvalidSettings
from headclip_med.models.clip.snapshots import Activation
from headclip_med.models.model import AnomalyModel, name_content
from headclip_med.pipelines.loading import load_model
from headclip_med.settings import EMBEDDED_NAME, Precision, ScoreSettings
from headclip_med.transforms import map_and_score, memory_advice


class ScreeningNetwork(nn.Module):
    """A loaded model whose answer is one float32 tensor, for inferers and exporters.

    Args:
        model: As for ``load_model``: ``headclip-mini`` or a checkpoint.
        backbone: Instead of ``model``, for a method that needs no training or random weights.
        method: One of ``METHODS``; by default the checkpoint's.
        weights: Of the backbone: a file, a tag, or ``random``.
        activation: What they were trained with, for files that do not tell.
        precision: ``fp32`` or ``bf16``.
        scores: How maps become scores, see ``changed_scores``.

    Raises:
        InvalidSettings: The model, the method or a number cannot be used.
        UnusableWeights: There are no weights, or they do not fit.
    """

    def __init__(
        self,
        model: str | Path = EMBEDDED_NAME,
        *,
        backbone: str | None = None,
        method: str | None = None,
        weights: str | Path | None = None,
        activation: Activation | None = None,
        precision: Precision = "fp32",
        **scores: float | None,
    ) -> None:
        super().__init__()
        loaded = load_model(
            _one_name(str(model), backbone),
            method=method, weights=weights, activation=activation, device="cpu",
            precision=precision,
        )  # fmt: skip
        self.model: AnomalyModel = loaded.with_scores(changed_scores(loaded.scores, **scores))

    @property
    def image_size(self) -> int:
        """Rows and columns of the images that the model was made for, in pixels."""
        return self.model.image_size

    def forward(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch planes height width"]:
        """Predict for images of any size.

        Args:
            images: Values in [0, 1]; three channels, or one where they are grey.

        Returns:
            The anomaly map in [0, 1], and the image's global score in [0, 1] as a constant plane;
            a third one where the model's scores take S_local from its patches.
        """
        return predict(self.model, images)

    def __prepare_scriptable__(self) -> nn.Module:
        """Give ``torch.jit.script`` what it can compile; MONAI's ``ckpt_export`` calls it."""
        return ScriptedNetwork(self, self.image_size)

    def about(self, content: ImageContent) -> Callable[[Tensor], Tensor]:
        """Give the network for images of something; only sentences that name it differ."""
        named = name_content(self.model, content)
        return lambda images: predict(named, images)


def predict(
    model: AnomalyModel, images: Float[Tensor, "batch channels height width"]
) -> Float[Tensor, "batch planes height width"]:
    """Predict for images, grey ones with a single channel too; see ``ScreeningNetwork``."""
    with torch.no_grad():
        return map_and_score(model, images.expand(-1, 3, -1, -1), model.image_size)


def _one_name(model: str, backbone: str | None) -> str:
    if backbone is None:
        return model
    if model != EMBEDDED_NAME:
        raise InvalidSettings(
            "Both a model and a backbone are named, but a checkpoint names its own backbone.",
            "Give one of them.",
        )
    return backbone


def changed_scores(
    given: ScoreSettings,
    *,
    r: float | None = None,
    k: float | None = None,
    sigma: float | None = None,
) -> ScoreSettings:
    """Change how maps become scores, by the names that the equations have.

    Args:
        given: What stays where None is named.
        r: Weight of the global score (eq. 8).
        k: Percentage of the map's highest pixels that make the local score (eq. 7).
        sigma: Smoothing of the map, in pixels of an input of 518 px (eq. 12).

    Raises:
        InvalidSettings: A number is out of its range.
    """
    named = {"joint_weight": r, "top_percent": k, "sigma_px": sigma}
    changed: dict[str, Any] = {key: float(one) for key, one in named.items() if one is not None}
    return replace(given, **changed)


class ScriptedNetwork(nn.Module):
    """What ``torch.jit.script`` makes of a ``ScreeningNetwork``: it takes images of any size.

    Tracing a whole network would fix its graph to the example's size. Only what runs at the model's
    own size is traced; the resizing before and after it is TorchScript's own.

    Args:
        network: Gives map and score plane; it keeps its weights.
        image_size: Rows and columns of the images that its model was made for.
    """

    def __init__(self, network: nn.Module, image_size: int) -> None:
        super().__init__()
        self.image_size = image_size
        example = torch.zeros(2, 3, image_size, image_size)
        with torch.no_grad(), warnings.catch_warnings():
            # That sizes become constants is what is wanted here.
            warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
            self.traced: Any = torch.jit.trace(network, example, check_trace=False)  # type: ignore[no-untyped-call]

    @no_type_check  # TorchScript knows tensors without shapes only
    def forward(self, images: Tensor) -> Tensor:
        """Resize, predict and resize back, as ``transforms.map_and_score`` does."""
        side, rows, columns = self.image_size, images.shape[2], images.shape[3]
        shown = images.expand(-1, 3, -1, -1)
        if rows == side and columns == side:
            return self.traced(shown)
        shown = functional.interpolate(
            shown, size=[side, side], mode="bicubic", antialias=True, align_corners=False
        ).clamp(0, 1)
        found = self.traced(shown)
        maps = functional.interpolate(
            found[:, :1], size=[rows, columns], mode="bilinear", antialias=True, align_corners=False
        )
        scores = found[:, 1:, :1, :1].expand(-1, -1, rows, columns)
        return torch.cat([maps, scores], dim=1)


class ScreeningInferer(SliceInferer):
    """MONAI's ``SliceInferer`` over the last axis, with the windows that ``headclip screen`` has.

    Args:
        tiling: ``whole`` shows the network whole slices, ``windows`` slides its input over them.
        overlap: Of neighbouring windows, as a share of their side.
        batch_size: Slices, or windows, that the network gets at a time.
    """

    def __init__(
        self,
        tiling: Literal["whole", "windows"] = "whole",
        overlap: float = 0.5,
        batch_size: int = 8,
    ) -> None:
        super().__init__(
            spatial_dim=2,
            roi_size=(-1, -1),
            sw_batch_size=batch_size,
            overlap=overlap,
            # A black border would be an edge that the patient does not have.
            padding_mode="replicate",
            device="cpu",
        )
        self.tiling = tiling

    @torch.no_grad()
    def __call__(
        self, inputs: Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Float[Tensor, "batch planes rows columns *slices"]:
        """Show the network every slice.

        Args:
            inputs: Grey levels in [0, 1], ``(batch, channel, row, column[, slice])``.
            network: Takes images and gives map and score plane; a ``ScreeningNetwork`` also learns
                what is shown.
            args: For the network.
            kwargs: Other tensors of a case, which MONAI Deploy hands over; the network takes none.

        Raises:
            OutOfMemory: A batch does not fit the device.
        """
        if inputs.ndim == 4:
            flat: Tensor = self(inputs[..., None], network, *args)
            return flat[..., 0]
        rows, columns = inputs.shape[2:4]
        side = getattr(network, "image_size", max(rows, columns))
        slide = self.tiling == "windows" and max(rows, columns) > side
        self.orig_roi_size = (side, side) if slide else (rows, columns)
        # One window needs no blending: its weights would only cost digits.
        self.mode = BlendMode.GAUSSIAN if slide else BlendMode.CONSTANT
        if isinstance(network, ScreeningNetwork):
            network = network.about(_content(inputs))
        with memory_advice(self.sw_batch_size, side):
            found = super().__call__(inputs, network, *args)
        if not isinstance(found, Tensor):  # it mirrors the network's type
            raise TypeError("the network must return one tensor")
        return found


def _content(inputs: Tensor) -> ImageContent:
    """Say what a tensor of ``tensor_of`` shows; of a batch, what its first volume does."""
    meta = inputs.meta if isinstance(inputs, MetaTensor) else {}
    known = [meta.get(key) for key in ("body_part", "modality")]
    part, modality = (one if isinstance(one, str) or one is None else one[0] for one in known)
    return content_of_part(part, modality)
