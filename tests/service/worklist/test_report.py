"""The worklist on the command line: shown, exported, and what failed tried again."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from headclip_med.cli.main import main
from headclip_med.pipelines.service.database.tables import AuditEntry, JobEntry
from headclip_med.pipelines.service.worklist.export import COLUMNS
from tests.service.worklist.filled import fill, judged


@pytest.fixture
def out(tmp_path: Path) -> Path:
    filling = fill(tmp_path / "out")
    filling.job("queued", name="=cmd|' /C calc'!A0\u202e", attempts=0)
    filling.database.close()
    return filling.out


def printed(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    assert main(["report", *arguments]) == code
    return capsys.readouterr().out


def test_the_worklist_is_shown_with_reasons(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, str(out)).splitlines()
    assert lines[0].startswith("paused for ")
    assert lines[1] == "calibration stale: MR, HEAD, window full"
    assert lines[2].split()[:4] == ["1", "0.910", "p", "0.005"]
    assert "      job 8: Its slices form no stack. Send all slices again." in lines
    assert lines[-1] == "9 in all"
    assert printed(capsys, str(out), "--state", "quarantined").splitlines()[-1] == "1 in all"
    page = printed(capsys, str(out), "--set", "per_page=2", "--page", "2").splitlines()
    assert page[-1] == "9 in all, page 2 of 5"


def test_csv_and_json_hold_the_same_and_no_formula(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = list(csv.DictReader(io.StringIO(printed(capsys, str(out), "--csv"))))
    found = json.loads(printed(capsys, str(out), "--json"))
    assert tuple(lines[0]) == COLUMNS == tuple(found["entries"][0])
    assert found["research_use_only"] is True
    entries = found["entries"]
    assert [int(line["job"]) for line in lines] == [one["job"] for one in entries]
    assert [one["rank"] for one in entries] == list(range(1, 10))
    first = entries[0]
    assert (first["score"], first["p_value"], first["flagged"]) == (0.91, 0.005, True)
    assert first["p_in_words"] == judged(0.005).sentence() == lines[0]["p_in_words"]
    assert lines[0]["flagged"] == "yes"
    by_job = {one["job"]: one for one in entries}
    assert by_job[7]["next_attempt"] == "2027-01-15T08:04:00+00:00"
    assert by_job[8]["reason"] == "Its slices form no stack."
    assert by_job[4]["deliveries"][0]["state"] == "dead"
    assert {line["name"] for line in lines} == {"", "'=cmd|' /C calc'!A0"}


def test_an_empty_worklist_has_all_forms(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = fill(tmp_path, with_files=False).out
    nothing = (str(out), "--text", "nothing like that")
    assert json.loads(printed(capsys, *nothing, "--json"))["entries"] == []
    assert printed(capsys, *nothing, "--csv").split() == [",".join(COLUMNS)]
    assert printed(capsys, *nothing).splitlines()[-1] == "0 in all"
    printed(capsys, *nothing, "--html")
    assert "No series was screened." in (out / "index.html").read_text("utf-8")


def test_the_pages_show_what_was_found_what_failed_and_what_waits(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert printed(capsys, str(out), "--html") == f"open {out / 'index.html'}\n"
    text = (out / "index.html").read_text("utf-8")
    assert text.index("p = 0.005") < text.index("1.3.2") < text.index("p = 0.6")
    assert "Its slices form no stack." in text
    assert "Not screened yet" in text
    assert "queued: for " in text
    assert "data:image/jpeg;base64," in text


def test_what_failed_is_tried_again(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, str(out), "--retry", "8,77", code=1) == "1 tried again\n"
    assert printed(capsys, str(out), "--retry", "all") == "0 tried again\n"
    assert printed(capsys, str(out), "--resend", "all") == "1 sent again\n"
    from headclip_med.pipelines.service.database.opening import open_database

    with open_database(out).read() as session:
        job = session.get(JobEntry, 8)
        assert job is not None
        assert job.state == "queued"
        asked = session.query(AuditEntry).filter(AuditEntry.event.endswith("-asked")).all()
        assert [one.event for one in asked] == ["retry-asked", "retry-asked", "resend-asked"]
        assert all((one.peer or "").startswith("user ") for one in asked)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "There is no folder"),
        (("{tmp}",), "There is no worklist in this folder"),
        (("{tmp}/none",), "There is no worklist in this folder"),
        (("{out}", "--csv", "--json"), "Only one of"),
        (("{out}", "--retry", "8;9"), "--retry takes numbers"),
        (("{out}", "--page", "0"), "page must be a whole number"),
    ],
)
def test_what_cannot_be_shown_is_told(
    out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...],
    said: str,
) -> None:  # fmt: skip
    given = [one.format(tmp=tmp_path, out=out) for one in arguments]
    assert main(["report", *given]) == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.glob("worklist.sqlite*")) == []
