"""A page links only to what is there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.source import ROOT, files

TOPS = ("docs", "bundles", "headclip_med", "research")


def pages() -> Iterator[Path]:
    """All pages of the repository, from its root."""
    yield from (path.relative_to(ROOT) for path in ROOT.glob("*.md"))
    yield from (path for top in TOPS for path in files(top) if path.suffix == ".md")


def dead_links(text: str, folder: Path) -> list[str]:
    """Links and pictures of a page that lead to no file; those to the web are left out."""
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    own = (one.partition("#")[0] for one in targets if not re.match(r"\w+:", one))
    return [one for one in own if one and not (folder / one).exists()]


@pytest.mark.parametrize("page", list(pages()), ids=str)
def test_every_link_leads_somewhere(page: Path) -> None:
    assert dead_links((ROOT / page).read_text("utf-8"), (ROOT / page).parent) == []


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("")
    page = "[a](there.md#part) ![b](gone.png) [c](https://web.example/x) [d](#part)"
    assert dead_links(page, tmp_path) == ["gone.png"]
