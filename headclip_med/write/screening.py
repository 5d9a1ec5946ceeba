"""All files of one screening, in a folder that appears complete or not at all."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from headclip_med import __version__
from headclip_med.atomic import reported_errors, write_folder
from headclip_med.errors import HeadClipError
from headclip_med.findings import Screening
from headclip_med.volume import Volume
from headclip_med.write.dicom.seg import WrittenSegmentation, write_segmentation
from headclip_med.write.nifti import affine_error_mm, write_heatmap
from headclip_med.write.pictures.montage import draw_montage
from headclip_med.write.pictures.overlay import draw_slice
from headclip_med.write.result import Json, build_result, to_text

TOP_SLICES = 3
"""The highest slices get a picture even where no candidate was found: to check the tool."""

MOST_PICTURES = 64
"""Nobody looks through more single pictures; the heatmap holds every slice."""

PICTURE_COMPRESSION = 6

AFFINE_TOLERANCE_MM = 0.01
"""Slices that the heatmap's affine misplaces by more are reported."""

IMPOSSIBLE = "No DICOM segmentation was written"
"""The note of a series whose headers allow none begins with this."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class WrittenScreening:
    """Where the results of a screening went.

    Attributes:
        folder: The folder of this series.
        outputs: Paths relative to it, by name: ``result``, ``heatmap``, ``overlay``, ``slices``,
            ``seg``.
        notes: Sentences on how they were written, and on what could not be.
        result: The content of result.json.
    """

    folder: Path
    outputs: Mapping[str, str]
    notes: tuple[str, ...] = ()
    result: Json = field(default_factory=dict, repr=False)


@reported_errors()
def write_screening(screening: Screening, out: Path, *, seg: bool = True) -> WrittenScreening:
    """Write heatmap, pictures, segmentation and result.json of one volume.

    They go to ``out/<study>/<series>``, which replaces an earlier one as a whole. A segmentation is
    written for DICOM input with at least one lesion candidate; where the source's headers do not
    allow one, the reason stands in the notes and everything else is written all the same.

    Args:
        screening: What was found.
        out: Folder of a run; made if missing.
        seg: Whether to write a DICOM segmentation.

    Returns:
        Where everything is.

    Raises:
        UnwritableOutput: The disk does not take it.
    """
    folder = out / folder_of(screening.volume)
    started = time.perf_counter()
    with write_folder(folder) as unfinished:
        write_heatmap(unfinished / "heatmap.nii.gz", screening.heatmap)
        _save(draw_montage(screening), unfinished / "overlay.png")
        pictures = _write_pictures(screening, unfinished)
        written = _segmentation(screening, unfinished) if seg else _NO_SEGMENTATION
        outputs = {
            "result": "result.json",
            "heatmap": "heatmap.nii.gz",
            "overlay": "overlay.png",
            "slices": "slices",
            **{Path(name).stem: name for name in written.files},
        }
        notes = (*_notes(screening, len(pictures)), *written.notes)
        spent_s = time.perf_counter() - started
        result = build_result(
            replace(screening, timings_s={**screening.timings_s, "write": spent_s}),
            outputs=outputs,
            pictures=pictures,
            segments=written.segments,
            notes=notes,
        )
        (unfinished / "result.json").write_bytes(to_text(result))
    return WrittenScreening(folder, outputs, notes, result)


def folder_of(volume: Volume) -> Path:
    """Name the folder of a volume's results: its UIDs, or a hash of its content instead."""
    digest = volume.content_digest[:16]
    study, series = (
        uid if is_uid(uid) else digest
        for uid in (volume.study_instance_uid, volume.series_instance_uid)
    )
    return Path(str(study), f"{series}-part{volume.part}" if volume.part > 1 else str(series))


def is_uid(text: str | None) -> bool:
    """Tell whether a text is a UID, and so a harmless name: numbers between single dots.

    Leading zeros are forbidden by PS3.5 9.1, but common and harmless.
    """
    return text is not None and len(text) <= 64 and bool(re.fullmatch(r"[0-9]+(\.[0-9]+)+", text))


def lacks_segmentation(result: Mapping[str, Any]) -> bool:
    """Tell whether a result.json has candidates without the DICOM segmentation they could have."""
    if result["input"]["origin"] != "dicom" or not result["lesions"]:
        return False
    written = any(Path(name).match("seg*.dcm") for name in result["outputs"].values())
    return not written and not any(note.startswith(IMPOSSIBLE) for note in result["notes"])


_NO_SEGMENTATION = WrittenSegmentation((), {}, ())


def _segmentation(screening: Screening, folder: Path) -> WrittenSegmentation:
    if screening.volume.origin != "dicom" or not screening.lesions:
        return _NO_SEGMENTATION
    try:
        return write_segmentation(folder, screening, __version__)
    except HeadClipError as error:
        return _without_segmentation(folder, f"{IMPOSSIBLE}. {error}")
    except Exception as error:
        # Headers break in more ways than can be listed. One must not cost the other results, and
        # the library's own message may quote the header.
        kind = type(error).__name__
        logger.warning("no segmentation: %s while building it", kind)
        return _without_segmentation(
            folder,
            f"{IMPOSSIBLE}: the source's headers cannot be built upon "
            f"({kind}). The heatmap and the pictures are complete; check the series with a DICOM "
            "validator.",
        )


def _without_segmentation(folder: Path, note: str) -> WrittenSegmentation:
    for half in folder.glob("seg*.dcm"):
        half.unlink()
    return WrittenSegmentation((), {}, (note,))


def _write_pictures(screening: Screening, folder: Path) -> dict[int, str]:
    """Draw the slices with candidates, and the highest few; file names count from 1."""
    marked = _marked(screening)
    ranked = np.argsort(-screening.slice_scores, kind="stable").tolist()
    wanted = [*ranked[:TOP_SLICES], *(index for index in ranked[TOP_SLICES:] if index in marked)]
    digits = max(3, len(str(len(ranked))))
    (folder / "slices").mkdir()
    pictures = {
        index: f"slices/{index + 1:0{digits}d}.png" for index in sorted(wanted[:MOST_PICTURES])
    }
    for index, name in pictures.items():
        _save(draw_slice(screening, index), folder / name)
    return pictures


def _marked(screening: Screening) -> set[int]:
    return set(np.flatnonzero(screening.labels.any(axis=(1, 2))).tolist())


def _notes(screening: Screening, pictures: int) -> list[str]:
    notes = []
    error_mm = affine_error_mm(screening.volume.grid)
    if error_mm > AFFINE_TOLERANCE_MM:
        notes.append(
            "The slices are unevenly spaced, so no NIfTI affine is exact: heatmap.nii.gz has even "
            f"steps from the first slice to the last and misplaces slices by up to {error_mm:.2f} "
            "mm. The true positions stand under slices, origin_lps_mm; the DICOM segmentation is "
            "exact."
        )
    marked = len(_marked(screening))
    if marked > pictures:
        notes.append(
            f"{marked} slices hold candidates; single pictures were drawn of the {pictures} most "
            "suspicious."
        )
    return notes


def _save(picture: Image.Image, path: Path) -> None:
    picture.save(path, format="PNG", compress_level=PICTURE_COMPRESSION)
