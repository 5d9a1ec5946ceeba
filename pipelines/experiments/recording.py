"""An experiment as a tracked run: its tables and pictures, and a run below it for each variant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from headclip_med.paper import METRICS
from headclip_med.pipelines.experiments.definitions import Variant
from headclip_med.pipelines.experiments.models import BuiltModel, Models
from headclip_med.pipelines.experiments.plan import ExperimentPlan
from headclip_med.pipelines.experiments.report import figures_of
from headclip_med.pipelines.experiments.results import Results, mean_of
from headclip_med.pipelines.experiments.setup import Setup
from headclip_med.tracking import Run
from headclip_med.training.handlers import read_log


def record_beginning(run: Run, plan: ExperimentPlan, setup: Setup) -> None:
    """Record what an experiment is run on and with, without any path."""
    backbone = setup.backbone
    run.parameters(
        {
            "experiment": plan.experiment.name,
            "backbone": {
                "name": backbone.name,
                "weights": backbone.weights,
                "digest": backbone.digest,
            },
            "limit": plan.limit,
            "changed.training": dict(setup.training),
            "changed.model": dict(setup.model),
            "changed.scores": dict(setup.scores),
        }
    )
    for sets in plan.auxiliaries.values():
        for one in sets:
            run.dataset(one.name, one.content_digest, use="training")
    for tested in plan.tested:
        if tested.dataset is not None:
            run.dataset(tested.name, tested.dataset.content_digest, use="evaluation")


def record_results(
    run: Run, results: Results, models: Models, setup: Setup, paths: Mapping[str, Path]
) -> None:
    """Record what came out, with a run below for each variant."""
    if not run.is_recording:
        return
    for kind in ("md", "csv", "html", "json"):
        run.artifact(paths[kind], "tables")
    for key, _, figure in figures_of(results, models):
        run.figure(figure, f"{key}.png")
    for variant in results.plan.variants:
        own = models.of(variant)
        with run.child(variant.name, _parameters(own)) as child:
            for one in own:
                _record_training(child, one, setup)
            _record_variant(child, variant, own, results)


def _parameters(models: Sequence[BuiltModel]) -> dict[str, object]:
    found: dict[str, object] = {}
    for one in models:
        found |= {
            "method": one.model.method,
            "settings": one.model.settings.to_json(),
            "scores": one.model.scores.to_json(),
        }
        if one.training:
            found["training"] = one.training.request.settings.to_json()
            found[f"trained_on.{one.training.data.name}"] = one.training.digest
    return found


def _record_training(run: Run, model: BuiltModel, setup: Setup) -> None:
    """Record the losses of a model's training, and its checkpoint."""
    training, checkpoint = model.training, model.checkpoint
    if training is None or checkpoint is None:
        return
    for epoch, loss in enumerate(checkpoint.training["losses"], start=1):
        run.metrics({f"{training.data.name}/epoch/loss": loss}, step=epoch)
    for step in read_log(training.entry(setup.out).folder):
        named = {f"{training.data.name}/step/{name}": value for name, value in step.terms.items()}
        run.metrics(named, step=(step.epoch - 1) * step.steps + step.step)
    run.artifact(training.checkpoint(setup.out), f"checkpoints/{training.digest}")


def _record_variant(
    run: Run, variant: Variant, models: Sequence[BuiltModel], results: Results
) -> None:
    """Record metrics of every category, set and average, sweeps and samples."""
    image_score = next((one.model.scores.image_score for one in models), "global")
    run.metrics(_numbers(results, variant, image_score))
    for tested in results.plan.tested:
        result = results.of(variant, tested.name)
        if result is None:
            continue
        if result.sample:
            name = "".join(one if one.isalnum() or one in "-_+" else "_" for one in tested.name)
            run.image(np.array(Image.open(result.sample)), f"samples/{name}.png")
        for weight, value in zip(results.plan.experiment.sweep, result.sweep, strict=True):
            run.metrics({f"{tested.name}/JAS/mAD over 100 r": value}, step=round(100 * weight))


def _numbers(results: Results, variant: Variant, image_score: str) -> dict[str, float]:
    """Name every number of a variant as an evaluation's are named, fractions of 1."""
    images = f"images {image_score} exact"
    sections = {"image": (images, images), "pixel": ("pixels map paper", "pixels map exact")}
    found: dict[str, float] = {}
    for tested in results.plan.tested:
        result = results.of(variant, tested.name)
        for category, level, metric, *both in result.values if result else ():
            place = f"{tested.name}/{category}" if category else tested.name
            found |= {
                f"{place}/{section}/{metric}": value
                for section, value in zip(sections[level], both, strict=True)
            }
    numbers = results.numbers
    of_sets = (numbers["variant"] == variant.name) & (numbers["category"] == "")
    own = numbers[of_sets & numbers["metric"].isin(METRICS["pixel"])]
    means = own.groupby(["domain", "level", "metric"])[["ours", "exact"]].agg(mean_of)
    for (domain, level, metric), row in means.iterrows():
        found |= {
            f"average {domain}/{section}/{metric}": value / 100
            for section, value in zip(sections[level], row, strict=True)
        }
    return found
