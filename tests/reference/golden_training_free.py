"""Small reference values of WinCLIP and AnoVL, from weights that a seed makes anywhere.

They were written when both agreed with published code on ``HEADCLIP_ORACLES``, and hold that
agreement on machines without it. ``python -m tests.reference.golden_training_free`` writes them
anew.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from headclip_med.content import ImageContent
from headclip_med.models.anovl.model import AnoVl
from headclip_med.models.anovl.settings import AnoVlSettings
from headclip_med.models.clip.towers import Backbone
from headclip_med.models.inference import InferenceModel
from headclip_med.models.maps import unit
from headclip_med.models.winclip.model import WinClip, run_windows, window_index
from headclip_med.models.winclip.settings import WinClipSettings
from tests import tiny
from tests.reference import stored
from tests.reference.golden_learned import SIZES, pictures, towers

IMPLEMENTATIONS = ("anomalib", "caoyunkang")


def winclip(backbone: Backbone, implementation: str) -> WinClip:
    settings = WinClipSettings(implementation=implementation)  # type: ignore[arg-type]
    return WinClip(backbone, settings).with_content(ImageContent("brain"))


def anovl(backbone: Backbone, **settings: object) -> AnoVl:
    built = AnoVl(backbone, AnoVlSettings(local_layers=(2, 3, 4), **settings))  # type: ignore[arg-type]
    return built.with_content(ImageContent("carpet"))


def winclip_values(size: str) -> dict[str, Tensor]:
    images, found = pictures(SIZES[size])[0], {}
    for implementation in IMPLEMENTATIONS:
        model = winclip(towers(), implementation)
        with torch.no_grad():
            first = tiny.walk(model.vision, model.prepare(images))[0].tokens_in
            rows = SIZES[size] // model.vision.patch_px
            windows = run_windows(model.vision, first, window_index(rows, rows, 2))
        prediction = model.predict(images)
        found |= {
            f"{implementation}/text": model.sentences().text,
            f"{implementation}/windows": unit(model.vision.project(windows))[1, :4],
            f"{implementation}/map": prediction.map[1],
            f"{implementation}/score": prediction.global_score,
        }
    return found


def anovl_values(size: str) -> dict[str, Tensor]:
    images = pictures(SIZES[size])[0]
    model = anovl(towers())
    prediction = model.predict(images)
    # At its published rate: from 50 times that on, rounding alone moves the map by 1e-4.
    adapted = anovl(towers(), adaptation="published", views=False)
    return {
        "text": model.sentences().text,
        "sentences": model.sentences().prompts[::77],
        "patches": read(model, images)[0][1, :4],
        "map": prediction.map[1],
        "score": prediction.global_score,
        "adapted map": adapted.predict(images).map[1],
    }


@torch.no_grad()
def read(model: InferenceModel, images: Tensor) -> tuple[Tensor, Tensor]:
    """Read the trunk as the model does, up to the projected tokens."""
    prepared = model.prepare(images)
    reader: Any = model.reader()
    for block in tiny.walk(model.vision, prepared, reader.local_layers):
        reader.read(block)
    (patches,), token = reader.projected()
    return patches, token


VALUES = {"winclip": winclip_values, "anovl": anovl_values}


if __name__ == "__main__":
    stored.write(VALUES, SIZES)
