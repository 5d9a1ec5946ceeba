"""The scale of left-right differences: what drawn healthy heads have, and what drawn lesions add.

``python -m research.mini.symmetry`` draws heads as the corpus does (CT in several windows; T1, T2,
FLAIR and PD; upright to 17 degrees turned; with and without a neck), under a seed of their own, and
prints each ``Scale``, and how well model, sides and both tell drawn defects apart.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from headclip_med.metrics import image_metrics
from headclip_med.models.model import AnomalyModel
from headclip_med.pipelines.loading import load_model
from headclip_med.settings import EMBEDDED_NAME
from headclip_med.transforms import cut_slices, joint_score, local_score, resize_images, resize_maps
from headclip_med.transforms.scores import joined_scores
from headclip_med.transforms.symmetry import Sides, compare_sides, fit_line
from headclip_med.transforms.symmetry.differences import SIDE_PX, SideDifference, side_differences
from headclip_med.transforms.symmetry.scale import Scale
from research.mini.corpus.samples import draw_heads

_log = logging.getLogger(__name__)

SEED = 99
HEADS, PIXELS = (0.5, 0.95), (0.9, 0.995)
"""Quantiles that are the usual and the high difference of heads, and of their pixels."""

BATCHES = 16
"""Of 24 heads each, half of them CT."""


@dataclass(frozen=True, eq=False)
class DrawnHead:
    """A drawn head.

    Attributes:
        sides: It, and its mirror image.
        is_hurt: Whether it has a defect.
        map: The model's own, at ``SIDE_PX``.
        score: The model's own.
    """

    sides: Sides
    is_hurt: bool
    map: Float[np.ndarray, "side side"]
    score: float


def drawn_heads(model: AnomalyModel) -> Iterator[DrawnHead]:
    """Draw heads and look at them; one that has no line of symmetry is left out."""
    for batch in range(BATCHES):
        drawn = draw_heads((SEED, batch, 0), 24, SIDE_PX, magnetic=batch % 2 == 1)
        for picture, label in zip(drawn.images, drawn.labels, strict=True):
            grey = picture[0].numpy().astype(np.float32) / 255
            fitted = fit_line(grey)
            if fitted is not None and fitted.is_symmetric:
                both = cut_slices(np.stack([grey, fitted.line.mirrored(grey)]))
                yield _looked_at(model, both, bool(label))


def learn_scales(healthy: Sequence[DrawnHead]) -> dict[str, Scale]:
    """Give each scale of the package, from heads without defect, by its name there."""
    differences = [one for head in healthy for one in side_differences(head.sides)]
    scores = np.array([head.score for head in healthy])
    values = np.concatenate(
        [head.map[one.inner] for head, one in zip(healthy, differences, strict=True)]
    )
    found = {}
    for name, of in (("GREY", _grey), ("PATCHES", _features)):
        heads = np.array([one.most_different(of(one)) for one in differences])
        found[f"{name}_OF_HEAD"] = _scale(heads, scores, HEADS)
        pixels = np.concatenate([of(one) for one in differences])
        found[f"{name}_OF_PIXEL"] = _scale(pixels, values, PIXELS)
    return found


def main() -> None:
    """Draw, and print what was found."""
    drawn = list(drawn_heads(load_model(EMBEDDED_NAME)))
    for name, scale in learn_scales([one for one in drawn if not one.is_hurt]).items():
        _log.info("%s = Scale(%s)", name, ", ".join(f"{one:.4f}" for one in scale))
    labels = np.array([one.is_hurt for one in drawn])
    own = np.array([one.score for one in drawn])
    sides = np.array([compare_sides(one.sides).scores[0] for one in drawn])
    _log.info(
        "%d heads, %d with a defect; AUROC by the scales of the package:", len(drawn), labels.sum()
    )
    for name, scores in (("model", own), ("sides", sides), ("both", joined_scores(own, sides))):
        _log.info("%s %.3f", name, image_metrics(scores, labels)["AUROC"])


def _looked_at(
    model: AnomalyModel, both: Float[Tensor, "2 3 rows columns"], is_hurt: bool
) -> DrawnHead:
    found = model.predict(resize_images(both, model.image_size))
    patches = None if found.patches is None else (found.patches[:1], found.patches[1:])
    local = local_score(found.map[:1].numpy(), model.scores.top_percent)
    score = joint_score(found.global_score[:1].numpy(), local, model.scores.global_weight)
    own = resize_maps(found.map[:1], SIDE_PX, SIDE_PX)[0].numpy()
    return DrawnHead(Sides(both[:1], both[1:], patches), is_hurt, own, float(score[0]))


def _grey(one: SideDifference) -> Float[np.ndarray, "pixels"]:
    return one.grey


def _features(one: SideDifference) -> Float[np.ndarray, "pixels"]:
    if one.patches is None:
        raise AssertionError("headclip-mini gives local features")
    return one.patches


def _scale(differences: np.ndarray, values: np.ndarray, quantiles: tuple[float, float]) -> Scale:
    ends = (*np.quantile(differences, quantiles), *np.quantile(values, quantiles))
    return Scale(*(float(one) for one in ends))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_grad_enabled(False)
    main()
