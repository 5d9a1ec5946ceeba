"""Samples of a data set as tensors of the model's size, as the published methods prepare them.

And the map value from which a pixel counts as abnormal, measured on the healthy pixels of some.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from headclip_med.datasets import Dataset, Sample, read_image, read_mask
from headclip_med.errors import UnreadableInput
from headclip_med.models.model import AnomalyModel
from headclip_med.training.batches import Example
from headclip_med.transforms import resize_images

MOSAIC = 4
"""Images of a mosaic."""


def prepare_image(sample: Sample, size_px: int) -> Float[Tensor, "3 size size"]:
    """Read an image and resize it to a square: bicubic, antialiased, values in [0, 1]."""
    return _square(read_image(sample), size_px)


def resize_mask(mask: Bool[np.ndarray, "rows columns"], size_px: int) -> Bool[np.ndarray, "s s"]:
    """Resize a mask to a square: bilinear, cut at one half."""
    picture = Image.fromarray(mask.astype(np.uint8) * 255)
    return np.asarray(picture.resize((size_px, size_px), Image.Resampling.BILINEAR)) > 127


def read_example(sample: Sample, size_px: int) -> Example:
    """Read an image with its mask, both resized to a square.

    Of a set without masks nothing is marked, and the label counts.
    """
    mask = _mask_of(sample)
    small = torch.from_numpy(resize_mask(mask, size_px)).float()
    label = int(mask.any()) if sample.label is None else int(sample.label)
    return Example(prepare_image(sample, size_px), small, label, sample.category)


def _mask_of(sample: Sample) -> Bool[np.ndarray, "rows columns"]:
    """Read a mask; that of an abnormal image in a set without masks marks nothing.

    Nothing is learned from maps there: see ``pipelines.train.from_labels``.
    """
    is_unmarked = sample.label == 1 and not sample.mask_paths
    return read_mask(replace(sample, label=0) if is_unmarked else sample)


class Examples(TorchDataset[Example]):
    """A data set to train on; images are read when they are asked for.

    Args:
        dataset: Its ``test`` split is used, which holds the anomalies and their masks: that is the
            field's protocol for the auxiliary data. Never evaluate on the set trained on.
        size_px: Rows and columns of the images.
    """

    def __init__(self, dataset: Dataset, size_px: int) -> None:
        self.samples = dataset.split("test").samples
        self.size_px = size_px

    def __len__(self) -> int:
        """Count the images."""
        return len(self.samples)

    def __getitem__(self, number: int) -> Example:
        """Read one image with its mask."""
        return read_example(self.samples[number], self.size_px)


class Mosaics(TorchDataset[Example]):
    """Examples, now and then in place of one a mosaic of four different ones of its category.

    AdaCLIP's augmentation of MVTec AD: its pictures show one object each, other sets' many. The
    label stays that of the example whose place is taken, as published, whatever the four show.

    Args:
        examples: Where they come from.
        chance: Probability of a mosaic, each time an example is asked for.
        seed: With epoch and number it decides: a resumed training sees the same mosaics.
    """

    def __init__(self, examples: Examples, chance: float, seed: int) -> None:
        self._examples, self._chance, self._seed = examples, chance, seed
        self._epoch = 1
        self._peers: dict[str, list[Sample]] = {}
        for sample in examples.samples:
            self._peers.setdefault(sample.category, []).append(sample)

    def __len__(self) -> int:
        """Count the images."""
        return len(self._examples)

    def begin_epoch(self, epoch: int) -> None:
        """Draw the mosaics of this epoch from now on."""
        self._epoch = epoch

    def __getitem__(self, number: int) -> Example:
        """Read one image with its mask, or four."""
        example = self._examples[number]
        draw = np.random.default_rng((self._seed, self._epoch, number))
        peers = self._peers[example.category]
        if draw.random() >= self._chance or len(peers) < MOSAIC:
            return example
        chosen = [peers[one] for one in draw.choice(len(peers), MOSAIC, replace=False)]
        image, mask = mosaic(chosen, self._examples.size_px)
        return example._replace(image=image, mask=mask)


def mosaic(
    samples: Sequence[Sample], size_px: int
) -> tuple[Float[Tensor, "3 size size"], Float[Tensor, "size size"]]:
    """Put four images and their masks together, row by row, and resize the whole to a square.

    All take the first one's size before.
    """
    images, masks = [read_image(one) for one in samples], [_mask_of(one) for one in samples]
    rows, columns = masks[0].shape
    pictures = [Image.fromarray(image).resize((columns, rows)) for image in images]
    marks = [
        Image.fromarray(mask).resize((columns, rows), Image.Resampling.NEAREST) for mask in masks
    ]
    whole, marked = (
        np.vstack([np.hstack(tiles[:2]), np.hstack(tiles[2:])])
        for tiles in ([np.asarray(one) for one in kind] for kind in (pictures, marks))
    )
    return _square(whole, size_px), torch.from_numpy(resize_mask(marked, size_px)).float()


def _square(
    picture: UInt8[np.ndarray, "rows columns 3"], size_px: int
) -> Float[Tensor, "3 size size"]:
    pixels = torch.from_numpy(picture).permute(2, 0, 1)[None]
    return resize_images(pixels.float() / 255, size_px)[0]


SPECIFICITY = 0.995
"""Share of healthy pixels of the auxiliary data that stay below the threshold."""

IMAGES = 64
"""Images that the threshold is set on, evenly spread over the data."""


def require_healthy(examples: TorchDataset[Example]) -> None:
    """Refuse to learn where no pixel is known to be healthy: nothing could be told apart.

    Raises:
        UnreadableInput: There is none.
    """
    count = len(examples)  # type: ignore[arg-type]
    if not any(_has_healthy(examples[number]) for number in range(count)):
        raise _no_healthy()


def _no_healthy() -> UnreadableInput:
    return UnreadableInput(
        "No pixel of the set is healthy: every image is abnormal, and its mask marks all of it or "
        "is missing.",
        "Add normal images, or look whether the masks are inverted.",
        code="no-healthy-pixels",
    )


def _has_healthy(example: Example) -> bool:
    is_unmarked = bool(example.label) and not bool(example.mask.any())
    return not is_unmarked and bool((example.mask == 0).any())


def healthy_threshold(model: AnomalyModel, examples: TorchDataset[Example]) -> float:
    """Find the map value that ``SPECIFICITY`` of the healthy pixels stay below.

    Args:
        model: In the form that is used.
        examples: Up to ``IMAGES`` of them are looked at; of abnormal ones only those with a mask.

    Raises:
        UnreadableInput: No pixel is healthy.
    """
    count = len(examples)  # type: ignore[arg-type]
    chosen = np.unique(np.linspace(0, count - 1, min(count, IMAGES)).round().astype(int))
    healthy: list[Tensor] = []
    for turn, number in enumerate((*chosen, *np.setdiff1d(np.arange(count), chosen))):
        if turn >= len(chosen) and healthy:
            break
        example = examples[int(number)]
        if not _has_healthy(example):
            continue  # of an image without a mask nobody knows which pixels are healthy
        found = model.predict(example.image[None]).map[0].cpu()
        healthy.append(found[example.mask == 0])
    if not healthy:
        raise _no_healthy()
    return threshold_at_specificity(torch.cat(healthy), SPECIFICITY)


def threshold_at_specificity(healthy: Float[Tensor, "pixels"], specificity: float) -> float:
    """Find the map value that all but a small share of healthy pixels stay below.

    Args:
        healthy: Map values of pixels without any anomaly.
        specificity: Share of them that shall lie below, in (0, 1).
    """
    rank = min(len(healthy) - 1, int(specificity * len(healthy)))
    return float(healthy.sort().values[rank])
