"""From results to tables in the paper's form, its numbers beside ours."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import pandas as pd

from headclip_med.datasets.discover import INDUSTRIAL, MEDICAL
from headclip_med.models.registry import METHODS
from headclip_med.paper import METRICS, Level, paper_values
from headclip_med.pipelines.experiments.definitions import Variant
from headclip_med.pipelines.experiments.plan import EvaluationSet
from headclip_med.pipelines.experiments.results import (
    OTHER_IMAGES,
    Compared,
    PaperMean,
    Results,
    known_mean,
    mean_of,
    of_sets,
    to_means,
    to_numbers,
)
from headclip_med.write.tables import Line, Number, Table

AVERAGE = "Average"

Kind = Literal["sets", "categories", "averages"]

_SETS_OF: dict[tuple[str, Level], int] = {
    ("industrial", "image"): 1,
    ("industrial", "pixel"): 1,
    ("medical", "pixel"): 2,
    ("medical", "image"): 3,
}
"""The table that lists the sets which a domain's average at a level is formed of."""

_SWAPPED = 7
"""Of its four numbers per row, the second and the third stand below each other's heading."""


@dataclass(frozen=True)
class Form:
    """What a table of the paper looks like.

    Attributes:
        number: Of the table.
        kind: Whether its rows are sets, categories of one set, or variants alone.
        domain: Of its sets; ``""`` where it has both.
        datasets: Its sets, in order, the average left out.
        categories: Of its set, in order, where it is about one.
        metrics: By level, images before pixels.
    """

    number: int
    kind: Kind
    domain: str
    datasets: tuple[str, ...]
    categories: tuple[str, ...]
    metrics: dict[Level, tuple[str, ...]]


@cache
def form_of(number: int) -> Form:
    """Read the form of a table off its values."""
    values = paper_values(table=number)
    datasets = tuple(one for one in values["dataset"].unique() if one != AVERAGE)
    categories = tuple(filter(None, values["category"].unique()))
    domains = values["domain"].unique()
    metrics = {
        level: tuple(values.loc[values["level"] == level, "metric"].unique()) for level in METRICS
    }
    return Form(
        number,
        "categories" if categories else "sets" if datasets else "averages",
        domains[0] if len(domains) == 1 else "",
        datasets,
        categories,
        {level: found for level, found in metrics.items() if found},
    )


def averaged_sets(domain: str, level: Level) -> tuple[str, ...]:
    """Name the sets that the paper averages over."""
    return form_of(_SETS_OF[domain, level]).datasets


def printed(table: int, variants: Iterable[Variant]) -> pd.DataFrame:
    """Give what a table has for variants.

    Table 7's header names its four columns image-industrial, pixel-industrial, image-medical and
    pixel-medical, but its second and third numbers are of the size of image-medical (85.8 in table
    6) and pixel-industrial (60.5 in table 4) and of no other; they are read so.

    Returns:
        ``paper``, in percent, by ``variant``, ``domain``, ``dataset``, ``category``, ``level`` and
        ``metric``.
    """
    values = paper_values(table=table).rename(columns={"value": "paper"})
    if table == _SWAPPED:
        is_medical, is_image = values["domain"] == "medical", values["level"] == "image"
        swapped = values.assign(
            domain=is_image.map({True: "industrial", False: "medical"}),
            level=is_medical.map({True: "pixel", False: "image"}),
        )
        values = values.where(is_medical != is_image, swapped)
    rows = [(one.name, METHODS[one.method].title, one.paper) for one in variants if one.is_printed]
    named = pd.DataFrame(rows, columns=["variant", "method", "setting"])
    return named.merge(values)


SAME_BOTH = "Image metrics are the same by both protocols."
OTHER_IMAGES_NOTE = f"*: {OTHER_IMAGES}, or not all of them, so that the difference says little."
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

DOMAINS = ("industrial", "medical")

Column = tuple[Level, str]
"""Level and metric."""

_KEYS = ["dataset", "category", "variant", "level", "metric"]
_Numbers = Mapping[tuple[str, ...], Number]
"""By the columns ``_KEYS``."""


def tables_of(results: Results) -> tuple[Table, ...]:
    """Form all tables of an experiment."""
    experiment = results.plan.experiment
    forms = [form_of(number) for number in experiment.tables]
    tables: list[Table] = []
    for form in forms:
        if form.kind == "averages":
            tables.append(_averages(form, results))
        elif form.kind == "sets":
            tables += [_sets(form, level, results) for level in form.metrics]
        elif results.some(form.datasets[0]):
            tables += [_categories(form, level, results) for level in form.metrics]
    if experiment.sweep:
        tables.append(_sweep(results))
    elif not any(form.kind == "sets" for form in forms):
        tables.append(_by_set(form_of(experiment.tables[0]), results))
    return tuple(table for table in tables if table.lines)


def sweep_averages(results: Results, names: Sequence[str]) -> dict[str, list[float]]:
    """Average every variant's sweep over sets, in percent, NaN where there is none."""
    count, found = len(results.plan.experiment.sweep), {}
    for variant in results.plan.variants:
        sweeps = [result.sweep for name in names if (result := results.of(variant, name))]
        at_each = [[sweep[place] for sweep in sweeps] for place in range(count)]
        found[variant.name] = [100 * mean_of(values) for values in at_each]
    return found


def beside_paper(form: Form, results: Results) -> pd.DataFrame:
    """Put the paper's numbers for the same sets and categories beside ours, as ``paper``."""
    paper = printed(form.number, results.plan.variants).drop(columns="domain")
    ours = results.numbers.assign(category=results.numbers["category"].str.replace("_", " "))
    return ours.merge(paper[paper["dataset"] != AVERAGE], how="left")


def _sets(form: Form, level: Level, results: Results) -> Table:
    """One row for each set and variant, then the averages over the paper's sets."""
    columns = [(level, metric) for metric in METRICS[level]]
    cells = beside_paper(form, results)
    numbers = to_numbers(cells, _KEYS)
    asked = {one.name: one for one in results.plan.tested}
    paper_sets = [asked[name] for name in form.datasets if name in asked]
    lines = [line for one in paper_sets for line in _set_lines(one, columns, numbers, results)]
    everywhere = results.measured(level)
    measured = [one.name for one in paper_sets if one.name in everywhere]
    notes = [SAME_BOTH] if level == "image" else []
    if measured:
        is_all = len(measured) == len(form.datasets)
        title = AVERAGE if is_all else f"Average of {len(measured)}"
        averaged = of_sets(cells[cells["category"] == ""], measured)
        by = ["variant", "level", "metric"]
        means = to_means(averaged, by, _paper_means(form, results, by))
        lines += (
            _line((title, one.name), (one.name,), columns, means) for one in results.plan.variants
        )
        if not is_all:
            notes.append(
                f"Averages are over {', '.join(measured)}; the paper's beside them is formed of "
                "its numbers on the same sets."
            )
    for one in results.plan.tested:
        is_extra = one.domain == form.domain and one.name not in (*INDUSTRIAL, *MEDICAL)
        if is_extra and one.name in everywhere:
            lines += _set_lines(one, columns, numbers, results)
    return Table(
        f"table{form.number}-{level}",
        f"Table {form.number}: {form.domain} sets, {level} level",
        ("set", "variant"),
        tuple(metric for _, metric in columns),
        tuple(lines),
        (*notes, *_image_notes(lines)),
    )


def _categories(form: Form, level: Level, results: Results) -> Table:
    """One row for each category of a set, and variant."""
    name = form.datasets[0]
    columns = [(level, metric) for metric in form.metrics[level]]
    cells = beside_paper(form, results)
    numbers = to_numbers(cells, _KEYS)
    found = [one for one in cells.loc[cells["dataset"] == name, "category"].unique() if one]
    variants = [one.name for one in results.plan.variants if results.of(one, name)]
    lines = []
    for category in dict.fromkeys((*form.categories, *found)):
        if category not in found:
            lines.append(Line((category, ""), reason="absent"))
            continue
        lines += (_line((category, v), (name, category, v), columns, numbers) for v in variants)
    return Table(
        f"table{form.number}-{level}",
        f"Table {form.number}: {name} by category, {level} level",
        ("category", "variant"),
        form.metrics[level],
        tuple(lines),
        (*((SAME_BOTH,) if level == "image" else ()), *_image_notes(lines)),
    )


def _averages(form: Form, results: Results) -> Table:
    """One row for each variant: mAD of images and pixels, averaged over the sets of a domain."""
    columns = [(level, domain) for level in form.metrics for domain in DOMAINS]
    paper_sets = {column: averaged_sets(column[1], column[0]) for column in columns}
    scopes = {
        (level, domain): [one for one in names if one in results.measured(level)]
        for (level, domain), names in paper_sets.items()
    }
    cells = results.numbers.query("category == '' and metric == 'mAD'").assign(paper=math.nan)
    scoped = pd.concat(
        of_sets(cells[(cells["level"] == level) & (cells["domain"] == domain)], names)
        for (level, domain), names in scopes.items()
    )
    by = ["variant", "level", "domain"]
    means = to_means(scoped, by, _paper_means(form, results, by))
    shown = _rows_of(form, results)
    lines = [_line((one.name,), (one.name,), columns, means) for one in shown]
    notes = []
    for (level, domain), names in scopes.items():
        count = len(paper_sets[level, domain])
        if not names:
            notes.append(f"{level}, {domain}: none of the paper's sets is here.")
        elif len(names) < count:
            over = f"over {', '.join(names)} ({len(names)} of the paper's {count})"
            notes.append(f"{level}, {domain}: {over}.")
    if any(isinstance(one, Compared) and one.other_sets for one in means.values()):
        notes.append(OTHER_SETS)
    return Table(
        f"table{form.number}",
        f"Table {form.number}: averages over sets",
        ("variant",),
        tuple(f"{level} mAD, {domain}" for level, domain in columns),
        tuple(lines),
        (*notes, *_image_notes(lines), *((SWAPPED,) if form.number == 7 else ())),
    )


def _rows_of(form: Form, results: Results) -> list[Variant]:
    """Choose the variants of a table: where there are several, those that it prints."""
    variants = list(results.plan.variants)
    if sum(form_of(one).kind == "averages" for one in results.plan.experiment.tables) == 1:
        return variants
    names = set(printed(form.number, variants)["variant"])
    return [one for one in variants if one.name in names]


def _by_set(form: Form, results: Results) -> Table:
    """List the mAD of every set that was measured, those included that the paper has not."""
    columns = [(level, "mAD") for level in form.metrics]
    numbers = to_numbers(results.numbers.assign(paper=math.nan), _KEYS)
    tested = results.plan.tested
    return Table(
        "sets",
        "Set by set",
        ("set", "variant"),
        tuple(f"{level} mAD" for level in form.metrics),
        tuple(line for one in tested for line in _set_lines(one, columns, numbers, results)),
        ("The paper prints no such numbers.", SAME_BOTH),
    )


def _sweep(results: Results) -> Table:
    """Image mAD over r: averages of each domain first, then set by set."""
    columns = tuple(f"r = {weight:g}" for weight in results.plan.experiment.sweep)
    lines = []
    swept = swept_sets(results)
    for domain in DOMAINS:
        names = [name for name in averaged_sets(domain, "image") if name in swept]
        for name, values in sweep_averages(results, names).items() if names else ():
            title = f"Average of {len(names)} {domain}"
            lines.append(Line((title, name), tuple(Number(value) for value in values)))
    for one in results.plan.tested:
        for variant in results.plan.variants:
            result = results.of(variant, one.name)
            if result and result.is_swept:
                numbers = tuple(Number(100 * value) for value in result.sweep)
                lines.append(Line((one.name, variant.name), numbers))
    return Table("figure4", "Figure 4: image mAD over r", ("sets", "method"), columns, tuple(lines))


def swept_sets(results: Results) -> list[str]:
    """Name the sets on which any variant has a sweep."""
    names = {key.dataset for key, result in results.found.items() if result.is_swept}
    return [one.name for one in results.plan.tested if one.name in names]


def _paper_means(form: Form, results: Results, by: list[str]) -> PaperMean:
    """Look the paper's averages up.

    Where ours are not over all of its sets, those of its tables of sets are formed of the sets that
    are here; its tables of averages print nothing to form them of.
    """
    values = printed(form.number, results.plan.variants)
    whole = values[values["dataset"] == AVERAGE].set_index(by)["paper"].to_dict()

    def paper(key: tuple[str, ...], group: pd.DataFrame) -> tuple[float | None, str]:
        here = len(group)
        if form.kind == "sets":
            return (
                whole.get(key) if here == len(form.datasets) else known_mean(group["paper"])
            ), ""
        count = len(averaged_sets(group["domain"].iloc[0], group["level"].iloc[0]))
        said = f"ours is over {here} of the paper's {count} sets" if here < count else ""
        return whole.get(key), said

    return paper


def _set_lines(
    one: EvaluationSet, columns: Sequence[Column], numbers: _Numbers, results: Results
) -> Iterator[Line]:
    variants = results.plan.variants
    reasons = [results.reason(variant, one) for variant in variants]
    if reasons and reasons[0] and len(set(reasons)) == 1:
        yield Line((one.name, ""), reason=reasons[0])
        return
    for variant, reason in zip(variants, reasons, strict=True):
        heads = (one.name, variant.name)
        key = (one.name, "", variant.name)
        yield Line(heads, reason=reason) if reason else _line(heads, key, columns, numbers)


def _line(
    heads: tuple[str, ...], key: tuple[str, ...], columns: Sequence[Column], numbers: _Numbers
) -> Line:
    return Line(heads, tuple(numbers.get((*key, *column)) for column in columns))


def _image_notes(lines: Sequence[Line]) -> list[str]:
    """Explain the mark of other images where it stands."""
    shown = [number for line in lines for number in line.numbers]
    is_marked = any(isinstance(one, Compared) and one.other_images for one in shown)
    return [OTHER_IMAGES_NOTE] if is_marked else []
