"""What is doubtful about a set as a whole: a class that is absent, images in train and in test."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from headclip_med.datasets.report import Finding, Severity
from headclip_med.datasets.samples import Dataset, Sample, file_digest, shown

_WORDS = {0: "normal", 1: "abnormal"}


def set_doubts(dataset: Dataset) -> Iterator[Finding]:
    """Yield what a reader of numbers on a set must know.

    Args:
        dataset: Its ``test`` split is what is measured, or trained on.

    Yields:
        A warning where images of one kind are absent although the set has labels only, so that
        nothing can be told apart; a note where it has masks, which can be measured all the same; a
        warning for each category with a single image of a kind, and for images that are in both
        splits, as one file or as copies.
    """
    tested = [one for one in dataset.samples if one.split == "test"]
    yield from _absent(tested, "warning" if dataset.level == "image" else "note")
    yield from _single(tested)
    leaked = sorted(_in_both(tested, [one for one in dataset.samples if one.split == "train"]))
    if leaked:
        root = tested[0].root
        names = ", ".join(shown(path, root) for path in leaked[:4])
        more = " ..." if len(leaked) > 4 else ""
        yield Finding(
            "warning",
            "in-both-splits",
            f"{len(leaked)} images are in the training and in the test split: {names}{more}.",
            "Leave them out of one: what was trained on must not be tested.",
        )


def _in_both(tested: list[Sample], trained: list[Sample]) -> set[Path]:
    """Find the test images whose file, or a copy of it, is trained on."""
    sizes: dict[int, set[Path]] = {}
    for one in trained:
        sizes.setdefault(_size(one.image_path), set()).add(one.image_path)
    digest, found = cache(file_digest), set()
    for path in {one.image_path for one in tested}:
        alike = sizes.get(_size(path), set()) if path.is_file() else set()
        if path in alike or (alike and digest(path) in {digest(one) for one in alike}):
            found.add(path)
    return found


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1


def _absent(tested: list[Sample], severity: Severity) -> Iterator[Finding]:
    labels = {one.label for one in tested}
    if None in labels or not labels:
        return  # only the masks tell
    for label, word in _WORDS.items():
        if label not in labels:
            yield Finding(
                severity,
                f"no-{word}",
                f"The set has no {word} test image, so that nothing is said of telling images "
                "apart.",
                "Add some, or measure pixels only.",
            )


def _single(tested: list[Sample]) -> Iterator[Finding]:
    counts = Counter((one.category, one.label) for one in tested if one.label is not None)
    for (category, label), count in counts.items():
        if count == 1:
            yield Finding(
                "warning",
                "single-image",
                f"The category {category} has a single {_WORDS[int(label or 0)]} test image, on "
                "which all of its numbers hang.",
                "Add some.",
            )
