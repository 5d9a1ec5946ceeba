"""A drawn MR of the head: a development phantom whose tissues have signals in place of HU."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.ndimage import gaussian_filter

from headclip_med.synthetic.development import DevelopmentVolume, development_volume

CURVE = (
    (-1000, 0), (-300, 10), (-40, 420), (0, 90), (10, 70), (24, 230), (30, 260), (37, 350),
    (65, 330), (200, 90), (600, 30),
)  # fmt: skip
"""HU of a tissue and its signal where fluid is suppressed (FLAIR): air and bone are dark, fluid is
dark as well, grey matter is brighter than white, fat is the brightest."""

LESION_SIGNAL = 560
"""Of oedema, which fluid suppression leaves bright."""

GRAIN = 14
"""Standard deviation of the noise."""


def magnetic_volume(seed: int, kind: str) -> DevelopmentVolume:
    """Draw one head as an MR.

    Args:
        seed: Fixes everything about it.
        kind: Of its lesion; see ``development_volume``.

    Returns:
        The head, ``voxels_hu`` of which holds signals in no unit, from 0 up.
    """
    drawn = development_volume(seed, kind)
    hu = gaussian_filter(drawn.voxels_hu, (0, 0.8, 0.8))
    tissues, signals = np.transpose(CURVE)
    signal = np.interp(hu, tissues, signals)
    share = gaussian_filter(drawn.lesion.astype(float), (0, 0.8, 0.8))
    signal = signal + share * (LESION_SIGNAL - signal)
    grain = np.random.default_rng((seed, 3)).normal(0, GRAIN, signal.shape)
    return replace(drawn, voxels_hu=np.maximum(signal + grain, 0))
