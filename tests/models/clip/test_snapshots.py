"""Weights as people have them: transformers' names and folders, wrappers, names of the Hub."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from headclip_med import load_model
from headclip_med.errors import HeadClipError, InvalidSettings, UnusableWeights
from headclip_med.models.clip import hub
from headclip_med.models.clip.loading import load_backbone
from headclip_med.models.clip.weights import read_weights
from headclip_med.models.header import find_sources
from headclip_med.models.request import ModelRequest
from headclip_med.settings import EMBEDDED_NAME
from tests import tiny

State = dict[str, Tensor]

CONFIG: dict[str, Any] = {
    "model_type": "clip",
    "projection_dim": 12,
    "text_config": {
        "hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "hidden_act": "gelu",
        "intermediate_size": 64, "max_position_embeddings": 24, "vocab_size": 49408,
    },
    "vision_config": {
        "hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 4, "hidden_act": "gelu",
        "intermediate_size": 64, "patch_size": 4, "image_size": 16,
    },
}  # fmt: skip
"""transformers' own form of ``tiny.CONFIG``."""


@pytest.fixture(scope="module")
def state() -> State:
    return tiny.backbone(seed=4).clip.state_dict()


@pytest.fixture(autouse=True)
def _tiny_models(monkeypatch: pytest.MonkeyPatch) -> None:
    look_up = open_clip.get_model_config
    monkeypatch.setattr(
        open_clip, "get_model_config", lambda n: tiny.CONFIG if n == "tiny" else look_up(n)
    )


@pytest.fixture
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def to_transformers(state: State) -> State:
    """Write open_clip's tensors as transformers names them, tensor by tensor."""
    found: State = {}
    plain = {
        "visual.class_embedding": "vision_model.embeddings.class_embedding",
        "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
        "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
        "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
        "positional_embedding": "text_model.embeddings.position_embedding.weight",
        "logit_scale": "logit_scale",
    }
    norms = {
        "visual.ln_pre": "vision_model.pre_layrnorm",
        "visual.ln_post": "vision_model.post_layernorm",
        "ln_final": "text_model.final_layer_norm",
    }
    inner = {
        "attn.out_proj": "self_attn.out_proj", "ln_1": "layer_norm1", "ln_2": "layer_norm2",
        "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2",
    }  # fmt: skip
    for name, value in state.items():
        stem, _, kind = name.rpartition(".")
        block = re.fullmatch(r"(visual\.)?transformer\.resblocks\.(\d+)\.(.+)", name)
        if name in plain:
            found[plain[name]] = value
        elif name == "text_projection":
            found["text_projection.weight"] = value.t().contiguous()
        elif name == "visual.proj":
            found["visual_projection.weight"] = value.t().contiguous()
        elif stem in norms:
            found[f"{norms[stem]}.{kind}"] = value
        else:
            assert block is not None, name
            tower = "vision_model" if block[1] else "text_model"
            place = f"{tower}.encoder.layers.{block[2]}."
            if block[3].startswith("attn.in_proj_"):
                kind = block[3].removeprefix("attn.in_proj_")
                for key, part in zip("qkv", value.chunk(3), strict=True):
                    found[f"{place}self_attn.{key}_proj.{kind}"] = part.contiguous()
            else:
                stem, _, kind = block[3].rpartition(".")
                found[f"{place}{inner[stem]}.{kind}"] = value
    found["text_model.embeddings.position_ids"] = torch.arange(24)[None]
    return found


def write_snapshot(place: Path, state: State, **changes: Any) -> Path:
    place.mkdir(parents=True, exist_ok=True)
    (place / "config.json").write_text(json.dumps({**CONFIG, **changes}))
    save_file(to_transformers(state), place / "model.safetensors")
    return place


def as_one_file(state: State, place: Path) -> Path:
    return write_snapshot(place, state)


def as_a_pickle(state: State, place: Path) -> Path:
    write_snapshot(place, state)
    (place / "model.safetensors").unlink()
    torch.save(to_transformers(state), place / "pytorch_model.bin")
    return place


def as_shards(state: State, place: Path) -> Path:
    write_snapshot(place, state)
    (place / "model.safetensors").unlink()
    names = to_transformers(state)
    halves = (dict(list(names.items())[::2]), dict(list(names.items())[1::2]))
    weight_map = {}
    for number, half in enumerate(halves, start=1):
        file = f"model-0000{number}-of-00002.safetensors"
        save_file(half, place / file)
        weight_map |= dict.fromkeys(half, file)
    index = {"metadata": {}, "weight_map": weight_map}
    (place / "model.safetensors.index.json").write_text(json.dumps(index))
    return place


def as_the_hubs_cache(state: State, place: Path) -> Path:
    snapshot = place / "models--someone--tiny-clip"
    write_snapshot(snapshot / "snapshots" / "0123abcd", state)
    (snapshot / "refs").mkdir()
    (snapshot / "refs" / "main").write_text("0123abcd")
    return snapshot


@pytest.mark.parametrize("write", [as_one_file, as_a_pickle, as_shards, as_the_hubs_cache])
def test_a_snapshot_gives_the_bits_of_open_clips_own_file(
    write: Callable[[State, Path], Path], state: State, tmp_path: Path
) -> None:
    place = write(state, tmp_path)

    loaded = load_backbone(str(place))

    ours = tiny.backbone(seed=4)
    assert loaded.digest == ours.digest
    assert loaded.activation == "gelu"
    images = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    theirs, mine = (one.clip.encode_image(one.normalise(images)) for one in (loaded, ours))
    assert torch.equal(theirs, mine)


def test_a_snapshot_as_weights_of_a_named_model(state: State, tmp_path: Path) -> None:
    place = write_snapshot(tmp_path / "snapshot", state)

    assert load_backbone("tiny", weights=place).digest == tiny.backbone(seed=4).digest
    beside = load_backbone("tiny", weights=place / "model.safetensors")
    assert beside.activation == "gelu"  # as the file beside it says
    with pytest.raises(
        UnusableWeights, match=r"not those of ViT-B-16: .* embed_dim 12, and that model 512"
    ):
        load_backbone("ViT-B-16", weights=place)


def test_the_activation_and_the_preprocessing_are_the_snapshots(
    state: State, tmp_path: Path
) -> None:
    quick = {key: {**CONFIG[key], "hidden_act": "quick_gelu"}
             for key in ("text_config", "vision_config")}  # fmt: skip
    place = write_snapshot(tmp_path, state, **quick)
    pictures = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}
    (place / "preprocessor_config.json").write_text(json.dumps(pictures))

    loaded = load_backbone(str(place))

    assert loaded.activation == "quickgelu"
    assert loaded.get_buffer("_mean").flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])
    with pytest.raises(UnusableWeights, match="silently costs accuracy"):
        load_backbone(str(place), activation="gelu")


def test_what_earlier_versions_stated_counts_before_what_stands_beside_it(
    state: State, tmp_path: Path
) -> None:
    """As in transformers' CLIPConfig, where the older form replaces the newer with its defaults."""
    older = {f"{key}_dict": {name: value for name, value in CONFIG[key].items()
                             if name != "hidden_act"}
             for key in ("text_config", "vision_config")}  # fmt: skip
    wrong = {"vision_config": {**CONFIG["vision_config"], "num_attention_heads": 1}}

    assert load_backbone(str(write_snapshot(tmp_path, state))).activation == "gelu"
    assert load_backbone(str(write_snapshot(tmp_path, state, **older))).activation == "quickgelu"
    heads = load_backbone(str(write_snapshot(tmp_path, state, **older, **wrong)))
    assert heads.clip.visual.transformer.resblocks[0].attn.num_heads == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "siglip"}, "a 'siglip' model"),
        ({"vision_config": {**CONFIG["vision_config"], "hidden_act": "quick_gelu"}}, "activation"),
        ({"text_config": {**CONFIG["text_config"], "vocab_size": 30522}}, "another tokenizer"),
    ],
)
def test_another_kind_of_snapshot_is_refused_by_name(
    changes: dict[str, Any], message: str, state: State, tmp_path: Path
) -> None:
    with pytest.raises(InvalidSettings, match=message):
        load_backbone(str(write_snapshot(tmp_path, state, **changes)))


def test_missing_shards_are_named(state: State, tmp_path: Path) -> None:
    place = as_shards(state, tmp_path)
    (place / "model-00002-of-00002.safetensors").unlink()

    with pytest.raises(UnusableWeights, match="model-00002-of-00002"):
        load_backbone(str(place))


def wrapped(key: str) -> Callable[[State], object]:
    return lambda state: {"step": 7, "optimizer": {"lr": 0.1}, key: state}


@pytest.mark.parametrize(
    "wrap",
    [
        wrapped("model"),
        wrapped("state_dict"),
        lambda state: {"model": {"state_dict": state}},
        lambda state: {f"module.{name}": value for name, value in state.items()},
        lambda state: {f"_orig_mod.{name}": value for name, value in state.items()},
        lambda state: {f"module._orig_mod.{name}": value for name, value in state.items()},
        lambda state: {"model": {f"_orig_mod.module.{n}": v for n, v in state.items()}},
    ],
)
def test_what_training_programs_wrap_around_weights_is_taken_off(
    wrap: Callable[[State], object], state: State, tmp_path: Path
) -> None:
    torch.save(wrap(state), tmp_path / "w.pt")

    assert read_weights(tmp_path / "w.pt").state.keys() == state.keys()


def test_two_sets_of_weights_are_not_chosen_between(state: State, tmp_path: Path) -> None:
    torch.save({"model": state, "model_ema": state}, tmp_path / "w.pt")

    with pytest.raises(UnusableWeights, match="2 sets of weights: model, model_ema"):
        read_weights(tmp_path / "w.pt")


@pytest.mark.usefixtures("_offline")
def test_a_name_of_the_hub_is_looked_up_in_its_cache_and_nowhere_else(
    state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UnusableWeights, match="someone/tiny-clip is not in this machine's cache"):
        load_backbone("hf-hub:someone/tiny-clip")

    as_the_hubs_cache(state, tmp_path)

    assert load_backbone("hf-hub:someone/tiny-clip").digest == tiny.backbone(seed=4).digest
    assert load_backbone("hf-hub:someone/tiny-clip@0123abcd").weights == "file"
    with pytest.raises(UnusableWeights, match="which of its 1 snapshots"):
        load_backbone("hf-hub:someone/tiny-clip@ffff")


@pytest.mark.usefixtures("_offline")
@pytest.mark.parametrize("name", ["ViT-L-14-366", "nonsense:name", "openai/clip-vit-base-patch16"])
def test_every_other_name_is_refused_offline(name: str) -> None:
    with pytest.raises(HeadClipError):
        load_backbone(name)


def test_a_foreign_folder_says_what_is_missing(tmp_path: Path) -> None:
    """BiomedCLIP's form: timm's image tower, another library's text tower."""
    config = {
        "embed_dim": 512,
        "vision_cfg": {"timm_model_name": "vit_base_patch16_224", "image_size": 224},
        "text_cfg": {"hf_model_name": "someone/BiomedBERT", "hf_tokenizer_name": "someone/BERT"},
    }
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))

    with pytest.raises(InvalidSettings) as raised:
        load_backbone(str(tmp_path))

    assert raised.value.code == "foreign-tower"
    for word in ("timm's vit_base_patch16_224", "someone/BiomedBERT", "learned tokens"):
        assert word in str(raised.value)


@pytest.mark.parametrize(
    "options",
    [
        {"weights": "some.pt"},
        {"weights": "openai"},
        {"weights": "random"},
        {"activation": "gelu"},
        {"activation": "quickgelu"},
        {"seed": 3},
    ],
)
@pytest.mark.parametrize("name", [EMBEDDED_NAME, "checkpoint"])
def test_what_the_embedded_backbone_does_not_use_is_refused(
    name: str, options: dict[str, Any]
) -> None:
    """Also where a checkpoint stands on it: a user would believe that own weights ran."""
    if name == "checkpoint":
        name = str(hub.EMBEDDED_PATH.with_name("headclip-mini.checkpoint.safetensors"))

    with pytest.raises(InvalidSettings) as raised:
        find_sources(ModelRequest(name=name, **options))

    assert raised.value.code == "unused-option"
    with pytest.raises(InvalidSettings):
        load_model(name, **options)


def test_an_activation_beside_random_weights_is_refused() -> None:
    with pytest.raises(InvalidSettings, match="not used"):
        load_backbone("tiny", weights="random", activation="gelu")


def test_a_file_that_describes_another_model_is_not_taken_for_the_one_named() -> None:
    with pytest.raises(UnusableWeights, match="not those of ViT-B-16"):
        load_backbone("ViT-B-16", weights=hub.EMBEDDED_PATH)
