"""Screen normal studies, one of each patient, and make a calibration of their scores.

A study is all series of one study UID that fall into one stratum, and its score is the highest of
theirs: so at most alpha of normal studies have any series flagged, however many they have. Which
study of a patient counts follows from its UID alone, never from its score or from where it lies.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from headclip_med.calibration import Stratum
from headclip_med.errors import HeadClipError, InvalidSettings, UnwritableOutput, own_error
from headclip_med.metrics.conformal import FEW_STUDIES, needed_studies
from headclip_med.pipelines.calibration.file import (
    Binding,
    Calibration,
    LeftOut,
    Normals,
    Refused,
    in_order,
)
from headclip_med.pipelines.calibration.given import counted, token_of, too_few
from headclip_med.pipelines.calibration.use import stratum_of
from headclip_med.pipelines.plan import Job, Plan
from headclip_med.pipelines.work.ahead import read_ahead
from headclip_med.pipelines.work.screener import Screener
from headclip_med.read import Inputs
from headclip_med.settings import CalibrationSettings
from headclip_med.volume import Volume
from headclip_med.write import FailedInput


@dataclass(frozen=True)
class CalibrationReport:
    """What normal studies gave.

    Attributes:
        calibration: What new studies are judged by.
        names: What the inputs of each study that was left out are called, by its keyed hash.
        failures: Inputs that gave no score.
    """

    calibration: Calibration
    names: dict[str, tuple[str, ...]]
    failures: tuple[FailedInput, ...]

    @property
    def exit_code(self) -> int:
        """0 where every input and every stratum is used, else 3."""
        return 3 if self.failures or self.calibration.refused else 0

    def notes(self) -> Iterator[str]:
        """Say what a user must know of each stratum, in sentences."""
        for lack in self.calibration.refused:
            yield (
                f"{lack.stratum.words()}: not calibrated. It has {counted(lack.studies)}, and "
                f"{lack.needed} are needed to state {100 * self.calibration.alpha:g} %."
            )
        for one in self.calibration.strata:
            words, studies = one.stratum.words(), len(one.scores)
            if studies < FEW_STUDIES:
                yield (
                    f"{words}: {counted(studies)} are few, so the true rate is hardly known; "
                    f"{FEW_STUDIES} or more are better."
                )
            if one.unknown_patients:
                yield (
                    f"{words}: nothing says whose {one.unknown_patients} of {studies} studies are; "
                    "that each is of another patient is not checked."
                )
            if one.stratum.modality is None:
                yield (
                    f"{words}: nothing says what these studies show; that those to be judged are "
                    "of the same kind is not checked."
                )


def calibrate(
    inputs: Inputs,
    screener: Screener,
    settings: CalibrationSettings,
    key: bytes,
    *,
    hide_names: bool = False,
) -> CalibrationReport:
    """Screen normal studies, and make a calibration of them.

    Args:
        inputs: All that is found; nobody looks at whether it is normal.
        screener: Model, settings, and where results are kept; finished ones are taken up.
        settings: Which share may be flagged, and where the studies are from.
        key: Of the hashes that patients and studies stand for.
        hide_names: Whether files are called by numbers in what is printed.

    Raises:
        InvalidSettings: No stratum has enough studies.
        UnwritableOutput: The folder of results takes no more files.
        HeadClipError: Nothing could be screened.
    """
    scored, failures = [], []
    for job in read_ahead(Plan(inputs, hide_names).jobs()):
        try:
            volume = job.read()
            if (row := screener.finished(volume)) is not None:
                screener.report(len(volume.voxels))
            row = row or screener.screen(volume)
            result = json.loads((screener.out / row.folder / "result.json").read_text("utf-8"))
            scored.append(ScoredSeries.of(result, volume, job, settings.site))
        except (InvalidSettings, UnwritableOutput):
            raise
        except Exception as error:  # a fault of ours must not cost the others their results
            failures.append(FailedInput.of(job.name, own_error(error), job.files))
    calibration, names = gathered(scored, settings.alpha, key)
    return CalibrationReport(calibration, names, tuple(failures))


@dataclass(frozen=True, eq=False)
class ScoredSeries:
    """A series of a normal study, and all that its score is bound to.

    Attributes:
        stratum: What kind of study it is.
        binding: What its score follows from.
        model_name: Of the model, for people.
        score: With six decimals.
        patient: Equal for the studies of one patient; empty where nothing says whose it is.
        study: Equal for the series of one study of a patient.
        name: What it is called in what is printed.
    """

    stratum: Stratum
    binding: Binding
    model_name: str
    score: float
    patient: str = field(repr=False)
    study: str = field(repr=False)
    name: str

    @classmethod
    def of(cls, result: dict[str, Any], volume: Volume, job: Job, site: str | None) -> ScoredSeries:
        """Take what counts of a result."""
        return cls(
            stratum=stratum_of(result, site),
            binding=Binding.of(result["model"], result["settings"], result["scoring_version"]),
            model_name=str(result["model"].get("name", "")),
            score=float(result["score"]),
            patient=volume.patient_key,
            study=volume.study_instance_uid or volume.place or volume.content_digest,
            name=job.name,
        )


def gathered(
    scored: Iterable[ScoredSeries], alpha: float, key: bytes
) -> tuple[Calibration, dict[str, tuple[str, ...]]]:
    """Make a calibration of scored series.

    Args:
        scored: In any order.
        alpha: The share of normal studies that may be flagged.
        key: Of the hashes.

    Returns:
        It, and what the inputs of each study that was left out are called, by its keyed hash.

    Raises:
        InvalidSettings: No stratum has enough studies.
        HeadClipError: Nothing was scored; or what scores of one stratum follow from is not one.
    """
    by_stratum: dict[Stratum, list[ScoredSeries]] = defaultdict(list)
    for one in scored:
        by_stratum[one.stratum].append(one)
    if not by_stratum:
        raise HeadClipError(
            "No normal study could be screened, so nothing was calibrated.",
            "See why each one failed.",
            code="no-normal-studies",
        )
    needed = needed_studies(alpha)
    strata, refused, left_out = [], [], []
    names: dict[str, tuple[str, ...]] = {}
    for stratum in in_order(by_stratum):
        chosen, others = _one_of_each_patient(by_stratum[stratum])
        if len(chosen) < needed:
            refused.append(Refused(stratum, len(chosen), needed))
        else:
            strata.append(_normals(stratum, chosen, key))
        for study in others:
            token = token_of(key, "study", study[0].patient, study[0].study)
            names[token] = tuple(sorted({*names.get(token, ()), *(one.name for one in study)}))
            left_out.append(LeftOut(token, stratum, "same-patient"))
    if not strata:
        best = max(refused, key=lambda one: one.studies)
        raise too_few(best.studies, alpha, of=best.stratum.words(), left_out=len(left_out))
    left_out.sort(key=lambda one: one.study)
    return Calibration(alpha, tuple(strata), tuple(left_out), tuple(refused)), names


_Study = list[ScoredSeries]


def _one_of_each_patient(series: Iterable[ScoredSeries]) -> tuple[list[_Study], list[_Study]]:
    """Put series together to studies, and choose one of each patient: that of the least UID."""
    studies: dict[tuple[str, str], _Study] = defaultdict(list)
    for one in series:
        studies[one.patient, one.study].append(one)
    chosen: list[_Study] = []
    others: list[_Study] = []
    seen: set[str] = set()
    for patient, study in sorted(studies):
        is_new = not patient or patient not in seen
        (chosen if is_new else others).append(studies[patient, study])
        seen.add(patient)
    return chosen, others


def _normals(stratum: Stratum, studies: list[_Study], key: bytes) -> Normals:
    first = studies[0][0]
    if any(one.binding != first.binding for study in studies for one in study):
        raise HeadClipError(
            "The model changed between two studies of one kind, such as in its precision.",
            "Calibrate again.",
            code="mixed-model",
        )
    known = [study[0].patient for study in studies if study[0].patient]
    return Normals(
        stratum=stratum,
        binding=first.binding,
        model_name=first.model_name,
        scores=tuple(sorted(max(one.score for one in study) for study in studies)),
        patients=tuple(sorted(token_of(key, "patient", patient) for patient in known)),
        unknown_patients=len(studies) - len(known),
    )
