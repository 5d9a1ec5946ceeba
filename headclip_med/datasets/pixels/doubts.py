"""What is doubtful about the masks of a set: said by its check, and before it is used."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool

from headclip_med.datasets.own.doubts import set_doubts
from headclip_med.datasets.pixels.mask import CODES_AT_MOST, PaintedMask
from headclip_med.datasets.report import Finding, shown_lines
from headclip_med.datasets.samples import (
    Dataset,
    Sample,
    joined_masks,
    read_mask,
    read_painted_masks,
)
from headclip_med.errors import UnreadableInput

UNSURE_LEVELS = (64, 191)
"""Between these, a mask cut in the middle does not say clearly what it means."""

UNSURE_SHARE = 0.5
"""Of what a blurred mask marks; the edges of small regions stay below."""

MOST = 0.5
"""A mask that marks more than this share of its image may be inverted."""

ORDER = ("error", "warning", "note")


@dataclass
class MaskDoubts:
    """What was found about masks so far.

    Attributes:
        findings: One for each doubt about each mask.
        lossy: How many masks were cut in the middle of their range.
    """

    findings: list[Finding] = field(default_factory=list)
    lossy: int = 0

    def look_at(self, sample: Sample) -> bool:
        """Check the masks of an image, and say whether they mark anything.

        Raises:
            UnreadableInput: A mask cannot be read, or does not fit its image.
        """
        if sample.slices is not None:
            marked = read_mask(sample)
        else:
            masks = read_painted_masks(sample)
            for path, mask in zip(sample.mask_paths, masks, strict=True):
                self.findings += _doubts(sample.shown(path), sample, mask)
                self.lossy += mask.is_lossy
            marked = joined_masks(masks)
        self.findings += _of_marks(sample, marked)
        return bool(marked.any())

    def all(self) -> list[Finding]:
        """Give everything that was found, the note about compressed masks last."""
        if not self.lossy:
            return self.findings
        note = Finding(
            "note",
            "lossy-mask",
            f"{self.lossy} masks lost detail to compression (JPEG): what is above the middle of "
            "their range counts.",
        )
        return [*self.findings, note]


def masks_in_doubt(samples: Iterable[Sample]) -> tuple[Finding, ...]:
    """Check the masks of images that are about to be used, as the check of a set does.

    Args:
        samples: Those without a mask are passed over.

    Returns:
        Warnings and notes, in this order.

    Raises:
        UnreadableInput: A mask cannot be used: the first of the errors that the check would report,
            and how many more there are.
    """
    doubts = MaskDoubts()
    for sample in samples:
        if sample.mask_paths:
            try:
                doubts.look_at(sample)
            except UnreadableInput as problem:
                doubts.findings.append(Finding.of(problem))
    found = in_order(doubts.all())
    errors = [one for one in found if one.severity == "error"]
    if errors:
        rest = len(errors) - 1
        counted = "is 1 more error" if rest == 1 else f"are {rest} more errors"
        more = f" There {counted} about masks."
        raise UnreadableInput(
            errors[0].reason + more * (rest > 0),
            f"{errors[0].advice} 'headclip datasets check' lists all that is wrong.".strip(),
            code=errors[0].code,
        )
    return tuple(found)


def doubts_of(
    dataset: Dataset, samples: Iterable[Sample], say: Callable[[str], None]
) -> Mapping[str, int]:
    """Say what is doubtful about images that are about to be used, a few of each kind.

    Args:
        dataset: The set they are of; its own findings are said as well.
        samples: Those of it that will be used.
        say: Takes a line.

    Returns:
        How many findings there are of each code.

    Raises:
        UnreadableInput: A mask cannot be used; see ``masks_in_doubt``.
    """
    findings = [*dataset.findings, *set_doubts(dataset), *masks_in_doubt(samples)]
    counts: dict[str, int] = {}
    for one in findings:
        counts[one.code] = counts.get(one.code, 0) + 1
    for line in shown_lines(findings, elsewhere="'headclip datasets check --all'"):
        say(line)
    return counts


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """Put errors first, then warnings, then notes."""
    return sorted(findings, key=lambda one: ORDER.index(one.severity))


def _doubts(name: str, sample: Sample, mask: PaintedMask) -> Iterator[Finding]:
    """Yield what is doubtful about how a mask is stored."""
    image = sample.shown(sample.image_path)
    if mask.is_faint:
        yield Finding(
            "warning",
            "faint-mask",
            f"The mask {name} is compressed with loss (JPEG), and nothing in it stands out of what "
            "that leaves of black, so nothing in it counts.",
            "Find the original.",
        )
    if mask.is_guessed:
        yield Finding(
            "warning",
            "palette-guess",
            f"The mask {name} has a palette whose colour 0 is not black while another is, so that "
            "it can be read in two ways; the one that marks less was taken.",
            "Save it in black and white.",
        )
    if mask.fit == "unsure":
        yield Finding(
            "warning",
            "mask-orientation",
            f"The image {image} is turned by its EXIF orientation, and the mask {name} has none: "
            "it was taken as drawn on the upright image, and its size would fit the other way too.",
            "Save the image upright.",
        )
    if mask.fit == "turned":
        yield Finding(
            "note",
            "turned-mask",
            f"The mask {name} was turned as its image {image} is, which its size asks for.",
        )
    yield from _grey_levels(name, mask)


def _of_marks(sample: Sample, marked: Bool[np.ndarray, "rows columns"]) -> Iterator[Finding]:
    """Yield what is doubtful about how much is marked."""
    name = sample.shown(sample.mask_path) if sample.mask_path else ""
    image = sample.shown(sample.image_path)
    share = float(marked.mean()) if marked.size else 0.0
    if sample.label == 1 and not share:
        yield Finding(
            "error",
            "empty-mask",
            f"The mask {name} marks nothing, but its image {image} is abnormal.",
            "Find the right mask, or label the image as normal.",
        )
    if sample.label == 0 and share:
        yield Finding(
            "error",
            "marked-normal",
            f"The mask {name} marks something, but its image {image} is normal.",
            "Empty the mask, or label the image as abnormal.",
        )
    if share == 1:
        yield Finding(
            "warning",
            "full-mask",
            f"The mask {name} marks the whole image {image}.",
            "Is it inverted?",
        )
    elif share > MOST:
        yield Finding(
            "warning",
            "most-mask",
            f"The mask {name} marks {100 * share:.0f} % of its image {image}.",
            "Is it inverted?",
        )


def _grey_levels(name: str, mask: PaintedMask) -> Iterator[Finding]:
    """Yield a warning where a threshold does not part a mask's levels cleanly."""
    counts = np.bincount(mask.levels.ravel(), minlength=256)
    if mask.above == 0 and np.count_nonzero(counts) > CODES_AT_MOST:
        yield Finding(
            "warning",
            "grey-mask",
            f"The mask {name} has {np.count_nonzero(counts)} grey levels, so it was blurred "
            "or compressed, and all but black counts as abnormal.",
            "Find the original.",
        )
    unsure, marked = (
        counts[UNSURE_LEVELS[0] : UNSURE_LEVELS[1] + 1].sum(),
        counts[mask.above + 1 :].sum(),
    )
    if mask.above > 0 and unsure > UNSURE_SHARE * max(marked, 1):
        yield Finding(
            "warning",
            "grey-mask",
            f"The mask {name} has {unsure} pixels between grey levels {UNSURE_LEVELS[0]} and "
            f"{UNSURE_LEVELS[1]}, beside {marked} above {mask.above}: the threshold decides much "
            "of it.",
        )
