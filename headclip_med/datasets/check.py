"""Check a copy of a set before it is used: every file opened, everything wrong said in words."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from headclip_med.datasets import samples
from headclip_med.datasets.known import scan_set
from headclip_med.datasets.layouts import PICTURE_SUFFIXES, KnownSet
from headclip_med.datasets.own.doubts import set_doubts
from headclip_med.datasets.pixels.doubts import MaskDoubts, in_order
from headclip_med.datasets.report import Finding, Report
from headclip_med.datasets.scan import Scan
from headclip_med.datasets.walk import is_hidden
from headclip_med.errors import UnreadableInput


def check_set(
    known: KnownSet,
    folder: Path,
    *,
    slices: samples.SliceReader | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Open every image and mask of a set and report what is wrong.

    Args:
        known: The set.
        folder: Where it is kept.
        slices: Reads volumes; needed for sets of them.
        progress: Called with images done and images in all.

    Raises:
        InvalidSettings: The set is one of volumes, and there is no reader.
    """
    try:
        scanned = scan_set(known, folder, slices)
    except UnreadableInput as problem:
        return Report(known.name, None, "", {}, {}, 0, {}, (Finding.of(problem),))
    seen = _Seen()
    seen.findings += [Finding.of(problem) for problem in scanned.problems]
    for number, sample in enumerate(scanned.samples, start=1):
        seen.look_at(sample)
        if progress:
            progress(number, len(scanned.samples))
    expected = known.expected(scanned.layout)
    counts: dict[samples.Split, tuple[int, int]] = seen.counts(0)
    categories: dict[str, tuple[int, int]] = seen.counts(1)
    findings = (
        *scanned.passed_over,
        *_of_the_whole(known, scanned),
        *seen.findings,
        *seen.masks.all(),
        *seen.duplicates(),
        *_differences(known, counts, expected, set(categories)),
        *_unused(scanned),
    )
    return Report(
        known.name,
        scanned.root,
        scanned.layout.describe(),
        counts,
        categories,
        len({path for sample in scanned.samples for path in sample.mask_paths}),
        expected,
        tuple(in_order(findings)),
    )


def _of_the_whole(known: KnownSet, scanned: Scan) -> Iterator[Finding]:
    if scanned.samples:
        yield from set_doubts(samples.Dataset(known.name, scanned.samples, scanned.layout.level))


@dataclass
class _Seen:
    """What was seen of the images so far."""

    findings: list[Finding] = field(default_factory=list)
    masks: MaskDoubts = field(default_factory=MaskDoubts)
    labels: list[tuple[samples.Split, str, int]] = field(default_factory=list)
    files: dict[bytes, list[samples.Sample]] = field(default_factory=dict)
    pixels: dict[bytes, list[samples.Sample]] = field(default_factory=dict)
    volumes: set[Path] = field(default_factory=set)

    def look_at(self, sample: samples.Sample) -> None:
        label: int | None = sample.label
        try:
            image = samples.read_image(sample)
            self._remember(sample, image)
            if sample.mask_paths:
                marks = self.masks.look_at(sample)
                label = int(marks) if label is None else label
        except UnreadableInput as problem:
            self.findings.append(Finding.of(problem))
        self.labels.append((sample.split, sample.category, int(label or 0)))

    def counts(self, column: int) -> dict[Any, tuple[int, int]]:
        """Count the normal and the abnormal images of each split (0) or category (1)."""
        found = Counter((one[column], one[2]) for one in self.labels)
        return {name: (found[name, 0], found[name, 1]) for name, _ in found}

    def duplicates(self) -> Iterator[Finding]:
        """Yield a warning for each group of equal files, then of equal pixels in unequal files."""
        for code, what, groups in (
            ("equal-files", "are the same file", self.files),
            ("equal-pixels", "show the same pixels", self.pixels),
        ):
            for group in groups.values():
                if len(group) > 1:
                    yield Finding("warning", code, _same(group, what))

    def _remember(self, sample: samples.Sample, image: UInt8[np.ndarray, "rows columns 3"]) -> None:
        path = sample.image_path
        if sample.slice_index is not None and path in self.volumes:
            return  # empty slices of a volume are alike, and that is no duplicate
        self.volumes.add(path)
        same = self.files.setdefault(samples.file_digest(path), [])
        same.append(sample)
        if sample.slice_index is None and len(same) == 1:
            digest = hashlib.sha256(repr(image.shape).encode() + image.tobytes()).digest()
            self.pixels.setdefault(digest, []).append(sample)


def _same(group: list[samples.Sample], what: str) -> str:
    names = ", ".join(sample.shown(sample.image_path) for sample in group[:4])
    more = f" and {len(group) - 4} more" if len(group) > 4 else ""
    text = f"The images {names}{more} {what}; they count several times."
    if len({sample.label for sample in group}) > 1:
        text += " One is labelled normal and another abnormal: one label is wrong."
    if len({sample.split for sample in group}) > 1:
        text += " They are in train and in test: a method that trains on train has seen the test."
    return text


def _differences(
    known: KnownSet,
    counts: dict[samples.Split, tuple[int, int]],
    expected: dict[samples.Split, tuple[int, int]],
    categories: set[str],
) -> Iterator[Finding]:
    for split, (normal, abnormal) in expected.items():
        found = counts.get(split, (0, 0))
        if found == (normal, abnormal) or (split == "train" and split not in counts):
            continue
        yield Finding(
            "warning",
            "counts",
            f"{split}: {found[0]} normal and {found[1]} abnormal images, but {known.name} has "
            f"{normal} and {abnormal}; results are not comparable with published ones.",
        )
    absent = [name for name in known.categories if name not in categories]
    if absent and categories & set(known.categories):
        yield Finding(
            "warning",
            "absent-categories",
            f"{len(absent)} of {len(known.categories)} categories are absent: {', '.join(absent)}.",
        )


def _unused(scanned: Scan) -> Iterator[Finding]:
    """Yield a note for each folder with pictures that belong to no image of the set."""
    used = {p for s in scanned.samples for p in (s.image_path, *s.mask_paths)}
    left: Counter[Path] = Counter()
    for place, folders, files in os.walk(scanned.root):
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        paths = (Path(place) / name for name in files if not is_hidden(name))
        left[Path(place)] = sum(
            path.suffix.lower() in PICTURE_SUFFIXES and path not in used for path in paths
        )
    for folder, count in left.items():
        if count:
            where = folder.relative_to(scanned.root)
            yield Finding("note", "unused", f"{count} pictures in {where}/ are not used.")
