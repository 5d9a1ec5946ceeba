"""A training from kept features is the training that computes them anew."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.data import Dataset

from headclip_med.errors import InvalidSettings
from headclip_med.models.engine.run import Ran
from headclip_med.models.headclip import features as features_module
from headclip_med.models.headclip.features import Features, features_bytes
from headclip_med.models.headclip.model import FrozenFeatures, HeadClip
from headclip_med.models.headclip.settings import HeadClipSettings
from headclip_med.training.batches import Example
from tests import tiny
from tests.learning import train_model
from tests.models.headclip.test_learning import SETTINGS, Squares


class Counted(Dataset[Example]):
    """Squares that count how often each was read."""

    def __init__(self) -> None:
        self.squares = Squares()
        self.reads = [0] * len(self.squares)

    def __len__(self) -> int:
        return len(self.squares)

    def __getitem__(self, number: int) -> Example:
        self.reads[number] += 1
        return self.squares[number]


def run(folder: Path, place: object, settings=SETTINGS, *, resume: bool = False):  # type: ignore[no-untyped-def]
    folder.mkdir(exist_ok=True)
    model, examples = tiny.model(), Counted()
    kept = place and Features(model, len(examples), place, data_digest="squares")  # type: ignore[arg-type]
    losses = train_model(
        model, examples, settings, folder=folder, features=kept or None, resume=resume
    )
    return model, losses, examples


def assert_same(one: HeadClip, other: HeadClip) -> None:
    for key, value in one.learned_state().items():
        torch.testing.assert_close(value, other.learned_state()[key], rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["ram", "disk"])
def test_losses_and_weights_are_those_of_a_training_without(kind: str, tmp_path: Path) -> None:
    plain, losses, _ = run(tmp_path / "plain", None)
    cached, same, examples = run(tmp_path / "cached", "ram" if kind == "ram" else tmp_path / "kept")
    assert same == pytest.approx(losses, abs=1e-6)
    assert_same(plain, cached)
    assert examples.reads == [1] * 8  # and each image was read in the first epoch only


def test_the_trunk_runs_once_per_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = 0
    freeze = HeadClip.freeze_features

    def counted(self: HeadClip, images: torch.Tensor, precision: Ran) -> FrozenFeatures:
        nonlocal seen
        seen += len(images)
        return freeze(self, images, precision)

    monkeypatch.setattr(HeadClip, "freeze_features", counted)
    run(tmp_path / "a", "ram")
    assert seen == 8


def test_a_second_training_finds_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, losses, _ = run(tmp_path / "a", tmp_path / "kept")
    monkeypatch.setattr(HeadClip, "freeze_features", lambda *_: pytest.fail("computed again"))
    second, same, _ = run(tmp_path / "b", tmp_path / "kept")
    assert same == pytest.approx(losses, abs=1e-6)
    assert_same(first, second)


def test_a_stopped_training_goes_on_with_fresh_features(tmp_path: Path) -> None:
    unbroken, losses, _ = run(tmp_path / "a", "ram")
    run(tmp_path / "b", "ram", replace(SETTINGS, epochs=2))
    resumed, same, _ = run(tmp_path / "b", "ram", resume=True)
    assert same == pytest.approx(losses, abs=1e-6)
    assert_same(unbroken, resumed)


def test_other_images_layers_or_numbers_are_other_files(tmp_path: Path) -> None:
    model, other = tiny.model(), tiny.model(HeadClipSettings(local_layers=(1,)))
    entries = [
        features_module._entry(tmp_path, model, "one", "fp32"),
        features_module._entry(tmp_path, model, "two", "fp32"),
        features_module._entry(tmp_path, other, "one", "fp32"),
        features_module._entry(tmp_path, model, "one", "bf16"),
    ]
    assert len({entry.folder for entry in entries}) == 4


def test_the_estimate_is_what_the_files_take(tmp_path: Path) -> None:
    model = tiny.model()
    Features(model, 5, tmp_path, data_digest="x")
    files = {path.name: path.stat().st_size for path in tmp_path.glob("*/*")}
    assert files.keys() == {"tokens", "layers", "known", "about.json"}
    written = files["tokens"] + files["layers"]
    assert written == features_bytes(model.settings, model.backbone.vision, 5)


def test_a_folder_without_room_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(InvalidSettings, match="no room"):
        Features(tiny.model(), 5, tmp_path, data_digest="x")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
