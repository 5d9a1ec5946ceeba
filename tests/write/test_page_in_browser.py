"""The worklist's page in a browser, opened as a file: it fits, it filters, it asks for nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from headclip_med.write import FailedInput, write_summary
from tests.service.browser import Seen, chromium, looking
from tests.write.test_summary import lesion, row

pytestmark = pytest.mark.slow  # a browser starts


SHOTS = os.environ.get("HEADCLIP_SHOTS")
MODALITIES = "CT", "MR", None, "CT"


@pytest.fixture
def page(tmp_path: Path) -> Path:
    return write(tmp_path)


def write(tmp_path: Path, **options: bool) -> Path:
    rows = []
    for number, score in enumerate((0.9, 0.7, 0.2, 0.1)):
        folder = f"1.2.{'826.0.1.' * 6}{number}/1.3.{number}"
        (tmp_path / folder / "slices").mkdir(parents=True)
        Image.linear_gradient("L").resize((900, 500)).save(tmp_path / folder / "slices/002.png")
        lesions = tuple(lesion(one) for one in range(1, 9 + number)) if score > 0.5 else ()
        more = {"slice_scores": (0.1, score) * 40, "notes": ("A note. " * 20,),
                "modality": MODALITIES[number]}  # fmt: skip
        uid = folder.split("/")[0]
        rows.append(row(folder, score, lesions=lesions, study_instance_uid=uid, **more))
    failed = [
        FailedInput("a-very-long-name-" * 8 + ".dcm", "zero-byte-file", "The file is empty."),
        FailedInput("other.dcm", "no-pixels", "It holds no image."),
    ]
    return write_summary(rows, failed, tmp_path, **options)["page"]


def shown(seen: Seen) -> list[str]:
    return [one.inner_text() for one in seen.page.locator("article .rank:visible").all()]


@pytest.mark.parametrize(("width_px", "is_dark"), [(1280, True), (420, False)])
def test_it_fits_it_filters_and_it_asks_for_nothing(
    page: Path, tmp_path: Path, width_px: int, is_dark: bool
) -> None:
    with chromium() as browser, looking(browser, width_px, is_dark=is_dark) as seen:
        seen.page.goto(page.as_uri())
        assert seen.overflow_px() == 0
        seen.shot(Path(SHOTS or tmp_path), f"page-{width_px}")
        assert shown(seen) == ["1", "2", "3", "4"]
        for label, ranks in (
            ("with candidates", ["1", "2"]), ("without candidates", ["3", "4"]),
            ("what failed", []), ("all", ["1", "2", "3", "4"]),
        ):  # fmt: skip
            seen.page.get_by_label(label, exact=True).check()
            assert shown(seen) == ranks
            assert seen.overflow_px() == 0
        seen.page.keyboard.press("ArrowDown")  # the keyboard does it too
        assert shown(seen) == ["1", "2"]
        assert all(one.get_attribute("alt") for one in seen.page.locator("img").all())
        assert seen.complaints == []
        assert seen.requests == [page.as_uri()]


@pytest.mark.parametrize("width_px", [1280, 420])
def test_its_script_sorts_and_searches_the_rows(page: Path, width_px: int) -> None:
    with chromium() as browser, looking(browser, width_px) as seen:
        seen.page.goto(page.as_uri())
        tools, told = seen.page.locator(".tools"), seen.page.get_by_role("status")
        for key, forward, back in (
            ("candidates", ["2", "1", "3", "4"], ["3", "4", "1", "2"]),
            ("modality", ["1", "4", "2", "3"], ["2", "1", "4", "3"]),  # none comes last
            ("score", ["1", "2", "3", "4"], ["4", "3", "2", "1"]),
        ):
            tools.locator("[name=sort]").select_option(key)
            assert shown(seen) == forward
            tools.get_by_label("reversed").check()
            assert shown(seen) == back
            tools.get_by_label("reversed").uncheck()
        tools.get_by_label("Score from").fill("0.15")
        assert shown(seen) == ["1", "2", "3"]
        tools.get_by_label("to", exact=True).fill("0.8")
        assert shown(seen) == ["2", "3"]
        assert told.inner_text() == "2 of 4 on this page shown."
        tools.get_by_role("button", name="Reset").click()
        tools.locator("[name=modality]").select_option("CT")
        assert shown(seen) == ["1", "4"]
        seen.page.get_by_label("without candidates", exact=True).check()
        assert shown(seen) == ["4"]
        assert told.inner_text() == "1 of 4 on this page shown."
        seen.page.get_by_label("all", exact=True).check()
        tools.get_by_role("button", name="Reset").click()
        tools.get_by_role("searchbox").fill("ZERO-byte")
        seen.page.keyboard.press("Enter")
        assert shown(seen) == []
        assert seen.page.get_by_text("The file is empty.").is_visible()
        assert not seen.page.get_by_text("It holds no image.").is_visible()
        assert seen.overflow_px() == 0
        assert seen.complaints == []
        assert seen.requests == [page.as_uri()]


def test_without_its_script_it_stands_as_it_is_listed(tmp_path: Path) -> None:
    page = write(tmp_path, is_scripted=False)
    with chromium() as browser, looking(browser, 420) as seen:
        seen.page.goto(page.as_uri())
        assert shown(seen) == ["1", "2", "3", "4"]
        assert seen.page.locator("script, .tools").count() == 0
        seen.page.get_by_label("with candidates", exact=True).check()
        assert shown(seen) == ["1", "2"]
        assert seen.complaints == []
