"""The drawings that models are chosen and accepted on: alike on both sides but for lesions."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from scipy import ndimage

from headclip_med.metrics import image_metrics
from headclip_med.pipelines.acceptance import LEAST_LESION_PX, head_grid
from headclip_med.synthetic import acceptance
from research.mini.development import development_volumes


def mirrored_difference(grey: np.ndarray) -> float:
    """Mean difference between a slice and its mirror image, its body in the middle."""
    body = grey > 0.1
    if not body.any():
        return 0.0
    centre = ndimage.center_of_mass(body)
    shift = [(size - 1) / 2 - at for size, at in zip(grey.shape, centre, strict=True)]
    smooth = ndimage.gaussian_filter(ndimage.shift(grey, shift, order=1), 1)
    return float(np.abs(smooth - smooth[:, ::-1]).mean())


def trivial_aurocs(volumes: Iterable[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    """AUROC over slices of judges that have learnt nothing."""
    judged: dict[str, list[float]] = {"sides": [], "mean": [], "median": []}
    areas = []
    for voxels_hu, lesion in volumes:
        for slice_hu, mask in zip(voxels_hu, lesion, strict=True):
            grey = ((slice_hu - 40) / 80 + 0.5).clip(0, 1)
            far = np.abs(grey - np.median(grey[grey > 0.1])) * (grey > 0.1)
            judged["sides"].append(mirrored_difference(grey))
            judged["mean"].append(float(grey.mean()))
            judged["median"].append(float(np.sort(far, axis=None)[-60:].mean()))
            areas.append(mask.sum())
    area = np.array(areas)
    counted = (area == 0) | (area >= LEAST_LESION_PX)
    return {
        name: image_metrics(np.array(values)[counted], area[counted] > 0)["AUROC"]
        for name, values in judged.items()
    }


def test_trivial_judges_order_on_development_heads_as_on_real_ones() -> None:
    found = trivial_aurocs((one.voxels_hu, one.lesion) for one in development_volumes(90_000, 32))

    assert found["sides"] > found["mean"] > found["median"]
    assert found["sides"] > 0.7


@pytest.mark.slow
def test_trivial_judges_order_on_acceptance_heads_as_on_real_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With other seeds: the acceptance phantoms themselves are looked at with a model only."""
    monkeypatch.setattr(acceptance, "FIRST_SEED", 333_000)

    found = trivial_aurocs((one.voxels_hu, one.lesion) for one in acceptance.acceptance_phantoms())

    assert found["sides"] > found["mean"] > found["median"]
    assert found["sides"] > 0.7


def test_a_coronal_head_lies_on_a_coronal_grid() -> None:
    corner = np.array([[1.0, 2.0, 3.0]])

    axial = head_grid((20, 128, 128), (6.5, 1.75, 1.5), coronal=False).to_lps_mm(corner)
    coronal = head_grid((20, 128, 128), (6.5, 1.75, 1.5), coronal=True).to_lps_mm(corner)

    np.testing.assert_allclose(axial, [[4.5, 3.5, 6.5]])
    np.testing.assert_allclose(coronal, [[4.5, 6.5, -3.5]])


def test_every_kind_of_lesion_and_both_cuts_are_among_the_acceptance_phantoms() -> None:
    numbers = (1, 3, 5, 7, 13, 15, 17)
    drawn = [acceptance.acceptance_phantom(number) for number in numbers]

    assert {one.kind for one in drawn} == {
        "crescent", "lens", "haemorrhage", "wedge", "large haemorrhage", "ring", "calcified",
    }  # fmt: skip
    assert {one.coronal for one in drawn} == {True, False}
    assert all(one.lesion.sum() > 100 for one in drawn)
    assert not acceptance.acceptance_phantom(6).lesion.any()
