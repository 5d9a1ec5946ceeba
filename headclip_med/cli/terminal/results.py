"""What was found, as it is printed: a plan, the results of a run, and what failed."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from headclip_med.calibration import shown_p
from headclip_med.cli.terminal.tables import Column, Row, Sheet, is_drawn, show
from headclip_med.cli.terminal.voice import VOICE

if TYPE_CHECKING:
    from headclip_med.pipelines.plan import Plan
    from headclip_med.pipelines.work.report import BatchReport
    from headclip_med.read import Inputs
    from headclip_med.write import FailedInput, SummaryRow

NAMED = 3
"""Of inputs that failed alike, so many are named; the summary has all."""

RESULT_COLUMNS = (
    Column("score", is_number=True), Column("p", 17), Column("found", 13), Column("folder"),
    Column("name"),
)  # fmt: skip
SERIES_COLUMNS = (
    Column("series", is_number=True), Column("modality"), Column("part", is_number=True),
    Column("slices", is_number=True), Column("of"), Column("files", is_number=True),
    Column("MB", is_number=True),
)  # fmt: skip
FILE_COLUMNS = (Column("file", is_number=True), Column("what becomes of it"), Column("name"))


def show_plan(inputs: Inputs, *, hide_names: bool, as_json: bool) -> int:
    """Print what was found and what would be done with it, and give the code a run would end with.

    Args:
        inputs: All that was found.
        hide_names: Whether to print numbers only.
        as_json: For machines.
    """
    from headclip_med.pipelines.plan import Plan

    plan = Plan(inputs, hide_names)
    if as_json:
        print(json.dumps(plan.to_json(), indent=2))
    else:
        _show_plan(plan)
    if not any(failure.is_error for failure in inputs.failures):
        return 0 if inputs.readable else 1
    return 3 if inputs.readable else 1


def _show_plan(plan: Plan) -> None:
    """Print a plan: as lines, or the series as one table and the files as another."""
    from headclip_med.write.plain_text import visible

    lines = (visible(line) for line in plan.lines())
    if not is_drawn():
        print("\n".join(lines))
        return
    print(next(lines))
    found = plan.to_json()
    series = [
        Row((str(number), one["modality"] or one["kind"], str(one["part"]), str(one["slices"]),
             f"{one['rows']} x {one['columns']}", str(len(one["files"])),
             f"{one['bytes'] / 1e6:.1f}"))
        for number, one in enumerate(found["series"], start=1)
    ]  # fmt: skip
    show(Sheet(SERIES_COLUMNS, series))
    files = [
        Row((str(file["number"]), f"in series {number}", visible(file["file"])), tone="good")
        for number, one in enumerate(found["series"], start=1)
        for file in one["files"]
    ]
    files += [
        Row((str(one["number"]), f"{one['status']} ({one['code']})", visible(one["file"])),
            (visible(one["reason"]),), "bad" if one["status"] == "failed" else "notable")
        for one in found["not_used"]
    ]  # fmt: skip
    show(Sheet(FILE_COLUMNS, files))


def show_report(report: BatchReport, *, as_json: bool) -> None:
    """Print the results, failures on stderr; names without what a terminal would obey."""
    if report.left_alone:
        of = len(report.rows)
        VOICE.say(f"{report.left_alone} of {of} were finished and left alone")
    show_failures(report.failures)
    show_uncalibrated(report.rows)
    if as_json:
        print(report.outputs["json"].read_text())
        return
    show(Sheet(RESULT_COLUMNS, list(map(_row, report.rows))))
    print(f"open {report.outputs['page']}")


def _row(row: SummaryRow) -> Row:
    found, used = len(row.lesions), row.calibration
    p_value = None if used.p_value is None else f"p {shown_p(used.p_value)}"
    if used.flagged:
        p_value = f"{p_value} flagged"
    counted = f"{found} candidate{'' if found == 1 else 's'}"
    cells = f"{row.score:.3f}", p_value, counted, row.folder, row.name or None
    return Row(cells, tone="notable" if used.flagged else "plain")


def show_failures(failures: Sequence[FailedInput]) -> None:
    """Say on stderr which inputs failed and why, those that failed alike together."""
    from headclip_med.write.plain_text import visible

    alike: dict[str, list[str]] = {}
    for failure in failures:
        why = f"{failure.reason} {failure.what_to_do}".rstrip()
        alike.setdefault(why, []).append(failure.input)
    for why, names in alike.items():
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        print(visible(f"headclip: {', '.join(names[:NAMED])}{more}: {why}"), file=sys.stderr)


def show_uncalibrated(rows: Sequence[SummaryRow]) -> None:
    """Say on stderr of how many rows the calibration that was given says nothing, and why."""
    from headclip_med.write.plain_text import visible

    lacking = (row.calibration for row in rows if row.calibration.state == "uncalibrated")
    for used, count in Counter(lacking).items():
        if (words := used.sentence()) is not None:
            VOICE.say(visible(f"headclip: {count} of {len(rows)}: {words}"))
