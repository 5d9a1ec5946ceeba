"""HeadCLIP's equations by hand, against a naive loop, and its two forms against each other."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from headclip_med.errors import InvalidSettings
from headclip_med.models.headclip import model as headclip
from headclip_med.models.headclip.model import HeadClip, chosen_layers
from headclip_med.models.headclip.settings import HeadClipSettings
from headclip_med.models.inference import predict_together
from headclip_med.models.maps import similarity_logits, smooth, unit
from headclip_med.models.model import AnomalyModel
from headclip_med.settings import ScoreSettings
from tests import tiny
from tests.reference.equations import anomaly_map

# --- Equations by hand ---


def test_equation_4_scales_each_head_by_its_own_weight() -> None:
    tower = tiny.backbone().vision
    block = tower.blocks[1]
    with torch.no_grad():
        block.attn.out_proj.weight.copy_(torch.eye(16))
        block.attn.out_proj.bias.fill_(100.0)
    heads = torch.ones(1, 4, 1, 4)
    stream = torch.zeros(1, 1, 16)
    weights = torch.tensor([0.0, 1.0, 2.0, -1.0])
    summed = tower.add_heads(stream, 2, heads, weights)[0, 0]
    # Four heads of four channels; the bias (eq. 5) is not weighted.
    expected = 100 + torch.tensor([0.0, 1.0, 2.0, -1.0]).repeat_interleave(4)
    torch.testing.assert_close(summed, expected)


def test_equation_5_projects_the_heads_side_by_side() -> None:
    tower = tiny.backbone().vision
    block = tower.blocks[1]
    with torch.no_grad():
        block.attn.out_proj.weight.copy_(
            torch.eye(16).flip(0)
        )  # the last channel becomes the first
        block.attn.out_proj.bias.copy_(torch.arange(16.0))
    heads = torch.arange(16.0).view(1, 4, 1, 4)  # head by head, channel by channel
    summed = tower.add_heads(torch.zeros(1, 1, 16), 2, heads, torch.ones(4))[0, 0]
    torch.testing.assert_close(summed, torch.full((16,), 15.0))


def test_equation_6_sums_layers_onto_the_residual_or_not() -> None:
    frozen = tiny.model().freeze_features(tiny.images())
    with_residual, without = (
        tiny.model(HeadClipSettings(local_layers=(2, 3), local_residual=choice))
        for choice in (True, False)
    )
    captured = []
    for model in (with_residual, without):
        model.backbone.vision.project = lambda tokens: captured.append(tokens) or tokens  # type: ignore[method-assign]
        model.local_tokens(frozen)
    torch.testing.assert_close(captured[0] - captured[1], frozen.residual)


def test_equation_9_is_a_softmax_over_cosines() -> None:
    text = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    features = unit(torch.tensor([[3.0, 4.0]]))  # cosines 0.6 and 0.8
    probability = similarity_logits(features, text, temperature=0.2).softmax(-1)[0, 1]
    assert probability.item() == pytest.approx(1 / (1 + math.exp(-1.0)), abs=1e-6)


def test_equation_12_on_one_patch_a_quadrant() -> None:
    abnormal = torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    both = torch.stack([1 - abnormal, abnormal])[None]
    found = anomaly_map(both, 4, 4, sigma_px=0.0)[0]
    # Bilinear with half-pixel centres from 2 to 4 columns.
    expected = torch.tensor([0.0, 0.25, 0.75, 1.0]).expand(4, 4)
    torch.testing.assert_close(found, expected)


def test_equation_12_averages_normal_and_abnormal_maps() -> None:
    maps = torch.tensor([0.2, 0.6]).view(1, 2, 1, 1)  # not complementary: (1 - 0.2 + 0.6) / 2
    assert anomaly_map(maps, 1, 1, 0.0).item() == pytest.approx(0.7)


@pytest.mark.parametrize("shape", [(30, 21), (5, 40)])
@pytest.mark.parametrize("sigma", [0.7, 4.0])
def test_smoothing_is_scipys(shape: tuple[int, int], sigma: float) -> None:
    maps = np.random.default_rng(0).random((2, *shape)).astype(np.float32)
    found = smooth(torch.from_numpy(maps), sigma).numpy()
    expected = np.stack([gaussian_filter(one, sigma) for one in maps])
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_smoothing_scales_with_the_image() -> None:
    scores = ScoreSettings(sigma_px=4.0)
    assert scores.sigma_at(518) == 4.0
    assert scores.sigma_at(259) == 2.0


# --- The whole local path, naively ---


def naive_local_tokens(model: HeadClip, images: Tensor) -> Tensor:
    """Eq. 1 to 6 with loops over images, layers and heads, on plain matrices."""
    tower, visual = model.backbone.vision, model.backbone.clip.visual
    results = []
    for image in model.backbone.normalise(images):
        x = visual._embeds(image[None])[0]
        local = None
        for layer, block in enumerate(visual.transformer.resblocks, start=1):
            normed = block.ln_1(x)
            joined = normed @ block.attn.in_proj_weight.T + block.attn.in_proj_bias
            q, k, v = joined.chunk(3, dim=-1)
            width = q.shape[-1] // tower.head_count
            attended, consistent = [], []
            for head in range(tower.head_count):
                part = slice(head * width, (head + 1) * width)
                scores = q[:, part] @ k[:, part].T / math.sqrt(width)
                attended.append(scores.softmax(-1) @ v[:, part])
                scores = v[:, part] @ v[:, part].T / math.sqrt(width)
                consistent.append(scores.softmax(-1) @ v[:, part])
            projection = block.attn.out_proj
            if layer in model.local_layers:
                if local is None:
                    local = x if model.settings.local_residual else torch.zeros_like(x)
                weights = model.head_weights[model.local_layers.index(layer)]
                weighted = [w * head for w, head in zip(weights, consistent, strict=True)]
                local = local + torch.cat(weighted, -1) @ projection.weight.T + projection.bias
            x = x + torch.cat(attended, -1) @ projection.weight.T + projection.bias
            x = x + block.mlp(block.ln_2(x))
        assert local is not None
        tokens = visual.ln_post(local[1:]) @ visual.proj
        results.append(tokens / tokens.norm(dim=-1, keepdim=True))
    return torch.stack(results)


@pytest.mark.parametrize("residual", [True, False])
def test_the_local_path_is_the_naive_one(residual: bool) -> None:
    settings = HeadClipSettings(local_layers=(2, 3), local_residual=residual)
    model, images = tiny.model(settings), tiny.images(3)
    mine = model.local_tokens(model.freeze_features(images))[0]
    torch.testing.assert_close(mine, naive_local_tokens(model, images), atol=1e-5, rtol=1e-5)


def test_the_local_stream_is_affine_in_the_head_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.model()
    frozen = model.freeze_features(tiny.images())
    model.backbone.vision.project = lambda tokens: tokens  # type: ignore[method-assign]
    monkeypatch.setattr(headclip, "unit", lambda tokens: tokens)
    streams = []
    first, second = torch.rand(2, 4), torch.rand(2, 4)
    for weights in (first, second, 0.3 * first + 0.7 * second):
        with torch.no_grad():
            model.head_weights.copy_(weights)
        streams.append(model.local_tokens(frozen)[0].detach())
    mixed = 0.3 * streams[0] + 0.7 * streams[1]
    torch.testing.assert_close(mixed, streams[2], atol=1e-5, rtol=1e-5)


# --- What learns, and what does not ---


def test_gradients_reach_the_three_learned_parts_and_nothing_else() -> None:
    model = tiny.model()
    logits = model(model.freeze_features(tiny.images()))
    (logits.image.sum() + logits.patches[0].square().sum()).backward()
    touched = {name for name, p in model.named_parameters() if p.grad is not None}
    assert touched == {"head_weights", "prompts.context", "prompts.deep"}
    assert all(bool(p.grad.any()) for _, p in model.named_parameters() if p.grad is not None)


def test_the_trunk_keeps_no_graph() -> None:
    frozen = tiny.model().freeze_features(tiny.images())
    tensors = (frozen.global_token, frozen.residual, *frozen.heads)
    assert not any(one.requires_grad for one in tensors)


def test_head_weights_off_is_the_same_model_with_ones() -> None:
    off = tiny.model(HeadClipSettings(local_layers=(2, 3), head_weights="ones"))
    assert not off.head_weights.requires_grad
    assert bool((off.head_weights == 1).all())
    on = tiny.model()
    with torch.no_grad():
        on.head_weights.fill_(1.0)
    frozen = on.freeze_features(tiny.images())
    torch.testing.assert_close(on(frozen).patches[0], off(frozen).patches[0])


@pytest.mark.parametrize(("start", "value"), [("1.0", 1.0), ("0.5", 0.5), ("0.0", 0.0)])
def test_head_weights_start_where_they_are_told(start: str, value: float) -> None:
    settings = HeadClipSettings(local_layers=(2,), head_weight_start=start)  # type: ignore[arg-type]
    assert bool((HeadClip(tiny.backbone(), settings).head_weights == value).all())


def test_gaussian_head_weights_follow_from_the_seed() -> None:
    settings = HeadClipSettings(local_layers=(1, 2, 3, 4), head_weight_start="gaussian")
    one, same = (HeadClip(tiny.backbone(), settings, seed=7).head_weights for _ in range(2))
    assert torch.equal(one, same)
    assert not torch.equal(one, HeadClip(tiny.backbone(), settings, seed=8).head_weights)


def test_the_paper_takes_layers_5_to_19_of_24() -> None:
    assert chosen_layers(HeadClipSettings(), 24)[0] == tuple(range(5, 20))
    assert chosen_layers(HeadClipSettings(), 12)[0] == tuple(range(2, 11))
    assert chosen_layers(HeadClipSettings(local_layers=(6, 4)), 6)[0] == (4, 6)


def test_a_layer_beyond_the_tower_is_refused() -> None:
    with pytest.raises(InvalidSettings, match=r"Layer 5 lies beyond .* 4 layers"):
        HeadClip(tiny.backbone(), HeadClipSettings(local_layers=(2, 5)))


def test_too_many_context_tokens_are_refused() -> None:
    with pytest.raises(InvalidSettings, match="30 context tokens do not fit"):
        HeadClip(tiny.backbone(), HeadClipSettings(local_layers=(2,), context_tokens=30))


# --- Prompts ---


def test_the_two_sentences_end_in_their_own_words() -> None:
    model = tiny.model()
    text, prompts = model.backbone.text, model.prompts
    embedded = prompts.embeddings()
    words = text.tokenize(["object.", "damaged object."])
    torch.testing.assert_close(embedded[0, 13:15], text.embed(words[:1, 1:3])[0])
    torch.testing.assert_close(embedded[1, 13:16], text.embed(words[1:, 1:4])[0])
    torch.testing.assert_close(embedded[:, 1:13], prompts.context)
    assert prompts.get_buffer("_ends").tolist() == [15, 16]


def test_deep_tokens_replace_those_behind_the_start_token_before_their_layer() -> None:
    model = tiny.model()
    text = model.backbone.text
    seen: dict[int, Tensor] = {}
    for layer, block in enumerate(text.text.transformer.resblocks, start=1):
        block.register_forward_pre_hook(
            lambda module, given, layer=layer: seen.__setitem__(layer, given[0].detach())
        )
    model.prompts(text)
    for layer in (2, 3, 4):
        expected = model.prompts.deep[layer - 2].expand(2, -1, -1)
        torch.testing.assert_close(seen[layer][:, 1:5], expected.detach())
    first = model.prompts.embeddings() + text.text.positional_embedding[: seen[1].shape[1]]
    torch.testing.assert_close(seen[1], first.detach())


@pytest.mark.parametrize(
    ("depth", "first", "sets"), [(9, 2, 3), (9, 1, 4), (3, 2, 2), (1, 2, 0), (0, 2, 0)]
)
def test_one_set_of_deep_tokens_a_layer_within_the_tower(depth: int, first: int, sets: int) -> None:
    settings = HeadClipSettings(local_layers=(2,), deep_layers=depth, deep_first=first)
    model = HeadClip(tiny.backbone(), settings)
    assert len(model.prompts.deep) == sets
    assert model.prompts(model.backbone.text).shape == (2, 12)


# --- The folded form ---


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("size", [16, 24])
def test_the_folded_form_judges_as_the_trained_one(residual: bool, norm: bool, size: int) -> None:
    settings = HeadClipSettings(local_layers=(2, 3), local_residual=residual, class_token_norm=norm)
    model, images = tiny.model(settings), tiny.images(3, size)
    logits = model(model.freeze_features(images))
    scores = ScoreSettings(sigma_px=40.0)
    prediction = model.fold(scores=scores).predict(images)
    probability = logits.patches[0].softmax(1)
    expected = anomaly_map(probability, size, size, scores.sigma_at(size)).detach()
    torch.testing.assert_close(prediction.map, expected, atol=1e-5, rtol=1e-5)
    expected = logits.image.softmax(-1)[:, 1].detach()
    torch.testing.assert_close(prediction.global_score, expected, atol=1e-5, rtol=1e-5)


def test_layer_scale_is_folded_too() -> None:
    vision = {**tiny.CONFIG["vision_cfg"], "ls_init_value": 0.2}
    model = HeadClip(tiny.backbone(vision_cfg=vision), HeadClipSettings(local_layers=(2, 3)))
    images = tiny.images()
    logits = model(model.freeze_features(images))
    folded = model.fold(scores=ScoreSettings(sigma_px=0.0))
    expected = anomaly_map(logits.patches[0].softmax(1), 16, 16, 0.0).detach()
    torch.testing.assert_close(folded.predict(images).map, expected, atol=1e-5, rtol=1e-5)


def test_a_batch_is_judged_image_by_image() -> None:
    folded, images = tiny.model().fold(), tiny.images(4)
    whole = folded.predict(images)
    for number, image in enumerate(images):
        alone = folded.predict(image[None])
        torch.testing.assert_close(alone.map[0], whole.map[number], atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(
            alone.global_score[0], whole.global_score[number], atol=1e-6, rtol=1e-5
        )


def test_a_mirrored_model_averages_what_it_says_of_an_image_and_its_mirror_image() -> None:
    plain, images = tiny.model(), tiny.images(3)
    seen, mirrored = plain.fold().predict(images), plain.fold().predict(images.flip(-1))
    twice = tiny.model(replace(plain.settings, mirrored=True)).fold()
    found = twice.predict(images)
    expected = (seen.map + mirrored.map.flip(-1)) / 2
    torch.testing.assert_close(found.map, expected, atol=1e-6, rtol=1e-5)
    expected = (seen.global_score + mirrored.global_score) / 2
    torch.testing.assert_close(found.global_score, expected, atol=1e-6, rtol=1e-5)
    together = predict_together([plain.fold(), twice], images)
    torch.testing.assert_close(together[0].map, seen.map, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(together[1].map, found.map, atol=1e-6, rtol=1e-5)


@pytest.mark.usefixtures("quick_bf16")
def test_bfloat16_stays_near_float32() -> None:
    folded, images = tiny.model().fold(), tiny.images(4)
    exact = folded.predict(images)
    folded.precision = "bf16"
    rounded = folded.predict(images)
    assert rounded.map.dtype == torch.float32
    torch.testing.assert_close(rounded.map, exact.map, atol=0.05, rtol=0)
    assert not torch.equal(rounded.map, exact.map)


def test_maps_and_scores_lie_in_the_unit_interval() -> None:
    prediction = tiny.model().fold().predict(tiny.images(4))
    for values in (prediction.map, prediction.global_score):
        assert 0 <= float(values.min()) <= float(values.max()) <= 1


def test_the_folded_form_is_an_anomaly_model_that_says_what_it_is() -> None:
    model = tiny.model()
    folded = model.fold(threshold=0.7, about={"name": "tiny"})
    assert isinstance(folded, AnomalyModel)
    about = folded.describe()
    assert about["name"] == "tiny"
    assert about["backbone"]["digest"] == model.backbone.digest  # type: ignore[index]
    assert folded.threshold == 0.7
    rescored = folded.with_scores(ScoreSettings(joint_weight=0.25))
    assert rescored.scores.joint_weight == 0.25
    assert folded.scores.joint_weight == 0.5


def test_other_image_sizes_do_not_wear_the_model_out() -> None:
    folded, images = tiny.model().fold(), tiny.images()
    before = folded.predict(images)
    folded.predict(tiny.images(size=24))
    assert torch.equal(before.map, folded.predict(images).map)
