"""The page in a browser, wide and narrow: sorted, filtered, turned, and its buttons pressed."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from headclip_med.pipelines.service.worklist.page import worklist_app
from headclip_med.pipelines.service.worklist.server import page_server
from headclip_med.pipelines.service.worklist.settings import PageSettings
from tests.service.browser import Seen, chromium, looking
from tests.service.programs import free_port, wait_until
from tests.service.worklist.filled import NOW, add_view, fill

pytestmark = pytest.mark.slow  # a browser starts


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    filling = fill(tmp_path / "out")
    for number, is_embedded in ((1, True), (2, False)):
        add_view(filling, number, is_embedded=is_embedded)
    settings = PageSettings(port=free_port())
    app = worklist_app(filling.database, filling.out, settings, clock=lambda: NOW)
    server = page_server(app, settings)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_until(lambda: server.started, "the page does not answer")
    yield f"http://127.0.0.1:{settings.port}"
    server.should_exit = True
    thread.join(20)


def order(seen: Seen) -> list[str]:
    return [one.split()[-1] for one in seen.page.locator("article .uid").all_inner_texts()]


def choose(seen: Seen, **values: str) -> None:
    for name, value in values.items():
        seen.page.locator(f"select[name={name}]").select_option(value)
    seen.page.get_by_role("button", name="Show", exact=True).click()


@pytest.mark.parametrize(("width_px", "is_dark"), [(1280, False), (420, True)])
def test_it_is_sorted_filtered_turned_and_its_buttons_work(
    browser: Browser, address: str, tmp_path: Path, width_px: int, is_dark: bool
) -> None:
    shots = Path(os.environ.get("HEADCLIP_SHOTS", tmp_path))
    with looking(browser, width_px, is_dark=is_dark) as seen:
        seen.page.goto(address)
        assert order(seen)[:4] == ["1.3.1", "1.3.2", "1.3.3", "1.3.4"]
        assert seen.overflow_px() == 0
        for picture in seen.page.locator("article img").all():
            picture.scroll_into_view_if_needed()
            picture.evaluate("one => one.decode()")
            assert picture.evaluate("one => one.naturalWidth") > 0
            assert (picture.get_attribute("alt") or "").startswith("The most suspicious slice of")
        seen.shot(shots, f"worklist-{width_px}")
        choose(seen, sort="score")
        assert order(seen)[:4] == ["1.3.2", "1.3.1", "1.3.3", "1.3.4"]
        choose(seen, sort="suspicion", per_page="20", judged="not-flagged")
        assert order(seen) == ["1.3.3", "1.3.4"]
        choose(seen, judged="any", state="quarantined")
        assert order(seen) == ["1.3.8"]
        assert seen.page.get_by_text("Its slices form no stack.").is_visible()
        seen.page.get_by_role("button", name="Try again").click()
        assert seen.page.get_by_text("It is tried again.").is_visible()
        assert "state=quarantined" in seen.page.url
        assert seen.page.get_by_text("Nothing is here like that.").is_visible()
        seen.page.goto(f"{address}/?per_page=3")
        seen.page.get_by_role("link", name="Next").first.click()
        assert len(order(seen)) == 3
        assert seen.page.get_by_text("Page 2 of 3").first.is_visible()
        assert seen.overflow_px() == 0
        seen.page.get_by_role("button", name="Send again").first.click()
        assert seen.page.get_by_text("It is sent again.").is_visible()
        seen.page.get_by_role("searchbox").fill("1.3.2")
        seen.page.keyboard.press("Enter")
        seen.page.wait_for_url("**/?*text=1.3.2*")
        assert order(seen) == ["1.3.2"]
        seen.page.goto(f"{address}/?state=all&per_page=200")
        assert seen.overflow_px() == 0
        assert seen.complaints == []
        assert {one for one in seen.requests if not one.startswith(f"{address}/")} == set()


def test_studies_are_scrolled_in_it(browser: Browser, address: str) -> None:
    with looking(browser, 1280) as seen:
        for number in (1, 2):
            seen.page.goto(address)
            seen.page.locator(f'nav a[href="/results/{number}/view"]').click()
            said = seen.page.locator(".said").first
            assert said.inner_text().startswith("1 of 8,")
            seen.page.keyboard.press("End")
            assert said.inner_text().startswith("8 of 8,")
            for picture in seen.page.locator(".plane img").all():
                assert picture.evaluate("one => one.decode().then(() => one.naturalWidth)") > 0
        assert seen.complaints == []
        outside = {one for one in seen.requests if not one.startswith((f"{address}/", "data:"))}
        assert outside == set()
