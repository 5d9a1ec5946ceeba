"""What an experiment leaves: files of tables and pictures, and a run with one of each variant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

import headclip_med
from headclip_med.datasets import KNOWN_SETS
from headclip_med.models.checkpoint import read_checkpoint
from headclip_med.models.inference import HeadWeights
from headclip_med.paper import METRICS
from headclip_med.pipelines.experiments.definitions import (
    PAPER_DEPTH,
    PAPER_PATCH_PX,
    PAPER_SIZE_PX,
    Variant,
)
from headclip_med.pipelines.experiments.models import BuiltModel, Models, Setup
from headclip_med.pipelines.experiments.plan import EvaluationSet, ExperimentPlan
from headclip_med.pipelines.experiments.results import Results, has_other_images, mean_of
from headclip_med.pipelines.experiments.tables import (
    DOMAINS,
    averaged_sets,
    sweep_averages,
    swept_sets,
)
from headclip_med.tracking import Run
from headclip_med.training.handlers import read_log
from headclip_med.write.pictures.curves import head_weights_figure, joint_weight_figure, to_png
from headclip_med.write.tables import Document, Drawing, Table

PERCENT = "Percent, averaged over categories and then over sets. Research use only."
BESIDE = (
    "Ours is by the protocol of the field's "
    "published code, as the paper's numbers are; exact is the same over all thresholds. Difference "
    "is ours less the paper's."
)


def describe(
    results: Results, models: Models, setup: Setup, command: str, tables: tuple[Table, ...]
) -> Document:
    """Put tables, pictures and facts together."""
    plan = results.plan
    drawings = tuple(
        Drawing(key, title, to_png(figure)) for key, title, figure in figures_of(results, models)
    )
    return Document(
        name=plan.experiment.name,
        title=plan.experiment.title,
        introduction=(
            *plan.experiment.question,
            *_scaled(plan, setup),
            PERCENT if plan.experiment.sweep else f"{PERCENT} {BESIDE}",
        ),
        facts=tuple(_facts(results, models, setup, command)),
        tables=tables,
        drawings=drawings,
        machine={
            "backbone": {**setup.backbone.describe(), "layers": setup.backbone.vision.depth},
            "sets": {one.name: _set_json(results, one) for one in plan.tested},
            "trainings": {one.digest: dict(one.about) for one in models.trainings.values()},
        },
    )


def figures_of(results: Results, models: Models) -> Iterator[tuple[str, str, Figure]]:
    """Draw the pictures of an experiment: key, title, drawing."""
    panels = sweep_panels(results)
    if panels:
        weights = results.plan.experiment.sweep
        yield "curve", "Image mAD over r", joint_weight_figure(weights, panels)
        return
    heads = learned_heads(models)
    if heads:
        yield "heads", "Learned head weights", head_weights_figure(heads)


def sweep_panels(results: Results) -> dict[str, dict[str, list[float]]]:
    """Collect the lines over r: one panel for each domain, or for each set outside the paper's."""
    swept = swept_sets(results)
    printed = {
        domain: [name for name in averaged_sets(domain, "image") if name in swept]
        for domain in DOMAINS
    }
    groups = {f"{len(names)} {domain} sets": names for domain, names in printed.items() if names}
    known = {name for names in printed.values() for name in names}
    groups |= {name: [name] for name in swept if name not in known}
    return {
        title: {
            name: values
            for name, values in sweep_averages(results, names).items()
            if any((name, one) in results.found for one in names)
        }
        for title, names in groups.items()
    }


def learned_heads(models: Models) -> dict[str, HeadWeights]:
    """Read the head weights that trainings learned, by what shall stand above their picture."""
    found: dict[str, HeadWeights] = {}
    seen: set[str] = set()
    for one in models.built.values():
        heads = one.model.head_weights
        if one.training and heads is not None and one.network not in seen:
            seen.add(one.network)
            found[f"{one.variant.name}, trained on {one.training.data.name}"] = heads
    return found


def _scaled(plan: ExperimentPlan, setup: Setup) -> Iterator[str]:
    """Say which layers stand for the paper's on a tower of another depth."""
    vision = setup.backbone.vision
    named = dict.fromkeys(
        (value, setup.scaled(variant)[name])
        for variant in plan.variants
        for name, value in variant.model.items()
        if isinstance(value, tuple)
    )
    told = "; ".join(f"{_layers(layers)} as {_layers(here)}" for layers, here in named)
    if told and vision.depth != PAPER_DEPTH:
        yield (
            f"This tower has {vision.depth} layers: those named stand for the ones at the same "
            f"fractions of its depth ({told})."
        )
    sizes = {
        f"{variant.model['image_size']} px as {setup.scaled(variant)['image_size']}": None
        for variant in plan.variants
        if "image_size" in variant.model
    }
    if sizes and (vision.image_size, vision.patch_px) != (PAPER_SIZE_PX, PAPER_PATCH_PX):
        yield (
            f"It was pretrained on images of {vision.image_size} px, and sizes are put at the same "
            f"multiples of that ({'; '.join(sizes)})."
        )


def _layers(layers: tuple[int, ...]) -> str:
    """Name layers, three and more in a row by the first and the last."""
    first, last = layers[0], layers[-1]
    is_row = len(layers) > 2 and layers == tuple(range(first, last + 1))
    return f"{first}-{last}" if is_row else ", ".join(map(str, layers))


def _facts(
    results: Results, models: Models, setup: Setup, command: str
) -> Iterator[tuple[str, str]]:
    plan = results.plan
    if command:
        yield "Command", command
    yield "Version", f"headclip_med {headclip_med.__version__}"
    backbone = setup.backbone
    yield (
        "Backbone",
        f"{backbone.name}, weights {backbone.weights}, {backbone.activation}, "
        f"{backbone.vision.depth} layers, digest {backbone.digest[:16]}",
    )
    for key, sets in plan.auxiliaries.items():
        tests = [one.name for one in plan.tested if one.auxiliary == key and not one.untrained]
        for one in sets:
            count = len(one.split("test").samples)
            yield (
                f"Trained on {one.name}",
                f"{count} images of its test split, digest {one.content_digest[:16]}; to test "
                f"{', '.join(tests)}",
            )
    for tested in plan.tested:
        yield f"Tested on {tested.name}", _tested_text(results, tested)
    if setup.seeds > 1:
        seeds = [str(one.train_seed) for one in setup.of_seeds()]
        yield "Seeds", f"{', '.join(seeds)}; pictures are of the first"
    if plan.limit is not None:
        yield "Limit", f"at most {plan.limit} images of each category were tested"
    for name, changes in setup.changes.items():
        if changes:
            text = ", ".join(f"{field} {value}" for field, value in sorted(changes.items()))
            yield f"Changed settings of {name}", text
    digests = dict.fromkeys(training.digest for training in models.trainings.values())
    if digests:
        yield "Trainings", ", ".join(digests)


def _tested_text(results: Results, one: EvaluationSet) -> str:
    if one.dataset is None:
        return one.reason
    measured = results.some(one.name)
    if measured is None:
        return one.untrained or "no result"
    here, beside = measured.counts, ""
    if has_other_images(one.name, here):
        normal, abnormal = KNOWN_SETS[one.name].test or here
        beside = f" (published: {normal} and {abnormal})"
    marked = f"; {one.untrained}" if one.untrained else ""
    return (
        f"{here[0]} normal and {here[1]} abnormal images{beside} of {measured.image_size} px, "
        f"digest {one.dataset.content_digest[:16]}{marked}"
    )


def _set_json(results: Results, one: EvaluationSet) -> Mapping[str, object]:
    found: dict[str, object] = {"domain": one.domain, "reason": one.reason or one.untrained or None}
    if one.dataset is not None:
        found["content_digest"] = one.dataset.content_digest
        result = results.some(one.name)
        names = ("normal", "abnormal")
        found["counts"] = result and dict(zip(names, result.counts, strict=True))
    return found


def record_beginning(run: Run, plan: ExperimentPlan, setup: Setup) -> None:
    """Record what an experiment is run on and with, without any path."""
    run.parameters(
        {
            "experiment": plan.experiment.name,
            "backbone": setup.backbone.describe(),
            "limit": plan.limit,
            "changed": setup.changes,
        }
    )
    for sets in plan.auxiliaries.values():
        for one in sets:
            run.dataset(one.name, one.content_digest, use="training")
    for tested in plan.tested:
        if tested.dataset is not None:
            run.dataset(tested.name, tested.dataset.content_digest, use="evaluation")


def record_results(
    run: Run, of_seeds: Sequence[tuple[Results, Models]], setup: Setup, paths: Mapping[str, Path]
) -> None:
    """Record what came out, with a run below of each variant, and of each seed of several.

    Args:
        run: Of the experiment.
        of_seeds: What each seed came to; pictures are of the first.
        setup: On what, and where.
        paths: Files by kind.
    """
    if not run.is_recording:
        return
    for kind in ("md", "csv", "html", "json"):
        run.artifact(paths[kind], "tables")
    for key, _, figure in figures_of(*of_seeds[0]):
        run.figure(figure, f"{key}.png")
    for one, (results, models) in zip(setup.of_seeds(), of_seeds, strict=True):
        for variant in results.plan.variants:
            own = models.of(variant)
            name = f"{variant.name}, seed {one.train_seed}" if setup.seeds > 1 else variant.name
            with run.child(name, _parameters(own)) as child:
                for model in own:
                    _record_training(child, model, setup)
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
    training = model.training
    if training is None:
        return
    path = training.checkpoint(setup.out)
    for epoch, loss in enumerate(read_checkpoint(path).training["losses"], start=1):
        run.metrics({f"{training.data.name}/epoch/loss": loss}, step=epoch)
    for step in read_log(training.entry(setup.out).folder):
        named = {f"{training.data.name}/step/{name}": value for name, value in step.terms.items()}
        run.metrics(named, step=(step.epoch - 1) * step.steps + step.step)
    run.artifact(path, f"checkpoints/{training.digest}")


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
