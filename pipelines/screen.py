"""Screen one volume by blocks of slices: preprocess, predict, find lesion candidates, score."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from jaxtyping import Float, Shaped
from torch import Tensor

from headclip_med.content import content_of_volume
from headclip_med.errors import InvalidSettings
from headclip_med.findings import Box, Screening, WindowUsed
from headclip_med.mapped import allocate, blocks_of, release
from headclip_med.models.model import AnomalyModel, name_content
from headclip_med.settings import NO_PATCHES, ScoreSettings, ScreenSettings
from headclip_med.transforms import (
    apply_window,
    choose_window,
    cut_slices,
    find_crop_box,
    find_lesions,
    joint_score,
    local_score,
    paste_maps,
    pool_slices,
    predict_batch,
)
from headclip_med.volume import Heatmap, Volume


@dataclass(frozen=True, eq=False)
class Prepared:
    """A volume as a model is about to see it.

    Attributes:
        volume: What will be screened.
        window: The grey-level mapping that was chosen for it.
        crop_box: The part of every slice that the model sees.
    """

    volume: Volume
    window: WindowUsed
    crop_box: Box

    def images(
        self, voxels: Shaped[np.ndarray, "block rows columns *colour"]
    ) -> Float[Tensor, "block 3 height width"]:
        """Make the images of a block of the volume's slices, with values in [0, 1]."""
        return cut_slices(apply_window(voxels, self.window))[(..., *self.crop_box.indices)]


def screen(
    volume: Volume,
    model: AnomalyModel,
    *,
    settings: ScreenSettings | None = None,
    report: Callable[[int], None] = lambda slices: None,
    follow: Callable[[np.ndarray], None] = lambda values: None,
) -> Screening:
    """Look for what is abnormal in a volume.

    Memory is set by the batch: arrays of the volume's own size are mapped where they are large.

    Args:
        volume: As ``read_volume`` gives it.
        model: As ``load_model`` gives it; its ``scores`` say how maps become scores. One whose
            sentences name what is looked at is told the organ and the modality, where known.
        settings: Window, tiling, threshold, pooling; the defaults serve an unknown volume.
        report: Called with the number of slices done since the last call.
        follow: Called with the heatmap of the slices done since the last call.

    Returns:
        Heatmap on the volume's own slices, lesion candidates, slice scores and the study's score.

    Raises:
        HeadClipError: A map holds values that are not numbers.
        InvalidSettings: The window is unknown.
        OutOfMemory: A batch does not fit the device.
    """
    model = name_content(model, content_of_volume(volume))
    settings = settings or ScreenSettings()
    clock = Clock({"read": volume.read_s})
    prepared = preprocess(volume, settings)
    clock.lap("preprocess")
    found = SlicePredictions(prepared, model.scores)
    for slices, voxels in blocks_of(volume.voxels, settings.batch_size):
        found.add(slices, *predict_batch(model, prepared.images(voxels), settings=settings))
        follow(found.heatmap.values[slices])
        report(len(voxels))
    clock.lap("predict")
    return postprocess(found, model, settings, clock.laps_s)


def preprocess(volume: Volume, settings: ScreenSettings) -> Prepared:
    """Choose the grey levels and the part of the slices to show.

    Raises:
        InvalidSettings: The window is unknown.
    """
    window = choose_window(volume, settings.window)
    return Prepared(volume, window, find_crop_box(volume, window, settings.crop))


class SlicePredictions:
    """What a model says of a volume's slices, taken block by block.

    Args:
        prepared: What the model sees.
        scores: How maps become scores.

    Attributes:
        prepared: As given.
        heatmap: The maps so far, on the volume's own slices.
        slice_scores: JAS of each slice so far, in [0, 1].
    """

    def __init__(self, prepared: Prepared, scores: ScoreSettings) -> None:
        grid = prepared.volume.grid
        self.prepared = prepared
        self.heatmap = Heatmap(allocate(grid.shape), grid)
        self.slice_scores = np.zeros(grid.shape[0])
        self._scores = scores

    def add(
        self,
        slices: slice,
        maps: Float[Tensor, "block height width"],
        global_scores: Float[Tensor, "block"],
        local_scores: Float[Tensor, "block"] | None = None,
    ) -> None:
        """Take what was said of some slices.

        Args:
            slices: Which ones.
            maps: Of the part of the slices that the model saw, at the slices' own resolution.
            global_scores: Of each slice, in [0, 1].
            local_scores: Of each slice, in [0, 1], where the model takes them from its patches.

        Raises:
            HeadClipError: A map holds values that are not numbers.
            InvalidSettings: S_local is to be taken from patches, and the model gives none.
        """
        shown = np.ascontiguousarray(maps)
        paste_maps(self.heatmap.values[slices], shown, self.prepared.crop_box)
        release(self.heatmap.values)
        if local_scores is not None:
            local = local_scores.numpy()
        elif self._scores.local_map == "patches":
            raise InvalidSettings(*NO_PATCHES, code="no-patches")
        else:
            local = local_score(shown, self._scores.top_percent)
        found = global_scores.numpy().astype(np.float64)
        self.slice_scores[slices] = joint_score(found, local, self._scores.global_weight)


def postprocess(
    found: SlicePredictions,
    model: AnomalyModel,
    settings: ScreenSettings,
    timings_s: Mapping[str, float],
) -> Screening:
    """Turn the maps of all slices into lesion candidates and the volume's score.

    Args:
        found: What the model said of every slice.
        model: What said it.
        settings: Of the screening.
        timings_s: Seconds per step so far.
    """
    clock = Clock(timings_s)
    threshold = model.threshold if settings.threshold is None else settings.threshold
    labels, lesions = find_lesions(found.heatmap, threshold, settings.minimum_size)
    clock.lap("find")
    return Screening(
        volume=found.prepared.volume,
        heatmap=found.heatmap,
        slice_scores=found.slice_scores,
        score=pool_slices(found.slice_scores, settings),
        threshold=threshold,
        labels=labels,
        lesions=lesions,
        window=found.prepared.window,
        crop_box=found.prepared.crop_box,
        model=model.describe(),
        settings={**settings.to_json(), "scores": model.scores.to_json()},
        timings_s=clock.laps_s,
    )


class Clock:
    """Measures the steps of a screening, in seconds."""

    def __init__(self, laps_s: Mapping[str, float] | None = None) -> None:
        self.laps_s = dict(laps_s or {})
        self._last = perf_counter()

    def lap(self, step: str) -> None:
        """Note how long the step that ends here took."""
        now = perf_counter()
        self.laps_s[step] = now - self._last
        self._last = now
