"""Evaluate a model on a set of labelled images, beside two baselines that have learnt nothing."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from jaxtyping import Bool, Float

from headclip_med.datasets import Dataset, Sample, read_mask
from headclip_med.errors import InvalidSettings
from headclip_med.models.anomaly import AnomalyModel
from headclip_med.pipelines.evaluation import (
    Evaluation,
    Row,
    Sampled,
    average,
    sample_images,
    sample_pixels,
)
from headclip_med.pipelines.examples import prepare_image, resize_mask
from headclip_med.pipelines.trivial import trivial_maps
from headclip_med.settings import ScoreSettings, ScreenSettings
from headclip_med.transforms import joint_score, local_score, predict_slices

_log = logging.getLogger(__name__)

SEED = 20_241_124
"""Of the bootstrap: the same set gives the same intervals."""

Place = tuple[str, str, str]
"""Level, judge and score: where a value stands in the table."""


@dataclass(frozen=True, eq=False)
class _Judged:
    """The images of one category, as far as they are needed for metrics."""

    labels: Bool[np.ndarray, "images"]
    masks: Bool[np.ndarray, "images size size"] | None
    grey: Float[np.ndarray, "images size size"]
    maps: Float[np.ndarray, "images size size"]
    global_scores: Float[np.ndarray, "images"]
    vanished: int


@dataclass(frozen=True, eq=False)
class _Truth:
    """What a set says of one image."""

    is_abnormal: bool
    mask: Bool[np.ndarray, "size size"]
    has_vanished: bool


def evaluate_dataset(
    dataset: Dataset,
    model: AnomalyModel,
    *,
    batch_size: int = 8,
    image_size: int | None = None,
    limit: int | None = None,
) -> Evaluation:
    """Judge the test images of a set and compare with the truth.

    Images are resized to the model's square input (bicubic, antialiased), masks with them
    (bilinear, cut at one half), and pixels are compared there. Metrics are computed for each
    category and averaged; intervals are bootstrapped over images.

    Args:
        dataset: Its ``test`` split is used.
        model: What is evaluated; its ``scores`` say how maps become scores.
        batch_size: Images per forward pass.
        image_size: Rows and columns of the model's input, in pixels; the model's own by default.
        limit: At most this many images of each category, evenly spread over its list.

    Returns:
        Pixel metrics of the maps where the set has masks; image metrics of the global, the local
        and the joint score where it has both classes; the same for the trivial baselines.

    Raises:
        InvalidSettings: ``limit`` or ``batch_size`` is below 1.
        UnreadableInput: A file of the set cannot be used.
        OutOfMemory: A batch does not fit the device.
    """
    if limit is not None and limit < 1:
        raise InvalidSettings("limit must be at least 1.")
    side = image_size or model.image_size
    settings = ScreenSettings(batch_size=batch_size)
    tested = dataset.split("test")
    found: dict[Place, list[Sampled]] = {}
    judged_count, abnormal, vanished = 0, 0, 0
    for category in tested.categories:
        samples = _thinned([s for s in tested.samples if s.category == category], limit)
        judged = _judge(model, samples, settings, side, has_masks=dataset.level == "pixel")
        for place, sampled in _measure(judged, model.scores):
            found.setdefault(place, []).append(sampled)
        judged_count += len(samples)
        abnormal += int(judged.labels.sum())
        vanished += judged.vanished
        _log.info("%s, %s: %d images judged", dataset.name, category, len(samples))
    return Evaluation(
        dataset=dataset.name,
        counts={"normal": judged_count - abnormal, "abnormal": abnormal},
        image_size=side,
        content_digest=tested.content_digest,
        model=model.describe(),
        settings={
            "scores": model.scores.to_json(),
            "limit": limit,
            "categories": list(tested.categories),
        },
        rows=tuple(Row(*place, average(samples)) for place, samples in found.items()),
        notes=_notes(vanished, limit),
    )


def _judge(
    model: AnomalyModel,
    samples: Sequence[Sample],
    settings: ScreenSettings,
    side: int,
    *,
    has_masks: bool,
) -> _Judged:
    count = len(samples)
    grey, maps = (np.empty((count, side, side), dtype=np.float32) for _ in range(2))
    global_scores = np.empty(count, dtype=np.float64)
    for start in range(0, count, settings.batch_size):
        part = slice(start, start + settings.batch_size)
        images = torch.stack([prepare_image(sample, side) for sample in samples[part]])
        grey[part] = images.mean(dim=1).numpy()
        maps[part], global_scores[part] = predict_slices(
            model, images, settings=settings, size_px=side
        )
    truths = [_truth(sample, side, has_masks=has_masks) for sample in samples]
    return _Judged(
        labels=np.array([truth.is_abnormal for truth in truths]),
        masks=np.stack([truth.mask for truth in truths]) if has_masks else None,
        grey=grey,
        maps=maps,
        global_scores=global_scores,
        vanished=sum(truth.has_vanished for truth in truths),
    )


def _measure(judged: _Judged, scores: ScoreSettings) -> Iterator[tuple[Place, Sampled]]:
    """Measure the model, then the baselines; pixels first, then images."""
    judges = list(chain([("model", judged.maps)], trivial_maps(judged.grey)))
    if judged.masks is not None:
        for judge, maps in judges:
            yield ("pixels", judge, "map"), sample_pixels(maps, judged.masks, seed=SEED)
    if judged.labels.all() or not judged.labels.any():
        return  # no second class to tell apart, as in sets of lesions only
    for judge, maps in judges:
        local = local_score(maps, scores.top_percent)
        kinds = {"local": local}
        if judge == "model":
            joint = joint_score(judged.global_scores, local, scores.joint_weight)
            kinds = {"global": judged.global_scores, "local": local, "joint": joint}
        for kind, values in kinds.items():
            yield ("images", judge, kind), sample_images(values, judged.labels, seed=SEED)


def _truth(sample: Sample, side: int, *, has_masks: bool) -> _Truth:
    """Read a label, and a mask where there is one, resized as the published methods do."""
    if not has_masks:
        return _Truth(sample.label == 1, np.zeros((side, side), dtype=bool), has_vanished=False)
    mask = read_mask(sample)
    is_abnormal = bool(mask.any()) if sample.label is None else sample.label == 1
    small = resize_mask(mask, side)
    return _Truth(is_abnormal, small, has_vanished=bool(mask.any() and not small.any()))


def _thinned(samples: Sequence[Sample], limit: int | None) -> Sequence[Sample]:
    if limit is None or len(samples) <= limit:
        return samples
    chosen = np.linspace(0, len(samples) - 1, limit).round().astype(int)
    return [samples[number] for number in chosen]


def _notes(vanished: int, limit: int | None) -> tuple[str, ...]:
    notes = []
    if vanished:
        notes.append(
            f"In {vanished} images what is abnormal is too small to survive the resizing; its "
            "pixels count as normal."
        )
    if limit is not None:
        notes.append(f"At most {limit} images of each category were judged.")
    return tuple(notes)
