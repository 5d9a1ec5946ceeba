"""Sets without masks: what is learned from labels alone, and what is refused."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from headclip_med.cli import main
from headclip_med.datasets import open_dataset
from headclip_med.errors import InvalidSettings
from headclip_med.evaluation.examples import Examples
from headclip_med.models.registry import METHODS
from headclip_med.pipelines.train import described_data, from_labels
from headclip_med.settings import TrainSettings
from headclip_med.training.losses import LossTerms
from tests.set_copies import write_image, write_mask


def classes(root: Path) -> Path:
    for kind in ("good", "bad"):
        for number in range(2):
            write_image(root / kind / f"{number}.png")
    return root


def test_a_set_without_masks_is_learned_by_labels_alone(tmp_path: Path) -> None:
    dataset = open_dataset(f"folder:{classes(tmp_path)}")
    said: list[str] = []
    settings = from_labels(TrainSettings(local_weight=4.0), dataset, "headclip", said.append)
    assert settings == TrainSettings(local_weight=0.0)
    assert len(said) == 1
    assert "HeadCLIP learns from the images' labels alone (local_weight 0)" in said[0]
    assert described_data(dataset, {})["level"] == "image"
    examples = Examples(dataset, 8)
    assert [one.label for one in map(examples.__getitem__, range(4))] == [1, 1, 0, 0]
    assert not any(one.mask.any() for one in map(examples.__getitem__, range(4)))


def test_a_set_with_masks_is_learned_as_asked(tmp_path: Path) -> None:
    write_image(tmp_path / "images/a.png")
    write_mask(tmp_path / "masks/a.png")
    dataset = open_dataset(f"folder:{tmp_path}")
    settings = TrainSettings(local_weight=4.0)
    assert from_labels(settings, dataset, "headclip", pytest.fail) is settings
    assert "level" not in described_data(dataset, {})


def test_without_local_terms_only_the_image_counts() -> None:
    terms = LossTerms(*(torch.tensor(value) for value in (0.5, 3.0, 2.0, 1.0)))
    assert math.isclose(float(terms.total(0.0)), 0.5)


def test_a_method_that_learns_from_maps_only_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = open_dataset(f"folder:{classes(tmp_path)}")
    method = METHODS["headclip"]
    assert method.learning is not None
    by_maps = replace(method, learning=replace(method.learning, from_labels=False))
    monkeypatch.setitem(METHODS, "headclip", by_maps)
    with pytest.raises(InvalidSettings, match="no term of the image alone") as caught:
        from_labels(TrainSettings(), dataset, "headclip", pytest.fail)
    assert caught.value.code == "no-masks"


def test_images_of_one_kind_teach_nothing(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("image,label\ngood/0.png,normal\ngood/1.png,normal\n")
    dataset = open_dataset(f"csv:{classes(tmp_path) / 'list.csv'}")
    with pytest.raises(InvalidSettings, match="all normal or all abnormal") as caught:
        from_labels(TrainSettings(), dataset, "headclip", pytest.fail)
    assert caught.value.code == "one-class"


def test_a_local_weight_that_is_asked_for_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train", "--data", f"folder:{classes(tmp_path)}", "--out", str(tmp_path / "run")]
    assert main([*arguments, "--set", "local_weight=2", "--no-tracking"]) == 2
    assert "no local term can be weighed" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
