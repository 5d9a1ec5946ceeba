"""The towers run open_clip's own modules: same features, open at every block."""

from __future__ import annotations

import math

import open_clip
import pytest
import torch
from torch.nn import functional

from headclip_med.errors import InvalidSettings
from headclip_med.models.clip import attention
from headclip_med.models.clip.hub import known_models, refuse_foreign_towers
from headclip_med.models.clip.towers import Backbone
from headclip_med.models.clip.vision import VisionTower
from tests import tiny

ARCHITECTURES = {
    "plain": tiny.CONFIG,
    "custom text, layer scale, quickgelu, no pre-norm": {
        "embed_dim": 8,
        "quick_gelu": True,
        "custom_text": True,
        "vision_cfg": {
            "layers": 3, "width": 24, "head_width": 8, "patch_size": 8, "image_size": 24,
            "ls_init_value": 0.3, "no_ln_pre": True,
        },
        "text_cfg": {
            "context_length": 20, "vocab_size": 49408, "width": 24, "heads": 3, "layers": 2,
            "proj_bias": True,
        },
    },
}  # fmt: skip
SENTENCES = ["a photo of a damaged object.", "a head", "flawless"]


@pytest.fixture(params=ARCHITECTURES.values(), ids=ARCHITECTURES.keys())
def towers(request: pytest.FixtureRequest) -> Backbone:
    return tiny.build_clip(request.param, seed=1)


def test_the_global_path_is_open_clips_encode_image(towers: Backbone) -> None:
    images = tiny.images(3, towers.vision.image_size)
    *_, last = tiny.walk(towers.vision, images)
    features = towers.vision.project(last.tokens[:, 0])
    theirs = towers.clip.encode_image(images)
    torch.testing.assert_close(features, theirs, atol=1e-5, rtol=1e-5)
    unit = functional.normalize(features, dim=-1)
    theirs = towers.clip.encode_image(images, normalize=True)
    torch.testing.assert_close(unit, theirs, atol=1e-5, rtol=1e-5)


def test_plain_sentences_are_encoded_as_open_clip_does(towers: Backbone) -> None:
    padded = open_clip.SimpleTokenizer(context_length=towers.clip.context_length)(SENTENCES)
    theirs = towers.clip.encode_text(padded)
    torch.testing.assert_close(towers.text.encode(SENTENCES), theirs, atol=1e-5, rtol=1e-5)
    unit = functional.normalize(towers.text.encode(SENTENCES), dim=-1)
    theirs = towers.clip.encode_text(padded, normalize=True)
    torch.testing.assert_close(unit, theirs, atol=1e-5, rtol=1e-5)


def test_sentences_are_cropped_at_the_longest_end_token() -> None:
    tower = tiny.backbone().text
    assert tower.tokenize(["a", "a damaged object."]).shape == (2, 6)  # start, 4 tokens, end


def test_local_layers_leave_the_global_path_untouched() -> None:
    tower, images = tiny.backbone().vision, tiny.images()
    plain = [block.tokens for block in tiny.walk(tower, images)]
    tapped = [block.tokens for block in tiny.walk(tower, images, (1, 2, 3, 4))]
    assert all(torch.equal(one, other) for one, other in zip(plain, tapped, strict=True))


def test_only_the_layers_asked_for_have_heads() -> None:
    blocks = tiny.walk(tiny.backbone().vision, tiny.images(), (2, 4))
    assert [block.heads is not None for block in blocks] == [False, True, False, True]
    assert [block.layer for block in blocks] == [1, 2, 3, 4]
    assert blocks[1].heads is not None
    assert blocks[1].heads.shape == (2, 4, 17, 4)
    assert torch.equal(blocks[1].tokens_in, blocks[0].tokens)


def test_equation_1_weighs_values_by_scaled_scores() -> None:
    # A head of width 4: products 0 and 2 ln 3 over sqrt(4) give weights 1/4 and 3/4.
    query = torch.tensor([2.0, 0, 0, 0]).view(1, 1, 1, 4)
    key = torch.tensor([[0.0, 5, 0, 0], [math.log(3), 0, 7, 0]]).view(1, 1, 2, 4)
    value = torch.tensor([[4.0, 0, 1, 0], [8.0, 4, 1, 0]]).view(1, 1, 2, 4)
    expected = torch.tensor([7.0, 3, 1, 0])
    torch.testing.assert_close(attention.attend(query, key, value).flatten(), expected)


def test_equation_2_adds_attention_and_then_the_mlp_to_the_stream() -> None:
    tower = tiny.backbone().vision
    block, value = tower.blocks[1], torch.arange(16.0)
    with torch.no_grad():
        # Whatever comes in, V is a constant, and so is what the MLP gives.
        block.attn.in_proj_weight.zero_()
        block.attn.in_proj_bias.copy_(torch.cat([torch.zeros(32), value]))
        block.attn.out_proj.weight.copy_(2 * torch.eye(16))
        block.attn.out_proj.bias.fill_(1.0)
        block.mlp.c_proj.weight.zero_()
        block.mlp.c_proj.bias.fill_(5.0)
    tokens = torch.rand(1, 3, 16)
    found = tower.run_block(2, tokens)
    torch.testing.assert_close(found.tokens, tokens + (2 * value + 1) + 5)
    assert found.tokens_in is tokens


def test_equation_3_compares_values_with_values() -> None:
    tower = tiny.backbone().vision
    block, width = tower.blocks[1], math.sqrt(2 * math.log(3))
    with torch.no_grad():
        # V is the normed token itself, Q and K would tell another story.
        block.ln_1 = torch.nn.Identity()
        block.attn.in_proj_weight.copy_(
            torch.cat([torch.eye(16).flip(0), -torch.eye(16), torch.eye(16)])
        )
        block.attn.in_proj_bias.zero_()
    tokens = torch.zeros(1, 2, 16)
    tokens[0, 1, 4] = width  # in the second of four heads: v . v / sqrt(4) = ln 3
    heads = tower.run_block(2, tokens, local=True).heads
    assert heads is not None
    expected = torch.zeros(1, 4, 2, 4)
    expected[0, 1, :, 0] = torch.tensor([width / 2, width * 3 / 4])
    torch.testing.assert_close(heads, expected)


def test_the_explicit_kernel_agrees_with_the_fused_one(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    parts = [torch.randn(2, 3, 7, 4, generator=generator) for _ in range(3)]
    expected = attention.attend(*parts)
    monkeypatch.setattr(attention, "TILE_SCORES", 1)  # one head at a time
    tiled = attention.attend(*(part.bfloat16() for part in parts))
    torch.testing.assert_close(tiled.float(), expected, atol=0.03, rtol=0.03)
    assert tiled.dtype == torch.bfloat16


@pytest.mark.parametrize("size", [(20, 20), (16, 24), (8, 12)])
def test_images_of_any_multiple_of_the_patch_are_taken(size: tuple[int, int]) -> None:
    images = torch.rand(1, 3, *size)
    *_, last = tiny.walk(tiny.backbone().vision, images)
    assert last.tokens.shape[1] == 1 + size[0] * size[1] // 16


def test_a_size_that_is_no_multiple_of_the_patch_is_refused() -> None:
    with pytest.raises(InvalidSettings, match=r"18 x 16 px cannot be cut .* multiple of 4"):
        tiny.walk(tiny.backbone().vision, torch.rand(1, 3, 18, 16))[0]


def test_positions_by_hand() -> None:
    tower = tiny.backbone().vision
    with torch.no_grad():
        table = torch.arange(4.0).repeat(4).view(4, 4)  # grows by one from column to column
        tower.visual.positional_embedding[1:] = table.reshape(16, 1)
    stretched = tower.positions(4, 8)
    # Bilinear with half-pixel centres: columns at -0.25, 0.25, 0.75 ... of the old ones, clamped.
    expected = torch.tensor([0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3])
    torch.testing.assert_close(stretched[1:9, 0], expected)
    assert torch.equal(stretched[0], tower.visual.positional_embedding[0])


@pytest.mark.parametrize("way", ["bilinear", "bicubic", "bicubic-antialias"])
def test_every_way_to_stretch_positions_keeps_the_pretrained_grid(way: str) -> None:
    visual = tiny.backbone().vision.visual
    tower = VisionTower(visual, position_interpolation=way)
    assert torch.equal(tower.positions(4, 4), visual.positional_embedding)
    assert tower.positions(2, 3).shape == (7, 16)


def test_the_ways_to_stretch_positions_differ() -> None:
    visual = tiny.backbone().vision.visual
    tables = [
        VisionTower(visual, position_interpolation=way).positions(2, 2)
        for way in ("bilinear", "bicubic", "bicubic-antialias")
    ]
    assert not torch.allclose(tables[0], tables[1])
    assert not torch.allclose(tables[1], tables[2])


def test_models_whose_heads_cannot_be_reached_are_refused() -> None:
    names = known_models()
    assert "ViT-L-14-336" in names
    assert "RN50" not in names
    assert "ViT-B-16-SigLIP" not in names
    with pytest.raises(InvalidSettings, match="native ViT"):
        refuse_foreign_towers(open_clip.get_model_config("RN50"))


def test_random_weights_follow_from_the_seed_alone() -> None:
    state = torch.random.get_rng_state()
    assert tiny.backbone(1).digest == tiny.backbone(1).digest != tiny.backbone(2).digest
    assert torch.equal(state, torch.random.get_rng_state())
