"""Where HeadCLIP's local stream is read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from headclip_med.errors import InvalidSettings
from headclip_med.models.checkpoint import read_checkpoint, write_checkpoint
from headclip_med.models.headclip.learning import headclip_loss
from headclip_med.models.headclip.model import HeadClip, chosen_layers
from headclip_med.models.headclip.settings import HeadClipSettings
from headclip_med.models.maps import upsample
from headclip_med.settings import ScoreSettings
from tests import tiny

NO_BLUR = ScoreSettings(sigma_px=0.0)


def reading(features: tuple[int, ...] | None, **settings: object) -> HeadClip:
    return tiny.model(HeadClipSettings(feature_layers=features, **settings))  # type: ignore[arg-type]


def cut(model: HeadClip, last: int) -> HeadClip:
    """The same model, its local layers ending earlier."""
    layers = tuple(layer for layer in model.local_layers if layer <= last)
    changed = model.settings.changed(local_layers=layers, feature_layers=None)
    one = HeadClip(model.backbone, changed)
    with torch.no_grad():
        one.head_weights.copy_(model.head_weights[: len(layers)])
        one.prompts.context.copy_(model.prompts.context)
        one.prompts.deep.copy_(model.prompts.deep)
    return one


@pytest.mark.parametrize("residual", [True, False])
def test_each_level_is_the_model_whose_local_layers_end_there(residual: bool) -> None:
    model = reading((1, 3, 4), local_layers=(1, 2, 3, 4), local_residual=residual)
    images = tiny.images()
    levels = model(model.freeze_features(images)).patches
    assert len(levels) == 3
    for last, level in zip((1, 3, 4), levels, strict=True):
        short = cut(model, last)
        torch.testing.assert_close(level, short(short.freeze_features(images)).patches[0])


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("mirrored", [True, False])
def test_a_model_in_use_averages_the_maps_of_its_levels(residual: bool, mirrored: bool) -> None:
    model = reading(
        (2, 3, 4), local_layers=(1, 2, 3, 4), local_residual=residual, mirrored=mirrored
    )
    images = tiny.images()
    found = model.fold(scores=NO_BLUR).predict(images)
    alone = [cut(model, last).fold(scores=NO_BLUR).predict(images) for last in (2, 3, 4)]
    expected = torch.stack([one.map for one in alone]).mean(dim=0)
    torch.testing.assert_close(found.map, expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(found.global_score, alone[0].global_score)


def test_behind_the_last_local_layer_the_stream_stays_what_it_is() -> None:
    last, later = (reading(one, local_layers=(1, 2)) for one in (None, (4,)))
    images = tiny.images()
    one, other = (model.fold().predict(images) for model in (last, later))
    assert torch.equal(one.map, other.map)
    assert torch.equal(one.global_score, other.global_score)


def test_the_local_loss_is_summed_over_levels() -> None:
    model, images = reading((2, 3), local_layers=(2, 3)), tiny.images()
    labels, masks = torch.tensor([0, 1]), (images[:, 0] > 0.8).float()
    logits = model(model.freeze_features(images))
    maps = [upsample(level.softmax(dim=1), 16, 16) for level in logits.patches]
    both = headclip_loss(logits.image, maps, labels, masks)
    alone = [headclip_loss(logits.image, [one], labels, masks) for one in maps]
    torch.testing.assert_close(both.image, alone[0].image)
    for name in ("focal", "dice_normal", "dice_abnormal"):
        torch.testing.assert_close(getattr(both, name), sum(getattr(one, name) for one in alone))


@pytest.mark.parametrize(
    ("depth", "local", "features", "expected"),
    [
        (24, None, None, (range(5, 20), (19,))),
        (24, None, (24,), (range(5, 20), (19,))),
        (24, None, (12,), (range(5, 13), (12,))),
        (24, None, (6, 12, 18), (range(5, 19), (6, 12, 18))),
        (24, tuple(range(6, 25)), (6, 12, 18, 24), (range(6, 25), (6, 12, 18, 24))),
        (6, (4, 5, 6), (6, 5), (range(4, 7), (5, 6))),
        (6, (2, 5), (3, 6), ((2, 5), (2, 5))),
    ],
)
def test_layers_are_chosen(
    depth: int,
    local: tuple[int, ...] | None,
    features: tuple[int, ...] | None,
    expected: tuple[range | tuple[int, ...], tuple[int, ...]],
) -> None:
    settings = HeadClipSettings(local_layers=local, feature_layers=features)
    assert chosen_layers(settings, depth) == (tuple(expected[0]), expected[1])


@pytest.mark.parametrize(
    ("local", "features", "reason"),
    [
        ((5, 6), (4, 6), "before the first local layer, 5,"),
        (None, (4,), "before the first local layer, 5,"),
        ((5, 6), (6, 20, 24), "6 and 20 read the same"),
        ((5, 6, 7), (6,), "beyond the last of feature_layers, 6, would never be read"),
        ((5, 6), (25,), "Layer 25 lies beyond"),
    ],
)
def test_layers_that_would_be_read_for_nothing_are_refused(
    local: tuple[int, ...] | None, features: tuple[int, ...], reason: str
) -> None:
    with pytest.raises(InvalidSettings, match=reason):
        chosen_layers(HeadClipSettings(local_layers=local, feature_layers=features), 24)


def test_a_checkpoint_keeps_where_it_is_read_and_an_older_one_says_nothing(tmp_path: Path) -> None:
    model = reading((2, 4), local_layers=(1, 2, 3, 4))
    path = tmp_path / "headclip.safetensors"
    write_checkpoint(path, model, scores=NO_BLUR, threshold=0.5, training={})
    images = tiny.images()
    found = read_checkpoint(path).build(model.backbone)
    assert found.describe()["feature_layers"] == [2, 4]
    expected = model.fold(scores=NO_BLUR).predict(images)
    assert torch.equal(found.predict(images).map, expected.map)

    older = {k: v for k, v in HeadClipSettings().to_json().items() if k != "feature_layers"}
    assert HeadClipSettings.from_json(older) == HeadClipSettings()
