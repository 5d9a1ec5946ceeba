"""Agreement with what the published code computes on tiny random weights, stage by stage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.lib.npyio import NpzFile
from torch import Tensor

from headclip_med.models.clip.text import end_indices
from headclip_med.models.clip.towers import Backbone
from headclip_med.models.headclip.learning import headclip_loss
from headclip_med.models.headclip.model import HeadClip
from headclip_med.models.maps import similarity_logits, smooth, unit, upsample
from headclip_med.training.losses import dice_loss, focal_loss
from headclip_med.transforms.scores import joint_score, local_score
from tests import tiny
from tests.reference import oracle
from tests.reference.equations import anomaly_map

FEATURES = {"atol": 1e-5, "rtol": 1e-5}
PROBABILITIES = {"atol": 5e-6, "rtol": 0.0}
SIZES = ("native", "other")


def near(mine: Tensor | np.ndarray, theirs: np.ndarray, **tolerance: float) -> None:
    mine = mine.detach().numpy() if isinstance(mine, Tensor) else mine
    np.testing.assert_allclose(mine, theirs, **tolerance)


@pytest.fixture(scope="module")
def towers(oracles: Path) -> Backbone:
    return oracle.backbone(oracles)


# --- AnomalyCLIP: text -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def anomalyclip(oracles: Path) -> NpzFile:
    return oracle.arrays(oracles / "anomalyclip", "outputs")


@pytest.mark.parametrize(("cast", "run"), [("none", "text"), ("fp16", "text_half")])
def test_learned_sentences_give_the_published_features(
    oracles: Path, anomalyclip: NpzFile, cast: str, run: str
) -> None:
    model = oracle.model(oracles, oracle.text_settings(oracles, deep_cast=cast))
    normal, abnormal = model.prompts(model.backbone.text)
    near(normal, anomalyclip[f"{run}/normal"], **FEATURES)
    near(abnormal, anomalyclip[f"{run}/abnormal"], **FEATURES)


def test_learned_words_stand_where_the_published_code_puts_them(
    oracles: Path, anomalyclip: NpzFile
) -> None:
    model = oracle.model(oracles, oracle.text_settings(oracles))
    mine = model.prompts.embeddings()
    near(mine, anomalyclip["text/prompts"][:, : mine.shape[1]], atol=0)
    tokens = oracle.arrays(oracles / "anomalyclip", "inputs")["tokenized_prompts"]
    ends = end_indices(torch.from_numpy(tokens))
    assert torch.equal(model.prompts.get_buffer("_ends"), ends)
    assert mine.shape[1] == int(ends.max()) + 1


# --- AnomalyCLIP: image ----------------------------------------------------------------------


def anomalyclip_streams(towers: Backbone, images: Tensor, first: int) -> dict[int, Tensor]:
    """Sum the local stream up to each layer, from layer ``first`` to the last."""
    streams: dict[int, Tensor] = {}
    layers = range(first, towers.vision.depth + 1)
    stream = None
    with torch.no_grad():
        for block in tiny.walk(towers.vision, images, layers):
            if block.heads is None:
                streams[block.layer] = block.tokens
                continue
            stream = block.tokens_in if stream is None else stream
            stream = towers.vision.add_heads(stream, block.layer, block.heads)
            streams[block.layer] = stream
    return streams


def first_dual_block(oracles: Path, towers: Backbone) -> int:
    return towers.vision.depth - oracle.config(oracles / "anomalyclip")["DPAM_layer"] + 2


@pytest.mark.parametrize("size", SIZES)
def test_local_and_global_tokens_are_the_published_ones(
    oracles: Path, towers: Backbone, anomalyclip: NpzFile, size: str
) -> None:
    folder = oracles / "anomalyclip"
    images = oracle.tensor(oracle.arrays(folder, "inputs"), f"images_{size}")
    streams = anomalyclip_streams(towers, images, first_dual_block(oracles, towers))
    for layer in oracle.config(folder)["features_list"]:
        features = towers.vision.project(streams[layer])
        near(features, anomalyclip[f"{size}/patch_features/layer{layer}"], **FEATURES)
    with torch.no_grad():
        *_, last = tiny.walk(towers.vision, images)
    token = towers.vision.project(last.tokens[:, 0], norm=False)
    near(token, anomalyclip[f"{size}/global_feature"], **FEATURES)


def test_every_block_passes_on_the_published_streams(
    oracles: Path, towers: Backbone, anomalyclip: NpzFile
) -> None:
    images = oracle.tensor(oracle.arrays(oracles / "anomalyclip", "inputs"), "images_native")
    streams = anomalyclip_streams(towers, images, first_dual_block(oracles, towers))
    with torch.no_grad():
        blocks = tiny.walk(towers.vision, images)
    for block in blocks:
        theirs = anomalyclip["native/blocks/global"][:, block.layer - 1]
        near(block.tokens, theirs, **FEATURES)
        near(
            streams[block.layer], anomalyclip["native/blocks/local"][:, block.layer - 1], **FEATURES
        )


@pytest.mark.parametrize("size", SIZES)
def test_similarities_and_maps_are_the_published_ones(
    oracles: Path, anomalyclip: NpzFile, size: str
) -> None:
    model = oracle.model(oracles, oracle.text_settings(oracles))
    text = model.prompts(model.backbone.text).detach()
    stated = oracle.config(oracles / "anomalyclip")
    side, total = stated[size], 0
    for layer in stated["features_list"]:
        features = unit(oracle.tensor(anomalyclip, f"{size}/patch_features/layer{layer}"))
        probability = similarity_logits(features, text, stated["temperature"]).softmax(-1)
        near(probability, anomalyclip[f"{size}/similarity/layer{layer}"], **PROBABILITIES)
        grid = side // stated["patch"]
        patches = probability[:, 1:].transpose(1, 2).reshape(-1, 2, grid, grid)
        near(
            upsample(patches, side, side),
            anomalyclip[f"{size}/similarity_map/layer{layer}"],
            **PROBABILITIES,
        )
        total = total + anomaly_map(patches, side, side, 0.0)
    near(total, anomalyclip[f"{size}/anomaly_map_raw"], atol=2e-5, rtol=0)
    smoothed = smooth(total, float(stated["sigma"]))
    near(smoothed, anomalyclip[f"{size}/anomaly_map_smoothed"], atol=2e-5, rtol=0)
    token = unit(oracle.tensor(anomalyclip, f"{size}/global_feature"))
    logits = similarity_logits(token, text, stated["temperature"])
    near(logits.softmax(-1)[:, 1], anomalyclip[f"{size}/image_score"], **PROBABILITIES)


def test_losses_of_every_layer_are_the_published_ones(oracles: Path, anomalyclip: NpzFile) -> None:
    inputs = oracle.arrays(oracles / "anomalyclip", "inputs")
    masks = oracle.tensor(inputs, "mask_native")
    layers = oracle.config(oracles / "anomalyclip")["features_list"]
    for number, layer in enumerate(layers):
        maps = oracle.tensor(anomalyclip, f"native/similarity_map/layer{layer}")
        for name, value in (
            ("focal", focal_loss(maps, masks)),
            ("dice_abnormal", dice_loss(maps[:, 1], masks)),
            ("dice_normal", dice_loss(maps[:, 0], 1 - masks)),
        ):
            theirs = anomalyclip[f"train_native/loss_{name}_per_layer"][number]
            near(value, theirs, rtol=1e-5)


# --- CLIP Surgery ----------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_value_value_attention_is_that_of_clip_surgery(
    oracles: Path, towers: Backbone, size: str
) -> None:
    folder = oracles / "clip_surgery"
    theirs = oracle.arrays(folder, "outputs")
    images = oracle.tensor(oracle.arrays(folder, "inputs"), f"images_{size}")
    depth = towers.vision.depth
    first = depth - oracle.config(folder)["surgery_last_blocks"] + 1
    streams = anomalyclip_streams(towers, images, first)
    for layer, stream in streams.items():
        near(stream, theirs[f"{size}/surgery/blocks_local"][:, layer - 1], **FEATURES)
    tokens = towers.vision.project(streams[depth])
    # Its class token is the global path's; the patches are the local path's.
    near(tokens[:, 1:], theirs[f"{size}/surgery/tokens"][:, 1:], **FEATURES)
    if size == "native":
        with torch.no_grad():
            blocks = tiny.walk(towers.vision, images, range(first, depth + 1))
        heads = torch.stack([block.heads for block in blocks if block.heads is not None], dim=1)
        near(heads, theirs["native/surgery/heads_vv"], **FEATURES)
        near(towers.vision.project(blocks[-1].tokens), theirs["native/plain/tokens"], **FEATURES)


def test_plain_sentences_give_clips_own_features(oracles: Path, towers: Backbone) -> None:
    folder = oracles / "clip_surgery"
    mine = towers.text.encode(oracle.config(folder)["texts"])
    near(mine, oracle.arrays(folder, "outputs")["text/encode_text_unnormalised"], **FEATURES)


def test_positions_are_always_stretched_from_the_pretrained_grid(
    oracles: Path, towers: Backbone
) -> None:
    theirs = oracle.arrays(oracles / "clip_surgery", "outputs")
    for size in (*SIZES, "native"):  # the published code degrades when it comes back
        table = theirs[f"{size}/surgery/pos_embedding_used"]
        side = round((len(table) - 1) ** 0.5)
        near(towers.vision.positions(side, side), table, atol=1e-6)


# --- Head weights (derived from AnomalyCLIP's blocks) -------------------------------------------


@pytest.fixture(scope="module")
def derived(oracles: Path) -> NpzFile:
    return oracle.arrays(oracles / "headclip_derived", "outputs")


def weighted_model(oracles: Path, kind: str) -> HeadClip:
    stated = oracle.config(oracles / "headclip_derived")
    layers = tuple(range(stated["first_csa_block_1based"], stated["last"] + 1))
    model = oracle.model(oracles, oracle.text_settings(oracles, local_layers=layers))
    if kind == "weighted":
        learned = oracle.arrays(oracles / "headclip_derived", "learned")
        with torch.no_grad():
            model.head_weights.copy_(oracle.tensor(learned, "head_weights"))
    return model


KINDS = ("weighted", "ones")


@pytest.mark.parametrize("kind", KINDS)
def test_weighted_heads_sum_to_the_derived_local_stream(
    oracles: Path, derived: NpzFile, kind: str
) -> None:
    model = weighted_model(oracles, kind)
    vision = model.backbone.vision
    images = oracle.tensor(oracle.arrays(oracles / "anomalyclip", "inputs"), "images_native")
    stream = torch.zeros(())
    with torch.no_grad():
        for block in tiny.walk(vision, images, model.local_layers):
            if block.heads is None:
                continue
            row = model.local_layers.index(block.layer)
            if row == 0:
                stream = block.tokens_in
                near(stream, derived[f"{kind}/input_of_first_csa_block"], **FEATURES)
            near(block.heads, derived[f"{kind}/heads_vv_unweighted/layer{block.layer}"], **FEATURES)
            added = vision.add_heads(stream, block.layer, block.heads, model.head_weights[row])
            increment = derived[f"{kind}/csa_increment/layer{block.layer}"]
            near(added - stream, increment, **FEATURES)
            stream = added
            near(stream, derived[f"{kind}/local_residual_stream/layer{block.layer}"], **FEATURES)
            patches = vision.project(stream)
            near(patches, derived[f"{kind}/patch_features/layer{block.layer}"], **FEATURES)


@pytest.mark.parametrize("kind", KINDS)
def test_maps_scores_losses_and_gradients_are_the_derived_ones(
    oracles: Path, derived: NpzFile, kind: str
) -> None:
    model = weighted_model(oracles, kind)
    inputs = oracle.arrays(oracles / "anomalyclip", "inputs")
    images, masks = oracle.tensor(inputs, "images_native"), oracle.tensor(inputs, "mask_native")
    side = images.shape[-1]
    logits = model(model.freeze_features(images))
    near(logits.image, derived[f"{kind}/global_logits"], atol=1e-4, rtol=1e-5)
    near(logits.image.softmax(-1)[:, 1], derived[f"{kind}/global_score"], **PROBABILITIES)
    maps = upsample(logits.patches[0].softmax(1), side, side)
    near(maps, derived[f"{kind}/similarity_map_last"], **PROBABILITIES)
    raw = anomaly_map(logits.patches[0].softmax(1), side, side, 0.0).detach()
    near(raw, derived[f"{kind}/anomaly_map_raw_last"], **PROBABILITIES)
    sigma = float(oracle.config(oracles / "anomalyclip")["sigma"])
    smoothed = smooth(raw, sigma)
    near(smoothed, derived[f"{kind}/anomaly_map_smoothed_last"], **PROBABILITIES)
    scores = derived[f"{kind}/global_score"].astype(np.float64)
    for percent in (1, 5, 10):
        for name, one in (("raw", raw), ("smoothed", smoothed)):
            local = local_score(one.numpy(), float(percent))
            near(local, derived[f"{kind}/S_local_top{percent}pct_{name}"], **PROBABILITIES)
            joint = derived[f"{kind}/S_joint_r0.5_top{percent}pct_{name}"]
            near(joint_score(scores, local, 0.5), joint, **PROBABILITIES)

    terms = headclip_loss(logits.image, maps[None], oracle.tensor(inputs, "label"), masks)
    near(terms.image, derived[f"{kind}/loss_ce"], rtol=1e-5)
    near(terms.total(), derived[f"{kind}/loss_total_last_layer"], rtol=1e-5)
    terms.total().backward()
    weights = derived[f"{kind}/grad/head_weights"]
    assert model.head_weights.grad is not None
    near(model.head_weights.grad, weights, atol=3e-5 * np.abs(weights).max(), rtol=0)
    assert model.prompts.context.grad is not None
    for row, name in enumerate(("ctx_pos", "ctx_neg")):
        theirs = derived[f"{kind}/grad/{name}"][0, 0]
        near(model.prompts.context.grad[row], theirs, atol=3e-5 * np.abs(theirs).max(), rtol=0)
    assert model.prompts.deep.grad is not None
    for number, mine in enumerate(model.prompts.deep.grad):
        theirs = derived[f"{kind}/grad/compound_prompts_text.{number}"]
        near(mine, theirs, atol=3e-5 * np.abs(theirs).max(), rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_folded_form_gives_the_derived_scores_and_maps(
    oracles: Path, derived: NpzFile, kind: str
) -> None:
    model = weighted_model(oracles, kind)
    images = oracle.tensor(oracle.arrays(oracles / "anomalyclip", "inputs"), "images_native")
    side = images.shape[-1]
    folded = model.fold()
    prediction = oracle.predicted(folded, images)
    near(prediction.global_score, derived[f"{kind}/global_score"], **PROBABILITIES)
    raw = oracle.tensor(derived, f"{kind}/anomaly_map_raw_last")
    expected = smooth(raw, folded.scores.sigma_at(side))
    near(prediction.map, expected.numpy(), **PROBABILITIES)
