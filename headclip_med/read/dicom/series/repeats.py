"""The same object or the same pixels given more than once: one is read, the others are named."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from headclip_med.errors import UnreadableInput
from headclip_med.read.dicom.image_header import ImageHeader
from headclip_med.read.dicom.series.directions import MOST_LONE
from headclip_med.read.dicom.stack import Slice
from headclip_med.read.inputs import Failure
from headclip_med.reading import Reading

BLOCK_BYTES = 1 << 20

SECTIONAL = ("CT", "MR", "PT")
"""Modalities whose images are slices through the patient, and mean little without their place."""


def set_aside(headers: Sequence[ImageHeader]) -> tuple[list[ImageHeader], list[Failure], Reading]:
    """Order the headers by what is in them, drop repeats, and set aside what has no pixels.

    Returns:
        The headers to use, what is not used, and what both mean for each volume of the series.
    """
    unusable = [Failure.of(header.path, header.problem) for header in headers if header.problem]
    dropped: list[Failure] = []
    kept: list[ImageHeader] = []
    differing = 0
    by_uid: dict[object, list[ImageHeader]] = defaultdict(list)
    for header in headers:
        if not header.problem:
            uid = header.sop_instance_uid or str(header.path)
            by_uid[(header.patient_key, uid)].append(header)
    for same in by_uid.values():
        if len({(header.frames, header.rows, header.columns) for header in same}) > 1:
            unusable += [Failure.of(header.path, _conflict()) for header in same]
            continue
        if len(same) == 1:
            kept += same
            continue
        digests = [(_file_digest(header.path), str(header.path)) for header in same]
        best = same[digests.index(min(digests))]
        kept.append(best)
        others = [header for header in same if header is not best]
        dropped += [repeat_of(best.path, header.path) for header in others]
        differing += sum(content != min(digests)[0] for content, _ in digests)
    kept, broken = _without_broken(kept)
    unusable += broken
    kept.sort(key=_by_content)
    reading = Reading(
        unusable_files=len(unusable), repeated_files=len(dropped), differing_files=differing
    )
    return kept, unusable + dropped, reading


def _without_broken(headers: list[ImageHeader]) -> tuple[list[ImageHeader], list[Failure]]:
    """Set aside slices that state a plane which is none; a few are images without a place each."""
    broken = [
        header
        for header in headers
        if header.modality in SECTIONAL and any(frame.is_broken for frame in header.frames)
    ]
    if len(broken) <= MOST_LONE:
        return headers, []
    kept = [header for header in headers if not any(header is one for one in broken)]
    return kept, [Failure.of(header.path, _no_plane(len(broken))) for header in broken]


def repeat_of(kept: Path, path: Path) -> Failure:
    """Say that a file is not read because another holds the same."""
    error = UnreadableInput(
        "The file repeats an image of its series, of which another file is read.",
        "Nothing needs to be done.",
        code="repeat",
    )
    return Failure.of(path, error, repeats=kept)


class PixelDigests:
    """Digests of pixel data as it is stored, each made once, when it is asked for."""

    def __init__(self) -> None:
        self._known: dict[Path, str] = {}

    def copies(self, places: Sequence[Sequence[Slice]]) -> list[tuple[Slice, Slice]]:
        """Find slices that only repeat another at their position.

        Where every repeat is a copy, all are. Where some are (empty slices of a dynamic series)
        a copy is only what is there more often than slices usually are.

        Args:
            places: The slices at each position, in order.

        Returns:
            Each copy, and the slice it repeats.
        """
        repeated = [place for place in places if len(place) > 1]
        if all(len(self._kinds(place)) == 1 for place in repeated):
            return [(copy, place[0]) for place in repeated for copy in place[1:]]
        usual = Counter(map(len, places)).most_common(1)[0][0]
        found: list[tuple[Slice, Slice]] = []
        for place in repeated:
            if (beyond := len(place) - usual) <= 0:
                continue
            kinds = self._kinds(place).values()
            pairs = [(copy, kind[0]) for kind in kinds for copy in kind[1:]]
            found += pairs[:beyond]
        return found

    def _kinds(self, place: Sequence[Slice]) -> dict[object, list[Slice]]:
        kinds: dict[object, list[Slice]] = defaultdict(list)
        if len({one.header.path for one in place}) == 1:  # frames of one object are no copies
            return {number: [one] for number, one in enumerate(place)}
        for one in place:
            kinds[(self._of(one.header), one.frame.number or 1, one.frame.tile)].append(one)
        return kinds

    def _of(self, header: ImageHeader) -> str:
        if header.path not in self._known:
            self._known[header.path] = _tail_digest(header.path, header.pixel_bytes)
        return self._known[header.path]


def _tail_digest(path: Path, size: int) -> str:
    """Digest the last bytes of a file; the path itself where it holds fewer (deflated)."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            if not 0 < size <= path.stat().st_size:
                return str(path)
            file.seek(-size, 2)
            while block := file.read(BLOCK_BYTES):
                digest.update(block)
    except OSError:
        return str(path)
    return digest.hexdigest()


def _file_digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:  # gone since its header was read; another copy may still be there
        return "unreadable"


def _by_content(header: ImageHeader) -> tuple[object, ...]:
    plane = header.frames[0].plane
    place = plane.position_lps_mm if plane else ()
    return header.instance_number, header.sop_instance_uid or "", place, header.patient_key


def _conflict() -> UnreadableInput:
    return UnreadableInput(
        "Several files bear the same SOP instance UID but differ in place, size or number of "
        "frames, so none can be trusted.",
        "Export the series again without changing its UIDs.",
        code="conflicting-uid",
    )


def _no_plane(files: int) -> UnreadableInput:
    return UnreadableInput(
        f"Position, orientation or pixel spacing are no plane in {files} file(s) of the series: "
        "numbers are missing, not finite, or no two directions at right angles.",
        "Export the series again; a file given alone is screened as an image without a place.",
        code="broken-plane",
    )
