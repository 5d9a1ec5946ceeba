"""ROC, precision-recall and per-region-overlap curves of models, a picture for each category."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from headclip_med.evaluation.measure import score_category
from headclip_med.evaluation.predictions import Predictions
from headclip_med.metrics import Curves, PixelMetrics, image_curves
from headclip_med.metrics.curves import Line
from headclip_med.models.registry import METHODS
from headclip_med.settings import ScoreSettings
from headclip_med.write.pictures.curves import write_curves


def draw_curves(
    answers: Sequence[Predictions], scores: Sequence[ScoreSettings], folder: Path
) -> list[Path]:
    """Draw the exact curves of one set.

    Args:
        answers: Of each model, about the same images.
        scores: How each one's logits become scores; its ``image_score`` is what is drawn.
        folder: Where to; it is made where it is missing.

    Returns:
        ``SET.CATEGORY.pixels.png`` where the set has masks, and ``SET.CATEGORY.images.png`` where
        the category has both classes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for category in answers[0].parts():
        lines: dict[str, dict[str, Mapping[str, Line]]] = {"pixels": {}, "images": {}}
        for judge, one, how in zip(_names(answers), answers, scores, strict=True):
            for level, found in _category_lines(one, how, category).items():
                lines[level][judge] = found
        for level, judges in lines.items():
            if judges:
                name = f"{_plain(answers[0].dataset)}.{_plain(category)}.{level}.png"
                title = f"{answers[0].dataset}, {category}: {level}"
                write_curves(folder / name, judges, title=title)
                written.append(folder / name)
    return written


def _category_lines(
    answers: Predictions, scores: ScoreSettings, category: str
) -> dict[str, Mapping[str, Line]]:
    found: dict[str, Mapping[str, Line]] = {}
    part = answers.parts()[category]
    with PixelMetrics() as pixels:
        kinds = score_category(answers, scores, part, pixels)
        if answers.masks is not None:
            found["pixels"] = _drawable(Curves.of(pixels.pooled()))
    labels = np.asarray(answers.labels[part])
    found["images"] = _drawable(image_curves(kinds[scores.image_score], labels))
    return {level: lines for level, lines in found.items() if lines}


def _drawable(curves: Curves) -> Mapping[str, Line]:
    """Leave out curves without points: a class is absent."""
    return curves.lines() if len(curves.recall) else {}


def _names(answers: Sequence[Predictions]) -> list[str]:
    """Call each model by its method, and number those that are called alike."""
    methods = [str(one.model.get("method", "model")) for one in answers]
    titles = [METHODS[name].title if name in METHODS else name for name in methods]
    return [
        title if titles.count(title) == 1 else f"{title} {titles[:number].count(title) + 1}"
        for number, title in enumerate(titles)
    ]


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9+-]+", "_", name)
