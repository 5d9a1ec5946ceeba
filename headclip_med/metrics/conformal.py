"""How often a score this high comes from a normal study: split conformal p-values.

Scores of normal studies that nothing was chosen on are the calibration set. A new normal study that
is exchangeable with them has, whatever the model and whatever the distribution of its scores, a
p-value of at most alpha with a probability of at most alpha (Vovk et al., Algorithmic Learning in a
Random World, 2005; Bates et al., Testing for outliers with conformal p-values, 2023).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

from headclip_med.errors import InvalidSettings

FEW_STUDIES = 200
"""Below, the true rate of a stated one is hardly known: at 200 normal studies and a stated 5 %, it
lies between 2.4 and 8.4 % (95 %)."""

_ROUNDING = 1e-9
"""alpha (n + 1) is meant as written: 0.05 x 20 is one study, whatever its last bit."""


@dataclass(frozen=True, eq=False)
class NormalScores:
    """Scores of normal studies, one of each patient.

    Attributes:
        scores: In any order; a higher one is more suspicious.

    Raises:
        ValueError: There is no score, or one that is not finite.
    """

    scores: Float[np.ndarray, "studies"]

    def __post_init__(self) -> None:
        """Check what would make every p-value meaningless."""
        if not len(self.scores) or not np.isfinite(self.scores).all():
            raise ValueError("scores must be finite, and one at least")

    def __len__(self) -> int:
        """Count the normal studies."""
        return len(self.scores)

    def p_value(self, score: float) -> float:
        """Give p = (1 + #{normal scores >= score}) / (n + 1), in (0, 1].

        Raises:
            ValueError: The score is not finite.
        """
        if not math.isfinite(score):
            raise ValueError("score must be finite")
        higher = len(self) - int(np.searchsorted(self._sorted, score, side="left"))
        return (1 + higher) / (len(self) + 1)

    def flags(self, score: float, alpha: float) -> bool:
        """Tell whether p <= alpha.

        Raises:
            InvalidSettings: There are too few normal studies to state this alpha.
        """
        return score > self.threshold(alpha)

    def threshold(self, alpha: float) -> float:
        """Give the score that a flagged study must exceed: p <= alpha is the same as above it.

        Raises:
            InvalidSettings: There are too few normal studies to state this alpha.
        """
        return float(self._sorted[len(self) - self.flagged_ranks(alpha)])

    def true_rate(self, alpha: float, *, confidence: float = 0.95) -> tuple[float, float]:
        """Give the interval in which the true rate of flagged normal studies lies.

        Over draws of the calibration set the rate of these very n follows Beta(k, n + 1 - k), where
        k = floor(alpha (n + 1)): of its complement, Beta(n + 1 - k, k), the mean is at least
        1 - alpha. Where several normal studies score just the threshold, none of them would be
        flagged, and the lower end is that of those above it.

        Args:
            alpha: What is stated, in (0, 1).
            confidence: Probability inside the interval, equal tails outside.

        Raises:
            InvalidSettings: There are too few normal studies to state this alpha.
        """
        from scipy.stats import beta  # it takes a second

        flagged, above = self.flagged_ranks(alpha), self.above_threshold(alpha)
        least = flagged if above == flagged - 1 else above
        tail = (1 - confidence) / 2
        low = beta.ppf(tail, least, len(self) + 1 - least) if least else 0.0
        return float(low), float(beta.ppf(1 - tail, flagged, len(self) + 1 - flagged))

    @cached_property
    def _sorted(self) -> Float[np.ndarray, "studies"]:
        return np.sort(self.scores)

    def above_threshold(self, alpha: float) -> int:
        """Count the normal studies above ``threshold``: k - 1, or fewer where scores have ties."""
        return len(self) - int(np.searchsorted(self._sorted, self.threshold(alpha), side="right"))

    def flagged_ranks(self, alpha: float) -> int:
        """Give k = floor(alpha (n + 1)): how many of n + 1 studies are flagged at most.

        Raises:
            InvalidSettings: There are too few normal studies to state this alpha.
        """
        check_alpha(alpha)
        needed = needed_studies(alpha)
        if len(self) < needed:
            raise InvalidSettings(
                f"{len(self)} normal studies cannot state a rate of {alpha:g}: the least p-value "
                f"that they give is {1 / (len(self) + 1):.2g}.",
                f"Calibrate on {needed} studies at least, or state a higher rate.",
                code="too-few-studies",
            )
        return math.floor(alpha * (len(self) + 1) + _ROUNDING)


def needed_studies(alpha: float) -> int:
    """Give the least n that can state alpha: 1 / alpha - 1, rounded up."""
    return math.ceil(1 / alpha - 1 - _ROUNDING)


def check_alpha(alpha: float) -> None:
    """Refuse what is no rate.

    Raises:
        InvalidSettings: alpha does not lie in (0, 1).
    """
    if not 0 < alpha < 1:
        raise InvalidSettings(
            "alpha is the share of normal studies that may be flagged, between 0 and 1.",
            "Give, for example, 0.05.",
        )
