"""The learning curve: how well the run does on pictures it is not trained on."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn import functional

from research.mini.corpus import draw_samples
from research.mini.development import development_volumes, windowed
from research.mini.model import MiniModel
from research.mini.settings import MiniSettings

_HELD_OUT = 7_919
"""Added to the seed for held-out pictures and development volumes."""

_LEAST_AREA_PX = 25
"""Slices with a smaller lesion are left out of the slice scores."""

_POOLED_SLICES = 3
"""A volume's score is the mean of its highest slices."""


class Curve:
    """Held-out corpus pictures and development volumes, and their metrics."""

    def __init__(self, settings: MiniSettings) -> None:
        self.settings = settings
        seed = settings.seed + _HELD_OUT
        self.held = draw_samples(seed, 0, settings.curve_images, settings.image_px)
        volumes = development_volumes(seed, settings.curve_volumes)
        slices = torch.from_numpy(np.concatenate([windowed(v) for v in volumes]))
        self.slices = slices[:, None].expand(-1, 3, -1, -1)
        self.lesions = torch.from_numpy(np.concatenate([v.lesion for v in volumes]))
        self.brains = np.concatenate([v.brain for v in volumes])
        self.slices_per_volume = len(self.slices) // max(1, len(volumes))

    def measure(self, model: MiniModel) -> dict[str, float]:
        """AUROC of pixels and of global (G), local (L) and joint (J) scores."""
        result: dict[str, float] = {}
        maps, whole = self._predict(model, self.held.images)
        masks = self.held.masks.numpy()
        result["held pixel"] = _auroc(masks, maps)
        for name, rows in (("held", slice(None)), ("organ", self.held.organs.numpy())):
            labels = self.held.labels.numpy()[rows]
            result |= _scores(name, labels, whole[rows], self._top(maps[rows]))
        maps, whole = self._predict(model, self.slices)
        lesions = self.lesions.numpy()
        areas = lesions.sum((1, 2))
        result["head pixel"] = _auroc(lesions, maps)
        result["brain pixel"] = _auroc(lesions[self.brains], maps[self.brains])
        top = self._top(maps)
        rows = (areas == 0) | (areas > _LEAST_AREA_PX)
        result |= _scores("slice", areas[rows] > 0, whole[rows], top[rows])
        per = self.slices_per_volume
        labels = (areas.reshape(-1, per) > 0).any(1)
        pooled = [np.sort(s.reshape(-1, per))[:, -_POOLED_SLICES:].mean(1) for s in (whole, top)]
        return result | _scores("volume", labels, *pooled)

    def _top(self, maps: Float[np.ndarray, "images rows columns"]) -> Float[np.ndarray, "images"]:
        pixels = maps.shape[1] * maps.shape[2]
        count = round(pixels * self.settings.losses.top_percent / 100)
        return np.asarray(np.sort(maps.reshape(len(maps), pixels))[:, -count:].mean(1))

    @torch.no_grad()
    def _predict(
        self, model: MiniModel, images: UInt8[Tensor, "images 3 height width"]
    ) -> tuple[Float[np.ndarray, "images height width"], Float[np.ndarray, "images"]]:
        settings = self.settings
        texts = prompt_pair(model, model.normal_tokens, model.abnormal_tokens)
        maps, scores = [], []
        for part in torch.split(images, 32):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                seen = model.look(part.float() / 255)
            scores.append((seen.whole @ texts.T / settings.temperature).softmax(-1)[:, 1])
            places = (seen.places @ texts.T / settings.temperature).softmax(-1)[..., 1]
            side = part.shape[-1] // settings.patch_px
            grid = places.view(-1, 1, side, side)
            maps.append(functional.interpolate(grid, part.shape[-2:], mode="bilinear")[:, 0])
        return torch.cat(maps).numpy(), torch.cat(scores).numpy()


def prompt_pair(model: MiniModel, normal: Tensor, abnormal: Tensor) -> Float[Tensor, "2 joint"]:
    """Unit mean features of the sentences for normal and for abnormal."""
    pair = torch.stack([model.read(normal).mean(0), model.read(abnormal).mean(0)])
    return functional.normalize(pair, dim=-1)


def _scores(
    name: str, labels: Bool[np.ndarray, "n"], whole: np.ndarray, top: np.ndarray
) -> dict[str, float]:
    return {
        f"{name} G": _auroc(labels, whole),
        f"{name} L": _auroc(labels, top),
        f"{name} J": _auroc(labels, (whole + top) / 2),
    }


def _auroc(truth: np.ndarray, score: np.ndarray) -> float:
    """Area under the ROC curve, or NaN where not both classes are there."""
    if len(np.unique(truth)) < 2:
        return float("nan")
    return round(float(roc_auc_score(truth.ravel(), score.ravel())), 4)
