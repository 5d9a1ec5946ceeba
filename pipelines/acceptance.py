"""Accept or refuse a trained model on the acceptance phantoms: looked at once, never tuned on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from headclip_med.evaluation.baselines import IMAGE_BASELINES, SIDES_PX, baseline_maps
from headclip_med.evaluation.models import WITH_SYMMETRY
from headclip_med.evaluation.results import THE_MODEL, Evaluation, ResultRow, average
from headclip_med.geometry import Grid
from headclip_med.metrics import Sampled, sample_images, sample_pixels
from headclip_med.models.model import AnomalyModel
from headclip_med.pipelines.screen import screen
from headclip_med.settings import ScreenSettings
from headclip_med.synthetic.acceptance import Phantom, acceptance_phantoms
from headclip_med.transforms import (
    apply_window,
    cut_slices,
    local_score,
    pool_slices,
    resize_images,
)
from headclip_med.volume import SliceSource, Volume

_log = logging.getLogger(__name__)

SEED = 20_241_124
"""Of the bootstrap."""

LEAST_LESION_PX = 25
"""A slice counts as positive from this many lesion pixels on: at the phantoms' 1.75 mm that is
77 mm2, a disc 10 mm across. With fewer, a cut is the tapering end of a lesion that its neighbours
show; such slices are neither positive nor negative, but stay in every other measure."""

_Maps = Float[np.ndarray, "slices rows columns"]


@dataclass(frozen=True, eq=False)
class _Scored:
    """What the model or a baseline says of one volume; a judge of whole slices has no maps."""

    method: str
    is_baseline: bool
    maps: _Maps | None
    slice_scores: Mapping[str, Float[np.ndarray, "slices"]]
    addition: str = ""


@dataclass(frozen=True, eq=False)
class _GroundTruth:
    """What is known of all slices of all volumes, one after the other."""

    lesion: Bool[np.ndarray, "slices rows columns"]
    body: Bool[np.ndarray, "slices rows columns"]
    volume: Int[np.ndarray, "slices"]
    abnormal_volumes: Bool[np.ndarray, "volumes"]


def evaluate_acceptance(
    model: AnomalyModel,
    *,
    settings: ScreenSettings | None = None,
    phantoms: Iterable[Phantom] | None = None,
    seen: Callable[[int], None] = lambda count: None,
) -> Evaluation:
    """Screen the acceptance phantoms as head CTs, and compare with the truth.

    Args:
        model: What is evaluated; its ``scores`` say how maps become scores.
        settings: How the volumes are screened; the defaults, as a user would.
        phantoms: Others than the acceptance phantoms, for tests.
        seen: Is told after each phantom how many slices it has.

    Returns:
        Pixels on whole slices and inside the body, slices (see ``LEAST_LESION_PX``) and volumes,
        pooled as ``settings`` say and by the bare maximum; the same for the baselines.
        Intervals are bootstrapped over volumes.

    Raises:
        OutOfMemory: A batch does not fit the device.
    """
    settings = settings or ScreenSettings()
    scored, drawn = [], []
    for phantom in acceptance_phantoms() if phantoms is None else phantoms:
        scored.append(list(_scored(phantom, model, settings)))
        drawn.append(phantom)
        _log.info("%d phantoms screened", len(drawn))
        seen(len(phantom.voxels_hu))
    truth = _ground_truth(drawn)
    # One after the other: the model on all volumes, and each baseline.
    rows = [row for of_one in zip(*scored, strict=True) for row in _rows(of_one, truth, settings)]
    levels = list(dict.fromkeys(row.level for row in rows))
    abnormal = int(truth.abnormal_volumes.sum())
    return Evaluation(
        dataset="acceptance phantoms",
        counts={"healthy volumes": len(drawn) - abnormal, "volumes with a lesion": abnormal},
        image_size=model.image_size,
        content_digest=None,
        model=model.describe(),
        settings={**settings.to_json(), "scores": model.scores.to_json()},
        rows=tuple(sorted(rows, key=lambda row: levels.index(row.level))),
        notes=(
            f"A slice is positive from {LEAST_LESION_PX} lesion pixels on; slices with fewer are "
            "left out of the slices' rows only. Slices without lesion are negative, also those of "
            "volumes with one.",
            "The distance to the median is taken inside the body, which only helps this baseline.",
        ),
    )


def to_volume(phantom: Phantom) -> Volume:
    """Show a phantom as a reader would: a head CT in Hounsfield units."""
    return Volume(
        voxels=phantom.voxels_hu,
        grid=head_grid(phantom.voxels_hu.shape, phantom.spacing_mm, coronal=phantom.coronal),
        sources=(SliceSource(Path("phantom")),) * len(phantom.voxels_hu),
        origin="dicom",
        modality="CT",
        body_part="HEAD",
    )


def head_grid(shape: tuple[int, ...], spacing_mm: tuple[float, ...], *, coronal: bool) -> Grid:
    """Place a drawn head in the patient, its first voxel at the origin.

    Args:
        shape: Slices, rows and columns.
        spacing_mm: Between slices, rows and columns.
        coronal: Slices go back and rows down; else slices go up and rows back.
    """
    slices_rows = ((1, 1.0), (2, -1.0)) if coronal else ((2, 1.0), (1, 1.0))
    affine_lps = np.diag([0.0, 0.0, 0.0, 1.0])
    for index, (axis, sign) in enumerate((*slices_rows, (0, 1.0))):
        affine_lps[axis, index] = sign * spacing_mm[index]
    return Grid.from_affine_lps(affine_lps, shape=(shape[0], shape[1], shape[2]))


def _scored(phantom: Phantom, model: AnomalyModel, settings: ScreenSettings) -> Iterator[_Scored]:
    """Screen with r = 1, with r = 0 and with the model's own: the pipeline gives each score."""
    volume, scores = to_volume(phantom), replace(model.scores, image_score="joint")
    weights = {"global": 1.0, "local": 0.0, "joint": scores.joint_weight}
    alone = replace(settings, symmetry="off")
    screenings = {
        kind: screen(
            volume, model.with_scores(replace(scores, joint_weight=weight)), settings=alone
        )
        for kind, weight in weights.items()
    }
    joint = screenings["joint"]
    slice_scores = {kind: screening.slice_scores for kind, screening in screenings.items()}
    yield _Scored(THE_MODEL, False, joint.heatmap.values, slice_scores)
    if settings.symmetry != "off":
        sides = screen(volume, model.with_scores(scores), settings=settings)
        kinds = {"joint": sides.slice_scores}
        yield _Scored(THE_MODEL, False, sides.heatmap.values, kinds, WITH_SYMMETRY)
    grey = apply_window(volume.voxels, joint.window)
    for name, maps in baseline_maps(grey, inside=phantom.body):
        yield _Scored(name, True, maps, {"local": local_score(maps, scores.top_percent)})
    shown = resize_images(cut_slices(grey), SIDES_PX)[:, 0].numpy()
    for name, scores_of in IMAGE_BASELINES.items():
        yield _Scored(name, True, None, {"global": scores_of(shown)})


def _ground_truth(phantoms: list[Phantom]) -> _GroundTruth:
    counts = [len(phantom.lesion) for phantom in phantoms]
    return _GroundTruth(
        lesion=np.concatenate([phantom.lesion for phantom in phantoms]),
        body=np.concatenate([phantom.body for phantom in phantoms]),
        volume=np.repeat(np.arange(len(phantoms)), counts),
        abnormal_volumes=np.array([bool(phantom.lesion.any()) for phantom in phantoms]),
    )


def _rows(
    scored: Sequence[_Scored], truth: _GroundTruth, settings: ScreenSettings
) -> Iterator[ResultRow]:
    first = scored[0]

    def row(level: str, kind: str, sampled: Sampled) -> ResultRow:
        metrics = average([sampled])
        return ResultRow(
            level, first.method, kind, metrics, is_baseline=first.is_baseline,
            addition=first.addition,
        )  # fmt: skip

    all_maps = [one.maps for one in scored if one.maps is not None]
    maps = np.concatenate(all_maps) if all_maps else None
    for level, inside in (("pixels, whole slice", None), ("pixels, inside the body", truth.body)):
        if maps is None:
            break
        sampled = sample_pixels(maps, truth.lesion, inside=inside, units=truth.volume, seed=SEED)
        yield row(level, "map", sampled)
    marked = truth.lesion.sum(axis=(1, 2))
    chosen = (marked == 0) | (marked >= LEAST_LESION_PX)
    for kind in first.slice_scores:
        of_slices = [one.slice_scores[kind] for one in scored]
        sampled = sample_images(
            np.concatenate(of_slices)[chosen],
            marked[chosen] > 0,
            groups=truth.volume[chosen],
            seed=SEED,
        )
        yield row("slices", kind, sampled)
        for pooling in (settings, replace(settings, pooling="max")):
            pooled = np.array([pool_slices(scores, pooling) for scores in of_slices])
            sampled = sample_images(pooled, truth.abnormal_volumes, seed=SEED)
            yield row(f"volumes, {pooling.pooling}", kind, sampled)
