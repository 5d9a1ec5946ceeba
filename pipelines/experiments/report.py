"""What an experiment's files say: tables, pictures, and all that the numbers rest on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from matplotlib.figure import Figure

import headclip_med
from headclip_med.datasets import KNOWN_SETS
from headclip_med.models.inference import HeadWeights
from headclip_med.pipelines.experiments.definitions import PAPER_DEPTH, scaled_layers
from headclip_med.pipelines.experiments.models import Models
from headclip_med.pipelines.experiments.plan import EvaluationSet, ExperimentPlan
from headclip_med.pipelines.experiments.printed import averaged_sets
from headclip_med.pipelines.experiments.results import Results
from headclip_med.pipelines.experiments.setup import Setup
from headclip_med.pipelines.experiments.tables import (
    DOMAINS,
    sweep_averages,
    swept_sets,
    tables_of,
)
from headclip_med.write.pictures.curves import (
    head_weights_figure,
    joint_weight_figure,
    to_png,
)
from headclip_med.write.tables import Document, Drawing

PERCENT = "Percent, averaged over categories and then over sets. Research use only."
BESIDE = (
    "Ours is by the protocol of the field's "
    "published code, as the paper's numbers are; exact is the same over all thresholds. Difference "
    "is ours less the paper's."
)


def describe(results: Results, models: Models, setup: Setup, command: str) -> Document:
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
        tables=tables_of(results),
        drawings=drawings,
        machine={
            "backbone": _backbone(setup),
            "sets": {one.name: _set_json(results, one) for one in plan.tested},
            "trainings": {
                training.digest: dict(training.about) for training in models.trainings.values()
            },
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
    for key, one in models.built.items():
        heads = one.model.head_weights
        if one.training and heads is not None and one.network not in seen:
            seen.add(one.network)
            found[f"{key.variant}, trained on {one.training.data.name}"] = heads
    return found


def _scaled(plan: ExperimentPlan, setup: Setup) -> Iterator[str]:
    """Say which layers stand for the paper's on a tower of another depth."""
    depth = setup.backbone.vision.depth
    named = dict.fromkeys(
        variant.model["local_layers"]
        for variant in plan.variants
        if "local_layers" in variant.model
    )
    if depth == PAPER_DEPTH or not named:
        return
    pairs = (
        f"{', '.join(map(str, layers))} as {', '.join(map(str, scaled_layers(layers, depth)))}"
        for layers in named
        if isinstance(layers, tuple)
    )
    yield (
        f"This tower has {depth} layers: those named stand for the ones at the same fractions of "
        f"its depth ({'; '.join(pairs)})."
    )


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
    if plan.limit is not None:
        yield "Limit", f"at most {plan.limit} images of each category were tested"
    for name, changes in (
        ("training", setup.training),
        ("model", setup.model),
        ("scores", setup.scores),
    ):
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
    known = KNOWN_SETS.get(one.name)
    published = known.test if known else None
    here = measured.counts
    beside = ""
    if published and published != here:
        beside = f" (published: {published[0]} and {published[1]})"
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


def _backbone(setup: Setup) -> dict[str, object]:
    backbone = setup.backbone
    return {
        "name": backbone.name,
        "weights": backbone.weights,
        "digest": backbone.digest,
        "activation": backbone.activation,
        "layers": backbone.vision.depth,
    }
