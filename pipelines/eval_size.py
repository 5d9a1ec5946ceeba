"""The size at which pixels are compared: a model's input, or each image's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from headclip_med.datasets import read_mask
from headclip_med.models.similarity import log_odds
from headclip_med.pipelines.answers import Answers
from headclip_med.transforms import resize_maps

EvalSize = Literal["input", "native"]
"""``input`` is where published methods compare pixels: maps as they come, masks shrunk to them.
``native`` is each image's own size: masks as they were drawn, maps stretched to them."""

Compared = tuple[
    slice,
    Float[np.ndarray, "images rows columns"],
    Float[np.ndarray, "images rows columns"],
    Bool[np.ndarray, "images rows columns"],
]
"""Which images; what ``exact`` ranks their pixels by; their maps; their masks."""


def at_native_size(
    answers: Answers,
    rows: slice,
    ranked: Float[np.ndarray, "images size size"],
    maps: Float[np.ndarray, "images size size"],
) -> Iterator[Compared]:
    """Stretch what is said of some images to their own sizes, bilinearly.

    Args:
        answers: Of a set with masks.
        rows: Which images.
        ranked: What ``exact`` ranks by: log-odds of the maps, or the maps themselves.
        maps: In [0, 1].

    Yields:
        One image at a time.

    Raises:
        UnreadableInput: A mask cannot be read again.
    """
    for place, number in enumerate(range(rows.start, rows.stop)):
        mask = read_mask(answers.samples[number])
        one = slice(place, place + 1)
        stretched = _resized(torch.from_numpy(np.array(maps[one])), mask)
        by_rank = stretched
        if ranked is not maps:
            margin = torch.from_numpy(np.array(ranked[one])).double()
            abnormal, normal = (_resized(side.sigmoid(), mask) for side in (margin, -margin))
            by_rank = log_odds(abnormal, normal)
        yield slice(number, number + 1), by_rank.numpy(), stretched.numpy(), mask[None]


def _resized(maps: Tensor, mask: Bool[np.ndarray, "rows columns"]) -> Tensor:
    rows, columns = mask.shape
    return resize_maps(maps, rows, columns)
