"""A headless Chromium that notes what a page asks for and what it complains of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from tests.service.programs import program

FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip
HEIGHT_PX = 900


@dataclass
class Seen:
    """A page that is looked at.

    Attributes:
        page: For playwright.
        requests: Addresses that it asked for.
        complaints: What its console said, and errors of its scripts.
    """

    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def overflow_px(self) -> int:
        """How much wider than the window the page is."""
        return int(
            self.page.evaluate(
                "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            )
        )

    def shot(self, folder: Path, name: str) -> None:
        """Keep a picture of the whole page."""
        self.page.screenshot(path=folder / f"{name}.png", full_page=True)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start the browser; skips where there is none, and fails in CI."""
    path = program("chromium", "chromium")
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def looking(browser: Browser, width_px: int, *, is_dark: bool = False) -> Iterator[Seen]:
    """Open an empty page of some width."""
    context = browser.new_context(
        viewport={"width": width_px, "height": HEIGHT_PX},
        color_scheme="dark" if is_dark else "light",
    )
    seen = Seen(context.new_page())
    seen.page.set_default_timeout(20_000)
    seen.page.on("request", lambda request: seen.requests.append(request.url))
    seen.page.on("console", lambda said: seen.complaints.append(said.text))
    seen.page.on("pageerror", lambda error: seen.complaints.append(str(error)))
    try:
        yield seen
    finally:
        context.close()
