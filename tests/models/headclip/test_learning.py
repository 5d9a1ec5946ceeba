"""Training is repeatable, can be stopped and resumed, changes only what it may, and learns."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch.utils.data import Dataset

from headclip_med.errors import InvalidSettings, UnusableWeights
from headclip_med.evaluation.examples import threshold_at_specificity
from headclip_med.settings import TrainSettings
from headclip_med.training.batches import Example
from headclip_med.training.handlers import LOG_FILE, StepReport
from headclip_med.training.state import STATE_FILE, rewind
from tests import tiny
from tests.learning import train_model

SETTINGS = TrainSettings(epochs=4, batch_size=3, learning_rate=0.02, seed=1)


class Squares(Dataset[Example]):
    """Grey noise, every second picture with a bright square in a corner."""

    def __init__(self, count: int = 8) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> Example:
        generator = torch.Generator().manual_seed(number)
        image = 0.4 + 0.1 * torch.rand(3, 16, 16, generator=generator)
        mask = torch.zeros(16, 16)
        if number % 2:
            mask[:8, 8:] = 1
            image[:, :8, 8:] = 1.0
        return Example(image, mask, number % 2)


def trained(folder: Path, settings: TrainSettings = SETTINGS, *, resume: bool = False):
    folder.mkdir(exist_ok=True)
    model = tiny.model()
    losses = train_model(model, Squares(), settings, folder=folder, resume=resume)
    return model, losses


def test_the_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    (one, losses), (other, same) = trained(tmp_path / "a"), trained(tmp_path / "b")
    assert losses == same
    for key, value in one.learned_state().items():
        assert torch.equal(value, other.learned_state()[key])


def test_another_seed_gives_another_order(tmp_path: Path) -> None:
    _, losses = trained(tmp_path / "a")
    _, others = trained(tmp_path / "b", TrainSettings(**{**SETTINGS.to_json(), "seed": 2}))  # type: ignore[arg-type]
    assert losses != others


def test_training_lowers_the_loss_and_moves_all_three_parts(tmp_path: Path) -> None:
    start = {key: value.clone() for key, value in tiny.model().learned_state().items()}
    model, losses = trained(tmp_path / "a")
    assert losses[-1] < losses[0]
    for key, value in model.learned_state().items():
        assert not torch.equal(value, start[key]), key


def test_the_backbone_never_changes(tmp_path: Path) -> None:
    model, _ = trained(tmp_path / "a")
    fresh = tiny.backbone().clip.state_dict()
    for key, value in model.backbone.clip.state_dict().items():
        assert torch.equal(value, fresh[key]), key


def test_a_stopped_training_ends_where_an_unbroken_one_does(tmp_path: Path) -> None:
    whole, losses = trained(tmp_path / "whole")

    class Stop(Exception):
        pass

    def stop(step: StepReport) -> None:
        if (step.epoch, step.step) == (3, 2):
            raise Stop

    folder = tmp_path / "broken"
    folder.mkdir()
    with pytest.raises(Stop):
        train_model(tiny.model(), Squares(), SETTINGS, folder=folder, report=stop)
    resumed, continued = trained(folder, resume=True)
    assert continued == losses
    for key, value in whole.learned_state().items():
        assert torch.equal(value, resumed.learned_state()[key])


def test_a_longer_training_goes_on_from_a_shorter_one(tmp_path: Path) -> None:
    shorter = TrainSettings(**{**SETTINGS.to_json(), "epochs": 2})  # type: ignore[arg-type]
    trained(tmp_path / "a", shorter)
    _, losses = trained(tmp_path / "a", resume=True)
    assert losses == trained(tmp_path / "b")[1]


def test_a_training_goes_on_from_any_of_its_epochs(tmp_path: Path) -> None:
    whole, losses = trained(tmp_path)
    for epoch in range(1, SETTINGS.epochs):
        rewind(tmp_path, epoch)
        assert len(torch.load(tmp_path / STATE_FILE, weights_only=True)["losses"]) == epoch
        again, same = trained(tmp_path, resume=True)
        assert same == losses
        for key, value in whole.learned_state().items():
            assert torch.equal(value, again.learned_state()[key])
    with pytest.raises(
        InvalidSettings, match=f"no state of epoch 9 .it has 1 to {SETTINGS.epochs}"
    ):
        rewind(tmp_path, 9)


def test_other_settings_cannot_be_resumed(tmp_path: Path) -> None:
    trained(tmp_path / "a", TrainSettings(epochs=1, batch_size=4))
    with pytest.raises(InvalidSettings, match="started with other settings"):
        trained(tmp_path / "a", resume=True)


@pytest.mark.parametrize("content", [None, b"", b"not a state"])
def test_a_missing_or_damaged_state_cannot_be_resumed(
    content: bytes | None, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / STATE_FILE).write_bytes(content)
    with pytest.raises(UnusableWeights, match="missing or damaged"):
        trained(tmp_path, resume=True)


def test_every_step_is_logged(tmp_path: Path) -> None:
    trained(tmp_path / "a", TrainSettings(epochs=2, batch_size=3))
    lines = [json.loads(line) for line in (tmp_path / "a" / LOG_FILE).read_text().splitlines()]
    assert [(line["epoch"], line["step"]) for line in lines] == [
        (1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3),
    ]  # fmt: skip
    terms = lines[0]["terms"]
    parts = sum(terms[name] for name in ("image", "focal", "dice_normal", "dice_abnormal"))
    assert parts == pytest.approx(lines[0]["loss"], rel=1e-5)


def test_no_images_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="no images to train on"):
        train_model(tiny.model(), Squares(0), SETTINGS, folder=tmp_path)


def test_the_threshold_leaves_the_asked_share_of_healthy_pixels_below() -> None:
    values = torch.arange(1000.0)[torch.randperm(1000)] / 1000
    threshold = threshold_at_specificity(values, 0.995)
    assert threshold == pytest.approx(0.995)
    assert float((values < threshold).float().mean()) == pytest.approx(0.995)
    assert threshold_at_specificity(torch.tensor([0.3]), 0.995) == pytest.approx(0.3)
