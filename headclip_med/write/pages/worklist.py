"""index.html: the worklist of a run as pages that open anywhere offline, also without a script."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from headclip_med.write.pages.frame import fill, render
from headclip_med.write.pages.thumbnails import thumbnail
from headclip_med.write.rows import FailedInput, FileRow, SummaryRow

LONGEST_LESION_TABLE = 20

LONGEST_FILE_LIST = 1000
"""Files that the page lists; summary.json has all."""

NAMED_INPUTS = 3
"""Of inputs that failed alike, so many are named; the page's list of files has the others."""

MOST_BYTES = 5_000_000
"""Of a page, which a browser opens at once and a mail takes."""

SPARE_BYTES = 1_000_000
"""Of them for all that is no row; its lists are cut."""

MOST_ROWS = 100
"""On a page; more than anybody looks through."""

BINS = 20
"""Of the histogram of scores."""

SORTS = {
    "score": "score", "p": "p-value", "candidates": "candidates", "highest": "highest candidate",
    "slices": "slices", "modality": "modality", "name": "name",
}  # fmt: skip
"""What a page's script sorts by, and what that is called; by score it stands already."""

LABELS = {
    "view": "Study view",
    "overlay": "Overlay",
    "slices": "Slices",
    "heatmap": "Heatmap",
    "result": "result.json",
}


def render_pages(
    rows: Sequence[SummaryRow],
    failures: Sequence[FailedInput],
    files: Sequence[FileRow],
    out: Path,
    *,
    waiting: Sequence[tuple[str, str]] = (),
    is_scripted: bool = True,
) -> Iterator[tuple[str, str]]:
    """Write the worklist as pages, none of them larger than ``MOST_BYTES``.

    Args:
        rows: In the order in which they shall stand.
        failures: What gave no result.
        files: What became of each file.
        out: The run's folder, where the pictures for the thumbnails are.
        waiting: Of what is still to be screened, the name and where it is.
        is_scripted: Whether a script lets its reader sort and search the rows.

    Yields:
        A file's name, index.html first, and the HTML. It loads nothing from anywhere and its policy
        forbids all other scripts. All that is no row stands on the first page.
    """
    judged = [row for row in rows if row.calibration.p_value is not None]
    content: dict[str, Any] = {
        "rows": rows,
        "heading": _heading(rows, len(judged)),
        "judged": len(judged),
        "flagged": sum(bool(row.calibration.flagged) for row in judged),
        "failed": len(failures),
        "file_count": len(files),
        "codes": _by_code(files),
        "named": NAMED_INPUTS,
        "longest_list": LONGEST_FILE_LIST,
        "name_of": name_of_page,
        "bins": _bins(rows),
        "modalities": sorted({row.modality or "" for row in rows}),
        "sorts": SORTS if judged else {k: v for k, v in SORTS.items() if k != "p"},
        "filters": _filters(is_judged=bool(judged), has_failed=bool(failures)),
    }
    first: dict[str, Any] = {
        "waiting": waiting,
        "failures": _alike(failures),
        "files": sorted(files, key=lambda one: one.status == "screened")[:LONGEST_FILE_LIST],
    }
    later = dict.fromkeys(first, ())
    for number, articles, has_next in _packed(rows, out):
        lists: dict[str, Any] = first if number == 1 else later
        page: dict[str, Any] = {"number": number, "articles": articles, "has_next": has_next}
        yield (
            name_of_page(number),
            render("worklist", is_scripted=is_scripted, **content, **lists, **page),
        )


def name_of_page(number: int) -> str:
    """Name the file of a page, from 1."""
    return "index.html" if number == 1 else f"index-{number}.html"


def _packed(rows: Sequence[SummaryRow], out: Path) -> Iterator[tuple[int, list[str], bool]]:
    """Put rows on pages: the page's number, what stands on it, and whether another follows."""
    number, size = 1, 0
    articles: list[str] = []
    for rank, row in enumerate(rows, start=1):
        article = _article(row, rank, out, len(rows))
        length = len(article.encode())
        if articles and (size + length > MOST_BYTES - SPARE_BYTES or len(articles) == MOST_ROWS):
            yield number, articles, True
            number, size, articles = number + 1, 0, []
        articles.append(article)
        size += length
    yield number, articles, False


def _bins(rows: Sequence[SummaryRow]) -> list[int]:
    """Count the scores between 0 and 1 in ``BINS`` steps of one size."""
    places = Counter(min(int(row.score * BINS), BINS - 1) for row in rows)
    return [places[place] for place in range(BINS)]


def _filters(*, is_judged: bool, has_failed: bool) -> list[tuple[str, str]]:
    """List what the page can be asked to show of itself, the first by itself."""
    found = [("all", "all"), ("with", "with candidates"), ("without", "without candidates")]
    found += [("flagged", "flagged")] if is_judged else []
    return found + ([("failed", "what failed")] if has_failed else [])


def _article(row: SummaryRow, rank: int, out: Path, total: int) -> str:
    """Write one row."""
    return fill(
        "article", row=row, rank=rank, thumbnail=partial(_thumbnail, out), marked=_marked,
        names=_names, labels=LABELS, longest=LONGEST_LESION_TABLE, total=total,
    )  # fmt: skip


def _heading(rows: Sequence[SummaryRow], judged: int) -> str:
    """Say what the numbers are."""
    if judged:
        some = "" if judged == len(rows) else " Where there is no p-value, scores only sort."
        return (
            "Scores are calibrated on normal studies: p tells how rare so high a score is among "
            f"them. It is no probability of disease.{some}"
        )
    if rows and all(row.calibrated for row in rows):
        return "Scores are calibrated on the data named in the model card."
    return "Scores sort this list; they are not probabilities."


def _alike(failures: Sequence[FailedInput]) -> list[tuple[FailedInput, list[str]]]:
    """Put inputs that failed for one reason together: the first, and what all are called."""
    found: dict[tuple[str, ...], tuple[FailedInput, list[str]]] = {}
    for one in failures:
        found.setdefault((one.code, one.reason, one.what_to_do), (one, []))[1].append(one.input)
    return list(found.values())


def _by_code(files: Sequence[FileRow]) -> list[tuple[FileRow, int]]:
    """Count files by status and code, each with the first of them."""
    found: dict[tuple[str, str], list[FileRow]] = {}
    for one in files:
        found.setdefault((one.status, one.code or ""), []).append(one)
    return [(found[key][0], len(found[key])) for key in sorted(found)]


def _thumbnail(out: Path, row: SummaryRow) -> dict[str, object] | None:
    """Give a small JPEG in base64, so that the page shows it when it is mailed alone, and its size.

    None where the picture is missing.
    """
    found = None if row.picture is None else thumbnail(out / row.folder / row.picture)
    if found is None:
        return None
    data = base64.b64encode(found.content).decode()
    return {"data": data, "width": found.width, "height": found.height}


def _marked(row: SummaryRow) -> set[int]:
    """List the slices with candidates: where to scroll to."""
    return {i for lesion in row.lesions for i in range(lesion.slices[0], lesion.slices[1] + 1)}


def _names(row: SummaryRow) -> list[str]:
    """Say what a row is called: its file, or its identifiers, or its folder."""
    names = [row.name] if row.name else [row.study_instance_uid, row.series_instance_uid]
    return [name for name in names if name] or [row.folder]
