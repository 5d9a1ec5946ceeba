"""Screen one volume: prepare, predict, fuse, find lesions, score."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

import numpy as np

from headclip_med.findings import Screening
from headclip_med.models.anomaly import AnomalyModel, name_subject
from headclip_med.pipelines.subjects import subject_of_volume
from headclip_med.settings import ScreenSettings
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
    model = name_subject(model, subject_of_volume(volume))
    settings, scores = settings or ScreenSettings(), model.scores
    clock = _Clock()
    window = choose_window(volume, settings.window)
    grey = apply_window(volume.voxels, window)
    judged = find_body(volume, grey) if settings.crop == "body" else whole_slice(volume)
    images = cut_slices(grey)[(..., *judged.indices)]
    clock.lap("prepare")
    maps, global_scores = predict_slices(model, images, settings=settings, report=report)
    clock.lap("predict")
    heatmap = fuse(maps, volume.grid, judged)
    threshold = model.threshold if settings.threshold is None else settings.threshold
    labels, lesions = find_lesions(heatmap, threshold, settings.minimum_volume_mm3)
    clock.lap("find")
    local_scores = local_score(maps, scores.top_percent)
    slice_scores = joint_score(global_scores.astype(np.float64), local_scores, scores.global_weight)
    return Screening(
        volume=volume,
        heatmap=heatmap,
        slice_scores=slice_scores,
        score=pool_slices(slice_scores, settings),
        threshold=threshold,
        labels=labels,
        lesions=lesions,
        window=window,
        judged=judged,
        model=model.describe(),
        settings={**settings.to_json(), "scores": scores.to_json()},
        timings_s=clock.laps_s,
    )


class _Clock:
    def __init__(self) -> None:
        self.laps_s: dict[str, float] = {}
        self._last = perf_counter()

    def lap(self, step: str) -> None:
        now = perf_counter()
        self.laps_s[step] = now - self._last
        self._last = now
