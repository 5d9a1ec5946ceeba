"""The one report: every table with the paper's numbers, and what must be known to read them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import headclip_med
from headclip_med.pipelines.experiments.definitions import EXPERIMENTS
from headclip_med.pipelines.reproduce.bench import Bench
from headclip_med.pipelines.reproduce.experiments import document_of, drawings_in, tables_in
from headclip_med.pipelines.reproduce.facts import Facts, Objection
from headclip_med.pipelines.reproduce.machine import Machine
from headclip_med.pipelines.reproduce.smoke import (
    BAND_POINTS,
    CAUSES,
    JUDGED,
    Cause,
    causes_of,
    smoke_definition,
)
from headclip_med.write.tables import Document, Drawing, Line, Number, Table, write_document

REPORT = "reproduction"


@dataclass(frozen=True, eq=False)
class Gathered:
    """What the stages before the report came to.

    Attributes:
        machine: What there was to work on.
        weights: What the verification found out.
        rates: How fast the machine was.
        sets: What the data check found of each set.
        smoke: Of the smoke test; None where it could not be done.
        experiments: Of those that came to an end, by name.
        failures: Why the others did not.
        objections: What spoke against going on.
    """

    machine: Machine
    weights: Facts
    rates: Facts
    sets: Sequence[Mapping[str, Any]]
    smoke: Facts | None
    experiments: Mapping[str, Facts]
    failures: Mapping[str, str]
    objections: Sequence[Objection]


def write_report(bench: Bench, found: Gathered) -> dict[str, Path]:
    """Write the report; see ``write.tables.write_document``."""
    return write_document(report_of(bench, found), bench.out)


def report_of(bench: Bench, found: Gathered) -> Document:
    """Put everything together."""
    parts = {name: document_of(bench.out, facts) for name, facts in found.experiments.items()}
    tables = [table for name, one in parts.items() for table in _named(name, tables_in(one))]
    drawings = [
        _drawing(name, one)
        for name, facts in found.experiments.items()
        for one in drawings_in(bench.out, facts)
    ]
    return Document(
        name=REPORT,
        title="A reproduction of HeadCLIP, beside the paper",
        introduction=tuple(_introduction(bench, found)),
        facts=tuple(_facts(bench, found, parts)),
        tables=(*_smoke(found), *tables),
        drawings=tuple(drawings),
        machine={
            "machine": found.machine.to_json(),
            "weights": found.weights,
            "rates": found.rates,
            "data": list(found.sets),
            "smoke": found.smoke and found.smoke["checks"],
            "not_comparable": list(causes_of(bench)),
            "failures": dict(found.failures),
            "objections": [vars(one) for one in found.objections],
        },
    )


def _introduction(bench: Bench, found: Gathered) -> Iterator[str]:
    causes = causes_of(bench)
    if causes:
        yield (
            f"This does not reproduce the paper: {_told(causes)}. Bands and differences say "
            "nothing of the method here; the run shows that every stage runs."
        )
    yield (
        "Percent. Ours is by the protocol of the field's published code, as the paper's numbers "
        "are; exact is the same over all thresholds. Difference is ours less the paper's. Research "
        "use only."
    )
    for one in found.objections:
        yield f"Gone on against an objection ({one.stage}): {one.reason}"
    for name, reason in found.failures.items():
        yield f"Without {name}: {reason}"


def _told(causes: Sequence[Cause]) -> str:
    return "; ".join(CAUSES[one] for one in causes)


def _smoke(found: Gathered) -> Iterator[Table]:
    """Show each number of the smoke test with the verdict on it."""
    if found.smoke is None or not found.smoke["checks"]:
        return
    lines = [
        Line(
            (one["dataset"], one["variant"], VERDICTS[one["state"]]),
            (Number(float("nan") if one["ours"] is None else one["ours"], paper=one["paper"]),),
        )
        for one in found.smoke["checks"]
    ]
    causes = dict.fromkeys(cause for one in found.smoke["checks"] for cause in one["causes"])
    notes = [f"The band is {BAND_POINTS:g} points of {JUDGED} to either side of the paper's."]
    if causes:
        notes.append(f"Not judged: {_told(list(causes))}.")
    heads = ("set", "method", "band")
    yield Table("smoke", smoke_definition().title, heads, (JUDGED,), tuple(lines), tuple(notes))


VERDICTS = {"inside": "inside", "outside": "OUTSIDE", "not-judged": "not judged"}


def _named(name: str, tables: Sequence[Table]) -> Iterator[Table]:
    """Tell tables of two experiments apart, and say what each varies."""
    for one in tables:
        yield replace(one, key=f"{name}-{one.key}", title=f"{name}: {one.title}")


def _drawing(name: str, one: Drawing) -> Drawing:
    return replace(one, key=f"{name}-{one.key}", title=f"{EXPERIMENTS[name].title}: {one.title}")


def _facts(
    bench: Bench, found: Gathered, parts: Mapping[str, Mapping[str, Any]]
) -> Iterator[tuple[str, str]]:
    if bench.request.command:
        yield "Command", bench.request.command
    yield "Version", f"headclip_med {headclip_med.__version__}"
    yield "Machine", found.machine.hardware()
    yield "Weights", _weights_text(found.weights)
    for one in found.sets:
        yield f"Data of {one['name']}", _set_text(one)
    for name, document in parts.items():
        yield f"{name} beside the paper", _beside(tables_in(document))
    yield from _rests(parts)


def _rests(parts: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Give what the experiments rest on; what is the same of several is said once."""
    said: dict[tuple[str, str], list[str]] = {}
    for name, document in parts.items():
        for about, text in document["facts"].items():
            if about not in ("Command", "Version", "Trainings"):
                said.setdefault((about, text), []).append(name)
    for (about, text), names in said.items():
        yield about if len(names) == len(parts) else f"{about} ({', '.join(names)})", text


def _weights_text(weights: Facts) -> str:
    file = weights["file"]
    digest = f", SHA-256 {file['sha256']} ({file['status']})" if file else ""
    shipped = ", as shipped" if weights["shipped"] else ""
    return f"{weights['model']}, {weights['activation']}{digest}{shipped}, {weights['verdict']}"


def _set_text(one: Mapping[str, Any]) -> str:
    counts = ", ".join(
        f"{split} {count['normal']} normal and {count['abnormal']} abnormal"
        for split, count in one["counts"].items()
    )
    findings = ", ".join(
        f"{count} x {severity} {code}" for severity, code, count in one["findings"]
    )
    return "; ".join(filter(None, (counts, f"{one['masks']} masks", findings or "nothing found")))


def _beside(tables: Sequence[Table]) -> str:
    """Sum up how far numbers lie from the paper's, of the same images and of all."""
    numbers = [number for table in tables for line in table.lines for number in line.numbers]
    beside = [one for one in numbers if one is not None and one.difference is not None]
    same = [abs(one.difference) for one in beside if not one.differs and one.difference is not None]
    if not beside:
        return "no number of the paper's"
    text = f"{len(beside)} numbers, {len(same)} of them of the paper's images"
    if same:
        text += f": half of these within {median(same):.1f} points, all within {max(same):.1f}"
    return text
