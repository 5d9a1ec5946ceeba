"""From results to tables in the paper's form, its numbers beside ours."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from headclip_med.datasets.discover import INDUSTRIAL, MEDICAL
from headclip_med.paper import Level
from headclip_med.pipelines.experiments.definitions import Variant
from headclip_med.pipelines.experiments.paper_comparison import OTHER_IMAGES, OTHER_IMAGES_NOTE
from headclip_med.pipelines.experiments.plan import EvaluationSet
from headclip_med.pipelines.experiments.printed import (
    AVERAGE,
    Form,
    averaged_sets,
    form_of,
    printed,
)
from headclip_med.pipelines.experiments.results import Place, Results, mean_of
from headclip_med.write.tables import Line, Number, Table

METRICS: dict[Level, tuple[str, ...]] = {
    "image": ("AUROC", "AP", "F1-max", "mAD"),
    "pixel": ("AUROC", "AUPRO", "AP", "F1-max", "IoU-max", "mAD"),
}

SAME_BOTH = "Image metrics are the same by both protocols."
SWAPPED = (
    "Table 7 prints the headings image, pixel (industrial), image, pixel (medical), but its second "
    "number fits only images of medical sets (85.8 in table 6) and its third only pixels of "
    "industrial ones (60.5 in table 4). The paper's numbers are read in that order here; as "
    "printed, the two would change places."
)
OTHER_SETS = (
    "* The paper's number is over all of its sets, ours over those that are here, so that the "
    "difference is partly one of sets."
)


def tables_of(results: Results) -> tuple[Table, ...]:
    """Form all tables of an experiment."""
    experiment = results.plan.experiment
    tables: list[Table] = []
    for number in experiment.tables:
        form = form_of(number)
        if form.kind == "averages":
            tables.append(_averages(form, results))
        elif form.kind == "sets":
            tables += [_sets(form, level, results) for level in form.levels]
        elif any(results.of(variant, form.datasets[0]) for variant in results.plan.variants):
            tables += [_categories(form, level, results) for level in form.levels]
    if experiment.sweep:
        tables.append(_sweep(results))
    elif not any(form_of(number).kind == "sets" for number in experiment.tables):
        tables.append(_by_set(results))
    return tuple(table for table in tables if table.lines)


def number_of(
    results: Results,
    variant: Variant,
    name: str,
    place: Place,
    paper: float | None = None,
) -> Number | None:
    """Put a variant's value on a set beside the paper's."""
    ours = results.value(variant, name, place)
    if ours is None:
        return None
    exact = results.value(variant, name, place, "exact") if place[1] == "pixel" else None
    differs = "" if paper is None else results.other_images(variant, [name])
    return Number(ours, exact, paper, differs)


def _image_notes(lines: Sequence[Line]) -> list[str]:
    """Explain the mark of other images where it stands."""
    marked = any(n and OTHER_IMAGES in n.differs for line in lines for n in line.numbers)
    return [OTHER_IMAGES_NOTE] if marked else []


def _sets(form: Form, level: Level, results: Results) -> Table:
    """One row for each set and variant, then the averages over the paper's sets."""
    metrics = METRICS[level]
    asked = {one.name: one for one in results.plan.tested}
    paper_sets = [asked[name] for name in form.datasets if name in asked]
    lines = [line for one in paper_sets for line in _set_lines(form, one, level, results)]
    measured = [
        one.name
        for one in paper_sets
        if any(_has(results, variant, one.name, level) for variant in results.plan.variants)
    ]
    for variant in results.plan.variants if measured else ():
        numbers = tuple(
            _average_number(form, variant, measured, ("", level, metric), results)
            for metric in metrics
        )
        title = AVERAGE if len(measured) == len(form.datasets) else f"Average of {len(measured)}"
        lines.append(Line((title, variant.name), numbers))
    extras = [
        one
        for one in results.plan.tested
        if one.domain == form.domain and one.name not in (*INDUSTRIAL, *MEDICAL)
    ]
    for one in extras:
        if any(_has(results, variant, one.name, level) for variant in results.plan.variants):
            lines += _set_lines(form, one, level, results)
    notes = [SAME_BOTH] if level == "image" else []
    if measured and len(measured) < len(form.datasets):
        notes.append(
            f"Averages are over {', '.join(measured)}; the paper's beside them is formed of its "
            "numbers on the same sets."
        )
    notes += _image_notes(lines)
    return Table(
        f"table{form.number}-{level}",
        f"Table {form.number}: {form.domain} sets, {level} level",
        ("set", "variant"),
        metrics,
        tuple(lines),
        tuple(notes),
    )


def _set_lines(form: Form, one: EvaluationSet, level: Level, results: Results) -> Iterator[Line]:
    variants = results.plan.variants
    reasons = [results.reason(variant, one) for variant in variants]
    if reasons and reasons[0] and len(set(reasons)) == 1:
        yield Line((one.name, ""), reason=reasons[0])
        return
    for variant, reason in zip(variants, reasons, strict=True):
        if reason:
            yield Line((one.name, variant.name), reason=reason)
            continue
        numbers = tuple(
            number_of(
                results,
                variant,
                one.name,
                ("", level, metric),
                printed(form.number, variant, dataset=one.name, level=level, metric=metric),
            )
            for metric in METRICS[level]
        )
        yield Line((one.name, variant.name), numbers)


def _average_number(
    form: Form, variant: Variant, names: Sequence[str], place: Place, results: Results
) -> Number | None:
    """Average over the sets that are here; the paper's over the same ones."""
    _, level, metric = place
    here = [name for name in names if results.of(variant, name)]
    ours = results.average(variant, here, place)
    if ours is None:
        return None
    exact = results.average(variant, here, place, "exact") if level == "pixel" else None
    if len(here) == len(form.datasets):
        paper = printed(form.number, variant, dataset=AVERAGE, level=level, metric=metric)
    else:
        theirs = [
            printed(form.number, variant, dataset=name, level=level, metric=metric) for name in here
        ]
        known = [value for value in theirs if value is not None]
        paper = mean_of(known) if len(known) == len(here) else None
    differs = "" if paper is None else results.other_images(variant, here)
    return Number(ours, exact, paper, differs)


def _categories(form: Form, level: Level, results: Results) -> Table:
    """One row for each category of a set, and variant."""
    name = form.datasets[0]
    metrics = form.metrics(level)
    found = {
        category.replace("_", " "): category
        for variant in results.plan.variants
        if (result := results.of(variant, name))
        for category in result.categories
    }
    lines = []
    for category in dict.fromkeys((*form.categories(), *found)):
        own = found.get(category)
        if own is None:
            lines.append(Line((category, ""), reason="absent"))
            continue
        for variant in results.plan.variants:
            if results.of(variant, name) is None:
                continue
            numbers = (
                number_of(
                    results,
                    variant,
                    name,
                    (own, level, metric),
                    printed(
                        form.number, variant, dataset=name, category=category, level=level,
                        metric=metric,
                    ),
                )
                for metric in metrics
            )  # fmt: skip
            lines.append(Line((category, variant.name), tuple(numbers)))
    return Table(
        f"table{form.number}-{level}",
        f"Table {form.number}: {name} by category, {level} level",
        ("category", "variant"),
        metrics,
        tuple(lines),
        (*((SAME_BOTH,) if level == "image" else ()), *_image_notes(lines)),
    )


def _averages(form: Form, results: Results) -> Table:
    """One row for each variant: mAD of images and pixels, averaged over the sets of a domain."""
    columns = [(level, domain) for level in form.levels for domain in ("industrial", "medical")]
    scopes = {
        place: [
            one for one in averaged_sets(place[1], place[0]) if _measured(results, one, place[0])
        ]
        for place in columns
    }
    lines = []
    for variant in results.plan.variants:
        numbers = [
            _domain_number(form, variant, level, domain, scopes[level, domain], results)
            for level, domain in columns
        ]
        lines.append(Line((variant.name,), tuple(numbers)))
    notes = [
        f"{level}, {domain}: over {', '.join(names)} "
        f"({len(names)} of the paper's {len(averaged_sets(domain, level))})."
        if names
        else f"{level}, {domain}: none of the paper's sets is here."
        for (level, domain), names in scopes.items()
        if len(names) < len(averaged_sets(domain, level))
    ]
    if any(n and n.differs not in ("", OTHER_IMAGES) for line in lines for n in line.numbers):
        notes.append(OTHER_SETS)
    notes += _image_notes(lines)
    if form.number == 7:
        notes.append(SWAPPED)
    titles = tuple(f"{level} mAD, {domain}" for level, domain in columns)
    return Table(
        f"table{form.number}",
        f"Table {form.number}: averages over sets",
        ("variant",),
        titles,
        tuple(lines),
        tuple(notes),
    )


def _domain_number(
    form: Form, variant: Variant, level: Level, domain: str, names: Sequence[str], results: Results
) -> Number | None:
    place: Place = ("", level, "mAD")
    ours = results.average(variant, names, place)
    if ours is None:
        return None
    exact = results.average(variant, names, place, "exact") if level == "pixel" else None
    paper = printed(
        form.number, variant, dataset=AVERAGE, domain=domain, level=level, metric="mAD"
    )  # fmt: skip
    here = [name for name in names if results.of(variant, name)]
    count = len(averaged_sets(domain, level))
    part = "" if len(here) == count else f"ours is over {len(here)} of the paper's {count} sets"
    reasons = (part, results.other_images(variant, here)) if paper is not None else ()
    return Number(ours, exact, paper, "; ".join(filter(None, reasons)))


def _by_set(results: Results) -> Table:
    """List the mAD of every set that was measured, those included that the paper has not."""
    levels = form_of(results.plan.experiment.tables[0]).levels
    lines = []
    for one in results.plan.tested:
        reasons = [results.reason(variant, one) for variant in results.plan.variants]
        if reasons and reasons[0] and len(set(reasons)) == 1:
            lines.append(Line((one.name, ""), reason=reasons[0]))
            continue
        for variant, reason in zip(results.plan.variants, reasons, strict=True):
            if reason:
                lines.append(Line((one.name, variant.name), reason=reason))
                continue
            cells = tuple(
                number_of(results, variant, one.name, ("", level, "mAD")) for level in levels
            )
            lines.append(Line((one.name, variant.name), cells))
    return Table(
        "sets",
        "Set by set",
        ("set", "variant"),
        tuple(f"{level} mAD" for level in levels),
        tuple(lines),
        ("The paper prints no such numbers.", SAME_BOTH),
    )


def _sweep(results: Results) -> Table:
    """Image mAD over r: averages of each domain first, then set by set."""
    weights = results.plan.experiment.sweep
    lines = []
    for domain in ("industrial", "medical"):
        names = [name for name in averaged_sets(domain, "image") if is_swept(results, name)]
        for variant in results.plan.variants if names else ():
            values = sweep_average(results, variant, names)
            title = f"Average of {len(names)} {domain}"
            lines.append(Line((title, variant.name), tuple(Number(one) for one in values)))
    for one in results.plan.tested:
        for variant in results.plan.variants:
            result = results.of(variant, one.name)
            if result and result.is_swept:
                numbers = tuple(Number(100 * value) for value in result.sweep)
                lines.append(Line((one.name, variant.name), numbers))
    return Table(
        "figure4",
        "Figure 4: image mAD over r",
        ("sets", "method"),
        tuple(f"r = {weight:g}" for weight in weights),
        tuple(lines),
    )


def sweep_average(results: Results, variant: Variant, names: Sequence[str]) -> list[float]:
    """Average a variant's sweep over sets, in percent."""
    found = [result.sweep for name in names if (result := results.of(variant, name))]
    count = len(results.plan.experiment.sweep)
    averages = [mean_of([sweep[at] for sweep in found]) for at in range(count)]
    return [math.nan if one is None else 100 * one for one in averages]


def is_swept(results: Results, name: str) -> bool:
    """Tell whether any variant has a sweep on a set."""
    found = (results.of(variant, name) for variant in results.plan.variants)
    return any(result is not None and result.is_swept for result in found)


def _measured(results: Results, name: str, level: Level) -> bool:
    return any(_has(results, variant, name, level) for variant in results.plan.variants)


def _has(results: Results, variant: Variant, name: str, level: Level) -> bool:
    result = results.of(variant, name)
    return result is not None and level in result.levels
