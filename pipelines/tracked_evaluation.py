"""What an evaluation leaves at a tracker: metrics by set and class, JAS curves and samples."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8

from headclip_med.evaluation.measure import local_scores
from headclip_med.evaluation.predictions import Predictions
from headclip_med.evaluation.results import Evaluation, Row
from headclip_med.metrics import image_metrics
from headclip_med.models.maps import smooth
from headclip_med.models.model import AnomalyModel
from headclip_med.models.registry import METHODS
from headclip_med.pipelines.evaluate import MODEL
from headclip_med.settings import ScoreSettings
from headclip_med.tracking import Run
from headclip_med.transforms import joint_score
from headclip_med.write.pictures.experiments import joint_weight_figure
from headclip_med.write.pictures.sample import draw_sample

SAMPLES, SAMPLES_OF_CATEGORY = 8, 2
"""Abnormal images of a set, and of each category, that are drawn at most."""

JOINT_WEIGHTS = tuple(step / 20 for step in range(21))
"""Values of r that the JAS curve is computed at."""

_Scored = tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"], Bool[np.ndarray, "n"]]
"""Global scores, local scores and labels of a category."""


@contextmanager
def runs_of_methods(run: Run, models: Mapping[str, AnomalyModel]) -> Iterator[dict[str, Run]]:
    """Record what is evaluated, several methods in a run of their own each.

    Args:
        run: Of the evaluation.
        models: By method; a single model by any name.

    Yields:
        The run of each.
    """
    with ExitStack() as stack:
        if len(models) == 1:
            runs = dict.fromkeys(models, run)
        else:
            runs = {name: stack.enter_context(run.child(name)) for name in models}
        for name, model in models.items():
            runs[name].parameters({"model": dict(model.describe())})
        yield runs


class SetRecord:
    """Records an evaluation of models on one set.

    Args:
        runs: Of each model.
        scores: How each one's logits become maps and scores, in the same order.
        label: What the set is called; no other set of the run is called so.
    """

    def __init__(
        self, runs: Mapping[str, Run], scores: Sequence[ScoreSettings], label: str
    ) -> None:
        self._runs, self._scores, self._label = dict(runs), list(scores), label
        self._scored: dict[str, list[_Scored]] = {name: [] for name in runs}
        self._drawn = 0

    def look(self, answers: Sequence[Predictions]) -> None:
        """Keep what is drawn later of a part of the set, while its logits are there."""
        if not any(run.is_recording for run in self._runs.values()):
            return
        for kept, one, how in zip(self._scored.values(), answers, self._scores, strict=True):
            local = local_scores(one, how)
            own = one.global_scores.astype(np.float64)
            parts = one.parts().values()
            kept += [(own[part], local[part], np.asarray(one.labels[part])) for part in parts]
        self._draw_samples(answers)

    def end(self, evaluations: Mapping[str, Evaluation]) -> None:
        """Record the numbers, the set and the curve of each model."""
        for name, evaluation in evaluations.items():
            run, kept = self._runs[name], self._scored[name]
            record_evaluation(run, evaluation)
            curve = _jas_curve(kept)
            if run.is_recording and curve:
                weights = list(JOINT_WEIGHTS)
                title = METHODS[name].title if name in METHODS else MODEL
                figure = joint_weight_figure(weights, {evaluation.dataset: {title: curve}})
                run.figure(figure, f"jas/{_plain(evaluation.dataset)}.png")
                for weight, value in zip(weights, curve, strict=True):
                    name_of_curve = f"{evaluation.dataset}/JAS/mAD over 100 r"
                    run.metrics({name_of_curve: value / 100}, step=round(100 * weight))

    def _draw_samples(self, answers: Sequence[Predictions]) -> None:
        for part in answers[0].parts().values():
            abnormal = part.start + np.flatnonzero(answers[0].labels[part])
            wanted = min(SAMPLES_OF_CATEGORY, SAMPLES - self._drawn, len(abnormal))
            for place in np.linspace(0, len(abnormal) - 1, wanted).round().astype(int):
                self._drawn += 1
                for run, one, how in zip(self._runs.values(), answers, self._scores, strict=True):
                    row = sample_row(one, how, int(abnormal[place]))
                    run.image(row, f"samples/{_plain(self._label)}/{self._drawn}.png")


def record_evaluation(run: Run, evaluation: Evaluation) -> None:
    """Record all metrics of a set, averaged and of each class, and what set it is."""
    name = evaluation.dataset
    run.dataset(name, evaluation.content_digest, use="evaluation")
    run.metrics({f"{name}/count/{what}": float(count) for what, count in evaluation.counts.items()})
    run.metrics(dict(_numbers(name, evaluation.rows)))
    for category, rows in evaluation.categories.items():
        run.metrics(dict(_numbers(f"{name}/{category}", rows)))


def record_tables(run: Run, table: str, as_json: str, *, failed: int) -> None:
    """Keep the whole table, and how many sets are not in it because they could not be used."""
    run.text(table, "tables/evaluation.md")
    run.text(as_json, "tables/evaluation.json")
    run.metrics({"failed sets": float(failed)})


def _numbers(place: str, rows: Iterable[Row]) -> Iterator[tuple[str, float]]:
    """Name numbers so that MLflow shows the metrics of one table's row in one section."""
    for row in rows:
        judged = place if row.judge == MODEL else f"trivial/{place}/{row.judge}"
        for metric, found in row.metrics.items():
            yield f"{judged}/{row.level} {row.score} {row.protocol}/{metric}", found.value


def _jas_curve(kept: Sequence[_Scored]) -> list[float]:
    """Average mAD over the categories that have both classes, in percent, at every r."""
    both = [one for one in kept if one[2].any() and not one[2].all()]
    if not both:
        return []
    return [
        100 * math.fsum(image_metrics(joint_score(own, local, r), labels)["mAD"]
                        for own, local, labels in both) / len(both)
        for r in JOINT_WEIGHTS
    ]  # fmt: skip


def sample_row(
    answers: Predictions, scores: ScoreSettings, index: int
) -> UInt8[np.ndarray, "side width 3"]:
    """Draw an image beside its map and the truth."""
    logits = torch.from_numpy(np.array(answers.logits[index : index + 1]))
    heat = smooth(logits.sigmoid(), scores.sigma_at(answers.image_size))[0].numpy()
    truth = None if answers.masks is None else np.asarray(answers.masks[index])
    return draw_sample(np.asarray(answers.grey[index])[..., None], heat, truth)


def _plain(name: str) -> str:
    """Name a file after a set."""
    return "".join(letter if letter.isalnum() or letter in "-_+" else "_" for letter in name)
