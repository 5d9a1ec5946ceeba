"""AnomalyCLIP and AdaCLIP learn as their authors' code does: losses, gradients, steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from headclip_med.errors import InvalidSettings
from headclip_med.models.adaclip.learning import adaclip_loss
from headclip_med.models.adaclip.model import AdaClip
from headclip_med.models.adaclip.settings import AdaClipSettings
from headclip_med.models.anomalyclip.learning import anomalyclip_loss
from headclip_med.models.anomalyclip.model import AnomalyClip
from headclip_med.models.anomalyclip.settings import AnomalyClipSettings
from headclip_med.models.clip.towers import Backbone
from headclip_med.models.registry import learning_of
from headclip_med.settings import TrainSettings
from headclip_med.training.handlers import StepReport
from headclip_med.training.loop import optimiser_of
from headclip_med.training.losses import dice_loss, level_terms
from tests import tiny
from tests.learning import train_model
from tests.models.headclip.test_learning import Squares
from tests.reference import oracle, oracle_training

FAST = {"epochs": 3, "batch_size": 4, "seed": 1}


def anomalyclip() -> tuple[AnomalyClip, Callable[..., list[float]], TrainSettings]:
    settings = AnomalyClipSettings(deep_layers=3)
    model = AnomalyClip(tiny.backbone(), settings, seed=1)
    return model, train_model, TrainSettings(**FAST, learning_rate=0.02, local_weight=4.0)  # type: ignore[arg-type]


def adaclip() -> tuple[AdaClip, Callable[..., list[float]], TrainSettings]:
    settings = AdaClipSettings(prompt_depth=2, prompt_tokens=2, clusters=2, feature_layers=(2, 4))
    model = AdaClip(tiny.backbone(), settings, seed=1)
    return model, train_model, TrainSettings(**FAST, learning_rate=0.003, weight_decay=0.01)  # type: ignore[arg-type]


METHODS = pytest.mark.parametrize("method", [anomalyclip, adaclip])


# --- by hand ---------------------------------------------------------------------------------


def test_a_squeezed_mask_turns_rows_into_images() -> None:
    maps = torch.stack([torch.zeros(1, 2, 2), torch.tensor([[[1.0, 1.0], [0.0, 0.5]]])], dim=1)
    masks = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    # Rows of A: 1 - (2 * 1 + 1) / (2 + 1 + 1), and 1 - (2 * 0.5 + 1) / (0.5 + 1 + 1).
    _, _, squeezed = level_terms(maps, masks, squeezed=True)
    assert squeezed.item() == pytest.approx((1 / 4 + 1 / 5) / 2)
    # The image: 1 - (2 * 1.5 + 1) / (2.5 + 2 + 1).
    _, _, whole = level_terms(maps, masks)
    assert whole.item() == pytest.approx(1 - 4 / 5.5)
    two = maps.repeat(2, 1, 1, 1), masks.repeat(2, 1, 1)
    torch.testing.assert_close(level_terms(*two, squeezed=True), level_terms(*two))


def test_terms_are_summed_over_layers() -> None:
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(3, 2, 2, 4, 4, generator=generator)
    masks, labels = (torch.rand(2, 4, 4, generator=generator) > 0.5).float(), torch.tensor([0, 1])
    terms = anomalyclip_loss(torch.zeros(2, 2), list(maps), labels, masks)
    assert terms.image.item() == pytest.approx(math.log(2))
    torch.testing.assert_close(terms.dice_abnormal, sum(dice_loss(m[:, 1], masks) for m in maps))
    torch.testing.assert_close(terms.dice_normal, sum(dice_loss(m[:, 0], 1 - masks) for m in maps))
    same = adaclip_loss(torch.full((2, 2), 0.5), maps, labels, masks)
    torch.testing.assert_close(same.focal, terms.focal)


def test_adaclips_image_term_is_focal() -> None:
    # True class given 0.9, and 0.2: mean of 0.1^2 * -ln 0.9 and 0.8^2 * -ln 0.2.
    probabilities, labels = torch.tensor([[0.1, 0.9], [0.2, 0.8]]), torch.tensor([1, 0])
    maps, masks = torch.full((1, 2, 2, 1, 1), 0.5), torch.zeros(2, 1, 1)
    expected = (0.01 * -math.log(0.9) + 0.64 * -math.log(0.2)) / 2
    terms = adaclip_loss(probabilities, maps, labels, masks)
    assert terms.image.item() == pytest.approx(expected, rel=1e-3)


def test_optimisers_are_the_published_ones() -> None:
    weights = [torch.nn.Parameter(torch.ones(1))]
    adam = optimiser_of(weights, learning_of("anomalyclip").settings)
    assert type(adam) is torch.optim.Adam
    assert (adam.defaults["lr"], adam.defaults["betas"]) == (1e-3, (0.5, 0.999))
    assert learning_of("anomalyclip").settings.local_weight == 4
    published = learning_of("adaclip").settings
    adamw = optimiser_of(weights, published)
    assert type(adamw) is torch.optim.AdamW
    assert (adamw.defaults["lr"], adamw.defaults["weight_decay"]) == (0.01, 0.01)
    assert (published.epochs, published.batch_size) == (5, 1)


# --- the loop --------------------------------------------------------------------------------


@METHODS
def test_training_repeats_itself_learns_and_leaves_the_backbone_alone(
    method: Callable[[], Any], tmp_path: Path
) -> None:
    start = {key: value.clone() for key, value in method()[0].learned_state().items()}
    runs = []
    for name in ("a", "b"):
        model, train, settings = method()
        (tmp_path / name).mkdir()
        runs.append((model, train(model, Squares(), settings, folder=tmp_path / name)))
    (one, losses), (other, same) = runs
    assert losses == same
    assert losses[-1] < losses[0]
    for key, value in one.learned_state().items():
        assert torch.equal(value, other.learned_state()[key])
        assert torch.equal(value, start[key]) == (key == "static_text.layers.0"), key
    fresh = tiny.backbone().clip.state_dict()
    for key, value in one.backbone.clip.state_dict().items():
        assert torch.equal(value, fresh[key]), key


@METHODS
def test_a_stopped_training_ends_where_an_unbroken_one_does(
    method: Callable[[], Any], tmp_path: Path
) -> None:
    whole, train, settings = method()
    for name in ("whole", "broken"):
        (tmp_path / name).mkdir()
    losses = train(whole, Squares(), settings, folder=tmp_path / "whole")

    class Stop(Exception):
        pass

    def stop(step: StepReport) -> None:
        if (step.epoch, step.step) == (2, 1):
            raise Stop

    with pytest.raises(Stop):
        train(method()[0], Squares(), settings, folder=tmp_path / "broken", report=stop)
    resumed = method()[0]
    again = train(resumed, Squares(), settings, folder=tmp_path / "broken", resume=True)
    assert again == losses
    for key, value in whole.learned_state().items():
        assert torch.equal(value, resumed.learned_state()[key])


def test_another_methods_training_is_not_resumed(tmp_path: Path) -> None:
    model, train, settings = anomalyclip()
    train(model, Squares(), settings, folder=tmp_path)
    other, train_other, _ = adaclip()
    with pytest.raises(InvalidSettings, match="started with other settings"):
        train_other(other, Squares(), settings, folder=tmp_path, resume=True)
    changed = AnomalyClip(tiny.backbone(), AnomalyClipSettings(deep_layers=3, temperature=0.1))
    with pytest.raises(InvalidSettings, match="started with other settings"):
        train(changed, Squares(), settings, folder=tmp_path, resume=True)


def test_adaclips_sentences_name_what_each_example_shows(tmp_path: Path) -> None:
    model, train, settings = adaclip()
    seen: list[tuple[str, ...]] = []
    known = model.text_features

    def listen(names: tuple[str, ...], prompts: Tensor | None) -> Tensor:
        seen.append(tuple(names))
        return known(names, prompts)

    model.text_features = listen  # type: ignore[method-assign, assignment]

    class Nuts(Squares):
        def __getitem__(self, number: int) -> Any:
            return super().__getitem__(number)._replace(category=f"nut-{number}")

    one = TrainSettings(**{**settings.to_json(), "epochs": 1})  # type: ignore[arg-type]
    train(model, Nuts(), one, folder=tmp_path)
    assert sorted(name for names in seen for name in names) == [f"nut-{n}" for n in range(8)]


# --- against the published code --------------------------------------------------------------


@pytest.fixture(scope="module")
def towers(oracles: Path) -> Backbone:
    return oracle.backbone(oracles)


@pytest.mark.parametrize("method", oracle_training.TRAINING_STAGES)
def test_losses_gradients_and_steps_are_the_published_ones(
    oracles: Path, towers: Backbone, method: str
) -> None:
    seen = set()
    for stage in oracle_training.TRAINING_STAGES[method](oracles, towers):
        stage.check()
        seen.add(stage.name)
    assert {"losses", "gradients", "gradient norms"} <= seen
