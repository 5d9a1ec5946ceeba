"""``headclip datasets``: what is known of published sets, and whether a copy of one is sound."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from tyro.conf import Positional

from headclip_med.cli.groups import DataOptions
from headclip_med.cli.terminal.progress import progress
from headclip_med.cli.terminal.tables import Column, Row, Sheet, show
from headclip_med.errors import InvalidSettings

if TYPE_CHECKING:
    from headclip_med.datasets import KnownSet, Report


@dataclass(frozen=True, kw_only=True)
class Datasets(DataOptions):
    """List the data sets that are known, or check a copy of one before it is used.

    'headclip datasets' lists them with licence, source, expected counts and level (pixel: masks,
    image: labels only). 'headclip datasets check NAME DIR' opens every image and mask and says what
    is wrong; it exits with 1 where something must be repaired first.

    Examples:
      headclip datasets
      headclip datasets check VisA /data/VisA
      headclip datasets check folder DIR --normal-class healthy
    """

    common: ClassVar[tuple[str, ...]] = (
        "action", "name", "folder", "normal_class", "mask_folder", "mask_suffix", "image_folder",
        "columns", "all", "json",
    )  # fmt: skip

    action: Positional[Literal["list", "check"]] = "list"
    """What to do."""
    name: Positional[str | None] = None
    """A set, or mvtec, folder, csv, meta or nifti for any set."""
    folder: Positional[Path | None] = None
    """Where the set is kept, or the table that lists it."""
    all: bool = False
    """Print more than 10 findings of one kind."""

    def run(self) -> int:
        """List, or check."""
        if self.action == "list":
            return _list(as_json=self.json)
        if not self.name or not self.folder:
            raise InvalidSettings(
                "No set or no folder to check was named.", "Use headclip datasets check NAME DIR."
            )
        from headclip_med.datasets import find_set
        from headclip_med.evaluation.datasets import check_spec

        (spec,) = self.named_sets([f"{self.name}:{self.folder}"])
        with progress(None, "image") as bar:
            report = check_spec(spec, progress=lambda _done, total: bar.seen(1, total))
        if self.json:
            print(json.dumps(report.to_json()))
        else:
            _show(report, find_set(self.name).note, everything=self.all)
        return 0 if report.is_usable else 1


def _list(*, as_json: bool) -> int:
    from headclip_med.datasets import KNOWN_SETS

    rows = [_row(known) for known in KNOWN_SETS.values()]
    if as_json:
        print(json.dumps(rows))
        return 0
    show(Sheet(SET_COLUMNS, list(map(_listed, rows)), gap=" ", indent=" " * 15))
    print("\nTest images are given as normal + abnormal. None is fetched: see the source pages.")
    return 0


SET_COLUMNS = (
    Column("set", 14), Column("domain", 10), Column("level", 6),
    Column("test", 12, is_number=True), Column("what it is, and where"),
)  # fmt: skip


def _listed(one: dict[str, Any]) -> Row:
    counts = one["test"] and f"{one['test']['normal']} + {one['test']['abnormal']}"
    cells = one["name"], one["domain"], one["level"], counts or "not known", ""
    return Row(cells, (f"{one['title']}; licence: {one['licence']}", one["source"]))


def _row(known: KnownSet) -> dict[str, Any]:
    stated = ("name", "title", "domain", "level", "licence", "source")
    return {
        **{name: getattr(known, name) for name in stated},
        "train": _counts(known.train),
        "test": _counts(known.test),
        "categories": list(known.categories) or [known.category],
        "layouts": [layout.describe() for layout in known.layouts],
        "also_called": list(known.aliases),
        "note": known.note,
    }


def _counts(counts: tuple[int, int] | None) -> dict[str, int] | None:
    return counts and {"normal": counts[0], "abnormal": counts[1]}


SPLIT_COLUMNS = (
    Column("split"), Column("normal", is_number=True), Column("abnormal", is_number=True),
    Column("published", is_number=True),
)  # fmt: skip
CATEGORY_COLUMNS = Column("category"), *SPLIT_COLUMNS[1:3]


def _show(report: Report, note: str, *, everything: bool) -> None:
    """Print what a check found: counts as tables, findings as lines."""
    from headclip_med.datasets.report import SHOWN_OF_A_KIND, shown_lines

    where = f" in {report.folder}" if report.folder else ""
    print(f"{report.name}{where}")
    if report.layout:
        print(f"  layout: {report.layout}")
    splits, lines = [], []
    for split, (normal, abnormal) in report.counts.items():
        published = report.expected.get(split)
        beside = f" (published: {published[0]} and {published[1]})" if published else ""
        lines.append(f"  {split}: {normal} normal and {abnormal} abnormal images{beside}")
        stated = f"{published[0]} + {published[1]}" if published else None
        splits.append(Row((split, str(normal), str(abnormal), stated)))
    if splits:
        show(Sheet(SPLIT_COLUMNS, splits), lines)
    print(f"  masks: {report.masks}; categories: {len(report.categories)}")
    rows = [Row((name, str(one), str(other))) for name, (one, other) in report.categories.items()]
    show(
        Sheet(CATEGORY_COLUMNS, rows),
        (f"    {one.cells[0]}: {one.cells[1]} normal and {one.cells[2]} abnormal" for one in rows),
    )
    if note:
        print(f"  {note}")
    most = None if everything else SHOWN_OF_A_KIND
    for line in shown_lines(report.findings, most, elsewhere="--all"):
        print(line)
    print("usable" if report.is_usable else "not usable until the errors above are repaired")
