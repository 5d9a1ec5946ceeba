"""What a summary says of one series, of one input that failed, and of one file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from headclip_med.calibration import NOT_CALIBRATED, CalibrationUsed, Stratum
from headclip_med.errors import HeadClipError, UnreadableInput
from headclip_med.findings import Lesion
from headclip_med.write.result import SCHEMA_VERSION, calibration_json
from headclip_med.write.screening import WrittenScreening


@dataclass(frozen=True)
class SummaryRow:
    """One screened volume.

    Attributes:
        folder: Of its results, relative to the run's, with forward slashes.
        score: Of the volume, in [0, 1]; rows are sorted by it.
        calibrated: Whether the score was calibrated, or merely sorts.
        threshold: Heatmap value from which a voxel belongs to a candidate.
        slice_scores: Of each slice, in [0, 1].
        lesions: Highest first.
        modality: DICOM modality, if known.
        window: Name of the grey-level mapping.
        name: Of the file, for inputs without identifiers.
        study_instance_uid: DICOM only.
        series_instance_uid: DICOM only.
        part: Which stack of its series, from 1.
        has_patient_geometry: Whether its voxels have a place in the patient.
        model: Name and method of the model, and whether both sides were compared besides.
        outputs: Paths relative to ``folder``, by name.
        picture: Path of the picture of the most suspicious slice, or of the overlay where slices
            were not asked for, relative to ``folder``.
        notes: Sentences on how it was read and written.
        files: What it was read from, as the summary calls them.
        calibration: The p-value of its score, or why there is none.
    """

    folder: str
    score: float
    calibrated: bool
    threshold: float
    slice_scores: tuple[float, ...]
    lesions: tuple[Lesion, ...]
    modality: str | None
    window: str
    name: str | None
    study_instance_uid: str | None
    series_instance_uid: str | None
    part: int
    has_patient_geometry: bool
    model: str
    outputs: Mapping[str, str]
    picture: str | None
    notes: tuple[str, ...]
    files: tuple[str, ...] = ()
    calibration: CalibrationUsed = NOT_CALIBRATED

    @classmethod
    def of(cls, written: WrittenScreening, out: Path) -> SummaryRow:
        """Build the row of a screening that was written below ``out``."""
        return cls.from_result(written.result, written.folder.relative_to(out).as_posix())

    @classmethod
    def from_result(cls, result: Mapping[str, Any], folder: str) -> SummaryRow:
        """Build the row of a result.json, so that a later run can take up an earlier one's.

        Raises:
            UnreadableInput: It was written by a version whose results were made up otherwise.
        """
        _check_schema(result)
        given, model = result["input"], result["model"]
        return cls(
            folder=folder,
            score=result["score"],
            calibrated=result["calibrated"],
            threshold=result["threshold"],
            slice_scores=tuple(one["score"] for one in result["slices"]),
            lesions=tuple(_lesion(one) for one in result["lesions"]),
            modality=given["modality"],
            window=given["window"]["name"],
            name=given["name"],
            study_instance_uid=result["study_instance_uid"],
            series_instance_uid=result["series_instance_uid"],
            part=result["part"],
            has_patient_geometry=given["has_patient_geometry"],
            model=" / ".join(str(model[key]) for key in ("name", "method") if key in model)
            + (" + symmetry" if result.get("symmetry", {}).get("is_used") else ""),
            outputs=dict(result["outputs"]),
            picture=max(result["slices"], key=lambda one: one["score"])["picture"]
            or result["outputs"].get("overlay"),
            notes=tuple(result["notes"]),
            calibration=_calibration(result.get("calibration")),
        )

    def to_plain(self) -> dict[str, Any]:
        """Put it into values that JSON knows."""
        return {**asdict(self), "calibration": calibration_json(self.calibration)}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> SummaryRow:
        """Build it from what JSON made of ``to_plain``."""
        given = {one.name: plain[one.name] for one in fields(cls)}
        lists = {name: tuple(given[name]) for name in ("slice_scores", "notes", "files")}
        lesions = tuple(_lesion(one) for one in given["lesions"])
        used = _calibration(given["calibration"])
        return cls(**{**given, **lists, "lesions": lesions, "calibration": used})


@dataclass(frozen=True)
class FailedInput:
    """An input that gave no result.

    Attributes:
        input: What the user called it, or a hash of it; shown in the summary.
        code: Short and stable, for machines.
        reason: What was found, and why it cannot be used.
        what_to_do: The way out.
        files: What it is made of, as the summary calls them.
    """

    input: str
    code: str
    reason: str
    what_to_do: str = ""
    files: tuple[str, ...] = ()

    @classmethod
    def of(cls, name: str, error: HeadClipError, files: tuple[str, ...] = ()) -> FailedInput:
        """Report an error that belongs to an input."""
        return cls(name, error.code, error.reason, error.advice, files)


@dataclass(frozen=True)
class FileRow:
    """What became of one file, or of one folder that was not entered.

    Attributes:
        file: As the summary calls it.
        status: ``screened``, ``repeat``, ``left-out`` or ``failed``.
        series: Folders of the results that it is part of.
        repeats: The file that stands for it.
        code: Why it, or a part of it, was not screened.
        reason: The same in a sentence.
        what_to_do: The way out.
    """

    file: str
    status: str
    series: tuple[str, ...] = ()
    repeats: str | None = None
    code: str | None = None
    reason: str = ""
    what_to_do: str = ""


def account_for(
    rows: Iterable[SummaryRow], failures: Iterable[FailedInput], unused: Iterable[FileRow]
) -> tuple[FileRow, ...]:
    """Say of each file once what became of it.

    Args:
        rows: Of the screened volumes.
        failures: Of the inputs that gave none.
        unused: Files that nobody tried to screen.

    Returns:
        By name; a file of which only a part failed counts as screened, with the code.
    """
    found = {one.file: one for one in unused}
    for row in rows:
        for file in row.files:
            earlier = found.get(file, FileRow(file, "screened"))
            found[file] = replace(earlier, series=(*earlier.series, row.folder))
    for failure in failures:
        for file in failure.files:
            found[file] = replace(
                found.get(file, FileRow(file, "failed")),
                code=failure.code,
                reason=failure.reason,
                what_to_do=failure.what_to_do,
            )
    return tuple(sorted(found.values(), key=lambda one: one.file))


def read_rows(out: Path) -> list[SummaryRow]:
    """Read the rows of every result that stands below a run's folder.

    Raises:
        UnreadableInput: A result.json there is damaged, or follows another schema.
    """
    rows = []
    for path in sorted(out.glob("*/*/result.json")):
        if path.parent.name.startswith("."):
            continue  # unfinished
        try:
            result = json.loads(path.read_text("utf-8"))
            rows.append(SummaryRow.from_result(result, path.parent.relative_to(out).as_posix()))
        except (ValueError, KeyError, TypeError) as error:
            raise UnreadableInput(
                "A result.json below this folder is damaged.",
                "Remove its folder and screen that series again.",
                code="bad-result",
            ) from error
    return rows


def _check_schema(result: Mapping[str, Any]) -> None:
    found = str(result["schema_version"])
    if _major(found) < _major(SCHEMA_VERSION):
        raise UnreadableInput(
            f"A result.json follows schema {_major(found)}, an earlier one: since schema 2 a size "
            "has its unit beside it and a centre its frame, the part that was shown is crop_box, "
            "and what was not written stands under skipped_outputs.",
            "Screen that series again; its folder is replaced.",
            code="older-result",
        )
    if _major(found) > _major(SCHEMA_VERSION):
        raise UnreadableInput(
            f"A result.json follows schema {_major(found)}, which a later version wrote.",
            "Use that version, or screen the series again into another folder.",
            code="newer-result",
        )


def _major(version: str) -> int:
    return int(version.split(".")[0])


def _calibration(given: Mapping[str, Any] | None) -> CalibrationUsed:
    if given is None:  # schema 2.2 knew none
        return NOT_CALIBRATED
    plain = {one.name: given[one.name] for one in fields(CalibrationUsed)}
    stratum, rate = plain["stratum"], plain["rate"]
    plain["stratum"] = None if stratum is None else Stratum(**stratum)
    return CalibrationUsed(**{**plain, "rate": None if rate is None else tuple(rate)})


def _lesion(given: Mapping[str, Any]) -> Lesion:
    plain = {one.name: given[one.name] for one in fields(Lesion)}
    return Lesion(**{**plain, **{name: tuple(plain[name]) for name in ("centre", "slices")}})
