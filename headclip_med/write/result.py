"""result.json: what was found, on what, by what, in plain JSON with a schema of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.resources import files
from typing import Any

import numpy as np

from headclip_med import __version__
from headclip_med.calibration import CalibrationUsed
from headclip_med.findings import SCORING_VERSION, Lesion, Screening, SymmetryUsed
from headclip_med.reading import Reading
from headclip_med.write.outputs import SkippedOutput, WrittenOutput
from headclip_med.write.plain_text import visible

SCHEMA_VERSION = "2.6"
"""The first number rises when a key goes or changes its meaning, the second when one comes."""

Json = dict[str, object]


def result_schema() -> Json:
    """Load the JSON schema (draft 2020-12) that every result.json satisfies."""
    text = files("headclip_med.write").joinpath("result.schema.json").read_text("utf-8")
    schema: Json = json.loads(text)
    return schema


def build_result(
    screening: Screening,
    *,
    files: Mapping[str, str],
    skipped: Sequence[SkippedOutput],
    written: Sequence[WrittenOutput],
    notes: Sequence[str],
) -> Json:
    """Put a screening into plain values.

    Args:
        screening: What was found.
        files: Paths of the files in its folder, by name.
        skipped: Outputs that were not written, and why.
        written: What the writers of the others left.
        notes: Sentences on how the files were written.

    Returns:
        The content of result.json; equal for equal screenings, except for ``timings_s``.
    """
    pictures = {index: path for one in written for index, path in one.pictures.items()}
    segments = {lesion: place for one in written for lesion, place in one.segments.items()}
    volume = screening.volume
    return {
        "schema_version": SCHEMA_VERSION,
        "version": __version__,
        "research_use_only": True,
        "study_instance_uid": volume.study_instance_uid,
        "series_instance_uid": volume.series_instance_uid,
        "part": volume.part,
        "score": rounded(screening.score),
        **_calibrated(screening.calibration, screening.model, is_joined=screening.symmetry.is_used),
        "scoring_version": SCORING_VERSION,
        "threshold": rounded(screening.threshold),
        "slices": [_slice(screening, index, pictures) for index in range(len(volume.sources))],
        "lesions": [_lesion(lesion, segments) for lesion in screening.lesions],
        "flat_regions": screening.flat_regions,
        "model": dict(screening.model),
        "settings": dict(screening.settings),
        "input": _input(screening),
        "planes": {
            "used": [{**asdict(one), "score": rounded(one.score)} for one in screening.planes],
            "left_out": [asdict(one) for one in screening.planes_left_out],
        },
        "symmetry": _symmetry(screening.symmetry),
        "outputs": dict(files),
        "heatmaps": {name: dict(how) for one in written for name, how in one.heatmaps.items()},
        "skipped_outputs": [asdict(one) for one in skipped],
        "notes": [*screening.notes, *notes],
        "timings_s": {step: round(float(s), 4) for step, s in screening.timings_s.items()},
    }


def calibration_json(used: CalibrationUsed) -> Json:
    """Put a p-value, or why there is none, into plain values and words."""
    rate = None if used.rate is None else [rounded(one) for one in used.rate]
    return {"state": used.state, **asdict(used), "rate": rate, "words": used.sentence()}


def with_calibration(result: Mapping[str, Any], used: CalibrationUsed) -> dict[str, Any]:
    """Give the content of a result.json, its score judged by another calibration."""
    is_joined = bool(result["symmetry"]["is_used"])
    return {**result, **_calibrated(used, result["model"], is_joined=is_joined)}


def _calibrated(used: CalibrationUsed, model: Mapping[str, object], *, is_joined: bool) -> Json:
    # Joined with symmetry a score is no longer on the scale that the model's own was calibrated on.
    by_model = bool(model.get("calibrated")) and not is_joined
    return {
        "calibrated": by_model or used.state == "calibrated",
        "calibration": calibration_json(used),
    }


def _symmetry(used: SymmetryUsed) -> Json:
    numbers = ("yaw_deg", "roll_deg", "offset", "own_score", "share")
    known = {name: getattr(used, name) for name in numbers}
    short = {name: None if one is None else rounded(one) for name, one in known.items()}
    return {"is_used": used.is_used, **asdict(used), **short}


def to_text(result: Json) -> bytes:
    """Write plain values as UTF-8 JSON for people and machines."""
    return (json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _slice(screening: Screening, index: int, pictures: Mapping[int, str]) -> Json:
    volume = screening.volume
    source = volume.sources[index]
    origin = volume.grid.origins_lps_mm[index]
    return {
        "index": index,
        "sop_instance_uid": source.sop_instance_uid,
        "frame": source.frame,
        "score": rounded(screening.slice_scores[index]),
        "origin_lps_mm": _point(origin) if volume.grid.is_patient else None,
        "picture": pictures.get(index),
    }


def _lesion(lesion: Lesion, segments: Mapping[int, tuple[str, int]]) -> Json:
    file, number = segments.get(lesion.id, (None, None))
    return {
        **asdict(lesion),
        "size": rounded(lesion.size),
        "centre": _point(lesion.centre),
        "max_score": rounded(lesion.max_score),
        "slices": list(lesion.slices),
        "segment": None if file is None else {"file": file, "number": number},
    }


def _input(screening: Screening) -> Json:
    volume, grid, window = screening.volume, screening.volume.grid, screening.window
    box = screening.crop_box
    steps: dict[str, Sequence[float] | np.ndarray] = {
        "pixel_spacing_mm": grid.pixel_spacing_mm,
        "row_step_lps_mm": grid.row_step_lps_mm,
        "column_step_lps_mm": grid.column_step_lps_mm,
    }
    return {
        "origin": volume.origin,
        "modality": volume.modality,
        "body_part": volume.body_part,
        # Of a file's name what can be written as UTF-8 and seen.
        "name": None if volume.name is None else visible(volume.name),
        "content_digest": volume.content_digest,
        "slices": grid.shape[0],
        "rows": grid.rows,
        "columns": grid.columns,
        "has_patient_geometry": grid.is_patient,
        **{name: _point(step) if grid.is_patient else None for name, step in steps.items()},
        "window": {
            "name": window.name,
            "low": float(window.low),
            "high": float(window.high),
            "reason": window.reason,
        },
        "reading": _unusual(volume.reading),
        "crop_box": {
            "rows": [box.first_row, box.end_row],
            "columns": [box.first_column, box.end_column],
        },
    }


def _unusual(reading: Reading) -> Json:
    """Name what was unusual, as the plain values that a file gives back."""
    facts: Json = json.loads(json.dumps(asdict(reading)))
    return {name: fact for name, fact in facts.items() if fact}


def rounded(number: float | np.floating) -> float:
    """Six decimals: float32 does not hold more of a number around 1."""
    return round(float(number), 6)


def _point(point: Sequence[float] | np.ndarray) -> list[float]:
    return [rounded(part) for part in point]
