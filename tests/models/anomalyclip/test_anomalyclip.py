"""AnomalyCLIP: by hand, against HeadCLIP, against stored values, against its authors' code."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from headclip_med.errors import InvalidSettings
from headclip_med.models.anomalyclip.model import (
    AnomalyClip,
    LevelLogits,
    chosen_layers,
    image_score,
)
from headclip_med.models.anomalyclip.settings import AnomalyClipSettings
from headclip_med.models.clip.towers import Backbone
from headclip_med.models.headclip.model import HeadClip
from headclip_med.models.headclip.settings import HeadClipSettings
from headclip_med.models.maps import mean_logits, unit
from headclip_med.models.model import AnomalyModel
from headclip_med.settings import ScoreSettings
from tests import tiny
from tests.reference import golden_learned, oracle, oracle_learned, stored


def model(**settings: object) -> AnomalyClip:
    built = AnomalyClip(tiny.backbone(), AnomalyClipSettings(**settings))  # type: ignore[arg-type]
    with torch.no_grad():
        built.prompts.context.mul_(10)
        built.prompts.deep.mul_(10)
    return built


# --- by hand ---------------------------------------------------------------------------------


def logits_of(*abnormal: float) -> LevelLogits:
    """One image of one patch; each level and the class token say P(abnormal)."""
    pairs = [torch.tensor([[0.0, math.log(p / (1 - p))]]) for p in abnormal]
    return LevelLogits(pairs[0], tuple(pair[:, :, None, None] for pair in pairs))


def test_the_map_averages_the_layers() -> None:
    found = mean_logits(logits_of(0.5, 0.75).levels, 2, 3).sigmoid()
    torch.testing.assert_close(found, torch.full((1, 2, 3), 0.625))


def test_the_image_score_is_the_class_tokens_probability() -> None:
    assert image_score(logits_of(0.75, 0.1)).item() == pytest.approx(0.75)


def test_the_published_layers_of_a_vit_l_14_are_chosen() -> None:
    published = chosen_layers(AnomalyClipSettings(), 24)
    assert published == (tuple(range(6, 25)), (24,))
    assert chosen_layers(AnomalyClipSettings(), 12) == (tuple(range(3, 13)), (12,))
    assert chosen_layers(AnomalyClipSettings(), 1) == ((1,), (1,))
    alone = AnomalyClipSettings(local_layers=(), feature_layers=(24,))
    assert chosen_layers(alone, 24) == ((), (24,))
    four = AnomalyClipSettings(feature_layers=(6, 12, 18, 24))
    assert chosen_layers(four, 24)[1] == (6, 12, 18, 24)


def test_a_layer_beyond_the_tower_is_refused() -> None:
    with pytest.raises(InvalidSettings, match="Layer 9 lies beyond the image tower's 4 layers"):
        model(feature_layers=(9,))
    with pytest.raises(InvalidSettings, match="feature_layers must be a tuple of at least one"):
        AnomalyClipSettings(feature_layers=())


# --- against HeadCLIP and CLIP ---------------------------------------------------------------


def test_the_last_layer_alone_is_headclip_with_all_weights_at_one() -> None:
    towers, layers = tiny.backbone(), (2, 3, 4)
    mine = AnomalyClip(
        towers,
        AnomalyClipSettings(local_layers=layers, feature_layers=(4,), deep_cast="none"),
        seed=7,
    )
    other = HeadClip(towers, HeadClipSettings(local_layers=layers, head_weights="ones"), seed=7)
    scores, images = ScoreSettings(sigma_px=20.0), tiny.images(size=24)
    one, two = mine.fold(scores=scores), other.fold(scores=scores)
    torch.testing.assert_close(one.predict(images).map, two.predict(images).map)
    torch.testing.assert_close(one.predict(images).global_score, two.predict(images).global_score)


def test_a_layer_before_the_first_local_one_gives_the_trunks_own_tokens() -> None:
    built = model(local_layers=(3, 4), feature_layers=(2, 3))
    images = tiny.images()
    blocks = tiny.walk(built.backbone.vision, built.backbone.normalise(images))
    before, first = built.freeze_features(images).levels
    vision = built.backbone.vision
    torch.testing.assert_close(before, unit(vision.project(blocks[1].tokens[:, 1:])))
    assert not torch.allclose(first, unit(vision.project(blocks[2].tokens[:, 1:])))


def test_without_local_layers_it_is_plain_clip() -> None:
    built = model(local_layers=(), feature_layers=(4,), class_token_norm=True)
    images = tiny.images()
    *_, last = tiny.walk(built.backbone.vision, built.backbone.normalise(images))
    whole = unit(built.backbone.vision.project(last.tokens))
    frozen = built.freeze_features(images)
    torch.testing.assert_close(frozen.levels[0], whole[:, 1:])
    torch.testing.assert_close(frozen.global_token, whole[:, 0])


# --- as a model ------------------------------------------------------------------------------


def test_it_is_an_anomaly_model_that_describes_itself() -> None:
    folded = model().fold(threshold=0.25, about={"name": "mine"})
    assert isinstance(folded, AnomalyModel)
    about = folded.describe()
    assert json.loads(json.dumps(about))["method"] == "anomalyclip"
    assert about["feature_layers"] == [4]
    assert (folded.image_size, folded.threshold, about["name"]) == (16, 0.25, "mine")
    assert folded.scores.global_weight == 1, "its published image score does without the map"
    softer = folded.with_scores(ScoreSettings(sigma_px=80.0))
    images = tiny.images()
    assert not torch.allclose(softer.predict(images).map, folded.predict(images).map)
    assert folded.scores.sigma_px == 4


def test_maps_and_scores_lie_in_0_and_1_at_any_size() -> None:
    folded = model().fold()
    for size in (16, 24):
        found = folded.predict(tiny.images(3, size))
        assert found.map.shape == (3, size, size)
        for values in (found.map, found.global_score):
            assert 0 <= float(values.min()) <= float(values.max()) <= 1


@pytest.mark.usefixtures("quick_bf16")
def test_bfloat16_changes_little() -> None:
    folded = model().fold()
    exact = folded.predict(tiny.images())
    folded.precision = "bf16"
    rounded = folded.predict(tiny.images())
    assert rounded.map.dtype == torch.float32
    torch.testing.assert_close(rounded.map, exact.map, atol=0.1, rtol=0)


def test_the_towers_of_others_are_left_as_they_are() -> None:
    towers = tiny.backbone()
    built = AnomalyClip(towers, AnomalyClipSettings(position_interpolation="bicubic"))
    assert towers.vision.position_interpolation == "bilinear"
    assert built.backbone.vision.position_interpolation == "bicubic"
    assert built.backbone.digest == towers.digest
    shared = {id(parameter) for parameter in towers.clip.parameters()}
    assert {id(parameter) for parameter in built.backbone.clip.parameters()} == shared


def test_sizes_seen_earlier_matter_only_where_they_are_named() -> None:
    images = tiny.images()
    fresh, past = model(), model(earlier_sizes=(24,))
    fresh.freeze_features(tiny.images(size=24))
    own = fresh.freeze_features(images).global_token
    assert torch.equal(own, model().freeze_features(images).global_token)
    assert not torch.allclose(own, past.freeze_features(images).global_token)


def test_gradients_reach_the_prompts_and_nothing_else() -> None:
    built = model()
    learning = {name for name, one in built.named_parameters() if one.requires_grad}
    assert learning == {"prompts.context", "prompts.deep"}
    logits = built(built.freeze_features(tiny.images()))
    total = logits.image.sum() + sum(level.square().sum() for level in logits.levels)
    total.backward()
    for name, one in built.named_parameters():
        assert (one.grad is not None and bool(one.grad.any())) == (name in learning), name


# --- against stored values, and against the published code -----------------------------------


@pytest.mark.parametrize("size", golden_learned.SIZES)
def test_every_stage_is_the_stored_one(size: str) -> None:
    stored.check("anomalyclip", golden_learned.anomalyclip_values, size, share=1e-4)


@pytest.fixture(scope="module")
def towers(oracles: Path) -> Backbone:
    return oracle.backbone(oracles)


def test_every_stage_of_every_run_is_the_published_one(oracles: Path, towers: Backbone) -> None:
    for run in oracle_learned.runs_of(oracles / "anomalyclip"):
        for stage in oracle_learned.anomalyclip_stages(oracles, towers, run):
            stage.check()
            assert stage.relative_error < 1e-4, (run, stage.name)


def test_rounded_deep_tokens_are_the_published_ones(oracles: Path, towers: Backbone) -> None:
    built = oracle_learned.anomalyclip(oracles, towers, deep_cast="fp16")
    theirs = oracle.arrays(oracles / "anomalyclip", "outputs")
    for row, name in zip(built.prompts(built.backbone.text), ("normal", "abnormal"), strict=True):
        oracle_learned.stage(name, row, theirs[f"text_half/{name}"], 1e-5).check()
