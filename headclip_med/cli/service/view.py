"""``headclip view``: the pages of results in a browser."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from tyro.conf import Positional

from headclip_med.cli.options import Command
from headclip_med.errors import HeadClipError, InvalidSettings

PAGES = "index.html", "view.html"
"""Of a run, and of a study in it."""


@dataclass(frozen=True, kw_only=True)
class OpenPage(Command):
    """Open the page of a run or a study.

    The worklist of a folder of results, or the view of one result in it, as they were written.
    RESEARCH ONLY - not for clinical use.

    Examples:
      headclip view results
      headclip view results/STUDY/SERIES
    """

    common: ClassVar[tuple[str, ...]] = ("folder", "json")

    folder: Positional[Path | None] = None
    """The folder of results, of one result, or a page itself."""

    def run(self) -> int:
        """Open it, and say which page it is.

        Raises:
            InvalidSettings: There is none.
            HeadClipError: There is no browser to open it in.
        """
        page = self._page().resolve()
        print(json.dumps({"page": str(page)}) if self.json else page)
        import webbrowser

        if not webbrowser.open(page.as_uri()):
            raise HeadClipError(
                "No browser was found to open it in.",
                "Open the file that is named above; it needs nothing else.",
                code="no-browser",
            )
        return 0

    def _page(self) -> Path:
        if self.folder is None:
            raise InvalidSettings(
                "There is no folder to look at.", "Name the one with the results."
            )
        if not self.folder.exists():
            raise InvalidSettings("There is no such folder.", "Check the path.", code="not-found")
        if self.folder.is_file() and self.folder.suffix == ".html":
            return self.folder
        found = [self.folder / name for name in PAGES if (self.folder / name).is_file()]
        if not found:
            raise InvalidSettings(
                f"There is no page in this folder, neither {' nor '.join(PAGES)}.",
                "Name one that 'headclip screen' or 'headclip batch' wrote to, or the folder of a "
                "result in it; 'headclip report FOLDER --html' writes the page of a worklist, and "
                "'--outputs view' that of a study.",
                code="no-page",
            )
        return found[0]
