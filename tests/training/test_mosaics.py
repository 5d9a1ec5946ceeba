"""AdaCLIP's mosaics: four images of one category in place of one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from headclip_med.cli import main
from headclip_med.datasets import open_dataset
from headclip_med.datasets.samples import Dataset, Sample
from headclip_med.evaluation.examples import Examples, Mosaics, mosaic
from headclip_med.models.checkpoint import read_checkpoint
from tests.pipelines.test_train import mvtec_folder

GREYS = (0, 51, 102, 204)


def flat_set(folder: Path, *, per_category: int = 4, size: tuple[int, int] = (8, 8)) -> Dataset:
    """One grey per image; images of even number are abnormal, their left half is marked."""
    samples = []
    for category in ("nut", "tile"):
        for number in range(per_category):
            image, mask = (folder / f"{category}-{number}-{kind}.png" for kind in ("i", "m"))
            shift = 0 if category == "nut" else 3
            Image.new("RGB", size, (GREYS[number % 4] + shift,) * 3).save(image)
            marked = np.zeros(size[::-1], dtype=np.uint8)
            marked[:, : size[0] // 2] = 255
            Image.fromarray(marked).save(mask)
            abnormal = number % 2 == 0
            samples.append(Sample(image, mask if abnormal else None, int(abnormal), category))  # type: ignore[arg-type]
    return Dataset("flat", tuple(samples), "pixel")


def test_four_images_stand_in_reading_order_with_their_masks(tmp_path: Path) -> None:
    samples = flat_set(tmp_path).samples[:4]
    image, mask = mosaic(samples, 16)  # two images of 8 px: nothing is resized
    expected = torch.tensor(GREYS).view(2, 2).repeat_interleave(8, 0).repeat_interleave(8, 1)
    torch.testing.assert_close(image, expected.expand(3, -1, -1) / 255, atol=1e-6, rtol=0)
    marked = torch.zeros(16, 16)
    marked[:8, :4] = 1  # the first, abnormal; the second is healthy
    marked[8:, :4] = 1  # the third, abnormal
    assert torch.equal(mask, marked)


def test_others_take_the_first_ones_size(tmp_path: Path) -> None:
    (tmp_path / "wide").mkdir()
    small, wide = flat_set(tmp_path).samples, flat_set(tmp_path / "wide", size=(20, 10)).samples
    image, mask = mosaic([small[0], wide[1], wide[2], small[3]], 16)
    expected = torch.tensor(GREYS).view(2, 2).repeat_interleave(8, 0).repeat_interleave(8, 1)
    torch.testing.assert_close(image, expected.expand(3, -1, -1) / 255, atol=1e-6, rtol=0)
    assert mask[8:, :4].all()
    assert mask.sum() == 64


def test_a_mosaic_keeps_label_and_category_of_what_it_stands_for(tmp_path: Path) -> None:
    examples = Examples(flat_set(tmp_path), 16)
    mosaics = Mosaics(examples, 1.0, seed=0)
    assert len(mosaics) == 8
    for number in range(8):
        plain, mixed = examples[number], mosaics[number]
        assert (mixed.label, mixed.category) == (plain.label, plain.category)
        shift = 0 if plain.category == "nut" else 3
        greys = sorted(round(float(v) * 255) - shift for v in mixed.image[0, 4::8, 4::8].flatten())
        assert greys == sorted(GREYS), "four different images, all of the category"


def test_mosaics_follow_seed_epoch_and_number_alone(tmp_path: Path) -> None:
    examples = Examples(flat_set(tmp_path), 16)

    def drawn(seed: int, epoch: int) -> list[float]:
        mosaics = Mosaics(examples, 0.5, seed)
        mosaics.begin_epoch(epoch)
        return [float(mosaics[number].image[:, 2, 2].sum()) for number in reversed(range(8))]

    assert drawn(1, 1) == drawn(1, 1)
    assert drawn(1, 1) != drawn(1, 2)
    assert drawn(1, 1) != drawn(2, 1)


def test_the_chance_is_kept(tmp_path: Path) -> None:
    examples = Examples(flat_set(tmp_path), 16)

    def flat(image: torch.Tensor) -> bool:
        return float(image.std()) < 1e-4

    mosaics, count = Mosaics(examples, 0.2, seed=3), 0
    for epoch in range(1, 51):
        mosaics.begin_epoch(epoch)
        count += sum(not flat(mosaics[number].image) for number in range(8))
    assert 50 <= count <= 110  # of 400; five standard deviations are 40
    assert all(flat(Mosaics(examples, 0.0, seed=3)[number].image) for number in range(8))


def test_too_few_images_make_no_mosaic(tmp_path: Path) -> None:
    examples = Examples(flat_set(tmp_path, per_category=3), 16)
    mosaics = Mosaics(examples, 1.0, seed=0)
    assert all(torch.equal(mosaics[n].image, examples[n].image) for n in range(6))


@pytest.mark.parametrize(("given", "expected"), [([], 0.2), (["--set", "mosaic=0"], 0.0)])
def test_adaclip_makes_mosaics_on_mvtec_ad_by_default(
    given: list[str], expected: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = mvtec_folder(tmp_path / "data", categories=("nut",))
    from headclip_med.evaluation import datasets as opener

    named = replace(open_dataset(f"mvtec:{data}"), name="MVTecAD")
    monkeypatch.setattr(opener, "open_datasets", lambda specs: named)
    arguments = ["train", "--method", "adaclip", "--data", f"mvtec:{data}", "--epochs", "1",
                 "--batch-size", "3", "--set", "clusters=2", "--device", "cpu",
                 "--out", str(tmp_path / "run"), "--no-tracking", *given]  # fmt: skip
    assert main(arguments) == 0
    trained = read_checkpoint(tmp_path / "run" / "adaclip.safetensors").training
    assert trained["settings"]["mosaic"] == expected


@pytest.mark.parametrize("cache", ["ram", "kept"])
def test_features_of_mosaics_are_not_kept(
    cache: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = mvtec_folder(tmp_path / "data", categories=("nut",)), tmp_path / "run"
    arguments = ["train", "--data", f"mvtec:{data}", "--set", "mosaic=0.5", "--cache",
                 cache if cache == "ram" else str(tmp_path / cache), "--out", str(out),
                 "--device", "cpu", "--no-tracking"]  # fmt: skip
    assert main(arguments) == 2
    assert "every epoch has others" in capsys.readouterr().err
    assert not (tmp_path / cache).exists()
