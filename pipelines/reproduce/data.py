"""The data check: every image and mask of every set that is tested or trained on is opened once."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from headclip_med.datasets import Report
from headclip_med.datasets.own.spec import SetSpec
from headclip_med.evaluation.datasets import check_spec
from headclip_med.pipelines.experiments.models import Setup
from headclip_med.pipelines.reproduce.bench import Bench
from headclip_med.pipelines.reproduce.facts import Objection, StageFacts

DATA = "data"

SHOWN_ERRORS = 3
"""Of a set, in its facts."""


def check_data(bench: Bench) -> StageFacts:
    """Check every set, each as a step of its own: a run that was stopped goes on behind the last.

    Returns:
        ``sets``: what was found of each, without any path.
    """
    sets = []
    seconds, is_new = 0.0, False
    for number, spec in enumerate(bench.specs, start=1):
        path = SetSpec.parse(spec).path
        identity = {"spec": _without_folder(spec), "files": files_digest(path)}
        one = bench.facts(DATA, identity).settle(partial(_check, spec, bench.setup))
        found = one.values
        state = "usable" if found["usable"] else "not usable"
        known = "" if one.is_new else " (checked before)"
        bench.setup.say(f"set {number} of {len(bench.specs)}, {found['name']}: {state}{known}")
        sets.append(found)
        seconds, is_new = seconds + one.seconds, is_new or one.is_new
    return StageFacts({"sets": sets}, seconds, is_new)


def _check(spec: str, setup: Setup) -> dict[str, Any]:
    def told(done: int, total: int) -> None:
        if done == 1:
            setup.begin(total, "image")
        setup.seen(1)

    return found_of(check_spec(spec, progress=told))


def found_of(report: Report) -> dict[str, Any]:
    """Sum up what a check found, in plain values and without any path."""
    counted = Counter((one.severity, one.code) for one in report.findings)
    errors = [one.reason for one in report.findings if one.severity == "error"]
    counts = {
        name: {"normal": normal, "abnormal": abnormal}
        for name, (normal, abnormal) in report.counts.items()
    }
    return {
        "name": report.name,
        "usable": report.is_usable,
        "counts": counts,
        "masks": report.masks,
        "findings": [[*kind, count] for kind, count in counted.items()],
        "errors": errors[:SHOWN_ERRORS],
    }


def data_objection(sets: Sequence[Mapping[str, Any]]) -> Objection | None:
    """Say which sets must be repaired; None where none must."""
    broken = [one for one in sets if not one["usable"]]
    if not broken:
        return None
    first = broken[0]
    return Objection(
        DATA,
        "data-unusable",
        f"{len(broken)} of {len(sets)} sets cannot be used as they are "
        f"({', '.join(one['name'] for one in broken)}); the first error of {first['name']}: "
        f"{first['errors'][0]}",
        "'headclip datasets check NAME DIR' shows everything that must be repaired.",
    )


def files_digest(path: Path) -> str:
    """Tell a folder's state by its files' names, sizes and times; no file is read.

    Args:
        path: A set's folder, or the table that lists it, whose folder counts then.
    """
    digest, root = hashlib.sha256(), path if path.is_dir() else path.parent
    for place, folders, names in os.walk(root):
        folders.sort()
        for name in sorted(names):
            file = Path(place, name)
            about = file.stat()
            known = (str(file.relative_to(root)), about.st_size, about.st_mtime_ns)
            digest.update(repr(known).encode())
    return digest.hexdigest()


def _without_folder(spec: str) -> str:
    named = SetSpec.parse(spec)
    return spec.replace(str(named.path), named.path.name)
