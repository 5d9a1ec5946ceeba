"""A checkpoint holds what was learned and says what it was learned on; nothing else is accepted."""

from __future__ import annotations

import json
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from headclip_med.errors import InvalidSettings, UnusableWeights
from headclip_med.models.adaclip.model import AdaClip
from headclip_med.models.adaclip.settings import AdaClipSettings
from headclip_med.models.anomalyclip.model import AnomalyClip
from headclip_med.models.anomalyclip.settings import AnomalyClipSettings
from headclip_med.models.checkpoint import read_checkpoint, write_checkpoint
from headclip_med.models.headclip.model import HeadClip
from headclip_med.models.headclip.settings import HeadClipSettings
from headclip_med.models.header import FORMAT, read_header
from headclip_med.models.loading import choose_device, load_model
from headclip_med.pipelines.bundle.folder import write_bundle
from headclip_med.settings import EMBEDDED_NAME, ScoreSettings
from tests import tiny


@pytest.fixture
def written(tmp_path: Path) -> tuple[HeadClip, Path]:
    model, path = tiny.model(), tmp_path / "mine.safetensors"
    scores = ScoreSettings(joint_weight=0.25, sigma_px=8.0)
    training = {"data": {"name": "squares", "digest": "0f"}, "losses": [1.0]}
    write_checkpoint(path, model, scores=scores, threshold=0.375, training=training)
    return model, path


@pytest.fixture
def in_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    look_up = open_clip.get_model_config
    monkeypatch.setattr(
        open_clip, "get_model_config", lambda n: tiny.CONFIG if n == "tiny" else look_up(n)
    )


def test_a_checkpoint_comes_back_as_it_was(written: tuple[HeadClip, Path]) -> None:
    model, path = written
    checkpoint = read_checkpoint(path)
    assert HeadClipSettings.from_json(checkpoint.settings) == model.settings
    assert checkpoint.scores == ScoreSettings(joint_weight=0.25, sigma_px=8.0)
    assert checkpoint.threshold == 0.375
    assert checkpoint.training["data"] == {"name": "squares", "digest": "0f"}
    header = vars(read_header(path))
    assert header == {name: vars(checkpoint)[name] for name in header}
    restored = checkpoint.restore(tiny.backbone())
    for key, value in model.learned_state().items():
        assert torch.equal(value, restored.learned_state()[key])


def test_a_checkpoint_is_as_open_to_others_as_any_file(written: tuple[HeadClip, Path]) -> None:
    _, path = written
    (path.parent / "any").touch()
    assert path.stat().st_mode == (path.parent / "any").stat().st_mode


def test_a_checkpoint_holds_only_what_was_learned(written: tuple[HeadClip, Path]) -> None:
    _, path = written
    with safe_open(path, framework="pt") as file:
        assert set(file.keys()) == {"context", "deep", "head_weights"}
    assert path.stat().st_size < 20_000
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_file_without_a_method_is_headclips(written: tuple[HeadClip, Path]) -> None:
    model, path = written
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()[FORMAT])
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    assert header.pop("method") == "headclip"
    save_file(tensors, path, metadata={FORMAT: json.dumps(header)})
    older = read_checkpoint(path)
    assert (older.method, older.settings) == ("headclip", model.settings.to_json())
    restored = older.restore(tiny.backbone()).learned_state()
    assert torch.equal(restored["head_weights"], model.head_weights)
    save_file(tensors, path, metadata={FORMAT: json.dumps({**header, "method": "newer"})})
    with pytest.raises(UnusableWeights, match="from another version"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    "model",
    [
        AnomalyClip(tiny.backbone(), AnomalyClipSettings(feature_layers=(2, 4), deep_layers=3)),
        AdaClip(tiny.backbone(), AdaClipSettings(class_name="brain", prompt_depth=2)),
    ],
    ids=["anomalyclip", "adaclip"],
)
def test_every_trained_method_has_the_same_form_of_file(
    model: AnomalyClip | AdaClip, tmp_path: Path, in_registry: None
) -> None:
    path = tmp_path / "mine.safetensors"
    write_checkpoint(path, model, scores=ScoreSettings(), threshold=0.25, training={})
    checkpoint = read_checkpoint(path)
    assert (checkpoint.method, checkpoint.settings) == (model.method, model.settings.to_json())
    judged, images = checkpoint.build(tiny.backbone()), tiny.images()
    assert judged.threshold == 0.25
    expected = model.fold(scores=ScoreSettings()).predict(images)
    torch.testing.assert_close(judged.predict(images).map, expected.map)
    with pytest.raises(UnusableWeights, match=f"checkpoint of {model.method}, not of headclip"):
        load_model(path, method="headclip", device="cpu")


def test_the_same_training_gives_the_same_bytes(written: tuple[HeadClip, Path]) -> None:
    _, path = written
    again = path.with_name("again.safetensors")
    scores = ScoreSettings(joint_weight=0.25, sigma_px=8.0)
    training = {"losses": [1.0], "data": {"digest": "0f", "name": "squares"}}
    write_checkpoint(again, tiny.model(), scores=scores, threshold=0.375, training=training)
    assert again.read_bytes() == path.read_bytes()


def test_another_backbone_is_refused(written: tuple[HeadClip, Path]) -> None:
    checkpoint = read_checkpoint(written[1])
    with pytest.raises(UnusableWeights, match=r"trained on tiny .* but the backbone here is tiny"):
        checkpoint.restore(tiny.backbone(seed=1))


def test_load_model_finds_the_backbone_that_a_checkpoint_names(
    written: tuple[HeadClip, Path], in_registry: None
) -> None:
    model, path = written
    loaded = load_model(path, device="cpu")
    images = tiny.images()
    scores = ScoreSettings(joint_weight=0.25, sigma_px=8.0)
    expected = model.fold(scores=scores).predict(images)
    torch.testing.assert_close(loaded.predict(images).map, expected.map)
    assert loaded.threshold == 0.375
    about = loaded.describe()
    assert about["name"] == "mine"
    assert about["checkpoint_digest"] == read_checkpoint(path).digest
    with pytest.raises(UnusableWeights, match="Load the one it was trained on"):
        load_model(path, seed=1, device="cpu")


def test_a_backbone_alone_is_no_model_but_random_weights_serve_tests(in_registry: None) -> None:
    loaded = load_model("tiny", weights="random", device="cpu")
    assert loaded.predict(tiny.images()).map.shape == (2, 16, 16)
    with pytest.raises(UnusableWeights, match="not on this machine"):
        load_model("tiny")


def test_the_folder_of_a_bundle_stands_for_the_checkpoint_in_it(tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle")
    images = tiny.images(1, size=112)
    embedded, bundled = (
        load_model(name, device="cpu") for name in (EMBEDDED_NAME, tmp_path / "bundle")
    )
    assert bundled.describe() == embedded.describe()
    assert torch.equal(bundled.predict(images).map, embedded.predict(images).map)
    free = load_model(tmp_path / "bundle", method="winclip", device="cpu")
    assert free.describe()["backbone"]["digest"] == embedded.describe()["backbone"]["digest"]  # type: ignore[index]
    checkpoint = tmp_path / "bundle/models/headclip-mini.checkpoint.safetensors"
    checkpoint.write_bytes(checkpoint.read_bytes()[:100])
    with pytest.raises(UnusableWeights, match="truncated"):
        load_model(tmp_path / "bundle")


@pytest.mark.parametrize("kept", [0, 7, 200])
def test_a_truncated_checkpoint_is_refused(kept: int, written: tuple[HeadClip, Path]) -> None:
    _, path = written
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UnusableWeights, match="truncated, damaged, or no safetensors"):
        read_checkpoint(path)


def test_a_pickle_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "epoch_15.safetensors"
    torch.save({"prompt_learner": {}}, path)
    with pytest.raises(UnusableWeights, match="pickles are never loaded"):
        read_checkpoint(path)


def test_other_files_are_told_apart(tmp_path: Path, written: tuple[HeadClip, Path]) -> None:
    with pytest.raises(UnusableWeights, match="no checkpoint at"):
        read_checkpoint(tmp_path / "none.safetensors")
    save_file({"a": torch.ones(1)}, tmp_path / "other.safetensors")
    with pytest.raises(UnusableWeights, match="but no HeadCLIP checkpoint"):
        read_checkpoint(tmp_path / "other.safetensors")
    checkpoint = read_checkpoint(written[1])
    broken = type(checkpoint)(**{**vars(checkpoint), "learned": {"context": torch.ones(1)}})
    with pytest.raises(UnusableWeights, match="shapes"):
        broken.restore(tiny.backbone())


def test_devices_are_chosen_by_name() -> None:
    assert choose_device("cpu").type == "cpu"
    assert choose_device("auto").type in ("cpu", "cuda", "mps")
    for name in ("warp", "cuda:99"):
        with pytest.raises(InvalidSettings, match=f"'{name}' cannot be used here"):
            choose_device(name)
