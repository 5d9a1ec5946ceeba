"""Screen one volume: prepare, predict, fuse, find lesions, score."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from jaxtyping import Float
from torch import Tensor

from headclip_med.content import content_of_volume
from headclip_med.errors import InvalidSettings
from headclip_med.findings import Box, Screening, WindowUsed
from headclip_med.models.model import AnomalyModel, name_content
from headclip_med.settings import NO_PATCHES, ScreenSettings
from headclip_med.transforms import (
    apply_window,
    choose_window,
    cut_slices,
    find_body,
    find_lesions,
    fuse,
    joint_score,
    local_score,
    pool_slices,
    predict_slices,
    whole_slice,
)
from headclip_med.volume import Volume


@dataclass(frozen=True, eq=False)
class Prepared:
    """A volume as a model is about to see it.

    Attributes:
        volume: What will be judged.
        window: The grey-level mapping that was chosen for it.
        judged: The part of every slice that the model sees.
    """

    volume: Volume
    window: WindowUsed
    judged: Box


@dataclass(frozen=True, eq=False)
class Judged:
    """What a model said of every slice.

    Attributes:
        maps: Of the part of the slices that it saw, at the slices' own resolution.
        global_scores: Of each slice, in [0, 1].
        timings_s: Seconds per step so far.
        local_scores: Of each slice, in [0, 1], where the model takes them from its patches.
    """

    maps: Float[np.ndarray, "slices rows columns"]
    global_scores: Float[np.ndarray, "slices"]
    timings_s: dict[str, float]
    local_scores: Float[np.ndarray, "slices"] | None = None


def screen(
    volume: Volume,
    model: AnomalyModel,
    *,
    settings: ScreenSettings | None = None,
    report: Callable[[int], None] = lambda slices: None,
) -> Screening:
    """Look for what is abnormal in a volume.

    Args:
        volume: As ``read_volume`` gives it.
        model: As ``load_model`` gives it; its ``scores`` say how maps become scores. One whose
            sentences name what is looked at is told the organ and the modality, where known.
        settings: Window, tiling, threshold, pooling; the defaults serve an unknown volume.
        report: Called with the number of slices judged since the last call.

    Returns:
        Heatmap on the volume's own slices, lesion candidates, slice scores and the study's score.

    Raises:
        InvalidSettings: The window is unknown.
        OutOfMemory: A batch does not fit the device.
    """
    model = name_content(model, content_of_volume(volume))
    settings = settings or ScreenSettings()
    clock = Clock()
    prepared, images = prepare(volume, settings)
    clock.lap("prepare")
    maps, scores, local_scores = predict_slices(model, images, settings=settings, report=report)
    clock.lap("predict")
    return postprocess(prepared, Judged(maps, scores, clock.laps_s, local_scores), model, settings)


def prepare(
    volume: Volume, settings: ScreenSettings
) -> tuple[Prepared, Float[Tensor, "slices 3 rows columns"]]:
    """Choose the grey levels and the part of the slices to show, and cut the images.

    Raises:
        InvalidSettings: The window is unknown.
    """
    window = choose_window(volume, settings.window)
    grey = apply_window(volume.voxels, window)
    judged = find_judged(volume, grey, settings)
    return Prepared(volume, window, judged), cut_slices(grey)[(..., *judged.indices)]


def find_judged(
    volume: Volume, grey: Float[np.ndarray, "slices rows columns *colour"], settings: ScreenSettings
) -> Box:
    """Find the part of every slice that a model is shown, as ``settings.crop`` says."""
    return find_body(volume, grey) if settings.crop == "body" else whole_slice(volume)


def postprocess(
    prepared: Prepared, found: Judged, model: AnomalyModel, settings: ScreenSettings
) -> Screening:
    """Turn maps and scores of slices into a heatmap, lesion candidates and the volume's score.

    Args:
        prepared: What was judged.
        found: What the model said.
        model: What said it.
        settings: Of the screening.

    Raises:
        HeadClipError: A map holds values that are not numbers.
        InvalidSettings: S_local is to be taken from patches, and the model gives none.
    """
    scores = model.scores
    clock = Clock(found.timings_s)
    heatmap = fuse(found.maps, prepared.volume.grid, prepared.judged)
    threshold = model.threshold if settings.threshold is None else settings.threshold
    labels, lesions = find_lesions(heatmap, threshold, settings.minimum_volume_mm3)
    clock.lap("find")
    local_scores = found.local_scores
    if local_scores is None:
        if scores.local_map == "patches":
            raise InvalidSettings(*NO_PATCHES, code="no-patches")
        local_scores = local_score(found.maps, scores.top_percent)
    global_scores = found.global_scores.astype(np.float64)
    slice_scores = joint_score(global_scores, local_scores, scores.global_weight)
    return Screening(
        volume=prepared.volume,
        heatmap=heatmap,
        slice_scores=slice_scores,
        score=pool_slices(slice_scores, settings),
        threshold=threshold,
        labels=labels,
        lesions=lesions,
        window=prepared.window,
        judged=prepared.judged,
        model=model.describe(),
        settings={**settings.to_json(), "scores": scores.to_json()},
        timings_s=clock.laps_s,
    )


class Clock:
    """Measures the steps of a screening, in seconds."""

    def __init__(self, laps_s: dict[str, float] | None = None) -> None:
        self.laps_s = dict(laps_s or {})
        self._last = perf_counter()

    def lap(self, step: str) -> None:
        """Note how long the step that ends here took."""
        now = perf_counter()
        self.laps_s[step] = now - self._last
        self._last = now
