"""Evaluate models on a set of labelled images, beside two baselines that have learnt nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from headclip_med.datasets import Dataset
from headclip_med.evaluation.measure import EvalSize, Measured, measure, measure_baselines
from headclip_med.evaluation.predictions import Predictions, predict_dataset
from headclip_med.evaluation.results import Evaluation, Row
from headclip_med.metrics import Protocol
from headclip_med.models.model import AnomalyModel
from headclip_med.pipelines.curves import draw_curves

MODEL = "model"
"""What the evaluated model is called among the judges of its own table."""

Look = Callable[[Sequence[Predictions]], None]
"""Sees what models answered."""


def evaluate_models(  # noqa: PLR0913 - all but the first two are optional and named
    dataset: Dataset,
    models: Sequence[AnomalyModel],
    *,
    batch_size: int = 8,
    image_size: int | None = None,
    limit: int | None = None,
    store: Path | None = None,
    protocols: Sequence[Protocol] = ("exact",),
    intervals: bool = True,
    eval_size: EvalSize = "input",
    curves: Path | None = None,
    look: Look = lambda answers: None,
) -> list[Evaluation]:
    """Judge the test images of a set with several models, and compare with the truth.

    Images are resized to a model's square input (bicubic, antialiased), masks with them
    (bilinear, cut at one half), and pixels are compared there unless ``eval_size`` is ``native``.
    Metrics are computed for each category and averaged. A model whose sentences name what is looked
    at is told the category. Every image is read once, and models on the same backbone that see it
    alike share its passes (``predict_together``).

    Args:
        dataset: Its ``test`` split is used.
        models: What is evaluated; their ``scores`` say how maps become scores.
        batch_size: Images per forward pass.
        image_size: Rows and columns of all models' input, in pixels; each one's own by default.
        limit: At most this many images of each category, evenly spread over its list.
        store: Where predictions are kept and looked up; see ``predict_dataset``. Without it they
            are gone when a category is measured. Neither way memory grows with the images, but for
            a few numbers of each; temporary files do.
        protocols: By which pixels are measured; see ``headclip_med.metrics``.
        intervals: Whether the exact metrics are bootstrapped, over images, or over volumes where
            images are slices of them; see ``measure`` for what that takes.
        eval_size: Where pixels are compared; curves are of the models' input all the same.
        curves: A folder for pictures of ROC, precision-recall and per-region-overlap curves, each
            with a line for each model.
        look: Called with all models' answers to each part of the set, while they are there.

    Returns:
        For each model, in their order: pixel metrics of the maps where the set has masks; image
        metrics of the global, the local and the joint score where it has both classes; the same
        for the trivial baselines.

    Raises:
        InvalidSettings: ``limit`` or ``batch_size`` is below 1.
        UnreadableInput: A file of the set cannot be used.
        OutOfMemory: A batch does not fit the device.
    """
    tested = dataset.split("test")
    found = [_Found() for _ in models]
    for part in [tested] if store is not None else _by_category(tested):
        answers = predict_dataset(
            part, models, store=store, batch_size=batch_size, image_size=image_size, limit=limit
        )
        look(answers)
        trivial: dict[tuple[int, float], dict[str, Measured]] = {}
        how: Any = {"protocols": protocols, "intervals": intervals, "eval_size": eval_size}
        for model, answer, one in zip(models, answers, found, strict=True):
            top = model.scores.top_percent
            if (answer.image_size, top) not in trivial:
                trivial[answer.image_size, top] = measure_baselines(answer, top, **how)
            measured = measure(answer, model.scores, **how)
            one.add(answer, {MODEL: measured, **trivial[answer.image_size, top]})
        if curves is not None:
            draw_curves(answers, [model.scores for model in models], curves)
    settings: dict[str, object] = {
        "limit": limit,
        "protocols": list(protocols),
        "intervals": intervals,
        "eval_size": eval_size,
    }
    return [
        one.evaluation(tested, model, settings) for model, one in zip(models, found, strict=True)
    ]


@dataclass(eq=False)
class _Found:
    """What was found of one model so far."""

    judges: dict[str, Measured] = field(default_factory=dict)
    described: dict[str, object] = field(default_factory=dict)
    digest: str | None = None
    side: int = 0
    images: int = 0
    abnormal: int = 0
    vanished: int = 0

    def add(self, answers: Predictions, judges: dict[str, Measured]) -> None:
        """Put another part of the set beside those before."""
        for judge, measured in judges.items():
            known = self.judges.get(judge)
            self.judges[judge] = measured if known is None else known.joined(measured)
        self.described, self.digest = dict(answers.model), answers.content_digest
        self.side = answers.image_size
        self.images += len(answers.labels)
        self.abnormal += int(answers.labels.sum())
        self.vanished += int(answers.truth.has_vanished.sum())

    def evaluation(
        self, tested: Dataset, model: AnomalyModel, settings: dict[str, object]
    ) -> Evaluation:
        """Put it into words and rows."""
        categories = tested.categories
        is_single = len(categories) == 1  # with several no single subject describes the run
        return Evaluation(
            dataset=tested.name,
            counts={"normal": self.images - self.abnormal, "abnormal": self.abnormal},
            image_size=self.side,
            content_digest=self.digest or tested.content_digest,
            model=self.described if is_single else model.describe(),
            settings={
                "scores": model.scores.to_json(),
                **settings,
                "categories": list(categories),
            },
            rows=self._rows(None),
            notes=_notes(self.vanished, settings),
            categories={} if is_single else {name: self._rows(name) for name in categories},
        )

    def _rows(self, category: str | None) -> tuple[Row, ...]:
        """Average over categories, or take one; pixels first, then images."""
        rows = []
        for judge, measured in self.judges.items():
            for level, score, protocol in measured.keys:
                found = measured.estimates(level, score, protocol, category=category)
                if found:
                    rows.append(Row(level, judge, score, found, protocol))
        return tuple(sorted(rows, key=lambda row: row.level != "pixels"))


def _by_category(tested: Dataset) -> list[Dataset]:
    return [
        replace(tested, samples=tuple(one for one in tested.samples if one.category == category))
        for category in tested.categories
    ]


def _notes(vanished: int, settings: Mapping[str, object]) -> tuple[str, ...]:
    notes, limit = [], settings["limit"]
    if settings["eval_size"] == "native":
        notes.append("Pixels were compared at each image's own size.")
    elif vanished:
        notes.append(
            f"In {vanished} images what is abnormal is too small to survive the resizing; its "
            "pixels count as normal."
        )
    if limit is not None:
        notes.append(f"At most {limit} images of each category were judged.")
    return tuple(notes)
