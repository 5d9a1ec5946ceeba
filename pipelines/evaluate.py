"""Evaluate models on a set of labelled images, beside two baselines that have learnt nothing."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float

from headclip_med.datasets import Dataset, Sample, read_mask
from headclip_med.errors import InvalidSettings
from headclip_med.models.anomaly import AnomalyModel, name_subject
from headclip_med.models.trunk import predict_together
from headclip_med.pipelines.evaluation import (
    Evaluation,
    Row,
    Sampled,
    average,
    sample_images,
    sample_pixels,
)
from headclip_med.pipelines.examples import prepare_image, resize_mask
from headclip_med.pipelines.subjects import subject_of_category
from headclip_med.pipelines.trivial import trivial_maps
from headclip_med.settings import ScoreSettings, ScreenSettings
from headclip_med.transforms import joint_score, local_score
from headclip_med.transforms.tiles import memory_advice

_log = logging.getLogger(__name__)

SEED = 20_241_124
"""Of the bootstrap: the same set gives the same intervals."""

Place = tuple[str, str, str]
"""Level, judge and score: where a value stands in the table."""


@dataclass(frozen=True, eq=False)
class _Seen:
    """The images of one category and their truth, as far as they are needed for metrics."""

    labels: Bool[np.ndarray, "images"]
    masks: Bool[np.ndarray, "images size size"] | None
    grey: Float[np.ndarray, "images size size"]
    vanished: int

    @property
    def has_both_classes(self) -> bool:
        """Whether there is a second class to tell apart; in sets of lesions only there is none."""
        return bool(self.labels.any() and not self.labels.all())


@dataclass(frozen=True, eq=False)
class _Answers:
    """What one model says of them."""

    maps: Float[np.ndarray, "images size size"]
    global_scores: Float[np.ndarray, "images"]


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
    category and averaged; intervals are bootstrapped over images. A model whose sentences name
    what is looked at is told the category.

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
    (found,) = evaluate_models(
        dataset, [model], batch_size=batch_size, image_size=image_size, limit=limit
    )
    return found


def evaluate_models(
    dataset: Dataset,
    models: Sequence[AnomalyModel],
    *,
    batch_size: int = 8,
    image_size: int | None = None,
    limit: int | None = None,
) -> list[Evaluation]:
    """Evaluate several models, reading every image once.

    Models on the same backbone that see it alike share its passes (``predict_together``).

    Args:
        dataset: Its ``test`` split is used.
        models: What is evaluated; as for ``evaluate_dataset``, as are the options.
        batch_size: Images per forward pass.
        image_size: Rows and columns of all models' input; each one's own by default.
        limit: At most this many images of each category.

    Returns:
        What ``evaluate_dataset`` gives for each, in their order.

    Raises:
        InvalidSettings: ``limit`` or ``batch_size`` is below 1.
        UnreadableInput: A file of the set cannot be used.
        OutOfMemory: A batch does not fit the device.
    """
    if limit is not None and limit < 1:
        raise InvalidSettings("limit must be at least 1.")
    settings, tested = ScreenSettings(batch_size=batch_size), dataset.split("test")
    sides = [image_size or model.image_size for model in models]
    found: dict[int, Evaluation] = {}
    for side in dict.fromkeys(sides):
        numbers = [number for number, one in enumerate(sides) if one == side]
        group = _evaluate_group(
            tested, [models[number] for number in numbers], settings, side, limit
        )
        found.update(zip(numbers, group, strict=True))
    return [found[number] for number in range(len(models))]


def _evaluate_group(
    tested: Dataset,
    models: Sequence[AnomalyModel],
    settings: ScreenSettings,
    side: int,
    limit: int | None,
) -> list[Evaluation]:
    """Evaluate models that see images of the same size."""
    measured: list[dict[Place, list[Sampled]]] = [{} for _ in models]
    judged_count, abnormal, vanished = 0, 0, 0
    named = list(models)
    for category in tested.categories:
        samples = _thinned([s for s in tested.samples if s.category == category], limit)
        subject = subject_of_category(tested.name, category)
        named = [name_subject(model, subject) for model in models]
        seen = _see(samples, side, has_masks=tested.level == "pixel")
        trivial: dict[float, list[tuple[Place, Sampled]]] = {}
        answers = _ask(named, samples, seen, settings)
        for model, answer, found in zip(models, answers, measured, strict=True):
            top = model.scores.top_percent
            if top not in trivial:
                trivial[top] = list(_measure_trivial(seen, top))
            for place, sampled in (*_measure(seen, answer, model.scores), *trivial[top]):
                found.setdefault(place, []).append(sampled)
        judged_count += len(samples)
        abnormal += int(seen.labels.sum())
        vanished += seen.vanished
        _log.info("%s, %s: %d images judged", tested.name, category, len(samples))
    # With several categories no single subject describes the run.
    described = named if len(tested.categories) == 1 else models
    return [
        Evaluation(
            dataset=tested.name,
            counts={"normal": judged_count - abnormal, "abnormal": abnormal},
            image_size=side,
            content_digest=tested.content_digest,
            model=model.describe(),
            settings={
                "scores": model.scores.to_json(),
                "limit": limit,
                "categories": list(tested.categories),
            },
            rows=_rows(found),
            notes=_notes(vanished, limit),
        )
        for model, found in zip(described, measured, strict=True)
    ]


def _rows(found: Mapping[Place, Sequence[Sampled]]) -> tuple[Row, ...]:
    """Average over categories; pixels first, then images."""
    places = sorted(found, key=lambda place: place[0] != "pixels")
    return tuple(Row(*place, average(found[place])) for place in places)


def _see(samples: Sequence[Sample], side: int, *, has_masks: bool) -> _Seen:
    """Read the truth; the images follow in batches."""
    truths = [_truth(sample, side, has_masks=has_masks) for sample in samples]
    return _Seen(
        labels=np.array([truth.is_abnormal for truth in truths]),
        masks=np.stack([truth.mask for truth in truths]) if has_masks else None,
        grey=np.empty((len(samples), side, side), dtype=np.float32),
        vanished=sum(truth.has_vanished for truth in truths),
    )


def _ask(
    models: Sequence[AnomalyModel],
    samples: Sequence[Sample],
    seen: _Seen,
    settings: ScreenSettings,
) -> list[_Answers]:
    """Show the images to all models, and keep them in grey."""
    side = seen.grey.shape[-1]
    answers = [
        _Answers(np.empty_like(seen.grey), np.empty(len(samples), dtype=np.float64)) for _ in models
    ]
    for start in range(0, len(samples), settings.batch_size):
        part = slice(start, start + settings.batch_size)
        images = torch.stack([prepare_image(sample, side) for sample in samples[part]])
        seen.grey[part] = images.mean(dim=1).numpy()
        with memory_advice(settings.batch_size, side), torch.no_grad():
            predictions = predict_together(models, images)
            for answer, prediction in zip(answers, predictions, strict=True):
                answer.maps[part] = prediction.map.float().cpu().numpy()
                answer.global_scores[part] = prediction.global_score.cpu().numpy()
    return answers


def _measure(
    seen: _Seen, answer: _Answers, scores: ScoreSettings
) -> Iterator[tuple[Place, Sampled]]:
    """Measure a model, pixels first; with JAS and without it."""
    if seen.masks is not None:
        yield ("pixels", "model", "map"), sample_pixels(answer.maps, seen.masks, seed=SEED)
    if seen.has_both_classes:
        local = local_score(answer.maps, scores.top_percent)
        joint = joint_score(answer.global_scores, local, scores.joint_weight)
        kinds = {"global": answer.global_scores, "local": local, "joint": joint}
        for kind, values in kinds.items():
            yield ("images", "model", kind), sample_images(values, seen.labels, seed=SEED)


def _measure_trivial(seen: _Seen, top_percent: float) -> Iterator[tuple[Place, Sampled]]:
    """Measure the baselines that have learnt nothing."""
    for judge, maps in trivial_maps(seen.grey):
        if seen.masks is not None:
            yield ("pixels", judge, "map"), sample_pixels(maps, seen.masks, seed=SEED)
        if seen.has_both_classes:
            local = local_score(maps, top_percent)
            yield ("images", judge, "local"), sample_images(local, seen.labels, seed=SEED)


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
