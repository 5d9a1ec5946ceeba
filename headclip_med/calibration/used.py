"""How often so high a score comes from a normal study, as said of one screening."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Uncalibrated = Literal[
    "no-calibration", "no-stratum", "other-model", "other-settings", "other-scoring", "stale"
]
"""Why a score has no p-value: no calibration was given; it has no normal studies of this kind; it
is of another model, of other settings, or of another version of how scores are made; or what came
since does not look like what it was made of."""


@dataclass(frozen=True)
class Stratum:
    """A kind of studies whose scores are compared with each other, and with no others.

    Attributes:
        modality: DICOM modality; None where the files do not say.
        body_part: DICOM body part; None likewise.
        window: Name of the grey-level mapping that was used.
        site: Where, or on which scanner, studies are made, in the user's words.
    """

    modality: str | None
    body_part: str | None
    window: str
    site: str | None = None

    def words(self) -> str:
        """Name it in words."""
        site = "" if self.site is None else f", {self.site}"
        return (
            f"{self.modality or 'no modality'}, {self.body_part or 'no body part'}, "
            f"window {self.window}{site}"
        )


@dataclass(frozen=True)
class CalibrationUsed:
    """The p-value of a score, or why there is none.

    Attributes:
        code: Why it is uncalibrated; None where it is calibrated.
        stratum: What kind of study it is; None where no calibration was given.
        digest: Of the calibration.
        p_value: (1 + ``higher``) / (``studies`` + 1), in (0, 1].
        higher: How many normal studies score as high or higher.
        studies: How many normal studies of this kind there are.
        alpha: The share of normal studies that may be flagged, on average.
        rate: Between what the true share lies for these normal studies, in 95 % of all cases.
        flagged: Whether p is at most alpha.
    """

    code: Uncalibrated | None = "no-calibration"
    stratum: Stratum | None = None
    digest: str | None = None
    p_value: float | None = None
    higher: int | None = None
    studies: int | None = None
    alpha: float | None = None
    rate: tuple[float, float] | None = None
    flagged: bool | None = None

    @property
    def state(self) -> Literal["calibrated", "uncalibrated"]:
        """Whether there is a p-value."""
        return "calibrated" if self.code is None else "uncalibrated"

    def sentence(self) -> str | None:
        """Say it in words; None where no calibration was given."""
        if self.code is None and self.alpha is not None and self.rate is not None:
            found = f"p = {shown_p(self.p_value)}: {self.higher} of {self.studies} normal studies "
            verdict = "Flagged" if self.flagged else "Not flagged"
            return (
                f"{found}like this one ({self._kind}) score as high or higher. {verdict}. "
                f"{rate_in_words(self.alpha, self.studies or 0, self.rate)}"
            )
        if self.code is None or self.code == "no-calibration":
            return None
        return f"Uncalibrated: {_WHY[self.code]} ({self._kind}). The score only sorts."

    @property
    def _kind(self) -> str:
        return self.stratum.words() if self.stratum else "of no known kind"


NOT_CALIBRATED = CalibrationUsed()
"""Of a score that no calibration was given for."""

_WHY: dict[str, str] = {
    "no-stratum": "the calibration has no normal studies like this one",
    "other-model": "the calibration of studies like this one is another model's",
    "other-settings": "the calibration of studies like this one was made with other settings",
    "other-scoring": "the calibration of studies like this one is of another version of the scores",
    "stale": "the calibration of studies like this one is stale, since p-values drifted",
}


def shown_p(p_value: float | None) -> str:
    """Write a p-value with two digits that count."""
    return "none" if p_value is None else f"{p_value:.2g}"


def rate_in_words(alpha: float, studies: int, rate: tuple[float, float]) -> str:
    """Say what a stated share of flagged normal studies means.

    Args:
        alpha: What is stated.
        studies: How many normal studies it rests on.
        rate: Between what the true share lies.
    """
    low, high = (f"{100 * one:.1f}" for one in rate)
    return (
        f"Of normal studies like these {studies}, on average at most {100 * alpha:g} % are "
        f"flagged; for this set the true rate lies between {low} and {high} % (95 %)."
    )
