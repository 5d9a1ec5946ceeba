"""Weights are read in every layout they come in, and refused when they do not fit."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from headclip_med.errors import InvalidSettings, UnusableWeights
from headclip_med.models.clip import hub
from headclip_med.models.clip.loading import load_backbone, refill_token_rows
from headclip_med.models.clip.weights import read_weights
from tests import tiny


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return tiny.backbone(seed=4).clip.state_dict()


@pytest.fixture(autouse=True)
def _tiny_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let open_clip's registry hold two tiny models, silent and outspoken on their activation."""
    known = {"tiny": tiny.CONFIG, "tiny-quickgelu": {**tiny.CONFIG, "quick_gelu": True}}
    look_up = open_clip.get_model_config
    monkeypatch.setattr(open_clip, "get_model_config", lambda n: known.get(n) or look_up(n))


def save_safetensors(state: dict[str, Tensor], folder: Path) -> Path:
    save_file({k: v.contiguous() for k, v in state.items()}, folder / "w.safetensors")
    return folder / "w.safetensors"


def save_bare(state: dict[str, Tensor], folder: Path) -> Path:
    torch.save(state, folder / "w.pt")
    return folder / "w.pt"


def save_nested(state: dict[str, Tensor], folder: Path) -> Path:
    prefixed = {f"module.{key}": value for key, value in state.items()}
    torch.save({"epoch": 3, "state_dict": prefixed}, folder / "w.bin")
    return folder / "w.bin"


def save_half(state: dict[str, Tensor], folder: Path) -> Path:
    torch.save({key: value.half() for key, value in state.items()}, folder / "half.pt")
    return folder / "half.pt"


@pytest.mark.parametrize("save", [save_safetensors, save_bare, save_nested])
def test_every_layout_gives_the_same_backbone(
    save: Callable[[dict[str, Tensor], Path], Path], state: dict[str, Tensor], tmp_path: Path
) -> None:
    path = save(state, tmp_path)
    loaded = load_backbone("tiny", weights=path, activation="gelu")
    assert loaded.digest == tiny.backbone(seed=4).digest
    assert loaded.weights == "file"


def test_half_precision_files_are_run_in_full(state: dict[str, Tensor], tmp_path: Path) -> None:
    loaded = load_backbone("tiny", weights=save_half(state, tmp_path), activation="gelu")
    assert loaded.vision.visual.proj.dtype == torch.float32
    torch.testing.assert_close(loaded.vision.visual.proj, state["visual.proj"], atol=1e-3, rtol=0)


class Archive(nn.Module):
    """What OpenAI ships: a TorchScript archive with three numbers beside the weights."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        super().__init__()
        nodes: dict[str, nn.Module] = {"": self}
        for key, value in state.items():
            *path, leaf = key.split(".")
            at = ""
            for part in path:
                parent, at = nodes[at], f"{at}.{part}"
                if at not in nodes:
                    nodes[at] = nn.Module()
                    parent.add_module(part, nodes[at])
            nodes[at].register_buffer(leaf, value.clone())
        for name, number in (
            ("input_resolution", 16),
            ("context_length", 24),
            ("vocab_size", 49408),
        ):
            self.register_buffer(name, torch.tensor(number))

    def forward(self, image: Tensor) -> Tensor:
        return image


def test_openai_archives_are_read_and_known_to_need_quickgelu(
    state: dict[str, Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "ViT-tiny.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(Archive(state)).save(path)
    assert read_weights(path).activation == "quickgelu"
    loaded = load_backbone("tiny", weights=path)
    assert loaded.activation == "quickgelu"
    assert type(loaded.vision.blocks[0].mlp.gelu).__name__ == "QuickGELU"
    torch.testing.assert_close(loaded.vision.visual.proj, state["visual.proj"])


def test_openai_state_dicts_are_known_by_their_extra_numbers(
    state: dict[str, Tensor], tmp_path: Path
) -> None:
    extra = {"input_resolution": torch.tensor(16), "vocab_size": torch.tensor(49408)}
    path = save_bare({**state, **extra, "context_length": torch.tensor(24)}, tmp_path)
    assert load_backbone("tiny", weights=path).activation == "quickgelu"
    with pytest.raises(UnusableWeights, match="trained with quickgelu, but tiny would run"):
        load_backbone("tiny", weights=path, activation="gelu")


def test_a_file_that_does_not_tell_its_activation_is_asked_about(
    state: dict[str, Tensor], tmp_path: Path
) -> None:
    path = save_bare(state, tmp_path)
    with pytest.raises(UnusableWeights, match="--activation quickgelu for OpenAI's"):
        load_backbone("tiny", weights=path)
    assert load_backbone("tiny-quickgelu", weights=path).activation == "quickgelu"
    with pytest.raises(UnusableWeights, match="silently costs accuracy"):
        load_backbone("tiny-quickgelu", weights=path, activation="gelu")


def test_a_folder_brings_its_own_configuration(state: dict[str, Tensor], tmp_path: Path) -> None:
    preprocess = {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.5, 0.5]}
    config = {"model_cfg": tiny.CONFIG, "preprocess_cfg": preprocess}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(UnusableWeights, match=r"holds none of open_clip_model\.safetensors"):
        load_backbone(str(tmp_path))
    save_safetensors(state, tmp_path).rename(tmp_path / "open_clip_model.safetensors")
    for name in (str(tmp_path), f"local-dir:{tmp_path}"):
        loaded = load_backbone(name)
        assert loaded.digest == tiny.backbone(seed=4).digest
        assert loaded.get_buffer("_mean").flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])


def test_a_folder_without_a_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnusableWeights, match="no configuration of a CLIP"):
        load_backbone(str(tmp_path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("visual.proj"), r"model: missing visual\.proj\."),
        (lambda s: s.update(extra=torch.ones(1)), "model: not part of it extra"),
        (
            lambda s: s.update({"visual.proj": torch.ones(12, 16)}),
            r"of another shape visual\.proj \(12, 16\) instead of",
        ),
    ],
)
def test_weights_of_another_model_are_refused(
    change: Callable[[dict[str, Tensor]], object],
    message: str,
    state: dict[str, Tensor],
    tmp_path: Path,
) -> None:
    altered = dict(state)
    change(altered)
    with pytest.raises(UnusableWeights, match=message):
        load_backbone("tiny", weights=save_bare(altered, tmp_path), activation="gelu")


class Harmful:
    """Would touch a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_a_pickle_that_could_run_code_is_refused_and_does_not(tmp_path: Path) -> None:
    path, touched = tmp_path / "w.pt", tmp_path / "touched"
    torch.save({"state_dict": Harmful(touched)}, path)
    with pytest.raises(UnusableWeights, match="could run code"):
        read_weights(path)
    assert not touched.exists()


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
@pytest.mark.parametrize("kept", [0, 100, 5000])
def test_truncated_files_are_refused(
    name: str, kept: int, state: dict[str, Tensor], tmp_path: Path
) -> None:
    save = save_bare if name.endswith(".pt") else save_safetensors
    path = save(state, tmp_path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UnusableWeights, match=r"damaged|truncated"):
        read_weights(path)


@pytest.mark.parametrize("content", [{}, [1, 2], {"a": 1}])
def test_files_without_a_state_dict_are_refused(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(UnusableWeights, match=r"no state dict|more than tensors"):
        read_weights(tmp_path / "w.pt")


def test_missing_weights_say_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(UnusableWeights, match=r"no weights file at .*w\.pt"):
        load_backbone("tiny", weights=tmp_path / "w.pt")
    with pytest.raises(UnusableWeights, match="headclip weights fetch ViT-B-16 --tag openai"):
        load_backbone("ViT-B-16")


def test_a_tag_is_taken_from_the_cache_with_its_activation(
    state: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_bare(state, tmp_path)
    entry = {"quick_gelu": True, "url": "https://example.org/w.pt"}
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda name, tag: entry)
    monkeypatch.setattr(hub, "cached_weights", lambda name, tag: path)
    loaded = load_backbone("tiny", weights="openai")
    assert (loaded.weights, loaded.activation) == ("openai", "quickgelu")


def test_cached_weights_are_found_where_open_clip_puts_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    entry = {"url": "https://example.org/some/ViT.pt"}
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda name, tag: entry)
    assert hub.cached_weights("tiny", "openai") is None
    (tmp_path / ".cache/clip").mkdir(parents=True)
    (tmp_path / ".cache/clip/ViT.pt").touch()
    assert hub.cached_weights("tiny", "openai") == tmp_path / ".cache/clip/ViT.pt"


def test_a_failed_download_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(entry: object) -> str:
        raise OSError("no network")

    monkeypatch.setattr(open_clip, "download_pretrained", fail)
    with pytest.raises(UnusableWeights, match="pass it as --weights FILE"):
        hub.fetch_weights("ViT-B-16", "openai")
    with pytest.raises(UnusableWeights, match="It has openai"):
        hub.fetch_weights("ViT-B-16", "nonsense")


def test_an_unknown_model_is_told_its_neighbours() -> None:
    with pytest.raises(InvalidSettings, match=r"Did you mean .*ViT-L-14-336"):
        load_backbone("ViT-L-14-366")


def test_a_file_that_describes_itself_is_loaded_by_its_path(
    state: dict[str, Tensor], tmp_path: Path
) -> None:
    rows = torch.tensor([5, 49407], dtype=torch.int32)
    stored = {**state, "token_embedding.rows": rows}
    stored["token_embedding.weight"] = state["token_embedding.weight"][rows.long()]
    metadata = {
        "config": json.dumps(tiny.CONFIG),
        "preprocess": json.dumps({"mean": [0.5] * 3, "std": [0.25] * 3}),
        "token_seed": "9",
    }
    path = tmp_path / "own.safetensors"
    save_file({k: v.contiguous() for k, v in stored.items()}, path, metadata=metadata)
    loaded = load_backbone(str(path))
    table = loaded.clip.token_embedding.weight
    torch.testing.assert_close(table[5], state["token_embedding.weight"][5])
    assert float(table[6].std()) == pytest.approx(0.02, rel=0.6)
    assert loaded.digest == load_backbone(str(path)).digest
    assert load_backbone("own", weights=path).digest == loaded.digest
    save_file({k: v.contiguous() for k, v in stored.items()}, path)
    with pytest.raises(UnusableWeights, match="describes no model"):
        load_backbone(str(path))


def test_token_rows_by_hand() -> None:
    kept = torch.tensor([[1.0, 2.0]])
    table = refill_token_rows(torch.tensor([2], dtype=torch.int32), kept, 4, seed=0)
    assert table.shape == (4, 2)
    assert table[2].tolist() == [1.0, 2.0]
    again = refill_token_rows(torch.tensor([2], dtype=torch.int32), kept, 4, seed=0)
    assert torch.equal(table, again)
