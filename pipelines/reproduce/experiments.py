"""The experiments as stages: run, and remembered by the files that they wrote."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from headclip_med.atomic import sha256_of
from headclip_med.pipelines.experiments.plan import ExperimentPlan
from headclip_med.pipelines.experiments.runner import Outcome, run_experiment
from headclip_med.pipelines.reproduce.bench import Bench
from headclip_med.pipelines.reproduce.facts import FactFile, Facts, StageFacts
from headclip_med.tracking import track
from headclip_med.write.tables import Drawing, Table, table_from_json


def experiment_facts(bench: Bench, name: str) -> FactFile:
    """Say where an experiment leaves its facts."""
    return bench.facts(name)


def settle_experiment(
    bench: Bench, plan: ExperimentPlan, more: Callable[[Outcome], Facts] = lambda outcome: {}
) -> StageFacts:
    """Run an experiment, or give what is known where its files are as they were written.

    One of which a set failed is run again; what it has done is kept.

    Args:
        bench: What is worked with.
        plan: What to do.
        more: What else is kept of its outcome.

    Raises:
        HeadClipError: No model can be had, or nothing could be measured.
    """
    name = plan.experiment.name

    def work() -> Facts:
        options = bench.request.tracking
        named = plan.experiment.tracked_as
        with track(name, experiment=named, options=options, at_once=False) as tracked:
            outcome = run_experiment(
                plan, bench.own_setup(), command=bench.request.command, run=tracked
            )
        if tracked.is_recording:
            bench.setup.say(f"recorded as {tracked.name}")
        return {
            "files": {kind: [path.name, sha256_of(path)] for kind, path in outcome.paths.items()},
            "drawings": {one.key: one.title for one in outcome.document.drawings},
            "failed": outcome.failed,
            **more(outcome),
        }

    return experiment_facts(bench, name).settle(
        work, is_whole=lambda facts: is_whole(bench.out, facts)
    )


def is_whole(out: Path, facts: Facts) -> bool:
    """Tell whether nothing of an experiment failed, and its files are as they were written."""
    return not facts["failed"] and all(
        (out / name).is_file() and sha256_of(out / name) == digest
        for name, digest in facts["files"].values()
    )


def document_of(out: Path, facts: Facts) -> Mapping[str, Any]:
    """Read what an experiment wrote, as plain values; see ``write.tables.to_json``."""
    found: Mapping[str, Any] = json.loads((out / facts["files"]["json"][0]).read_text("utf-8"))
    return found


def tables_in(document: Mapping[str, Any]) -> tuple[Table, ...]:
    """Give the tables of such a document."""
    return tuple(map(table_from_json, document["tables"]))


def drawings_in(out: Path, facts: Facts) -> tuple[Drawing, ...]:
    """Read the pictures that an experiment wrote."""
    return tuple(
        Drawing(key, title, (out / facts["files"][key][0]).read_bytes())
        for key, title in facts["drawings"].items()
    )
