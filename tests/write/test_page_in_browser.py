"""The worklist's page in a browser, opened as a file: it fits, it filters, it asks for nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from headclip_med.write import FailedInput, write_summary
from tests.service.browser import chromium, looking
from tests.write.test_summary import lesion, row

pytestmark = pytest.mark.slow  # a browser starts


@pytest.fixture
def page(tmp_path: Path) -> Path:
    rows = []
    for number, score in enumerate((0.9, 0.7, 0.2, 0.1)):
        folder = f"1.2.{'826.0.1.' * 6}{number}/1.3.{number}"
        (tmp_path / folder / "slices").mkdir(parents=True)
        Image.linear_gradient("L").resize((900, 500)).save(tmp_path / folder / "slices/002.png")
        lesions = tuple(lesion(one) for one in range(1, 9)) if score > 0.5 else ()
        more = {"slice_scores": (0.1, score) * 40, "notes": ("A note. " * 20,)}
        uid = folder.split("/")[0]
        rows.append(row(folder, score, lesions=lesions, study_instance_uid=uid, **more))
    failed = FailedInput("a-very-long-name-" * 8 + ".dcm", "zero-byte-file", "The file is empty.")
    return write_summary(rows, [failed], tmp_path)["page"]


@pytest.mark.parametrize(("width_px", "is_dark"), [(1280, True), (420, False)])
def test_it_fits_it_filters_and_it_asks_for_nothing(
    page: Path, tmp_path: Path, width_px: int, is_dark: bool
) -> None:
    shots = Path(os.environ.get("HEADCLIP_SHOTS", tmp_path))
    with chromium() as browser, looking(browser, width_px, is_dark=is_dark) as seen:
        seen.page.goto(page.as_uri())
        assert seen.overflow_px() == 0
        seen.shot(shots, f"page-{width_px}")

        def shown() -> list[str]:
            return [one.inner_text() for one in seen.page.locator("article .rank:visible").all()]

        assert shown() == ["1", "2", "3", "4"]
        for label, ranks in (
            ("with candidates", ["1", "2"]), ("without candidates", ["3", "4"]),
            ("what failed", []), ("all", ["1", "2", "3", "4"]),
        ):  # fmt: skip
            seen.page.get_by_label(label, exact=True).check()
            assert shown() == ranks
            assert seen.overflow_px() == 0
        seen.page.keyboard.press("ArrowDown")  # the keyboard does it too
        assert shown() == ["1", "2"]
        assert all(one.get_attribute("alt") for one in seen.page.locator("img").all())
        assert seen.complaints == []
        assert seen.requests == [page.as_uri()]
