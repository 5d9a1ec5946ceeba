"""A calibration judges what it is bound to, and says of all else that it is uncalibrated."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headclip_med.calibration import CalibrationUsed, Stratum
from headclip_med.errors import InvalidSettings, UnreadableInput
from headclip_med.findings import SCORING_VERSION
from headclip_med.pipelines.calibration import Calibrator, read_calibration, watch_rows
from headclip_med.pipelines.calibration.file import Binding, write_calibration
from headclip_med.pipelines.calibration.normals import gathered
from headclip_med.settings import OF_NO_SCORE, DriftSettings, ScreenSettings
from headclip_med.write import SummaryRow
from tests.pipelines.calibration.known import (
    BINDING,
    CHEST,
    HEAD,
    KEY,
    MODEL,
    SETTINGS,
    calibration,
    series,
)
from tests.write.test_summary import row as summary_row

FOUR = calibration(0.1, 0.2, 0.3, 0.4)


def judged(score: float, stratum: Stratum = HEAD, binding: Binding = BINDING) -> CalibrationUsed:
    return Calibrator(FOUR).judge(score, stratum, binding)


def test_a_score_by_hand() -> None:
    found = judged(0.35)

    assert (found.state, found.code) == ("calibrated", None)
    assert (found.p_value, found.higher, found.studies) == (2 / 5, 1, 4)
    assert (found.alpha, found.flagged, found.digest) == (0.2, False, FOUR.digest)
    assert judged(0.41).flagged
    assert judged(0.41).p_value == 1 / 5
    assert not judged(0.4).flagged


def test_scores_are_compared_with_six_decimals() -> None:
    assert judged(0.4000004).higher == 1
    assert judged(0.4000006).higher == 0


def test_the_words_are_those_of_the_promise() -> None:
    scores = np.linspace(0, 1, 500)
    (only,) = calibration(*map(float, scores), alpha=0.05).strata
    assert only.sentence(0.05) == (
        "CT, HEAD, window brain: Of normal studies like these 500, on average at most 5 % are "
        "flagged; for this set the true rate lies between 3.3 and 7.1 % (95 %)."
    )
    assert (judged(0.35).sentence() or "").startswith(
        "p = 0.4: 1 of 4 normal studies like this one (CT, HEAD, window brain) score as high or "
        "higher. Not flagged. Of normal studies like these 4, on average at most 20 % are flagged;"
    )


def bound(model: dict[str, object] = MODEL, scoring: int = SCORING_VERSION, **changes: Any) -> Any:
    return Binding.of(model, {**SETTINGS, **changes}, scoring)


@pytest.mark.parametrize(
    ("binding", "code"),
    [
        (bound({**MODEL, "digest": "another"}), "other-model"),
        (bound({**MODEL, "method": "another"}), "other-model"),
        (bound({**MODEL, "precision": "bf16"}), "other-model"),
        (bound(planes="all"), "other-settings"),
        (bound(crop="none"), "other-settings"),
        (bound(pooling="max"), "other-settings"),
        (bound(scores={**SETTINGS["scores"], "top_percent": 5.0}), "other-settings"),
        (bound(scoring=SCORING_VERSION + 1), "other-scoring"),
    ],
)
def test_what_is_bound_otherwise_is_uncalibrated(binding: Binding, code: str) -> None:
    found = judged(0.9, binding=binding)

    assert (found.state, found.code, found.p_value, found.flagged) == (
        "uncalibrated", code, None, None,
    )  # fmt: skip
    assert (found.stratum, found.digest) == (HEAD, FOUR.digest)
    assert (found.sentence() or "").startswith("Uncalibrated: ")


@pytest.mark.parametrize(
    "binding",
    [
        bound({**MODEL, "name": "a copy of the file"}),
        bound(threshold=0.9),
        bound(minimum_size=1.0),
        bound(batch_size=1),
    ],
)
def test_what_no_score_follows_from_is_not_bound(binding: Binding) -> None:
    assert judged(0.9, binding=binding).p_value == 1 / 5


def test_every_setting_is_bound_or_known_to_be_of_no_score() -> None:
    assert set(OF_NO_SCORE) < set(ScreenSettings().to_json())
    assert {*BINDING.settings, *OF_NO_SCORE} == {*ScreenSettings().to_json(), "scores"}


@pytest.mark.parametrize(
    "stratum",
    [
        CHEST,
        replace(HEAD, modality="MR"),
        replace(HEAD, body_part=None),
        replace(HEAD, window="bone"),
        replace(HEAD, site="North"),
    ],
)
def test_another_kind_of_study_is_never_compared(stratum: Stratum) -> None:
    found = judged(0.9, stratum)
    assert (found.code, found.p_value) == ("no-stratum", None)


def test_a_site_is_judged_by_its_own_calibration_only() -> None:
    north = replace(HEAD, site="North")
    own = calibration(0.1, 0.2, 0.3, 0.4, stratum=north)

    assert Calibrator(own).judge(0.9, HEAD, BINDING).code == "no-stratum"
    assert Calibrator(own).judge(0.9, north, BINDING).p_value == 1 / 5


def test_a_stale_stratum_is_uncalibrated_and_the_others_are_not() -> None:
    scored = [series(n, 0.1 * n) for n in range(5)]
    scored += [series(n, 0.1 * n, stratum=CHEST) for n in range(5)]
    both = gathered(scored, 0.2, KEY)[0]
    before = both.to_json()
    judge = Calibrator(both, stale=frozenset({HEAD})).judge

    assert judge(0.9, HEAD, BINDING).code == "stale"
    assert judge(0.9, CHEST, BINDING).p_value == 1 / 6
    assert both.to_json() == before


def row(folder: str, used: CalibrationUsed) -> SummaryRow:
    return summary_row(folder, calibration=used)


def test_drift_is_watched_by_stratum() -> None:
    scored = [series(n, 0.01 * n) for n in range(50)]
    scored += [series(n, 0.01 * n, stratum=CHEST) for n in range(50)]
    both = gathered(scored, 0.05, KEY)[0]
    judge = Calibrator(both).judge
    settings = DriftSettings(window=20, abnormal=0.0)
    rows = [row(f"1.{n}/1", judge(0.9, HEAD, BINDING)) for n in range(20)]
    rows += [row(f"1.{n}/2", judge(0.01 * n, CHEST, BINDING)) for n in range(0, 40, 2)]
    before = both.to_json()
    found = watch_rows(both, rows, settings)

    assert {stratum: one.is_stale for stratum, one in found.items()} == {HEAD: True, CHEST: False}
    assert {one.seen for one in found.values()} == {20}
    assert both.to_json() == before


def test_a_study_counts_once_with_the_least_p_value_of_its_series() -> None:
    judge = Calibrator(FOUR).judge
    rows = [row("1.1/1", judge(0.35, HEAD, BINDING)), row("1.2/1", judge(0.0, HEAD, BINDING))]
    rows += [row("1.1/2", judge(0.9, HEAD, BINDING)), row("1.1/3", judge(0.0, HEAD, BINDING))]
    rows += [row("1.3/1", judge(0.9, CHEST, BINDING)), row("1.4/1", CalibrationUsed())]
    other = Calibrator(calibration(0.1, 0.2, 0.3, 0.4, 0.5)).judge
    rows.append(row("1.5/1", other(0.9, HEAD, BINDING)))
    found = watch_rows(FOUR, rows)[HEAD]

    assert (found.seen, found.flagged, found.high) == (2, 0.5, 0.5)


def test_of_normal_studies_with_several_series_at_most_alpha_are_flagged() -> None:
    """Simulated: a study is flagged where any of its series is; the highest of them was learnt."""
    draw, rates = np.random.default_rng(7), []
    for _ in range(60):

        def studies(count: int) -> list[list[float]]:
            sizes = draw.integers(1, 4, size=count)
            return [list(np.round(draw.beta(2, 5, size=size), 6)) for size in sizes]

        known = [series(n, one) for n, study in enumerate(studies(99)) for one in study]
        judge = Calibrator(gathered(known, 0.1, KEY)[0]).judge
        flagged = [any(judge(one, HEAD, BINDING).flagged for one in study) for study in studies(60)]
        rates.append(np.mean(flagged))
    assert np.mean(rates) == pytest.approx(0.1, abs=4 * np.std(rates) / np.sqrt(60))


def test_two_unlike_strata_are_each_flagged_at_alpha_and_together_at_neither() -> None:
    """Simulated: pooled, as where both were called one kind, one is flagged far too often."""
    draw, alpha = np.random.default_rng(8), 0.1
    kinds: dict[Stratum, tuple[float, float]] = {HEAD: (2, 8), CHEST: (4, 6)}
    own, pooled = [], []
    for _ in range(40):
        known = [
            series(number, score, stratum=kind, patient=f"{kind.window} {number}")
            for kind, shape in kinds.items()
            for number, score in enumerate(draw.beta(*shape, size=199))
        ]
        apart = gathered(known, alpha, KEY)[0]
        together = gathered([replace(one, stratum=HEAD) for one in known], alpha, KEY)[0]
        new = {kind: np.round(draw.beta(*shape, size=400), 6) for kind, shape in kinds.items()}
        limits = {one.stratum: one.known.threshold(alpha) for one in apart.strata}
        limit = together.strata[0].known.threshold(alpha)
        own.append([(scores > limits[kind]).mean() for kind, scores in new.items()])
        pooled.append([(scores > limit).mean() for scores in new.values()])

    assert np.mean(own, axis=0) == pytest.approx([alpha, alpha], abs=0.015)
    assert np.mean(pooled, axis=0)[0] < 0.04
    assert np.mean(pooled, axis=0)[1] > 0.16


# --- the file -----------------------------------------------------------------------------------


def test_what_was_written_is_read_and_is_the_same_bytes_again(tmp_path: Path) -> None:
    path = tmp_path / "a/calibration.json"
    write_calibration(FOUR, path)
    first = path.read_bytes()
    found = read_calibration(path)

    assert found == FOUR
    assert found.digest == FOUR.digest
    write_calibration(found, path)
    assert path.read_bytes() == first


def changed(path: Path, **changes: Any) -> Path:
    write_calibration(FOUR, path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return path


STRATA = FOUR.to_json()["strata"]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"alpha": 0.3}, "bad-calibration"),
        ({"alpha": 0.0}, "bad-calibration"),
        ({"digest": "0" * 64}, "bad-calibration"),
        ({"strata": []}, "bad-calibration"),
        ({"strata": [{**STRATA[0], "scores": [0.1, 0.2, 0.3, 0.5]}]}, "bad-calibration"),
        ({"strata": [{**STRATA[0], "scores": [0.1, "x"]}]}, "bad-calibration"),
        ({"strata": [*STRATA, *STRATA]}, "bad-calibration"),
        ({"form": 2}, "other-calibration-form"),
        ({"format": "another"}, "no-calibration-file"),
    ],
)
def test_a_file_that_was_changed_is_refused(
    changes: dict[str, Any], code: str, tmp_path: Path
) -> None:
    with pytest.raises(UnreadableInput) as raised:
        read_calibration(changed(tmp_path / "c.json", **changes))
    assert raised.value.code == code


@pytest.mark.parametrize(
    ("content", "code"),
    [(None, "no-calibration-file"), (b"{", "bad-calibration"), (b"\xff", "bad-calibration"),
     (b"[]", "no-calibration-file")],
)  # fmt: skip
def test_what_is_no_calibration_is_refused(
    content: bytes | None, code: str, tmp_path: Path
) -> None:
    path = tmp_path / "c.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UnreadableInput) as raised:
        read_calibration(path)
    assert raised.value.code == code


def test_a_file_that_claims_an_alpha_that_it_cannot_state_is_refused(tmp_path: Path) -> None:
    """With a digest that fits, as somebody's own program may write it."""
    path = tmp_path / "c.json"
    few = replace(FOUR, alpha=0.1)
    plain = {**FOUR.to_json(), "alpha": few.alpha, "digest": few.digest}
    path.write_text(json.dumps(plain))
    with pytest.raises(InvalidSettings) as raised:
        read_calibration(path)
    assert raised.value.code == "too-few-studies"
