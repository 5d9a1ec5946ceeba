"""Predictions: asked once, kept whole or not at all, read back as they were."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from headclip_med.datasets import Dataset, Sample, open_dataset
from headclip_med.errors import HeadClipError, InvalidSettings
from headclip_med.evaluation.measure import measure
from headclip_med.evaluation.predictions import Predictions, model_digest, predict_dataset
from headclip_med.models.maps import log_odds
from headclip_med.prediction import Prediction
from headclip_med.settings import ScoreSettings
from tests import tiny

SIDE = 8


class Grey:
    """Its logits is the log-odds of the grey level; counts what it is shown."""

    image_size = SIDE
    threshold = 0.5

    def __init__(self, name: str = "grey", *, breaks_at: int | None = None) -> None:
        self.scores = ScoreSettings()
        self.name, self.breaks_at, self.shown = name, breaks_at, 0

    def describe(self) -> Mapping[str, object]:
        return {"method": self.name, "scores": self.scores.to_json()}

    def with_scores(self, scores: ScoreSettings) -> Grey:
        other = type(self)(self.name)
        other.scores = scores
        return other

    def predict(self, images: torch.Tensor) -> Prediction:
        self.shown += len(images)
        if self.breaks_at is not None and self.shown >= self.breaks_at:
            raise KeyboardInterrupt
        grey = images.mean(dim=1)
        exact = grey.double().clamp(0.01, 0.99)
        return Prediction(grey, grey.mean(dim=(1, 2)), log_odds(exact, 1 - exact))


class Never(Grey):
    """Has the digest of ``Grey`` and must not be asked."""

    def predict(self, images: torch.Tensor) -> Prediction:
        raise AssertionError("asked although its answers are known")


Never.__module__, Never.__qualname__ = Grey.__module__, Grey.__qualname__


def pictures(root: Path, *, count: int = 5, shift: int = 0) -> Dataset:
    """So many noisy pictures, every other abnormal with a mask over its upper half."""
    random = np.random.default_rng(0)
    samples = []
    root.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        image, mask = root / f"{number}.png", root / f"{number}_mask.png"
        noise = random.integers(0, 200, (SIDE, SIDE, 3)) + shift
        Image.fromarray(noise.astype(np.uint8)).save(image)
        marked = np.zeros((SIDE, SIDE), dtype=np.uint8)
        marked[: SIDE // 2] = 255
        Image.fromarray(marked).save(mask)
        is_abnormal = number % 2
        category = "one" if number < 3 else "two"
        samples.append(
            Sample(image, mask if is_abnormal else None, 1 if is_abnormal else 0, category)
        )
    return Dataset("noise", tuple(samples), "pixel")


def entries(store: Path) -> list[str]:
    return sorted(path.name for path in store.glob("*/*"))


def assert_equal(one: Predictions, other: Predictions) -> None:
    assert one.categories == other.categories
    for name in ("logits", "global_scores", "labels", "masks", "grey", "ids", "units"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


def test_answers_say_what_the_model_said_beside_the_truth(tmp_path: Path) -> None:
    dataset = pictures(tmp_path)
    (found,) = predict_dataset(dataset, [Grey()], batch_size=2)
    assert (found.dataset, found.image_size) == ("noise", SIDE)
    assert found.categories == ("one", "one", "one", "two", "two")
    assert found.parts() == {"one": slice(0, 3), "two": slice(3, 5)}
    assert found.labels.tolist() == [False, True, False, True, False]
    assert found.masks is not None
    assert found.masks.mean(axis=(1, 2)).tolist() == [0, 0.5, 0, 0.5, 0]
    assert found.ids.tolist() == found.units.tolist() == [0, 1, 2, 3, 4]
    grey = np.asarray(Image.open(tmp_path / "3.png")).mean(axis=2) / 255
    np.testing.assert_allclose(found.grey[3], grey, atol=1e-6)
    expected = 1 / (1 + np.exp(-found.logits[3].astype(np.float64)))
    np.testing.assert_allclose(expected, grey.clip(0.01, 0.99), atol=1e-6)
    assert found.global_scores[3] == pytest.approx(grey.mean(), abs=1e-6)
    assert found.logits.dtype == found.global_scores.dtype == np.float32


def test_what_is_kept_is_what_was_computed_and_is_mapped(tmp_path: Path) -> None:
    dataset, store = pictures(tmp_path / "set"), tmp_path / "store"
    (computed,) = predict_dataset(dataset, [Grey()])
    for _ in range(2):
        (kept,) = predict_dataset(dataset, [Grey()], store=store)
        assert_equal(kept, computed)
        assert isinstance(kept.logits, np.memmap)
        assert isinstance(kept.masks, np.memmap)
        assert not kept.logits.flags.writeable
    assert kept.content_digest == dataset.content_digest


def test_a_model_is_never_asked_twice(tmp_path: Path) -> None:
    dataset, store = pictures(tmp_path / "set"), tmp_path / "store"
    predict_dataset(dataset, [Grey()], store=store)
    (found,) = predict_dataset(dataset, [Never()], store=store)
    assert len(found.logits) == 5


def test_another_smoothing_or_weight_reads_the_same_answers(tmp_path: Path) -> None:
    dataset, store = pictures(tmp_path / "set"), tmp_path / "store"
    predict_dataset(dataset, [Grey()], store=store)
    other = Never().with_scores(ScoreSettings(sigma_px=9.0, joint_weight=0.1, top_percent=50.0))
    (found,) = predict_dataset(dataset, [other], store=store)
    assert found.model["scores"] == other.scores.to_json()


def test_of_several_models_only_the_new_one_is_asked(tmp_path: Path) -> None:
    dataset, store = pictures(tmp_path / "set"), tmp_path / "store"
    predict_dataset(dataset, [Grey()], store=store)
    new = Grey("new")
    found = predict_dataset(dataset, [Never(), new, Never("new")], store=store)
    assert new.shown == 5
    assert [one.model["method"] for one in found] == ["grey", "new", "new"]
    assert len(entries(store)) == 3


@pytest.mark.parametrize("change", ["pixels", "size", "limit", "model", "name"])
def test_anything_else_is_another_entry(tmp_path: Path, change: str) -> None:
    store, dataset = tmp_path / "store", pictures(tmp_path / "set")
    predict_dataset(dataset, [Grey()], store=store)
    model = Grey("other" if change == "model" else "grey")
    if change == "pixels":
        dataset = pictures(tmp_path / "set", shift=1)
    if change == "name":
        dataset = replace(dataset, name="other")
    size, limit = (16 if change == "size" else None), (2 if change == "limit" else None)
    predict_dataset(dataset, [model], store=store, image_size=size, limit=limit)
    assert model.shown == (4 if change == "limit" else 5)


def test_a_run_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    dataset, store = pictures(tmp_path / "set"), tmp_path / "store"
    with pytest.raises(KeyboardInterrupt):
        predict_dataset(dataset, [Grey(breaks_at=4)], store=store, batch_size=2)
    assert entries(store) == []
    again = Grey()
    predict_dataset(dataset, [again], store=store)
    assert again.shown == 5


@pytest.mark.parametrize("file", ["logits.npy", "about.json", "global_scores.npy"])
@pytest.mark.parametrize("damage", ["cut", "changed", "gone"])
def test_a_damaged_entry_is_computed_anew_and_said(
    tmp_path: Path, file: str, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    dataset, store = pictures(tmp_path / "set"), tmp_path / "store"
    predict_dataset(dataset, [Grey()], store=store)
    (before,) = predict_dataset(dataset, [Grey()])
    (path,) = store.glob(f"*/grey-*/{file}")
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(content[:-3] if damage == "cut" else content[:-3] + b"xyz")
    again = Grey()
    with caplog.at_level(logging.WARNING):
        (found,) = predict_dataset(dataset, [again], store=store)
    assert again.shown == 5
    assert "of the store is damaged; it is computed anew" in caplog.text
    assert_equal(found, before)
    assert path.read_bytes() == content


def test_damaged_truth_is_read_anew_without_asking(tmp_path: Path) -> None:
    dataset, store = pictures(tmp_path / "set"), tmp_path / "store"
    predict_dataset(dataset, [Grey()], store=store)
    (before,) = predict_dataset(dataset, [Grey()])
    (path,) = store.glob("*/ground_truth/grey.npy")
    path.write_bytes(path.read_bytes()[:-1])
    (found,) = predict_dataset(dataset, [Never()], store=store)
    assert_equal(found, before)


def test_an_entry_put_in_another_s_place_is_not_believed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dataset, store = pictures(tmp_path / "set"), tmp_path / "store"
    predict_dataset(dataset, [Grey()], store=store)
    (path,) = store.glob("*/grey-*/about.json")
    about = json.loads(path.read_text())
    about["identity"]["model_digest"] = "0" * 64
    path.write_text(json.dumps(about))
    again = Grey()
    with caplog.at_level(logging.WARNING):
        predict_dataset(dataset, [again], store=store)
    assert again.shown == 5
    assert "about something else" in caplog.text


def fill_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)


def test_a_full_disk_is_said_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_disk(monkeypatch)
    model = Grey()
    with pytest.raises(HeadClipError, match=r"no room on the store's disk for 0\.0 GB"):
        predict_dataset(pictures(tmp_path / "set"), [model], store=tmp_path / "store")
    assert model.shown == 0
    assert entries(tmp_path / "store") == []


def test_large_arrays_lie_in_files_that_nobody_sees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, place = pictures(tmp_path / "set"), tmp_path / "temporary"
    place.mkdir()
    (held,) = predict_dataset(dataset, [Grey()])
    monkeypatch.setattr("headclip_med.store.HELD_BYTES", 100)
    monkeypatch.setattr("tempfile.tempdir", str(place))
    (mapped,) = predict_dataset(dataset, [Grey()])
    assert_equal(mapped, held)
    for array in (mapped.logits, mapped.masks, mapped.grey):
        assert isinstance(array, np.memmap)
    assert list(place.iterdir()) == []
    numbers = [measure(one, ScoreSettings()).metrics("pixels", "map") for one in (mapped, held)]
    assert numbers[0] == numbers[1]


def test_no_room_for_temporary_files_is_said_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_disk(monkeypatch)
    monkeypatch.setattr("headclip_med.store.HELD_BYTES", 100)
    model = Grey()
    with pytest.raises(HeadClipError, match=r"temporary files. Make room.*TMPDIR"):
        predict_dataset(pictures(tmp_path), [model])
    assert model.shown == 0


def test_a_store_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file")
    with pytest.raises(HeadClipError, match="cannot be written"):
        predict_dataset(pictures(tmp_path / "set"), [Grey()], store=tmp_path / "store")


def test_nothing_in_the_store_names_a_file(tmp_path: Path) -> None:
    store = tmp_path / "store"
    dataset = pictures(tmp_path / "Zyxwvut^Qponml")
    predict_dataset(dataset, [Grey()], store=store)
    for path in store.rglob("*"):
        assert "Zyxwvut" not in path.name
        assert path.is_dir() or b"Zyxwvut" not in path.read_bytes()


def test_a_set_without_masks_has_none(tmp_path: Path) -> None:
    dataset = replace(pictures(tmp_path / "set"), level="image")
    for store in (None, tmp_path / "store"):
        (found,) = predict_dataset(dataset, [Grey()], store=store)
        assert found.masks is None
        assert found.labels.sum() == 2


def test_slices_of_a_volume_are_one_unit(tmp_path: Path) -> None:
    dataset = pictures(tmp_path)
    first, second = dataset.samples[0], dataset.samples[2]
    slices = [
        replace(one, slice_index=index, label=0, mask_path=None, category="one")
        for one, index in ((first, 0), (first, 1), (second, 0), (dataset.samples[4], None))
    ]
    (found,) = predict_dataset(replace(dataset, samples=tuple(slices)), [Grey()])
    assert found.units.tolist() == [0, 0, 1, 2]


def test_a_limit_below_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="limit must be at least 1"):
        predict_dataset(pictures(tmp_path), [Grey()], limit=0)


def test_a_network_is_told_by_its_weights_and_not_by_its_scores() -> None:
    model = tiny.model()
    folded = model.fold()
    assert model_digest(folded) == model_digest(model.fold())
    assert model_digest(folded) == model_digest(folded.with_scores(ScoreSettings(sigma_px=1.0)))
    named = model.fold(about={"name": "another file", "calibrated": False})
    assert model_digest(folded) == model_digest(named)
    with torch.no_grad():
        model.head_weights[0, 0] += 1e-3
    assert model_digest(folded) != model_digest(model.fold())


def test_a_set_that_a_layout_opens_is_kept_too(tmp_path: Path) -> None:
    pictures(tmp_path / "no", count=2)
    pictures(tmp_path / "yes", count=2)
    dataset = open_dataset(f"BrainMRI:{tmp_path}")
    predict_dataset(dataset, [Grey()], store=tmp_path / "store")
    (found,) = predict_dataset(dataset, [Never()], store=tmp_path / "store")
    assert found.labels.sum() * 2 == len(found.labels)
