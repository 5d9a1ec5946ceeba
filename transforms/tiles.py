"""A model's view of every slice of a volume: whole slices resized, or windows slid over them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from headclip_med.errors import OutOfMemory
from headclip_med.prediction import Prediction
from headclip_med.settings import ScreenSettings
from headclip_med.transforms.slices import resize_images, resize_maps

# How PyTorch words a failed allocation on the CPU, where it raises a plain RuntimeError.
_ALLOCATION_FAILURES = ("not enough memory", "can't allocate memory", "out of memory")


Blended = tuple[
    Float[Tensor, "batch rows columns"], Float[Tensor, "batch"], Float[Tensor, "batch"] | None
]
"""Maps, global scores, and local scores where the model gives them itself."""


@runtime_checkable
class SliceModel(Protocol):
    """Anything that gives square images an anomaly map and a score each."""

    @property
    def image_size(self) -> int:
        """Rows and columns of the images it was made for, in pixels."""

    def predict(self, images: Float[Tensor, "batch 3 height width"]) -> Prediction:
        """Map a batch of images with values in [0, 1]."""


def predict_batch(
    model: SliceModel,
    images: Float[Tensor, "batch 3 rows columns"],
    *,
    settings: ScreenSettings,
    size_px: int | None = None,
) -> Blended:
    """Run a model over a batch of slices.

    Args:
        model: What sees the images.
        images: One image per slice, values in [0, 1].
        settings: Its ``tiling``, ``overlap`` and ``batch_size`` count.
        size_px: Rows and columns of the model's input; the model's own size by default.

    Returns:
        A map of each slice at the slice's own size, a global score of each slice, and a local one
        where the model gives it itself (of its patches); on the CPU. With windows a score is the
        highest that the slice's windows give: a lesion fills a few windows, and a mean would fade
        with every healthy window beside them, so large slices would score lower for the same
        finding. Scores of overlapping windows are blended first as the maps are, so that one window
        cannot raise an alarm which none of its neighbours shares.

    Raises:
        OutOfMemory: The batch does not fit the device.
    """
    side = size_px or model.image_size
    # A slice that fits the model's input needs no windows.
    slide = settings.tiling == "windows" and max(images.shape[-2:]) > side
    with memory_advice(settings.batch_size, side), torch.no_grad():
        if slide:
            return _predict_windows(model, images, settings, side)
        return split_blended(map_and_score(model, images, side).cpu())


def map_and_score(
    model: SliceModel, images: Float[Tensor, "batch 3 rows columns"], size_px: int
) -> Float[Tensor, "batch planes rows columns"]:
    """Run a model on images of any size: resized to the model's input, the maps resized back.

    Args:
        model: What sees them.
        images: Values in [0, 1].
        size_px: Rows and columns of the model's input.

    Returns:
        The map, and as a constant second channel the global score: inferers blend images only. A
        third one is the local score of a model that gives it. On the model's device.
    """
    # Sides are tensors while a graph is traced.
    rows, columns = (int(side) for side in images.shape[-2:])
    prediction = model.predict(resize_images(images, size_px))
    found = resize_maps(prediction.map.float(), rows, columns)
    scores = [prediction.global_score]
    if prediction.local_score is not None:
        scores.append(prediction.local_score)
    return torch.stack([found, *(one[:, None, None].expand_as(found) for one in scores)], dim=1)


def split_blended(blended: Float[Tensor, "batch planes rows columns"]) -> Blended:
    """Take apart what windows were blended to: maps, and the highest scores on each slice."""
    highest = [one.amax(dim=(1, 2)).clamp(0, 1) for one in blended[:, 1:].unbind(1)]
    return blended[:, 0], highest[0], highest[1] if len(highest) > 1 else None


def _predict_windows(
    model: SliceModel, images: Tensor, settings: ScreenSettings, side: int
) -> Blended:
    from monai.inferers.utils import sliding_window_inference  # seconds that whole slices save

    blended = sliding_window_inference(
        images,
        roi_size=(side, side),
        sw_batch_size=settings.batch_size,
        predictor=lambda windows: map_and_score(model, windows, side).cpu(),
        overlap=settings.overlap,
        mode="gaussian",
        padding_mode="replicate",  # a black border would be an edge that the patient does not have
        sw_device="cpu",
        device="cpu",
    )
    if not isinstance(blended, Tensor):  # it mirrors the predictor's type
        raise TypeError("the inferer must return one tensor")
    return split_blended(blended)


@contextmanager
def memory_advice(batch_size: int, side: int) -> Iterator[None]:
    """Turn a failed allocation into a sentence that says what to change.

    Raises:
        OutOfMemory: A batch does not fit the device.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        is_memory = isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(
            words in str(error) for words in _ALLOCATION_FAILURES
        )
        if not is_memory:
            raise
        raise OutOfMemory(
            f"The device ran out of memory with {batch_size} images of {side} x {side} px at a "
            "time.",
            "Use a smaller batch_size, or a smaller image size.",
        ) from error
