"""What calibrating is given, checked before any work: enough studies, and a key of patients."""

from __future__ import annotations

import hmac
import secrets
from hashlib import sha256
from pathlib import Path

from headclip_med.errors import InvalidSettings, reason_of
from headclip_med.metrics.conformal import needed_studies
from headclip_med.read import Inputs

LEAST_KEY_BYTES = 16
"""A shorter key can be guessed, and with it whose studies these are."""


def read_key(path: Path | None) -> bytes:
    """Read the key of patients' hashes; without a file one is made at random, and forgotten.

    Raises:
        InvalidSettings: The file cannot be read, or is too short for a key.
    """
    if path is None:
        return secrets.token_bytes(32)
    try:
        key = path.read_bytes()
    except OSError as error:
        raise InvalidSettings(
            f"The key of patients cannot be read, since the system says: {reason_of(error)}.",
            "Make one with: openssl rand -out FILE 32.",
            code="no-patient-key",
        ) from error
    if len(key) < LEAST_KEY_BYTES:
        raise InvalidSettings(
            f"The key of patients has {len(key)} bytes, which can be guessed.",
            f"Make one of {LEAST_KEY_BYTES} or more, such as with: openssl rand -out FILE 32.",
            code="short-patient-key",
        )
    return key


def token_of(key: bytes, *parts: str) -> str:
    """Give the keyed hash (HMAC-SHA-256, 128 bits of it) that stands for a patient or a study."""
    message = "\x1f".join(parts).encode(errors="surrogateescape")
    return hmac.new(key, message, sha256).hexdigest()[:32]


def check_enough(inputs: Inputs, alpha: float) -> None:
    """Refuse inputs that are too few even if all were of one kind, and of as many patients.

    Raises:
        InvalidSettings: They cannot state alpha.
    """
    studies = {one.study_instance_uid or one.place for one in inputs.readable}
    if len(studies) < needed_studies(alpha):
        raise too_few(len(studies), alpha)


def too_few(studies: int, alpha: float, *, of: str = "", left_out: int = 0) -> InvalidSettings:
    """Say that no kind of normal studies is large enough.

    Args:
        studies: How many the largest has.
        alpha: What cannot be stated.
        of: The largest, in words, where kinds are known.
        left_out: Studies of patients that were counted already.
    """
    largest = f"Of the largest ({of}) there" if of else "There"
    more = f" {counted(left_out)} more are of patients that are counted already." * (left_out > 0)
    return InvalidSettings(
        f"No kind of normal studies is large enough to state {100 * alpha:g} %. {largest} are "
        f"{studies}, and {needed_studies(alpha)} are needed.{more}",
        "Give more normal studies of one kind, each of another patient, or state a higher rate.",
        code="too-few-studies",
    )


def counted(studies: int) -> str:
    """Count normal studies in words."""
    return f"{studies} normal stud{'y' if studies == 1 else 'ies'}"
