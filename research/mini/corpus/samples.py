"""Finished samples: image, defect mask, label, caption; fixed by (seed, index)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Bool, UInt8
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from research.mini.corpus.acquisition import Camera, draw_camera
from research.mini.corpus.canvas import Canvas, FamilyDrawing
from research.mini.corpus.captions import NOUNS, abnormal_caption, normal_caption
from research.mini.corpus.defects import Defect, draw_defect
from research.mini.corpus.heads import draw_computed_head, draw_magnetic_head
from research.mini.corpus.moles import draw_mole
from research.mini.corpus.objects import draw_object
from research.mini.corpus.organs import draw_organ, draw_skin
from research.mini.corpus.solid.lesions import HARD_LESIONS, LESIONS
from research.mini.corpus.solid.studies import draw_study
from research.mini.corpus.textures import draw_texture

BATCH = 16
"""Images that are drawn together and share a kind; part of what (seed, index) means."""

EMPHASIS_UNIT = 16
"""``Samples.emphasis`` is stored in sixteenths."""

_ORGANS = ("organ", "head", "skin")
"""Families that show organs; so do studies, which are drawn in another way."""

_MOLES = 0.7
"""Share of the skin family's defects that are moles; the rest is what any organ may have."""

_VISIBLE = 0.05
"""Mean change of brightness, as a fraction of white, that makes a defect visible without grain."""

_FAMILIES = {"texture": 30, "object": 20, "organ": 50}
"""Share of each family in the mixed corpus, in percent."""

_CLOSING = {"study": 45, "head": 15, "texture": 10, "object": 5, "organ": 25}
"""The same of the closing corpus: mostly CT-like heads, most of these whole studies."""

_HARD = {"study": 55, "head": 5, "texture": 6, "object": 4, "organ": 20, "skin": 10}
"""The same of the hard corpus, whose studies have thin and small lesions more often."""

_CANDIDATES = {"texture": 0.56, "object": 0.56, "organ": 0.45, "head": 0.5, "skin": 0.6}
"""Share of pictures that are given a defect. About one in eight turns out too faint to see and is
taken back: half of the surfaces and objects end up abnormal, and two organs in five, as a false
alarm on a healthy scan costs most."""


@dataclass(frozen=True)
class Samples:
    """A batch of finished pictures."""

    images: UInt8[Tensor, "batch 3 height width"]
    masks: Bool[Tensor, "batch height width"]
    """Pixels that a defect visibly changed."""
    emphasis: UInt8[Tensor, "batch height width"]
    """Weight of each defective pixel in sixteenths: one for a piece of 3 % of the picture, more
    for smaller pieces, so that a scratch or a small spot counts; zero where healthy."""
    labels: Bool[Tensor, "batch"]
    organs: Bool[Tensor, "batch"]
    """Whether the picture shows an organ rather than a surface or an object."""
    captions: tuple[str, ...]

    @staticmethod
    def join(parts: list[Samples]) -> Samples:
        """Put batches behind one another."""
        names = [field.name for field in fields(Samples) if field.name != "captions"]
        tensors = {name: torch.cat([getattr(part, name) for part in parts]) for name in names}
        return Samples(**tensors, captions=tuple(c for part in parts for c in part.captions))


def _emphasis(mask: Bool[Tensor, "height width"]) -> UInt8[Tensor, "height width"]:
    """Weigh each connected piece by the inverse square root of its area."""
    pieces, count = ndimage.label(mask.numpy(), structure=np.ones((3, 3)))
    areas = np.bincount(pieces.ravel(), minlength=count + 1).clip(1)
    weights = np.sqrt(0.03 * mask.numel() / areas).clip(0.5, 6) * EMPHASIS_UNIT
    weights[0] = 0
    return torch.from_numpy(weights.astype(np.uint8)[pieces])


def _add_defects(canvas: Canvas, drawing: FamilyDrawing, family: str) -> tuple[str, Defect]:
    """One kind of defect; some pictures get a second of the same batch's kind."""
    if family == "skin" and canvas.happens(_MOLES):
        return "mole", draw_mole(canvas, drawing.image, drawing.foreground)
    organ = family in _ORGANS
    name, defect = draw_defect(canvas, drawing.image, drawing.foreground, organ=organ)
    if not canvas.happens(0.2):
        return name, defect
    _, second = draw_defect(canvas, defect.image, drawing.foreground, organ=organ)
    return name, Defect(second.image, torch.maximum(defect.mask, second.mask), defect.x, defect.y)


def _visible(
    camera: Camera, clean: Tensor, defect: Defect
) -> tuple[Bool[Tensor, "batch height width"], Bool[Tensor, "batch"]]:
    """Where a defect changed the picture, and whether it can be seen above the grain."""
    change = (camera.develop(defect.image) - camera.develop(clean)).abs().amax(1, keepdim=True)
    change = functional.avg_pool2d(change, 5, 1, 2)
    meant = defect.mask > 0.35
    threshold = 0.012 + 0.1 * camera.amplitude
    mask = (meant & (change > threshold))[:, 0]
    area = mask.flatten(1).sum(1)
    mean = (change[:, 0] * mask).flatten(1).sum(1) / area.clamp(min=1)
    strong = mean > _VISIBLE + 0.5 * camera.amplitude.flatten()
    return mask, strong & (area > 12)


def _draw_family(canvas: Canvas, family: str) -> FamilyDrawing:
    draw = {
        "texture": draw_texture,
        "object": draw_object,
        "organ": draw_organ,
        "head": draw_computed_head,
        "skin": draw_skin,
    }[family]
    return draw(canvas)


def draw_heads(seed: tuple[int, int, int], count: int, size_px: int, *, magnetic: bool) -> Samples:
    """Draw single heads of one modality, the last of them with defects.

    Args:
        seed: Of all that is drawn.
        count: How many.
        size_px: Width and height.
        magnetic: MR in place of CT.
    """
    canvas = Canvas(count, size_px, seed)
    draw = draw_magnetic_head if magnetic else draw_computed_head
    return _finish(canvas, draw(canvas), "head")


def _draw_batch(canvas: Canvas, family: str) -> Samples:
    return _finish(canvas, _draw_family(canvas, family), family)


def _finish(canvas: Canvas, drawing: FamilyDrawing, family: str) -> Samples:
    """Add defects to some pictures of a batch, and take all of them by a camera."""
    organ = family in _ORGANS
    camera = draw_camera(canvas, drawing.foreground, organ=organ)
    kinds = [""] * canvas.count
    places = [(0.0, 0.0)] * canvas.count
    images = drawing.image.clone()
    masks = torch.zeros(canvas.count, canvas.size_px, canvas.size_px, dtype=torch.bool)
    # The last images of a batch get defects, four different kinds of them at most.
    first = canvas.count - round(canvas.count * _CANDIDATES[family])
    for rows in np.array_split(np.arange(first, canvas.count), 4):
        if not len(rows):
            continue
        part = slice(int(rows[0]), int(rows[-1]) + 1)
        nouns = drawing.nouns[part]
        piece = FamilyDrawing(drawing.image[part], drawing.foreground[part], nouns)
        name, defect = _add_defects(canvas.part(len(rows)), piece, family)
        mask, visible = _visible(camera.part(part), piece.image, defect)
        keep = visible.view(-1, 1, 1, 1)
        images[part] = torch.where(keep, defect.image, piece.image)
        masks[part] = mask & visible.view(-1, 1, 1)
        for row, x, y in zip(rows, defect.x.flatten(), defect.y.flatten(), strict=True):
            kinds[row], places[row] = name, (float(x), float(y))
    labels = masks.flatten(1).any(1)
    captions = tuple(
        abnormal_caption(canvas, noun, kind, place) if label else normal_caption(canvas, noun)
        for noun, kind, place, label in zip(drawing.nouns, kinds, places, labels, strict=True)
    )
    finished = (camera.expose(images) * 255 + 0.5).to(torch.uint8)
    emphasis = torch.stack([_emphasis(mask) for mask in masks])
    organs = torch.full_like(labels, organ)
    return Samples(finished, masks, emphasis, labels, organs, captions)


def _draw_study_batch(canvas: Canvas, seed: tuple[int, int, int], *, hard: bool) -> Samples:
    """The slices of one head; a study's own window and grain stand for the camera."""
    lesions = HARD_LESIONS if hard else LESIONS
    study = draw_study(np.random.default_rng(seed), canvas.count, canvas.size_px, lesions)
    masks = torch.from_numpy(study.masks)
    labels = masks.flatten(1).any(1)
    captions = []
    for mask, label in zip(study.masks, labels, strict=True):
        noun = canvas.pick(NOUNS["computed head"])
        if not label:
            captions.append(normal_caption(canvas, noun))
            continue
        y, x = (2 * np.mean(places) / canvas.size_px - 1 for places in np.nonzero(mask))
        captions.append(abnormal_caption(canvas, noun, study.kind, (float(x), float(y))))
    grey = torch.from_numpy((study.grey * 255 + 0.5).astype(np.uint8))
    emphasis = torch.stack([_emphasis(mask) for mask in masks])
    images = grey[:, None].expand(-1, 3, -1, -1).contiguous()
    return Samples(images, masks, emphasis, labels, torch.ones_like(labels), tuple(captions))


def draw_samples(seed: int, index: int, count: int, size_px: int, family: str = "mixed") -> Samples:
    """Draw finished samples.

    Args:
        seed: Seed of the whole corpus.
        index: Which part of the corpus; equal (seed, index, count, size_px, family) give equal
            samples.
        count: How many, rounded up to whole batches of ``BATCH``.
        size_px: Width and height.
        family: ``texture``, ``object``, ``organ``, ``head``, ``skin``, ``study`` (slices of one
            head), ``industrial`` (the first two), ``mixed``, ``closing`` (mostly heads), or
            ``hard`` (the same with skin, and lesions that are thin or small more often).

    Returns:
        The samples, batch after batch; shuffle before training.
    """
    weights = {
        "mixed": _FAMILIES,
        "closing": _CLOSING,
        "hard": _HARD,
        "industrial": {name: _FAMILIES[name] for name in ("texture", "object")},
    }.get(family, {family: 1})
    tickets = tuple(name for name, weight in weights.items() for _ in range(weight))
    parts = []
    for batch in range(-(-count // BATCH)):
        canvas = Canvas(BATCH, size_px, (seed, index, batch))
        drawn = canvas.pick(tickets)
        if drawn == "study":
            parts.append(_draw_study_batch(canvas, (seed, index, batch), hard=family == "hard"))
        else:
            parts.append(_draw_batch(canvas, drawn))
    return Samples.join(parts)


Sample = tuple[np.ndarray, np.ndarray, bool]
"""Image (S, S, 3) uint8, mask (S, S) bool, whether it is abnormal."""


def _one_by_one(seed: int, count: int, size_px: int, family: str) -> Iterator[Sample]:
    for index in range(-(-count // BATCH)):
        batch = draw_samples(seed, index, BATCH, size_px, family)
        images = batch.images.permute(0, 2, 3, 1).numpy()
        wanted = min(BATCH, count - index * BATCH)
        # Within a batch the defects come last: deal the two halves out in turn.
        for row in np.argsort(np.arange(BATCH) % (BATCH // 2), kind="stable")[:wanted]:
            yield images[row].copy(), batch.masks[row].numpy().copy(), bool(batch.labels[row])


def industrial_samples(seed: int, count: int, size_px: int) -> Iterator[Sample]:
    """Surfaces and objects with and without defects, one at a time: no organ among them."""
    yield from _one_by_one(seed, count, size_px, "industrial")


def organ_samples(seed: int, count: int, size_px: int) -> Iterator[Sample]:
    """Organ-like pictures with and without defects, one at a time."""
    yield from _one_by_one(seed, count, size_px, "organ")
