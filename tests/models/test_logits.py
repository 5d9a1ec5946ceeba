"""Log-odds of maps: nothing is lost where probabilities round to 0 or 1."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from headclip_med.models.adaclip.model import AdaClip
from headclip_med.models.adaclip.settings import AdaClipSettings
from headclip_med.models.anomalyclip.model import AnomalyClip
from headclip_med.models.anovl.model import AnoVl
from headclip_med.models.anovl.settings import AnoVlSettings
from headclip_med.models.maps import (
    log_odds,
    mean_logits,
    smooth,
    smooth_logits_and_map,
    stretched_logits,
    upsample,
)
from headclip_med.models.model import AnomalyModel
from headclip_med.models.winclip.model import WinClip, pool_abnormality, pool_normality
from headclip_med.models.winclip.settings import WinClipSettings
from headclip_med.settings import ScoreSettings
from tests import tiny


def models() -> dict[str, AnomalyModel]:
    """One of each method, and of each way its map is formed."""
    return {
        "headclip": tiny.model().fold(),
        "anomalyclip": AnomalyClip(tiny.backbone()).fold(),
        "adaclip": AdaClip(tiny.backbone(), AdaClipSettings(prompt_depth=2)).fold(),
        "anovl": AnoVl(tiny.backbone(), AnoVlSettings(views=False)),
        "winclip": WinClip(tiny.backbone(), WinClipSettings(scales=(2,))),
        "winclip, halved": WinClip(
            tiny.backbone(), WinClipSettings(implementation="caoyunkang", scales=(2,))
        ),
        "winclip, corrected": WinClip(
            tiny.backbone(),
            WinClipSettings(implementation="caoyunkang", scales=(2,), corrected=True),
        ),
    }


def test_log_odds_by_hand() -> None:
    abnormal = torch.tensor([0.5, 0.75, 0.0, 1.0], dtype=torch.float64)
    found = log_odds(abnormal, 1 - abnormal)
    assert found[:2].tolist() == pytest.approx([0.0, math.log(3)])
    assert found.dtype == torch.float32
    assert found.isfinite().all()
    assert found[2] == -found[3] < -700


@pytest.mark.parametrize("name", models())
@pytest.mark.parametrize("sigma_px", [0.0, 60.0])
def test_every_map_is_its_logits_s(name: str, sigma_px: float) -> None:
    model = models()[name].with_scores(ScoreSettings(sigma_px=sigma_px))
    found = model.predict(tiny.images(2))
    assert found.logits.shape == found.map.shape
    assert found.logits.dtype == torch.float32
    assert found.logits.isfinite().all()
    expected = smooth(found.logits.sigmoid(), model.scores.sigma_at(tiny.images().shape[-1]))
    torch.testing.assert_close(found.map, expected, atol=1e-6, rtol=0)
    plain = model.with_scores(ScoreSettings(sigma_px=0.0)).predict(tiny.images(2))
    torch.testing.assert_close(found.logits, plain.logits)


@given(st.lists(st.floats(-40, 40), min_size=8, max_size=8), st.sampled_from([0.0, 0.6, 2.0]))
@settings(deadline=None, max_examples=60)
def test_smoothed_logits_order_pixels_as_maps_do(values: list[float], sigma: float) -> None:
    logits = torch.tensor(values).view(1, 2, 4)
    maps = logits.double().sigmoid().numpy()
    if sigma:
        maps = np.stack([gaussian_filter(one, sigma) for one in maps])
    found = smooth_logits_and_map(logits, sigma)[0].double().sigmoid().numpy()
    np.testing.assert_allclose(found, maps, atol=1e-6)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("sigma", [0.0, 1.0])
def test_saturated_pixels_keep_their_order(sign: int, sigma: float) -> None:
    steps = torch.linspace(38, 42, 32).expand(1, 8, 32)
    logits = sign * steps
    as_float32 = smooth(logits.sigmoid(), sigma)
    if sign == 1 and sigma == 0:
        assert as_float32.unique().numel() == 1, "the map has lost the order"
    found = smooth_logits_and_map(logits, sigma)[0][0, 4]
    assert (sign * found.diff() > 0).all()


def test_patches_of_huge_logits_keep_their_order_between_patches() -> None:
    logits = torch.zeros(1, 2, 2, 4)
    logits[0, 1] = torch.tensor([200.0, 205.0, 210.0, 215.0])
    found = mean_logits([logits], 8, 16)[0, 4]
    assert found.min() == pytest.approx(200.0)
    assert found.max() == pytest.approx(215.0)
    assert (found.diff()[2:-2] > 0).all()
    torch.testing.assert_close(mean_logits([logits.flip(1)], 8, 16)[0, 4], -found)


def test_between_patches_it_is_probabilities_that_are_mixed() -> None:
    abnormal = torch.tensor([[0.2, 0.9], [0.4, 0.6]], dtype=torch.float64)
    both = torch.stack([1 - abnormal, abnormal])[None]
    expected = upsample(both, 6, 6)[0, 1].float()
    torch.testing.assert_close(stretched_logits(both, 6, 6)[0].sigmoid(), expected)


def test_pooling_in_log_odds_loses_nothing_near_one() -> None:
    # Windows so certain that P is 1 even in double precision; the odds differ all the same.
    windows = [torch.tensor([[[50.0, 60.0]]], dtype=torch.float64)]
    whole = torch.full((1,), 500.0, dtype=torch.float64)
    # Harmonic means of odds: the left patch is e^50, in the middle 2 / (e^-50 + e^-60).
    middle = 50 + math.log(2) - math.log1p(math.exp(-10))
    found = pool_abnormality(whole, windows, (2,))[0, 0] - math.log(2)  # one more scale, certain
    assert found.tolist() == pytest.approx([50.0, middle, 60.0])
    mirrored = pool_normality([-windows[0]], (2,))[0, 0]
    assert mirrored.tolist() == pytest.approx([-50.0, -middle, -60.0])
