"""Screen one volume by blocks of slices: preprocess, predict, find lesion candidates, score."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from time import perf_counter

import numpy as np
from jaxtyping import Float, Shaped
from torch import Tensor

from headclip_med.content import content_of_volume
from headclip_med.errors import InvalidSettings
from headclip_med.findings import (
    Box,
    PlaneLeftOut,
    PlaneUsed,
    Screening,
    SymmetryUsed,
    WindowUsed,
    hull_of,
)
from headclip_med.mapped import allocate, blocks_of, release
from headclip_med.models.model import AnomalyModel, name_content
from headclip_med.pipelines.symmetry import Comparisons
from headclip_med.read import as_volume
from headclip_med.settings import NO_PATCHES, ScoreSettings, ScreenSettings
from headclip_med.transforms import (
    apply_window,
    choose_views,
    choose_window,
    cut_slices,
    find_crop_box,
    find_lesions,
    joint_score,
    local_score,
    numbered_as_stored,
    paste_maps,
    pool_slices,
    predict_batch,
)
from headclip_med.transforms.planes import AS_STORED, View
from headclip_med.transforms.scores import joined_maps, joined_scores
from headclip_med.volume import Heatmap, Volume

FLAT = 0.02
"""A map whose values all lie closer together shows nothing: what passes the threshold is noise."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """A volume as a model is about to see it.

    Attributes:
        view: The volume that will be screened, cut into slices.
        window: The grey-level mapping that was chosen for it.
        crop_box: The part of every slice that the model sees.
    """

    view: View
    window: WindowUsed
    crop_box: Box

    @property
    def volume(self) -> Volume:
        """What the model sees the slices of."""
        return self.view.shown

    def images(
        self, voxels: Shaped[np.ndarray, "block rows columns *colour"]
    ) -> Float[Tensor, "block 3 height width"]:
        """Make the images of a block of the volume's slices, with values in [0, 1]."""
        return cut_slices(apply_window(voxels, self.window))[(..., *self.crop_box.indices)]


def screen(
    given: Volume | str | PathLike[str] | Shaped[np.ndarray, "..."],
    model: AnomalyModel,
    *,
    settings: ScreenSettings | None = None,
    report: Callable[[int], None] = lambda slices: None,
    follow: Callable[[np.ndarray], None] = lambda values: None,
) -> Screening:
    """Look for what is abnormal in a volume.

    Memory is set by the batch: arrays of the volume's own size are mapped where they are large.

    Args:
        given: A volume, as ``read_volume`` gives it; the path of one; or an array, as
            ``Volume.from_array`` takes it.
        model: As ``load_model`` gives it; its ``scores`` say how maps become scores. One whose
            sentences name what is looked at is told the organ and the modality, where known.
        settings: Window, planes, tiling, threshold, pooling; the defaults serve an unknown volume.
        report: Called with the number of the volume's slices done since the last call.
        follow: Called with the heatmap of the slices done since the last call, where the model sees
            the volume's own slices and nothing else, so that this is final.

    Returns:
        Heatmap on the volume's own slices, lesion candidates, slice scores and the study's score.

    Raises:
        HeadClipError: A map holds values that are not numbers, or a path cannot be read.
        InvalidSettings: The window is unknown, or this is nothing to screen, or no model.
        OutOfMemory: A batch does not fit the device.
    """
    if not isinstance(model, AnomalyModel):
        raise InvalidSettings(
            f"The model is {type(model).__name__}, which predicts nothing.",
            "Give what load_model() returns: screen(volume, load_model('headclip-mini')).",
            code="wrong-type",
        )
    volume = as_volume(given)
    model = name_content(model, content_of_volume(volume))
    settings = settings or ScreenSettings()
    clock, found = Clock({"read": volume.read_s}), []
    views, left_out = choose_views(volume, settings.planes)
    is_final = [view.shown is volume for view in views] == [True]
    told = _told(report, len(volume.voxels), sum(view.slices for view in views))
    window: WindowUsed | None = None
    comparisons = Comparisons(settings.symmetry)
    for view in views:
        prepared = preprocess(view, settings, window)
        clock.lap("preprocess")
        if window is None:
            comparisons.decide(prepared.volume, prepared.window)
            if settings.symmetry != "off":
                clock.lap("symmetry")
        window = prepared.window
        found.append(SlicePredictions(prepared, model.scores))
        sides = comparisons.of_view(prepared.volume, window, prepared.crop_box, model)
        seen_by = model if sides is None else sides.watched
        for slices, voxels in blocks_of(prepared.volume.voxels, settings.batch_size):
            images = prepared.images(voxels)
            found[-1].add(slices, *predict_batch(seen_by, images, settings=settings))
            if sides is not None:
                clock.lap("predict")
                is_fresh = settings.tiling == "whole"
                found[-1].join(slices, *sides.compare(slices, images, settings, is_fresh=is_fresh))
                clock.lap("symmetry")
            if is_final:
                follow(found[-1].heatmap.values[slices])
            told(len(voxels))
        clock.lap("predict")
    return postprocess(
        found, model, settings, clock.laps_s, left_out=left_out, comparisons=comparisons
    )


def preprocess(view: View, settings: ScreenSettings, window: WindowUsed | None = None) -> Prepared:
    """Choose the grey levels and the part of the slices to show.

    Args:
        view: The slices.
        settings: Of the screening.
        window: The grey levels, where another view of the same volume has them already.

    Raises:
        InvalidSettings: The window is unknown.
    """
    window = window or choose_window(view.shown, settings.window)
    return Prepared(view, window, find_crop_box(view.shown, window, settings.crop))


def _told(report: Callable[[int], None], count: int, shown: int) -> Callable[[int], None]:
    """Tell of the volume's slices while a model sees others, of which there may be more."""
    seen = 0

    def tell(slices: int) -> None:
        nonlocal seen
        before, seen = seen, seen + slices
        report(seen * count // shown - before * count // shown)

    return tell


class SlicePredictions:
    """What a model says of a volume's slices, taken block by block.

    Args:
        prepared: What the model sees.
        scores: How maps become scores.

    Attributes:
        prepared: As given.
        heatmap: The maps so far, on the volume's own slices.
        slice_scores: Of each slice so far, in [0, 1]: JAS, joined with that of its symmetry.
        own_scores: JAS of each slice so far, by the method alone.
        side_scores: How both sides of each differ, in [0, 1]; NaN where they were not compared.
        lowest: Of the values of all maps so far, where the model saw something.
        highest: Likewise.
    """

    def __init__(self, prepared: Prepared, scores: ScoreSettings) -> None:
        grid = prepared.volume.grid
        self.prepared = prepared
        self.heatmap = Heatmap(allocate(grid.shape), grid)
        self.slice_scores = np.zeros(grid.shape[0])
        self.own_scores = np.zeros(grid.shape[0])
        self.side_scores = np.full(grid.shape[0], np.nan)
        self.lowest, self.highest = np.inf, -np.inf
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
        self._span(shown)
        release(self.heatmap.values)
        if local_scores is not None:
            local = local_scores.numpy()
        elif self._scores.local_map == "patches":
            raise InvalidSettings(*NO_PATCHES, code="no-patches")
        else:
            local = local_score(shown, self._scores.top_percent)
        found = global_scores.numpy().astype(np.float64)
        joint = joint_score(found, local, self._scores.global_weight)
        self.slice_scores[slices] = self.own_scores[slices] = joint

    def _span(self, shown: Float[np.ndarray, "block height width"]) -> None:
        self.lowest = min(self.lowest, float(shown.min()))
        self.highest = max(self.highest, float(shown.max()))

    def join(
        self,
        slices: slice,
        maps: Float[np.ndarray, "block height width"],
        scores: Float[np.ndarray, "block"],
    ) -> None:
        """Join what was said of some slices with how they differ from their mirror images.

        Args:
            slices: Which ones; ``add`` has taken them.
            maps: Of the part of the slices that the model saw, in [0, 1].
            scores: Of each slice, in [0, 1]; NaN where it shows no two sides.
        """
        shown = self.heatmap.values[slices][(..., *self.prepared.crop_box.indices)]
        shown[:] = joined_maps(shown, maps)
        self._span(shown)
        release(self.heatmap.values)
        self.side_scores[slices] = scores
        self.slice_scores[slices] = joined_scores(self.own_scores[slices], scores)


def compare_sides_of(
    found: SlicePredictions, model: AnomalyModel, settings: ScreenSettings
) -> Comparisons:
    """Join what was said of all slices of a view with how they differ from their mirror images.

    Args:
        found: Changed in place where sides are compared.
        model: What gives local features.
        settings: Of the screening.
    """
    prepared, comparisons = found.prepared, Comparisons(settings.symmetry)
    comparisons.decide(prepared.volume, prepared.window)
    sides = comparisons.of_view(prepared.volume, prepared.window, prepared.crop_box, model)
    if sides is not None:
        for slices, voxels in blocks_of(prepared.volume.voxels, settings.batch_size):
            images = prepared.images(voxels)
            found.join(slices, *sides.compare(slices, images, settings))
    return comparisons


def postprocess(
    found: Sequence[SlicePredictions],
    model: AnomalyModel,
    settings: ScreenSettings,
    timings_s: Mapping[str, float],
    *,
    left_out: tuple[PlaneLeftOut, ...] = (),
    comparisons: Comparisons | None = None,
) -> Screening:
    """Turn the maps of all slices into lesion candidates and the volume's score.

    Candidates are looked for in the first view, so that they too are the same however it is stored.

    Args:
        found: What the model said of every slice of each view.
        model: What said it.
        settings: Of the screening.
        timings_s: Seconds per step so far.
        left_out: Planes in which no slices were cut.
        comparisons: Of both sides, which maps and scores were joined with.

    Raises:
        UnusableGeometry: Symmetry was asked for, and no slice shows two sides.
    """
    clock = Clock(timings_s)
    threshold = model.threshold if settings.threshold is None else settings.threshold
    views = [one.prepared.view for one in found]
    volume, back = views[0].stored, views[0].arrangement.inverse
    fused = Heatmap(_fused(found), views[0].grid)
    labels, lesions = find_lesions(fused, threshold, settings.minimum_size)
    regions = len(lesions)
    if is_flat := max(one.highest for one in found) - min(one.lowest for one in found) < FLAT:
        labels, lesions = allocate(labels.shape, np.int32), ()
    heatmap, labels = Heatmap(back.arranged(fused.values), volume.grid), back.arranged(labels)
    crop_box = hull_of(one.prepared.view.stored_box(one.prepared.crop_box) for one in found)
    pooled = [pool_slices(one.slice_scores, settings) for one in found]
    score = float(np.mean(pooled))
    kinds = [one.own_scores for one in found], [np.nan_to_num(one.side_scores) for one in found]
    alone = [float(np.mean([pool_slices(one, settings) for one in kind])) for kind in kinds]
    clock.lap("find")
    return Screening(
        volume=volume,
        heatmap=heatmap,
        slice_scores=_stored_scores(found, heatmap, crop_box, model.scores),
        score=score,
        threshold=threshold,
        labels=labels,
        lesions=lesions if back == AS_STORED else numbered_as_stored(lesions, labels, heatmap),
        window=found[0].prepared.window,
        crop_box=crop_box,
        model=model.describe(),
        settings={**settings.to_json(), "scores": model.scores.to_json()},
        timings_s=clock.laps_s,
        planes=tuple(
            PlaneUsed(
                view.plane, view.slices, view.arrangement.keeps_slices, view.even is not None, score
            )
            for view, score in zip(views, pooled, strict=True)
        ),
        planes_left_out=left_out,
        flat_regions=regions if is_flat else 0,
        symmetry=SymmetryUsed() if comparisons is None else comparisons.used(*alone),
    )


def _fused(found: Sequence[SlicePredictions]) -> Float[np.ndarray, "slices rows columns"]:
    """Give the mean of all views' maps, in the order of the first view; of one the maps as is."""
    first = found[0].prepared.view
    if len(found) == 1:
        return first.settled(found[0].heatmap.values)
    total = allocate(first.grid.shape)
    for one in found:
        view = one.prepared.view
        maps = view.arrangement.inverse.arranged(view.settled(one.heatmap.values))
        for span, block in blocks_of(first.arrangement.arranged(maps)):
            total[span] += block / np.float32(len(found))
            release(total)
    return total


def _stored_scores(
    found: Sequence[SlicePredictions], heatmap: Heatmap, crop_box: Box, scores: ScoreSettings
) -> Float[np.ndarray, "slices"]:
    """Score the stored slices: as the model saw them, else by the heatmap on them (S_local)."""
    for one in found:
        arrangement = one.prepared.view.arrangement
        if arrangement.keeps_slices:
            return one.slice_scores[:: -1 if arrangement.is_reversed[0] else 1]
    local = [
        local_score(block[(..., *crop_box.indices)], scores.top_percent)
        for _, block in blocks_of(heatmap.values)
    ]
    return np.concatenate(local)


class Clock:
    """Measures the steps of a screening, in seconds."""

    def __init__(self, laps_s: Mapping[str, float] | None = None) -> None:
        self.laps_s = dict(laps_s or {})
        self._last = perf_counter()

    def lap(self, step: str) -> None:
        """Add how long the step that ends here took."""
        now = perf_counter()
        self.laps_s[step] = self.laps_s.get(step, 0.0) + now - self._last
        self._last = now
