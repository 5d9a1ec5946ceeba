"""Solid heads: one head through all its slices, lesions in the brain, healthy ends."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from research.mini.corpus import draw_samples
from research.mini.corpus.solid.heads import SolidHead, draw_solid_head, thick_slices
from research.mini.corpus.solid.lesions import HARD_LESIONS, LESIONS, draw_solid_lesion
from research.mini.corpus.solid.shapes import PARTS, draw_solid
from research.mini.corpus.solid.studies import Study, draw_study

SIZE_PX, SLICES = 64, 12


@cache
def usual_study(seed: int) -> Study:
    """The study of a seed, drawn once for all tests that look at it."""
    return draw_study(np.random.default_rng(seed), 16, SIZE_PX)


@pytest.fixture(scope="module")
def head() -> SolidHead:
    return draw_solid_head(np.random.default_rng(3), SLICES, SIZE_PX)


def test_an_oval_is_one_on_its_surface_and_measures_millimetres() -> None:
    solid = draw_solid(np.random.default_rng(0), np.array([0.0]), 32, 200.0)
    at = (0, 20, 9)
    place = tuple(float(axis[at]) for axis in (solid.x, solid.y, solid.z))

    relative = solid.oval((place[0] - 6, place[1], place[2]), (6, 50, 50))

    assert relative[at] == pytest.approx(1, abs=1e-4)


def test_smooth_noise_has_unit_deviation_and_is_the_same_in_neighbouring_planes() -> None:
    solid = draw_solid(np.random.default_rng(1), np.linspace(-60, 60, 24), 48, 200.0)

    noise = solid.noise(40)

    assert noise.std() == pytest.approx(1, abs=0.35)
    parts = noise.reshape(-1, PARTS, 48, 48)
    assert np.abs(parts[:, 0] - parts[:, -1]).mean() < 0.6 * noise.std()


def test_a_thick_slice_is_the_mean_of_its_planes() -> None:
    planes = np.arange(2 * PARTS, dtype=float)[:, None, None] * np.ones((1, 2, 2))

    assert thick_slices(planes)[:, 0, 0].tolist() == [(PARTS - 1) / 2, PARTS + (PARTS - 1) / 2]


def test_a_head_is_skull_around_brain_around_fluid(head: SolidHead) -> None:
    middle = len(head.voxels_hu) // 2
    plane, brain = head.voxels_hu[middle], head.brain[middle]

    assert plane[0].max() < -900, "air in front of it"
    assert np.percentile(plane[brain], 50) == pytest.approx(30, abs=12)
    assert (plane > 200).any(), "a skull"
    assert (head.depth_mm[head.brain] > 0).all()
    assert head.ventricles.any()


def test_the_vertex_is_smaller_than_the_middle(head: SolidHead) -> None:
    area = (head.voxels_hu > -500).sum(axis=(1, 2))

    assert area[-1] < 0.6 * area.max()


@pytest.mark.parametrize("number", range(len(LESIONS)))
def test_every_kind_of_lesion_changes_brain_or_ventricles_near_the_focus(
    head: SolidHead, number: int
) -> None:
    kind, change = draw_solid_lesion(head, (LESIONS[number],))

    changed = np.abs(change) > 4
    assert kind == LESIONS[number][0]
    assert changed.any()
    assert not (changed & ~(head.brain | head.ventricles)).any()


def test_a_head_that_nothing_fits_into_stays_healthy(head: SolidHead) -> None:
    kind, change = draw_solid_lesion(
        head, (("bright", lambda head: np.zeros_like(head.voxels_hu)),)
    )

    assert (kind, float(np.abs(change).max())) == ("", 0.0)


def test_studies_repeat_and_are_healthy_on_more_than_half_of_their_slices() -> None:
    studies = [usual_study(seed) for seed in range(24)]
    again = draw_study(np.random.default_rng(0), 16, SIZE_PX)

    assert np.array_equal(studies[0].grey, again.grey)
    share = np.mean([study.masks.any(axis=(1, 2)).mean() for study in studies])
    assert 0.1 < share < 0.5
    assert any(not study.masks.any() for study in studies), "some heads are healthy"
    assert all(study.kind or not study.masks.any() for study in studies)


def test_hard_studies_have_thin_and_small_lesions_more_often() -> None:
    draws = [np.random.default_rng(seed) for seed in range(30)]
    kinds = [draw_study(draw, 16, SIZE_PX, HARD_LESIONS).kind for draw in draws]
    usual = [usual_study(seed).kind for seed in range(30)]

    hard = sum(kind in ("rim", "scatter") for kind in kinds)
    assert hard > sum(kind in ("rim", "scatter") for kind in usual)
    assert {kind for kind, _ in HARD_LESIONS} == {kind for kind, _ in LESIONS}


def test_a_lesion_that_counts_can_be_seen() -> None:
    study = next(
        one for one in map(usual_study, range(40)) if one.kind == "bright" and one.masks.any()
    )
    slices = study.masks.any(axis=(1, 2))
    brain = (study.grey > 0.1) & (study.grey < 0.9) & ~study.masks

    inside = study.grey[slices][study.masks[slices]]
    outside = study.grey[slices][brain[slices]]

    assert abs(np.median(inside) - np.median(outside)) > 0.04


def test_the_corpus_gives_a_studys_slices_with_captions_that_say_what_is_there() -> None:
    samples = draw_samples(5, 0, 48, SIZE_PX, "study")

    assert samples.images.shape == (48, 3, SIZE_PX, SIZE_PX)
    assert samples.organs.all()
    assert samples.labels.any()
    assert not samples.labels.all()
    for mask, weight, label in zip(samples.masks, samples.emphasis, samples.labels, strict=True):
        assert bool(mask.any()) == bool(label)
        assert ((weight > 0) == mask).all()
