"""Normal studies become a calibration: one of each patient, by stratum, or a refusal."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from headclip_med.calibration import Stratum
from headclip_med.errors import HeadClipError, InvalidSettings
from headclip_med.pipelines.calibration.file import Binding, Calibration, Refused
from headclip_med.pipelines.calibration.given import read_key
from headclip_med.pipelines.calibration.normals import CalibrationReport, gathered
from tests.pipelines.calibration.known import BINDING, CHEST, HEAD, KEY, SETTINGS, series


def one_stratum(found: Calibration) -> tuple[float, ...]:
    (only,) = found.strata
    return only.scores


def test_a_study_is_all_its_series_and_scores_as_the_highest() -> None:
    scored = [series(n, 0.1 * n) for n in range(1, 6)]
    scored += [series(2, 0.9, name="another of study 2"), series(4, 0.05)]

    assert one_stratum(gathered(scored, 0.2, KEY)[0]) == (0.1, 0.3, 0.4, 0.5, 0.9)


def test_of_a_patient_the_study_of_the_least_uid_counts_whatever_its_score() -> None:
    scored = [series(n, 0.1 * n) for n in range(1, 6)]
    scored += [
        series(0, 0.8, patient="patient 3", name="earlier"),
        series(7, 0.9, patient="patient 3", name="later"),
        series(7, 0.2, patient="patient 3", name="later, too"),
    ]
    found, names = gathered(scored, 0.2, KEY)

    assert one_stratum(found) == (0.1, 0.2, 0.4, 0.5, 0.8)
    assert [one.code for one in found.left_out] == ["same-patient", "same-patient"]
    assert sorted(names[one.study] for one in found.left_out) == [
        ("later", "later, too"),
        ("series 3",),
    ]
    assert len(found.strata[0].patients) == 5


def test_a_study_that_is_left_out_twice_is_listed_with_all_its_series() -> None:
    scored = [series(n, 0.1 * n, stratum=one) for n in range(1, 6) for one in (HEAD, CHEST)]
    scored += [
        series(9, 0.1, patient="patient 1", stratum=one, name=one.window) for one in (HEAD, CHEST)
    ]
    found, names = gathered(scored, 0.2, KEY)

    assert [one.stratum for one in found.left_out] == [CHEST, HEAD]
    assert list(names.values()) == [("brain", "lung")]


def test_a_patient_may_stand_once_in_each_stratum() -> None:
    scored = [series(n, 0.1 * n) for n in range(1, 6)]
    scored += [series(n, 0.05 * n, stratum=CHEST) for n in range(1, 6)]
    found, _ = gathered(scored, 0.2, KEY)

    assert [one.stratum for one in found.strata] == [CHEST, HEAD]
    assert found.left_out == ()


def test_two_patients_under_one_study_uid_are_two_studies() -> None:
    scored = [series(n, 0.1 * n) for n in range(1, 5)]
    scored.append(series(4, 0.8, patient="another"))

    assert len(one_stratum(gathered(scored, 0.2, KEY)[0])) == 5


def test_studies_of_unknown_patients_are_counted_and_said() -> None:
    scored = [series(n, 0.1 * n, patient="" if n > 3 else f"p{n}") for n in range(1, 7)]
    found, _ = gathered(scored, 0.2, KEY)
    (only,) = found.strata

    assert (only.unknown_patients, len(only.patients), len(only.scores)) == (3, 3, 6)
    notes = " ".join(CalibrationReport(found, {}, ()).notes())
    assert "nothing says whose 3 of 6 studies are" in notes
    assert "6 normal studies are few" in notes


def test_a_stratum_with_too_few_is_refused_and_the_others_are_not() -> None:
    scored = [series(n, 0.1 * n) for n in range(1, 6)]
    scored += [series(9, 0.3, stratum=CHEST)]
    found, _ = gathered(scored, 0.2, KEY)

    assert found.refused == (Refused(CHEST, 1, 4),)
    report = CalibrationReport(found, {}, ())
    assert report.exit_code == 3
    assert (
        "CT, CHEST, window lung: not calibrated. It has 1 normal study, and 4 are needed to "
        "state 20 %." in report.notes()
    )


@pytest.mark.parametrize("studies", [1, 18])
def test_below_what_alpha_needs_nothing_is_calibrated(studies: int) -> None:
    scored = [series(n, 0.5) for n in range(studies)]
    scored += [series(50, 0.5, patient="patient 0")]
    with pytest.raises(InvalidSettings) as raised:
        gathered(scored, 0.05, KEY)

    assert raised.value.code == "too-few-studies"
    assert (
        f"(CT, HEAD, window brain) there are {studies}, and 19 are needed. 1 normal study more"
        in raised.value.reason
    )


def test_nineteen_are_enough_for_five_percent() -> None:
    assert len(one_stratum(gathered([series(n, 0.5) for n in range(19)], 0.05, KEY)[0])) == 19


def test_nothing_scored_is_an_error() -> None:
    with pytest.raises(HeadClipError) as raised:
        gathered([], 0.05, KEY)
    assert raised.value.code == "no-normal-studies"


def test_a_model_that_changed_meanwhile_is_an_error() -> None:
    other = Binding.of({"digest": "another"}, SETTINGS, 1)
    scored = [series(n, 0.5, binding=BINDING if n else other) for n in range(19)]
    with pytest.raises(HeadClipError) as raised:
        gathered(scored, 0.05, KEY)
    assert raised.value.code == "mixed-model"


def test_the_order_of_inputs_and_the_key_change_no_digest() -> None:
    scored = [series(n, 0.02 * n, patient=f"p{n % 20}") for n in range(30)]
    scored += [series(n, 0.01 * n, stratum=CHEST) for n in range(19)]
    mixed = random.Random(3).sample(scored, len(scored))  # noqa: S311 - no secret
    first, again = gathered(scored, 0.05, KEY)[0], gathered(mixed, 0.05, KEY)[0]
    other = gathered(scored, 0.05, b"another key of patients")[0]

    assert json.dumps(first.to_json()) == json.dumps(again.to_json())
    assert first.digest == other.digest
    assert set(first.strata[1].patients).isdisjoint(other.strata[1].patients)
    assert not {one.study for one in first.left_out} & {one.study for one in other.left_out}


def test_no_patient_and_no_study_stands_in_the_clear() -> None:
    scored = [series(n, 0.02 * n, patient=f"Zyxwvut {n % 20}") for n in range(30)]
    text = json.dumps(gathered(scored, 0.05, KEY)[0].to_json())

    assert "Zyxwvut" not in text
    assert "1.2.00" not in text
    assert KEY.decode() not in text
    assert "Zyxwvut" not in repr(scored)


def test_scores_and_patients_stand_in_orders_that_tell_nothing_of_each_other() -> None:
    (only,) = gathered([series(n, 0.02 * n) for n in range(30)], 0.05, KEY)[0].strata

    assert list(only.scores) == sorted(only.scores)
    assert list(only.patients) == sorted(only.patients)


def test_a_key_is_a_file_that_cannot_be_guessed(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(b"x" * 15)
    with pytest.raises(InvalidSettings) as raised:
        read_key(key)
    assert raised.value.code == "short-patient-key"
    with pytest.raises(InvalidSettings) as raised:
        read_key(tmp_path / "absent")
    assert raised.value.code == "no-patient-key"
    key.write_bytes(b"x" * 16)
    assert read_key(key) == b"x" * 16
    assert read_key(None) != read_key(None)


def test_strata_without_a_modality_are_said_to_be_unchecked() -> None:
    photos = Stratum(None, None, "as-is")
    found, _ = gathered([series(n, 0.5, stratum=photos) for n in range(19)], 0.05, KEY)
    notes = " ".join(CalibrationReport(found, {}, ()).notes())
    assert "nothing says what these studies show" in notes
