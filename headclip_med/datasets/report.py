"""What the check of a set found, in words and in numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from headclip_med.errors import HeadClipError

if TYPE_CHECKING:
    from headclip_med.datasets.samples import Split

Severity = Literal["error", "warning", "note"]

SHOWN_OF_A_KIND = 10
"""Findings of one kind that are shown; the rest is counted."""


@dataclass(frozen=True)
class Finding:
    """One thing that was noticed.

    Attributes:
        severity: ``error``: the set cannot be used as it is; ``warning``: results would not be
            what they seem; ``note``: good to know.
        code: A short stable name.
        reason: What it is, in words, with the files' names.
        advice: What to do; empty where the reader decides.
    """

    severity: Severity
    code: str
    reason: str
    advice: str = ""

    @classmethod
    def of(cls, problem: HeadClipError) -> Finding:
        """Take what kept a file from being used."""
        return cls("error", problem.code, problem.reason, problem.advice)

    @property
    def message(self) -> str:
        """Both, as a person reads them."""
        return f"{self.reason} {self.advice}".strip()


def shown_lines(
    findings: Sequence[Finding], most: int | None = SHOWN_OF_A_KIND, *, elsewhere: str
) -> Iterator[str]:
    """Yield a line for each finding, then one for each kind of which there are too many.

    Args:
        findings: In the order in which they are shown.
        most: Of one kind that are shown; None shows all.
        elsewhere: What shows the rest.
    """
    seen: dict[tuple[str, str], int] = {}
    for one in findings:
        kind = one.severity, one.code
        seen[kind] = seen.get(kind, 0) + 1
        if most is None or seen[kind] <= most:
            yield f"{one.severity}: {one.message}"
    for (severity, code), count in seen.items():
        if most is not None and count > most:
            yield f"{severity}: {count - most} more of the kind {code}; {elsewhere} shows them"


@dataclass(frozen=True)
class Report:
    """What a check found.

    Attributes:
        name: Of the set.
        folder: Where its layout starts; None where no layout fitted.
        layout: The arrangement that fitted, in words.
        counts: Normal and abnormal images of each split.
        categories: The same of each category, in all splits.
        masks: How many mask files belong to images.
        expected: Normal and abnormal images of each split as published, where known.
        findings: Errors first, then warnings, then notes.
    """

    name: str
    folder: Path | None
    layout: str
    counts: dict[Split, tuple[int, int]]
    categories: dict[str, tuple[int, int]]
    masks: int
    expected: dict[Split, tuple[int, int]]
    findings: tuple[Finding, ...]

    @property
    def is_usable(self) -> bool:
        """Whether nothing was found that keeps the set from being used."""
        return not any(one.severity == "error" for one in self.findings)

    def to_json(self) -> dict[str, Any]:
        """Give the report as plain values."""
        return {
            "name": self.name,
            "folder": str(self.folder) if self.folder else None,
            "layout": self.layout,
            "counts": _named(self.counts),
            "categories": _named(self.categories),
            "masks": self.masks,
            "expected": _named(self.expected),
            "usable": self.is_usable,
            "findings": [{**vars(one), "message": one.message} for one in self.findings],
        }


def _named(counts: Mapping[Any, tuple[int, int]]) -> dict[str, dict[str, int]]:
    return {str(name): {"normal": n, "abnormal": a} for name, (n, a) in counts.items()}
