"""The scale of left-right differences: what drawn healthy heads have, and what drawn lesions add.

``python -m research.mini.symmetry`` draws heads as the corpus does (CT in several windows; T1, T2,
FLAIR and PD; upright to 17 degrees turned; with and without a neck), under a seed of their own, and
prints the two numbers of each ``Scale``, and how well the score tells drawn defects apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from headclip_med.metrics import image_metrics
from headclip_med.models.model import AnomalyModel
from headclip_med.pipelines.loading import load_model
from headclip_med.settings import EMBEDDED_NAME
from headclip_med.transforms import cut_slices, resize_images
from headclip_med.transforms.symmetry import Sides, compare_sides, fit_line
from headclip_med.transforms.symmetry.differences import SIDE_PX, SideDifference, side_differences
from headclip_med.transforms.symmetry.scale import Scale
from research.mini.corpus.samples import draw_heads

SEED = 99
HEADS, PIXELS = (0.5, 0.95), (0.9, 0.995)
"""Quantiles that are the usual and the high difference of heads, and of their pixels."""

BATCHES = 16
"""Of 24 heads each, half of them CT."""


def drawn_sides(model: AnomalyModel) -> Iterator[tuple[Sides, bool]]:
    """Draw heads, one at a time, each with its mirror image and whether it has a defect."""
    for batch in range(BATCHES):
        drawn = draw_heads((SEED, batch, 0), 24, SIDE_PX, magnetic=batch % 2 == 1)
        for picture, label in zip(drawn.images, drawn.labels, strict=True):
            grey = picture[0].numpy().astype(np.float32) / 255
            fitted = fit_line(grey)
            if fitted is not None and fitted.is_symmetric:
                both = cut_slices(np.stack([grey, fitted.line.mirrored(grey)]))
                yield Sides(both[:1], both[1:], _patches(model, both)), bool(label)


def learn_scales(healthy: list[SideDifference]) -> dict[str, Scale]:
    """Give each scale of the package, from heads without defect, by its name there."""
    found = {}
    for name, values in (("GREY", _grey), ("PATCHES", _features)):
        heads = [one.most_different(values(one)) for one in healthy]
        found[f"{name}_OF_HEAD"] = _scale(heads, HEADS)
        pixels = np.concatenate([values(one) for one in healthy])
        found[f"{name}_OF_PIXEL"] = _scale(pixels, PIXELS)
    return found


def main() -> None:
    """Draw, and print what was found."""
    model = load_model(EMBEDDED_NAME)
    drawn = list(drawn_sides(model))
    healthy = [one for sides, is_hurt in drawn if not is_hurt for one in side_differences(sides)]
    for name, scale in learn_scales(healthy).items():
        print(f"{name} = Scale(usual={scale.usual:.4f}, high={scale.high:.4f})")
    labels = np.array([is_hurt for _, is_hurt in drawn])
    scores = np.array([compare_sides(sides).scores[0] for sides, _ in drawn])
    found = image_metrics(scores, labels)["AUROC"]
    print(f"{len(drawn)} heads, {labels.sum()} with a defect: AUROC {found:.3f}")


def _grey(one: SideDifference) -> Float[np.ndarray, "pixels"]:
    return one.grey


def _features(one: SideDifference) -> Float[np.ndarray, "pixels"]:
    if one.patches is None:
        raise AssertionError("headclip-mini gives local features")
    return one.patches


def _scale(values: Sequence[float] | np.ndarray, quantiles: tuple[float, float]) -> Scale:
    return Scale(*(float(one) for one in np.quantile(values, quantiles)))


def _patches(
    model: AnomalyModel, both: Float[Tensor, "2 3 rows columns"]
) -> tuple[Tensor, Tensor] | None:
    patches = model.predict(resize_images(both, model.image_size)).patches
    return None if patches is None else (patches[:1], patches[1:])


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
