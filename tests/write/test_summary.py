"""The summary of a run: sorted, safe to open, complete, and readable back."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headclip_med.errors import HeadClipError, UnreadableInput
from headclip_med.findings import Box, Lesion, Screening, WindowUsed
from headclip_med.geometry import Grid
from headclip_med.volume import Heatmap, SliceSource, Volume
from headclip_med.write import (
    FailedInput,
    FileRow,
    SummaryRow,
    read_rows,
    write_screening,
    write_summary,
)
from headclip_med.write.pages.frame import script_of
from headclip_med.write.plain_text import csv_cell, visible
from headclip_med.write.summary import COLUMNS


def lesion(number: int = 1, **changes: object) -> Lesion:
    given = Lesion(number, 120.0, "mm3", (1.0, -2.0, 3.0), "lps_mm", 0.75, (0, 1), peak_slice=1)
    return replace(given, **changes)  # type: ignore[arg-type]


def row(folder: str = "1.2/1.3", score: float = 0.5, **changes: object) -> SummaryRow:
    given: dict[str, object] = {
        "folder": folder,
        "score": score,
        "calibrated": False,
        "threshold": 0.5,
        "slice_scores": (0.25, score),
        "lesions": (lesion(),),
        "modality": "CT",
        "window": "brain",
        "name": None,
        "study_instance_uid": "1.2",
        "series_instance_uid": "1.3",
        "part": 1,
        "has_patient_geometry": True,
        "model": "headclip-mini / headclip",
        "outputs": {"overlay": "overlay.png", "seg": "seg.dcm", "result": "result.json"},
        "picture": "slices/002.png",
        "notes": (),
    }
    return SummaryRow(**{**given, **changes})  # type: ignore[arg-type]


FAILED = FailedInput("broken.dcm", "zero-byte-file", "The file is empty.", "Copy it again.")


def table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text("utf-8"))))


class Page(HTMLParser):
    """What a browser would see: tags with attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def page_of(
    rows: list[SummaryRow], failures: list[FailedInput], out: Path, **options: bool
) -> Page:
    return Page(write_summary(rows, failures, out, **options)["page"].read_text("utf-8"))


def test_rows_are_sorted_by_score_and_failures_come_last(tmp_path: Path) -> None:
    rows = [row("a", 0.2), row("b", 0.9), row("d", 0.5), row("c", 0.5)]
    paths = write_summary(rows, [FAILED], tmp_path)
    lines = table(paths["csv"])
    assert [line["folder"] for line in lines] == ["b", "c", "d", "a", ""]
    assert [line["rank"] for line in lines] == ["1", "2", "3", "4", ""]
    assert tuple(lines[0]) == COLUMNS
    assert lines[0]["score"] == "0.900000"
    assert (lines[0]["largest_lesion_size"], lines[0]["size_unit"]) == ("120.000000", "mm3")
    assert lines[4]["status"] == "failed"
    assert lines[4]["code"] == "zero-byte-file"
    summary = json.loads(paths["json"].read_text())
    assert [one["folder"] for one in summary["series"]] == ["b", "c", "d", "a"]
    assert (summary["screened"], summary["failed"]) == (4, 1)
    assert summary["research_use_only"] is True
    assert summary["failures"][0]["what_to_do"] == "Copy it again."


def test_a_run_without_any_result_still_has_a_summary(tmp_path: Path) -> None:
    paths = write_summary([], [], tmp_path / "new")
    assert table(paths["csv"]) == []
    assert json.loads(paths["json"].read_text())["series"] == []
    assert "No series was screened." in paths["page"].read_text()


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(1)", "'@SUM(1)"),
        ("|x", "'|x"),
        ("\t=1", "' =1"),
        (" =1", "' =1"),
        ("\u202e=1", "'=1"),
        ("head.nii.gz", "head.nii.gz"),
        ("a=b", "a=b"),
        ("", ""),
    ],
)
def test_no_cell_is_a_formula(text: str, cell: str) -> None:
    assert csv_cell(text) == cell


def test_what_cannot_be_seen_is_dropped() -> None:
    assert visible("a\x1b[31mb\u202ec\u200bd\r\ne\x00") == "a[31mbcd  e"
    assert visible("Größe 頭部") == "Größe 頭部"


@pytest.mark.parametrize("is_scripted", [True, False])
def test_hostile_names_stay_text_everywhere(tmp_path: Path, is_scripted: bool) -> None:
    evil = '=HYPERLINK("http://x")<script>alert(1)</script>\u202e"><img src=x onerror=alert(1)>'
    failure = FailedInput(evil, "code", evil, evil)
    rows = [row(name=evil, notes=(evil,), modality=evil), row()]
    paths = write_summary(rows, [failure], tmp_path, is_scripted=is_scripted)
    assert all(
        not cell.startswith("=") for line in table(paths["csv"]) for cell in line.values() if cell
    )
    page = Page(paths["page"].read_text("utf-8"))
    assert "<script>alert(1)</script>" in page.text
    tags = [tag for tag, _ in page.tags]
    assert tags.count("script") == is_scripted  # our own
    assert not any("onerror" in attributes for _, attributes in page.tags)
    assert "\u202e" not in page.text


def test_a_hostile_path_is_no_link_to_elsewhere(tmp_path: Path) -> None:
    page = page_of([row('javascript:alert(1)//" onclick="x')], [], tmp_path)
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    assert all(
        link == "summary.csv" or link == "summary.json" or link[:2] == "./"
        for link in links
        if link
    )
    assert not any("onclick" in attributes for _, attributes in page.tags)


@pytest.mark.parametrize("is_scripted", [True, False])
def test_the_page_loads_nothing_and_its_policy_allows_its_own_script_only(
    tmp_path: Path, is_scripted: bool
) -> None:
    (tmp_path / "1.2/1.3/slices").mkdir(parents=True)
    Image.new("RGB", (1000, 500), (200, 30, 30)).save(tmp_path / "1.2/1.3/slices/002.png")
    page = page_of([row()], [FAILED], tmp_path, is_scripted=is_scripted)
    policies = [
        attributes["content"]
        for tag, attributes in page.tags
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    (policy,) = policies
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert "unsafe" not in policy
    scripts = [own for own in (script_of("worklist"),) if is_scripted]
    assert re.findall("script-src '([^']*)'", policy) == [f"sha256-{own[1]}" for own in scripts]
    assert all(own[0] in page.text for own in scripts)
    assert [tag for tag, _ in page.tags].count("script") == len(scripts)
    (image,) = [attributes for tag, attributes in page.tags if tag == "img"]
    assert str(image["src"]).startswith("data:image/jpeg;base64,")
    assert (image["width"], image["height"]) == ("440", "220")
    assert not {"link", "iframe", "object"} & {tag for tag, _ in page.tags}
    assert not any("style" in attributes for _, attributes in page.tags)


def test_the_page_says_what_it_is_and_what_was_found(tmp_path: Path) -> None:
    page = page_of([row(score=0.87), row("q", 0.1, lesions=())], [FAILED], tmp_path)
    for words in (
        "Research use only.",
        "Scores sort this list; they are not probabilities.",
        "1 lesion candidate",
        "no lesion candidate",
        "1.0, -2.0, 3.0",
        "The picture is missing.",
        "zero-byte-file",
        "The file is empty.",
        "Copy it again.",
    ):
        assert words in page.text
    calibrated = page_of([row(calibrated=True)], [], tmp_path)
    assert "Scores are calibrated" in calibrated.text


def test_long_lists_of_candidates_are_cut_and_say_so(tmp_path: Path) -> None:
    lesions = tuple(lesion(number) for number in range(1, 31))
    assert "10 more stand in result.json." in page_of([row(lesions=lesions)], [], tmp_path).text


def test_the_same_rows_give_the_same_bytes_in_any_order(tmp_path: Path) -> None:
    rows = [row("a", 0.2), row("b", 0.9), row("c", 0.2)]
    one = write_summary(rows, [FAILED], tmp_path / "one")
    other = write_summary(reversed(rows), [FAILED], tmp_path / "other")
    for kind in one:
        assert one[kind].read_bytes() == other[kind].read_bytes()


def test_a_failure_keeps_the_reason_apart_from_the_way_out() -> None:
    error = HeadClipError("It is broken; it may lie.", "Look.", code="some-code")
    failure = FailedInput.of("x", error)
    assert failure == FailedInput("x", "some-code", "It is broken; it may lie.", "Look.")
    assert FailedInput.of("x", HeadClipError("It is broken.")).what_to_do == ""


IN_PIXELS = Lesion(1, 18.0, "px", (5.5, 3.0, 0.0), "column_row_slice", 0.8, (0, 0), peak_slice=0)


def screening_of(name: str) -> Screening:
    grid = Grid.of_pixels(slices=1, rows=12, columns=15)
    labels = np.zeros(grid.shape, dtype=np.int32)
    labels[0, 2:5, 3:9] = 1
    heat = np.where(labels > 0, 0.8, 0.125).astype(np.float32)
    voxels = np.full(grid.shape, len(name), dtype=np.float32)
    return Screening(
        Volume(voxels, grid, (SliceSource(Path("x")),), "image", name=name),
        Heatmap(heat, grid),
        np.array([0.8]),
        0.8,
        0.5,
        labels,
        (IN_PIXELS,),
        WindowUsed("as-is", 0.0, 255.0, "a photograph"),
        Box(0, 1, 0, 1),
        {"name": "headclip-mini", "method": "headclip"},
        {},
    )


def test_a_row_says_the_same_now_and_when_read_back(tmp_path: Path) -> None:
    written = [write_screening(screening_of(name), tmp_path) for name in ("a", "bb")]
    rows = [SummaryRow.of(one, tmp_path) for one in written]
    assert sorted(read_rows(tmp_path), key=lambda one: str(one.name)) == rows
    assert rows[0].folder == written[0].folder.relative_to(tmp_path).as_posix()
    assert rows[0].lesions == (IN_PIXELS,)
    assert rows[0].picture == "slices/001.png"
    assert page_of(rows, [], tmp_path).text.count("18") >= 2


def test_a_damaged_result_is_named_as_such(tmp_path: Path) -> None:
    written = write_screening(screening_of("a"), tmp_path)
    for content in ("{", "{}", "[]"):
        (written.folder / "result.json").write_text(content)
        with pytest.raises(UnreadableInput, match="screen that series again"):
            read_rows(tmp_path)


def test_a_result_of_another_schema_is_refused_with_what_changed(tmp_path: Path) -> None:
    written = write_screening(screening_of("a"), tmp_path)
    path = written.folder / "result.json"
    path.write_text(json.dumps({**written.result, "schema_version": "1.0"}))
    with pytest.raises(UnreadableInput, match="unit beside it") as caught:
        read_rows(tmp_path)
    assert caught.value.code == "older-result"
    assert caught.value.advice == "Screen that series again; its folder is replaced."
    path.write_text(json.dumps({**written.result, "schema_version": "3.1"}))
    with pytest.raises(UnreadableInput, match="a later version wrote") as caught:
        read_rows(tmp_path)
    assert caught.value.code == "newer-result"
    path.write_text(json.dumps({**written.result, "schema_version": "2.9"}))
    assert len(read_rows(tmp_path)) == 1


def test_unfinished_folders_are_no_results(tmp_path: Path) -> None:
    written = write_screening(screening_of("a"), tmp_path)
    hidden = written.folder.with_name(f".{written.folder.name}.x.unfinished")
    written.folder.rename(hidden)
    assert read_rows(tmp_path) == []
    assert replace(row(), score=0.1).score == 0.1


def files_of(count: int) -> list[FileRow]:
    return [
        FileRow(f"f{n:06}", "left-out", code="text-file", reason="It is text.")
        for n in range(count)
    ]


def test_a_large_folder_makes_no_large_page(tmp_path: Path) -> None:
    paths = write_summary([row(files=("a.dcm",))], [FAILED], tmp_path, unused=files_of(100_000))
    page = Page(paths["page"].read_text("utf-8"))
    assert paths["page"].stat().st_size < 400_000
    assert "100001" in page.text  # found, with the one that was screened
    assert "99001 more stand in summary.json." in page.text
    assert page.text.count("text-file") == 1001  # the table by code, and a thousand files
    assert [tag for tag, _ in page.tags].count("details") == 1
    summary = json.loads(paths["json"].read_text())
    assert summary["file_counts"]["files"] == len(summary["files"]) == 100_001
    assert len(table(paths["csv"])) == 100_002


def test_files_are_called_by_what_became_of_them(tmp_path: Path) -> None:
    rows = [row("x", files=("b", "a")), row("y", part=2, files=("b",))]
    failed = FailedInput("s", "broken", "It is broken.", "Copy it.", files=("c", "b"))
    repeat = FileRow("d", "repeat", repeats="a", code="repeat", reason="It repeats.")
    paths = write_summary(rows, [failed], tmp_path, unused=[repeat])
    files = json.loads(paths["json"].read_text())["files"]
    assert [(one["file"], one["status"], one["series"], one["code"]) for one in files] == [
        ("a", "screened", ["x"], None),
        ("b", "screened", ["x", "y"], "broken"),
        ("c", "failed", [], "broken"),
        ("d", "repeat", [], "repeat"),
    ]
    assert files[3]["repeats"] == "a"
    assert [(line["files"], line["repeats"]) for line in table(paths["csv"])] == [
        ("2", ""), ("1", ""), ("2", ""), ("1", "a"),
    ]  # fmt: skip


def test_inputs_that_failed_alike_stand_together(tmp_path: Path) -> None:
    failures = [replace(FAILED, input=f"f{number}") for number in range(40)]
    text = page_of([], failures, tmp_path).text
    assert text.count("The file is empty.") == 1
    assert "f0, f1, f2 and 37 more" in text
