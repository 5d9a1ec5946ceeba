"""Pages of a long worklist: none too large, all rows once, nothing of an earlier one left."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headclip_med.write import FailedInput, write_summary
from headclip_med.write.pages.worklist import MOST_BYTES, MOST_ROWS
from tests.write.test_summary import lesion, row


def ranks(page: Path) -> list[int]:
    return [int(one) for one in re.findall('<div class="rank">([0-9]+)<', page.read_text("utf-8"))]


def links(page: Path) -> list[str]:
    return re.findall('href="(index[^"]*)"', page.read_text("utf-8"))


def test_rows_are_cut_into_pages_that_lead_to_each_other(tmp_path: Path) -> None:
    rows = [row(f"1.2/{number}", score=number / 1000) for number in range(2 * MOST_ROWS + 1)]
    write_summary(rows, [], tmp_path)
    names = ["index.html", "index-2.html", "index-3.html"]
    assert sorted(one.name for one in tmp_path.glob("*.html")) == sorted(names)
    found = [ranks(tmp_path / name) for name in names]
    assert [len(one) for one in found] == [MOST_ROWS, MOST_ROWS, 1]
    assert [one for page in found for one in page] == list(range(1, len(rows) + 1))
    assert set(links(tmp_path / names[0])) == {"index-2.html"}
    assert set(links(tmp_path / names[1])) == {"index.html", "index-3.html"}
    assert set(links(tmp_path / names[2])) == {"index.html", "index-2.html"}
    for name in names:
        assert f"<b>{len(rows)}</b>series screened" in (tmp_path / name).read_text("utf-8")


def test_pages_of_an_earlier_longer_list_go_and_nothing_else_does(tmp_path: Path) -> None:
    kept = tmp_path / "index-of-mine.html"
    kept.write_text("mine")
    write_summary([row(f"1.2/{number}") for number in range(MOST_ROWS + 1)], [], tmp_path)
    write_summary([row()], [], tmp_path)
    assert sorted(one.name for one in tmp_path.glob("*.html")) == [kept.name, "index.html"]
    assert "Page" not in (tmp_path / "index.html").read_text("utf-8")


def test_failures_and_files_stand_on_the_first_page_only(tmp_path: Path) -> None:
    rows = [row(f"1.2/{number}") for number in range(MOST_ROWS + 1)]
    failed = FailedInput("broken.dcm", "zero-byte-file", "The file is empty.", "Copy it again.")
    write_summary(rows, [failed], tmp_path)
    assert "The file is empty." in (tmp_path / "index.html").read_text("utf-8")
    assert "The file is empty." not in (tmp_path / "index-2.html").read_text("utf-8")


@pytest.mark.slow  # pictures that do not compress
def test_no_page_is_larger_than_a_mail_takes(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (280, 440, 3), dtype=np.uint8)
    (tmp_path / "slices").mkdir()
    Image.fromarray(noise).save(tmp_path / "slices/002.png")
    large = row(".", lesions=tuple(lesion(number) for number in range(1, 40)),
                slice_scores=(0.5,) * 600, notes=("n" * 500,) * 10)  # fmt: skip
    rows = [replace(large, score=number / 1000) for number in range(90)]
    failed = [
        FailedInput(f"{'x' * 150}{n}", "c", f"{'r' * 300}{n}", "w" * 200) for n in range(3000)
    ]
    write_summary(rows, failed, tmp_path)
    sizes = [page.stat().st_size for page in tmp_path.glob("index*.html")]
    assert len(sizes) > 1
    assert max(sizes) <= MOST_BYTES
