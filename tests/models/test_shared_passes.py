"""Models that see the same blocks share one pass, and predict what each predicts alone."""

from __future__ import annotations

import pytest
import torch

from headclip_med.models.adaclip.model import AdaClip
from headclip_med.models.adaclip.settings import AdaClipSettings
from headclip_med.models.anomalyclip.model import AnomalyClip
from headclip_med.models.anomalyclip.settings import AnomalyClipSettings
from headclip_med.models.clip.towers import Backbone
from headclip_med.models.clip.vision import VisionTower
from headclip_med.models.headclip.model import HeadClip
from headclip_med.models.headclip.settings import HeadClipSettings
from headclip_med.models.inference import predict_together
from headclip_med.models.model import AnomalyModel
from tests import tiny
from tests.bright import BrightModel

DEPTH = 4


def headclip(towers: Backbone, *layers: int) -> AnomalyModel:
    return HeadClip(towers, HeadClipSettings(local_layers=layers), seed=1).fold()


def anomalyclip(towers: Backbone, **settings: object) -> AnomalyModel:
    return AnomalyClip(towers, AnomalyClipSettings(**settings), seed=2).fold()  # type: ignore[arg-type]


def adaclip(towers: Backbone, **settings: object) -> AnomalyModel:
    few = {"prompt_depth": 2, "clusters": 2, **settings}
    return AdaClip(towers, AdaClipSettings(**few), seed=3).fold()  # type: ignore[arg-type]


@pytest.fixture
def blocks_run(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    seen: list[int] = []
    known = VisionTower.run_block

    def count(self: VisionTower, layer: int, *arguments: object, **named: object) -> object:
        seen.append(layer)
        return known(self, layer, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(VisionTower, "run_block", count)
    return seen


def test_different_local_layers_cost_one_pass(blocks_run: list[int]) -> None:
    towers, images = tiny.backbone(), tiny.images()
    models = [
        headclip(towers, 1, 2),
        anomalyclip(tiny.backbone(), local_layers=(2, 3, 4), feature_layers=(1, 3)),
        headclip(towers, 3),
    ]
    together = predict_together(models, images)
    assert blocks_run == [1, 2, 3, 4], "equal weights are enough, they need not be one object"
    for model, found in zip(models, together, strict=True):
        alone = model.predict(images)
        assert torch.equal(found.map, alone.map)
        assert torch.equal(found.global_score, alone.global_score)


def test_adaclip_shares_its_plain_pass_and_adds_the_prompted_one(blocks_run: list[int]) -> None:
    towers, images = tiny.backbone(), tiny.images()
    models = [headclip(towers, 1, 2), adaclip(towers)]
    together = predict_together(models, images)
    assert len(blocks_run) == 2 * DEPTH, "three passes otherwise"
    assert torch.equal(together[1].map, models[1].predict(images).map)


def test_adaclip_without_dynamic_prompts_runs_one_pass(blocks_run: list[int]) -> None:
    adaclip(tiny.backbone(), prompts="static").predict(tiny.images())
    assert len(blocks_run) == DEPTH


@pytest.mark.parametrize(
    ("size", "passes"),
    [(16, 1), (24, 2)],  # positions are stretched at 24 px only, each in its own way
)
def test_passes_are_shared_only_where_positions_agree(
    size: int, passes: int, blocks_run: list[int]
) -> None:
    towers = tiny.backbone()
    models = [anomalyclip(towers), anomalyclip(towers, position_interpolation="bicubic")]
    predict_together(models, tiny.images(size=size))
    assert len(blocks_run) == passes * DEPTH


@pytest.mark.usefixtures("quick_bf16")
def test_other_weights_activations_and_precisions_are_not_shared(blocks_run: list[int]) -> None:
    quick, images = tiny.backbone(quick_gelu=True), tiny.images()
    rounded = anomalyclip(quick)
    rounded.precision = "bf16"  # type: ignore[attr-defined]
    models = [anomalyclip(quick), anomalyclip(tiny.backbone(seed=1)), rounded, adaclip(quick)]
    predict_together(models, images)
    assert len(blocks_run) == 5 * DEPTH, "AdaCLIP runs two, with GELU"


def test_models_of_any_kind_keep_their_order() -> None:
    towers, images = tiny.backbone(), tiny.images()
    models = [BrightModel(), headclip(towers, 2), BrightModel()]
    first, second, third = predict_together(models, images)
    assert torch.equal(first.map, third.map)
    assert torch.equal(second.map, models[1].predict(images).map)
    assert predict_together([], images) == []
