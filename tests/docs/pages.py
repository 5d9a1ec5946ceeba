"""The commands of the documentation: what a page's blocks hold, and why some of it is not run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(sh|bash|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LOOP = re.compile(r"^for (\w+) in (.+?); do\n(.*?)^done\n", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`headclip ([^`\n]+)`")
PAGES = tuple(
    path.relative_to(ROOT).as_posix()
    for path in (
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *sorted((ROOT / "docs").rglob("*.md")),
        *sorted((ROOT / "bundles").rglob("*.md")),
    )
)

ELSEWHERE = {
    "docs/your-own-data.md": "tests/datasets/test_own_data_page.py",
    "bundles/headclip_lesion_segmentation/docs/README.md": "tests/bundle/test_bundle_readme.py",
    "docs/tutorials/pacs.md": "tests/service/live/test_tutorial.py",
}
"""Pages whose commands a test of their own runs, each with more to check than its exit code."""

REASONS = {
    r"^(?!headclip weights list ).*(ViT-L-14|runs/)": "needs CLIP's weights, which do not travel",
    r"/data\b|DATA\b|:DIR\b|--data-root": "needs public sets",
    r" \.\.\.( |$)": "is a part of a command",
    r"headclip serve": "goes on until it is asked to end",
    r"headclip view": "opens a browser",
    r"--ray ": "starts a cluster",
    r"FILE": "needs a file of weights",
}
"""By what a command of ours looks like, why it is not run; it is parsed all the same."""

PROGRAMS = {
    "make": "a target of the Makefile",
    "pip": "installs", "python3.11": "installs", ".venv/bin/python": "installs, or is a test's",
    "python": "another program", "torchrun": "another program", "sha256sum": "another program",
    "sqlite3": "another program", "rsync": "another program", "cd": "goes elsewhere",
    "sudo": "changes the machine",
    "Orthanc": "a PACS", "dcmsend": "sends to a PACS", "curl": "asks a PACS",
}  # fmt: skip
"""Of other programs, what they are; nothing of theirs is run."""


@dataclass(frozen=True)
class DocumentedCommand:
    """One command as a page has it.

    Attributes:
        page: From the repository's root.
        text: Without comment and prompt, in one line.
    """

    page: str
    text: str

    @property
    def words(self) -> list[str]:
        """What a shell makes of it, without redirections."""
        return shlex.split(re.sub(r"\s>\s*\S+", "", self.text))

    @property
    def arguments(self) -> list[str] | None:
        """What our command line is given, by whatever name it is called; None of others."""
        words = self.words
        if Path(words[0]).name == "headclip":
            return words[1:]
        if "headclip_med" in words:
            return words[words.index("headclip_med") + 1 :]
        return None

    @property
    def reason(self) -> str | None:
        """Why it is not run; None where it is."""
        if self.arguments is None:
            return PROGRAMS.get(self.words[0])
        if self.words[0] == "torchrun":
            return "starts several processes"
        found = (why for pattern, why in REASONS.items() if re.search(pattern, self.text))
        return ELSEWHERE.get(self.page) or next(found, None)


def commands(page: str) -> list[DocumentedCommand]:
    """The commands of a page's blocks, those that one line joins taken apart.

    Args:
        page: From the repository's root.
    """
    text = (ROOT / page).read_text("utf-8")
    return [
        DocumentedCommand(page, part)
        for kind, block in BLOCK.findall(text)
        for line in _lines(LOOP.sub(_unrolled, block), is_console=kind == "console")
        for part in _parts(line)
    ]


def inline(page: str) -> list[str]:
    """What stands behind our name within a sentence of a page."""
    return INLINE.findall((ROOT / page).read_text("utf-8"))


def _unrolled(loop: re.Match[str]) -> str:
    """Write a loop of the shell as what it does."""
    name, values, body = loop.groups()
    return "".join(body.replace(f"${name}", value) for value in values.split())


def _lines(block: str, *, is_console: bool) -> Iterator[str]:
    for line in block.replace("\\\n", " ").splitlines():
        if is_console and not line.startswith("$ "):
            continue  # what a command answers
        yield re.sub(r"\s#.*$", "", line.removeprefix("$ "))


def _parts(line: str) -> Iterator[str]:
    for part in re.split(r"&&|&(?=\s|$)", line):
        if part.strip():
            yield " ".join(part.split())
