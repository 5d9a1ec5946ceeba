"""How often so high a score comes from a normal study, as said of one screening."""

from headclip_med.calibration.used import (
    NOT_CALIBRATED,
    CalibrationUsed,
    Stratum,
    Uncalibrated,
    rate_in_words,
    shown_p,
)

__all__ = [
    "NOT_CALIBRATED",
    "CalibrationUsed",
    "Stratum",
    "Uncalibrated",
    "rate_in_words",
    "shown_p",
]
