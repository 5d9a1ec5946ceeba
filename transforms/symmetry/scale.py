"""How much two sides must differ to be abnormal: a scale that drawn healthy heads gave.

A difference is put where a method's own value stands that is as rare in healthy heads. Two
quantiles are matched: what healthy heads usually have, and what few exceed. Between and beyond them
the log-odds follow the logarithm of the difference x:

    logit u(x) = logit a + (logit b - logit a) log(x / usual) / log(high / usual)

where a and b are the same quantiles of headclip-mini's own values on the same heads. So joining
both treats them alike without knowing what is abnormal. No medical picture took part: the numbers
below are what ``python -m research.mini.symmetry`` prints, which draws the heads.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class Scale(NamedTuple):
    """Two quantiles of differences in drawn healthy heads, and of a model's values there.

    Attributes:
        usual: The lower difference.
        high: The higher one.
        usual_value: The model's value at the lower quantile, in (0, 1).
        high_value: The same at the higher one.
    """

    usual: float
    high: float
    usual_value: float
    high_value: float

    def unusual(self, differences: Float[np.ndarray, "*any"]) -> Float[np.ndarray, "*any"]:
        """Turn differences, at least 0, into values in [0, 1]; 0 stays 0."""
        least = np.finfo(np.float32).tiny
        steps = np.log(np.maximum(differences, least) / self.usual)
        low, high = (math.log(one / (1 - one)) for one in (self.usual_value, self.high_value))
        odds = low + (high - low) * steps / math.log(self.high / self.usual)
        found = 1 / (1 + np.exp(-np.clip(odds, -80, 80)))
        return np.where(differences > 0, found, 0).astype(np.float32)


GREY_OF_HEAD = Scale(0.1160, 0.3564, 0.2440, 0.5846)
"""Of grey levels in [0, 1], the mean over the most different tenth of a head; and of scores. The
median over heads, and what one in twenty exceeds."""

PATCHES_OF_HEAD = Scale(0.2948, 1.0985, 0.2440, 0.5846)
"""The same of local features: 1 - cosine over its mean between any two places of both sides, so
that one scale serves every backbone."""

GREY_OF_PIXEL = Scale(0.0902, 0.4126, 0.2003, 0.5478)
"""Of single pixels, and of maps: what one in ten exceeds, and what one in two hundred does."""

PATCHES_OF_PIXEL = Scale(0.3351, 1.3060, 0.2003, 0.5478)
"""The same of local features."""
