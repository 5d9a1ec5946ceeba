"""The frozen image tower's outputs of every training image, computed once and read in every epoch.

It never changes while HeadCLIP learns, and images are not augmented, so its outputs are constants
of the images. They are kept as they came, in float32: a training that reads them ends
with the losses and weights of one that computes them anew.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch

from headclip_med.errors import InvalidSettings
from headclip_med.models.clip.vision import VisionTower, default_image_size
from headclip_med.models.engine.run import Ran, settled
from headclip_med.models.headclip.model import FrozenFeatures, HeadClip, chosen_layers
from headclip_med.models.headclip.settings import HeadClipSettings
from headclip_med.settings import Precision
from headclip_med.store import Entry, StoreFull
from headclip_med.training.batches import Batch, Place

_BYTES = 4
"""Of a float32."""

_LAYOUT = "layers, images, patches, channels"
"""Of the kept layers; part of the name of their folder. The layer comes first, so that a batch of
it is read as one contiguous block."""


def features_bytes(settings: HeadClipSettings, vision: VisionTower, count: int) -> int:
    """Tell beforehand how many bytes the features of ``count`` images take."""
    layers, _ = chosen_layers(settings, vision.depth)
    shapes = _shapes(vision, layers, default_image_size(settings, vision), count)
    return _BYTES * (math.prod(shapes["layers"]) + math.prod(shapes["tokens"]))


class Features:
    """Features of numbered images, all of one size.

    Args:
        model: Its image tower computes them; its learned parts do not matter.
        count: How many images there are.
        place: Where they are kept.
        data_digest: Of the images; together with the size, the backbone and the layers it names
            the files in a folder, so that features are never read for anything else.
        precision: That the image tower is run in; kept in float32 all the same.

    Raises:
        InvalidSettings: The folder has no room for them.
    """

    def __init__(
        self,
        model: HeadClip,
        count: int,
        place: Place,
        *,
        data_digest: str,
        precision: Precision = "fp32",
    ) -> None:
        self._model = model
        self._precision = settled(precision, next(model.parameters()).device)
        vision = model.backbone.vision
        side = model.image_size // vision.patch_px
        self._grid = (side, side)
        shapes = _shapes(vision, model.local_layers, model.image_size, count)
        if place == "ram":
            arrays = {name: np.zeros(shape, _type(name)) for name, shape in shapes.items()}
        else:
            arrays = _map(_entry(place, model, data_digest, self._precision), shapes)
        self._tokens, self._layers, self._known = (arrays[name] for name in shapes)

    @property
    def complete(self) -> bool:
        """Whether the features of every image are there."""
        return bool(self._known.all())

    def of(self, batch: Batch) -> FrozenFeatures:
        """Compute the features of a batch that comes with images, or read those of one without."""
        numbers = batch.numbers.cpu().numpy()
        if not batch.images.numel():
            device = batch.masks.device
            kept = (torch.from_numpy(layer[numbers]).to(device) for layer in self._layers)
            residual, *layers = kept
            count = self._model.backbone.vision.head_count
            heads = tuple(one.view(*one.shape[:2], count, -1).transpose(1, 2) for one in layers)
            token = torch.from_numpy(self._tokens[numbers]).to(device)
            return FrozenFeatures(token, residual, heads, self._grid)
        features = self._model.freeze_features(batch.images, self._precision)
        joined = (head.transpose(1, 2).flatten(2) for head in features.heads)
        for kept, layer in zip(self._layers, (features.residual, *joined), strict=True):
            kept[numbers] = layer.cpu().numpy()
        self._tokens[numbers] = features.global_token.cpu().numpy()
        self._known[numbers] = 1
        return features


def _shapes(
    vision: VisionTower, layers: tuple[int, ...], size_px: int, count: int
) -> dict[str, tuple[int, ...]]:
    """Of what is kept, layers as ``_LAYOUT``: the residual comes first, then each local one."""
    patches, (channels, joint) = (size_px // vision.patch_px) ** 2, vision.visual.proj.shape
    return {
        "tokens": (count, joint),
        "layers": (1 + len(layers), count, patches, channels),
        "known": (count,),
    }


def _type(name: str) -> type[np.generic]:
    return np.uint8 if name == "known" else np.float32


def _entry(place: Path, model: HeadClip, data_digest: str, precision: Ran) -> Entry:
    identity: dict[str, object] = {
        "layout": _LAYOUT,
        "data": data_digest,
        "image_size": model.image_size,
        "backbone": model.backbone.digest,
        "layers": list(model.local_layers),
        "class_token_norm": model.settings.class_token_norm,
        "position_interpolation": model.settings.position_interpolation,
        "precision": precision,
    }
    return Entry.of(place, "features", identity)


def _map(entry: Entry, shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    try:
        return entry.grow({name: (shape, _type(name)) for name, shape in shapes.items()})
    except StoreFull as error:
        raise InvalidSettings(
            f"The folder for cached features cannot take them. {error.reason}",
            "Choose another --cache folder, a smaller image_size, or --cache none.",
            code="cache-too-large",
        ) from error
