"""Samples of a data set as tensors of the model's size, as the published methods prepare them."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from headclip_med.datasets import Dataset, Sample, read_image, read_mask
from headclip_med.training.batches import Example
from headclip_med.transforms import resize_images


def prepare_image(sample: Sample, size_px: int) -> Float[Tensor, "3 size size"]:
    """Read an image and resize it to a square: bicubic, antialiased, values in [0, 1]."""
    pixels = torch.from_numpy(read_image(sample)).permute(2, 0, 1)[None]
    return resize_images(pixels.float() / 255, size_px)[0]


def resize_mask(mask: Bool[np.ndarray, "rows columns"], size_px: int) -> Bool[np.ndarray, "s s"]:
    """Resize a mask to a square: bilinear, cut at one half."""
    picture = Image.fromarray(mask.astype(np.uint8) * 255)
    return np.asarray(picture.resize((size_px, size_px), Image.Resampling.BILINEAR)) > 127


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
        sample = self.samples[number]
        mask = read_mask(sample)
        small = torch.from_numpy(resize_mask(mask, self.size_px)).float()
        label = int(mask.any()) if sample.label is None else int(sample.label)
        return Example(prepare_image(sample, self.size_px), small, label, sample.category)
