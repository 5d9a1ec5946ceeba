"""How much two sides must differ to be abnormal: a scale that drawn healthy heads gave.

A difference x becomes 1 / (1 + 19 ** (log(high / x) / log(high / usual))): 0.05 where it is what
healthy heads usually have, 0.5 where few have more. No medical picture took part: the numbers below
are what ``python -m research.mini.symmetry`` prints, which draws the heads.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class Scale(NamedTuple):
    """Differences that drawn healthy heads have.

    Attributes:
        usual: What becomes 0.05.
        high: What becomes 0.5.
    """

    usual: float
    high: float

    def unusual(self, differences: Float[np.ndarray, "*any"]) -> Float[np.ndarray, "*any"]:
        """Turn differences, at least 0, into values in [0, 1]."""
        least = np.finfo(np.float32).tiny
        steps = np.log(self.high / np.maximum(differences, least)) / np.log(self.high / self.usual)
        return np.asarray(1 / (1 + 19 ** np.minimum(steps, 60)), dtype=np.float32)


GREY_OF_HEAD = Scale(usual=0.1163, high=0.3522)
"""Of grey levels in [0, 1]; the mean over the most different tenth of a head: the median over
heads, and what one in twenty exceeds."""

PATCHES_OF_HEAD = Scale(usual=0.2957, high=1.0574)
"""The same of local features: 1 - cosine over its mean between any two places of both sides, so
that one scale serves every backbone."""

GREY_OF_PIXEL = Scale(usual=0.0905, high=0.4118)
"""Of single pixels: what one in ten exceeds, and what one in two hundred does."""

PATCHES_OF_PIXEL = Scale(usual=0.3384, high=1.3056)
"""The same of local features."""
