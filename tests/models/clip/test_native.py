"""The towers built without open_clip are open_clip's, to the last bit."""

from __future__ import annotations

import json

import open_clip
import pytest
import torch
from safetensors import safe_open

from headclip_med.models.clip.hub import EMBEDDED_PATH, known_models, known_tags
from headclip_med.models.clip.library import configs, part
from headclip_med.models.clip.loading import load_backbone
from headclip_med.models.clip.native import PlainClip, is_plain
from headclip_med.models.clip.towers import Backbone
from headclip_med.models.clip.vision import BlockOutput

SENTENCES = ("a photo of a damaged object", "caf\u00e9 \u2014 it's 3.5 cm, isn't it?", "object")


@pytest.fixture(scope="module")
def both() -> tuple[Backbone, Backbone]:
    """Give headclip-mini as it is loaded, and with open_clip's own modules."""
    plain = load_backbone("headclip-mini")
    with safe_open(EMBEDDED_PATH, framework="pt") as file:
        config = json.loads(file.metadata()["config"])
    clip = open_clip.CLIP(**config)
    clip.load_state_dict(plain.clip.state_dict())
    half = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}
    theirs = Backbone(clip, name="theirs", weights="file", activation="gelu", preprocess=half)
    return plain, theirs


def walked(backbone: Backbone, images: torch.Tensor) -> list[BlockOutput]:
    """Run the image tower's blocks in turn, with the value-value heads of some."""
    tokens, outputs = backbone.vision.embed(images), []
    for layer in range(1, backbone.vision.depth + 1):
        outputs.append(backbone.vision.run_block(layer, tokens, local=layer in {4, 6}))
        tokens = outputs[-1].tokens
    return outputs


def test_the_embedded_backbone_is_of_the_plain_kind(both: tuple[Backbone, Backbone]) -> None:
    plain, theirs = both
    assert isinstance(plain.clip, PlainClip)
    shapes = [{name: value.shape for name, value in one.clip.state_dict().items()} for one in both]
    assert shapes[0] == shapes[1]
    assert plain.digest == theirs.digest


def test_both_towers_give_the_same_bits(both: tuple[Backbone, Backbone]) -> None:
    plain, theirs = both
    images = torch.rand(2, 3, 112, 112, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        normed = plain.normalise(images)
        for ours, other in zip(walked(plain, normed), walked(theirs, normed), strict=True):
            assert torch.equal(ours.tokens, other.tokens)
            assert (ours.heads is None) == (other.heads is None)
            if ours.heads is not None and other.heads is not None:
                assert torch.equal(ours.heads, other.heads)
        assert torch.equal(plain.text.encode(SENTENCES), theirs.text.encode(SENTENCES))
        encoded = theirs.clip.encode_text(open_clip.SimpleTokenizer(context_length=32)(SENTENCES))
        assert torch.allclose(plain.text.encode(SENTENCES), encoded, atol=1e-6)


def test_both_towers_give_the_same_bits_in_bfloat16(both: tuple[Backbone, Backbone]) -> None:
    images = torch.rand(1, 3, 112, 112, generator=torch.Generator().manual_seed(4))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        outputs = [walked(one, one.normalise(images))[-1].tokens for one in both]
        sentences = [one.text.encode(SENTENCES) for one in both]
    assert torch.equal(*outputs)
    assert torch.equal(*sentences)


def test_the_tokenizer_is_theirs() -> None:
    ours = part("tokenizer").SimpleTokenizer(context_length=77)
    assert torch.equal(ours(SENTENCES), open_clip.SimpleTokenizer(context_length=77)(SENTENCES))


def test_models_and_tags_are_listed_as_open_clip_lists_them() -> None:
    theirs = open_clip.list_models()
    assert list(configs()) == theirs
    assert all(configs()[name] == open_clip.get_model_config(name) for name in theirs)
    for name in known_models():
        assert known_tags(name) == tuple(open_clip.list_pretrained_tags_by_model(name))
        pretrained = part("pretrained")
        for tag in known_tags(name):
            assert pretrained.get_pretrained_cfg(name, tag) == open_clip.get_pretrained_cfg(
                name, tag
            )


@pytest.mark.parametrize(
    ("part_of", "change"),
    [
        ("vision_cfg", {"ls_init_value": 0.1}),
        ("vision_cfg", {"mlp_ratio": 2.0}),
        ("text_cfg", {"no_causal_mask": True}),
        ("", {"quick_gelu": True}),
        ("", {"custom_text": True}),
    ],
)
def test_whatever_asks_for_more_is_left_to_open_clip(
    part_of: str, change: dict[str, object]
) -> None:
    with safe_open(EMBEDDED_PATH, framework="pt") as file:
        config = json.loads(file.metadata()["config"])
    assert is_plain(config)
    (config[part_of] if part_of else config).update(change)
    assert not is_plain(config)
