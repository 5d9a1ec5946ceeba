"""A fingerprint in a file: taken where weights are known to be right, compared elsewhere."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from headclip_med.atomic import write_file
from headclip_med.errors import UnusableWeights

if TYPE_CHECKING:
    from headclip_med.models.verification.fingerprint import Fingerprint

FORMAT = "headclip-fingerprint-1"

MOST = 0.005
"""By how much a cosine may differ, so that another device or version of PyTorch is no objection; it
was set, not measured on them."""


@dataclass(frozen=True, eq=False)
class SavedFingerprint:
    """Cosines that were measured elsewhere.

    Attributes:
        drawings: SHA-256 of the pictures.
        sentences: In the order of both axes.
        similarities: Cosines of pictures and sentences.
    """

    drawings: str
    sentences: tuple[str, ...]
    similarities: Float[np.ndarray, "drawings drawings"]

    def difference_to(self, other: Fingerprint) -> float:
        """Give the largest difference of two cosines.

        Raises:
            UnusableWeights: The other one is of other drawings.
        """
        if (self.drawings, self.sentences) != (other.drawings, other.sentences):
            raise UnusableWeights(
                "The saved fingerprint was taken of other drawings, or at another image size.",
                "Take it anew, with this version and the same model.",
                code="other-drawings",
            )
        return float(np.abs(self.similarities - other.similarities).max())


def save_fingerprint(path: Path, fingerprint: Fingerprint, model: str) -> None:
    """Write a fingerprint as JSON."""
    rows = np.round(fingerprint.similarities.astype(float), 6).tolist()
    content = {
        "format": FORMAT,
        "model": model,
        "drawings": fingerprint.drawings,
        "sentences": fingerprint.sentences,
        "similarities": rows,
    }
    write_file(path, json.dumps(content, indent=1).encode())


def read_fingerprint(path: Path) -> SavedFingerprint:
    """Read what ``save_fingerprint`` wrote.

    Raises:
        UnusableWeights: The file is missing, or holds no fingerprint.
    """
    try:
        stored = json.loads(path.read_text("utf-8"))
        if stored["format"] == FORMAT:
            cosines = np.array(stored["similarities"], float)
            return SavedFingerprint(str(stored["drawings"]), tuple(stored["sentences"]), cosines)
    except (OSError, ValueError, KeyError, TypeError):
        pass  # whatever it is, it is none
    raise UnusableWeights(
        f"There is no fingerprint at {path}.",
        "Give a file that 'headclip weights verify --save' wrote.",
        code="no-fingerprint",
    )
