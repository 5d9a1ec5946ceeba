"""AnoVL: by hand, by its properties, against stored values, against its authors' code."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from headclip_med.content import ImageContent
from headclip_med.errors import InvalidSettings
from headclip_med.models.anovl.adaptation import PatchAdapter, adaptation_loss
from headclip_med.models.anovl.model import (
    AnoVl,
    anovl_ensemble,
    average_neighbours,
    chosen_layers,
    stretch,
)
from headclip_med.models.anovl.settings import AnoVlSettings
from headclip_med.models.anovl.views import other_views
from headclip_med.models.clip.towers import Backbone
from headclip_med.models.inference import predict_together
from headclip_med.models.model import AnomalyModel
from tests import tiny
from tests.reference import golden_training_free as golden
from tests.reference import oracle, oracle_training_free, stored


def model(**settings: object) -> AnoVl:
    return AnoVl(tiny.backbone(), AnoVlSettings(**settings))  # type: ignore[arg-type]


# --- sentences -------------------------------------------------------------------------------


def test_things_and_surfaces_are_described_by_words_of_their_own() -> None:
    brain, carpet = (
        anovl_ensemble("published", ImageContent(name)) for name in ("brain", "carpet")
    )
    for said in (brain, carpet):
        assert (len(set(said.normal)), len(set(said.abnormal))) == (462, 462)
        assert said.normal[0] == f"a cropped industrial photo of the normal {said.class_name}"
    assert "a manufacturing image of a brain with defect" in brain.abnormal
    assert "a surface picture of a carpet with defect" in carpet.abnormal
    assert "an industrial photo of a abnormal brain" in brain.abnormal, "as published"


def test_both_kinds_of_macaroni_are_macaroni_and_other_names_stand() -> None:
    assert anovl_ensemble("published", ImageContent("macaroni2")).class_name == "macaroni"
    assert anovl_ensemble("published", ImageContent("pipe_fryum")).class_name == "pipe_fryum"
    assert anovl_ensemble("published", ImageContent()).class_name == "object"


def test_the_medical_wording_names_scan_and_organ() -> None:
    said = anovl_ensemble("medical", ImageContent("brain", "MR"))
    assert (len(set(said.normal)), len(set(said.abnormal))) == (462, 462)
    assert "an MRI scan of an abnormal brain" in said.abnormal
    assert "a medical image of a brain without lesion" in said.normal
    assert not any("industrial" in one for one in (*said.normal, *said.abnormal))


# --- views, by hand --------------------------------------------------------------------------


def test_there_are_22_views_in_the_published_order() -> None:
    image = torch.arange(2 * 3 * 25.0).view(2, 3, 5, 5)
    views = [image, *other_views(image)]
    assert len(views) == 22
    assert {one.shape for one in views} == {image.shape}
    assert torch.equal(views[17], image.flip(-1))
    grey = 0.299 * image[:, 0] + 0.587 * image[:, 1] + 0.114 * image[:, 2]
    torch.testing.assert_close(views[18], grey[:, None].expand_as(image))
    for turns, view in enumerate(views[19:], start=1):
        torch.testing.assert_close(view, image.rot90(turns, (2, 3)), atol=1e-4, rtol=1e-5)


def test_shifts_reflect_the_border() -> None:
    # Five pixels span -1 to 1, so that 0.5 is one of them; 0.2 of it is four tenths.
    ramp = torch.arange(5.0).expand(1, 3, 5, 5)
    shifted = list(other_views(ramp))[8]  # 0.2 to the right, and down
    expected = torch.tensor([0.4, 1.4, 2.4, 3.4, 3.6])
    torch.testing.assert_close(shifted[0, 0, 2], expected)


def test_turns_of_images_that_are_not_square_stay_inside() -> None:
    image = tiny.images(size=12)[:, :, :8]
    quarter, half = list(other_views(image))[18:20]
    torch.testing.assert_close(half, image.flip((-2, -1)), atol=1e-5, rtol=1e-5)
    middle = quarter[:, :, :, 2:10]  # of what was 8 x 8 around the centre
    torch.testing.assert_close(middle, image[..., 2:10].rot90(1, (2, 3)), atol=1e-5, rtol=1e-5)


# --- map, by hand ----------------------------------------------------------------------------


def test_neighbours_are_averaged_and_the_border_counts_again() -> None:
    grid = torch.tensor([[[9.0, 0.0, 0.0], [0.0, 0.0, 0.0]]])
    # The corner stands for itself, for two padded neighbours and for the padded corner.
    expected = torch.tensor([[[4.0, 2.0, 0.0], [2.0, 1.0, 0.0]]])
    torch.testing.assert_close(average_neighbours(grid), expected)


def test_corners_of_the_grid_lie_on_corners_of_the_map() -> None:
    found = stretch(torch.tensor([[[0.0, 1.0], [1.0, 0.0]]]), 3, 5)
    expected = [[0.0, 0.25, 0.5, 0.75, 1.0], [0.5] * 5, [1.0, 0.75, 0.5, 0.25, 0.0]]
    torch.testing.assert_close(found, torch.tensor([expected]))


def test_the_last_twelve_blocks_are_the_published_ones() -> None:
    assert chosen_layers(AnoVlSettings(), 12) == (tuple(range(1, 13)), 12)
    assert chosen_layers(AnoVlSettings(), 24) == (tuple(range(13, 25)), 24)
    assert chosen_layers(AnoVlSettings(), 4) == ((1, 2, 3, 4), 4)
    assert chosen_layers(AnoVlSettings(feature_layer=3), 4) == ((1, 2, 3, 4), 3)


def test_layers_that_cannot_be_are_refused() -> None:
    with pytest.raises(InvalidSettings, match="lies beyond"):
        model(local_layers=(3, 5))
    with pytest.raises(InvalidSettings, match="lies beyond"):
        model(feature_layer=5)
    with pytest.raises(InvalidSettings, match="before the first local layer"):
        model(local_layers=(3, 4), feature_layer=2)


@pytest.mark.parametrize(
    "settings",
    [{"temperature": 0.0}, {"adaptation_steps": 0}, {"local_layers": ()}, {"class_name": ""}],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(InvalidSettings):
        model(**settings)


# --- the model -------------------------------------------------------------------------------


def test_the_local_stream_is_a_naive_sum_of_value_value_attention() -> None:
    built, images = model(local_layers=(2, 4)), tiny.images()
    patches, token = golden.read(built, images)
    with torch.no_grad():
        blocks = tiny.walk(built.vision, built.prepare(images))
        stream = blocks[1].tokens_in
        for layer in (2, 4):
            block = built.vision.blocks[layer - 1]
            joined = torch.nn.functional.linear(
                block.ln_1(blocks[layer - 1].tokens_in),
                block.attn.in_proj_weight,
                block.attn.in_proj_bias,
            )
            value = joined[..., 2 * joined.shape[-1] // 3 :]
            heads = [  # of the tiny tower, 4 wide
                (one @ one.transpose(1, 2) / 2).softmax(dim=-1) @ one
                for one in value.split(4, dim=-1)
            ]
            stream = stream + block.attn.out_proj(torch.cat(heads, dim=-1))
    torch.testing.assert_close(patches, built.vision.project(stream)[:, 1:])
    torch.testing.assert_close(token, built.vision.project(blocks[-1].tokens[:, 0]))


def test_an_earlier_feature_layer_gives_its_own_stream() -> None:
    images = tiny.images()
    short = golden.read(model(feature_layer=3), images)[0]
    torch.testing.assert_close(short, golden.read(model(local_layers=(1, 2, 3)), images)[0])
    assert not torch.allclose(short, golden.read(model(), images)[0])


def test_the_image_score_averages_the_views() -> None:
    images = tiny.images()
    one, many = model(views=False), model()
    prepared = many.prepare(images)
    with torch.no_grad():
        scores = [one.predict(images).global_score]
        scores += [many.abnormality(many.class_token(view)) for view in other_views(prepared)]
    found = many.predict(images)
    torch.testing.assert_close(found.global_score, torch.stack(scores).mean(dim=0))
    assert torch.equal(found.map, one.predict(images).map)


def test_it_judges_batches_and_other_shapes() -> None:
    built = model()
    assert isinstance(built, AnomalyModel)
    images = tiny.images(size=24)[:, :, :16]
    both = built.predict(images)
    assert both.map.shape == (2, 16, 24)
    for number in range(2):
        alone = built.predict(images[number : number + 1])
        torch.testing.assert_close(alone.map[0], both.map[number], atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(
            alone.global_score[0], both.global_score[number], atol=1e-6, rtol=1e-5
        )
    for values in (both.map, both.global_score):
        assert bool(((values >= 0) & (values <= 1)).all())


def test_a_temperature_sharpens_what_it_says() -> None:
    images = tiny.images()
    flat, sharp = (model(temperature=t, views=False).predict(images).map for t in (1.0, 0.01))
    assert float((sharp - 0.5).abs().max()) > 10 * float((flat - 0.5).abs().max())


def test_it_describes_itself_and_shares_the_pass_of_the_trunk() -> None:
    built = model(views=False).with_content(ImageContent("wood"))
    described = json.loads(json.dumps(built.describe()))
    assert described["method"] == "anovl"
    assert described["prompts"]["wording"] == "anovl-industrial"
    assert described["prompts"]["class_name"] == "wood"
    assert (described["local_layers"], described["feature_layer"]) == ([1, 2, 3, 4], 4)
    assert built.scores.global_weight == 1.0
    other = AnoVl(tiny.backbone(), AnoVlSettings(local_layers=(4,), views=False))
    together = predict_together([built, other], tiny.images())
    for one, found in zip((built, other), together, strict=True):
        assert torch.equal(found.map, one.predict(tiny.images()).map)


# --- adaptation ------------------------------------------------------------------------------


def test_the_loss_is_worked_out_by_hand() -> None:
    clean, noisy = torch.tensor([[0.75, 0.25]]), torch.tensor([[0.5, 0.5]])
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    expected = entropy + 0.5 * (-math.log(0.5) - math.log(0.75))
    assert adaptation_loss(clean, noisy).item() == pytest.approx(expected)


def test_tokens_move_half_way_towards_the_sentences() -> None:
    adapter = PatchAdapter(
        torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.eye(2), temperature=1.0, rate=1e-3
    )
    adapter.restart(torch.tensor([[0.0, 1.0], [0.0, 0.0]]), torch.tensor([0.0, 2.0]))
    # The token's direction is (0.6, 0.8): W x + b is (0.8, 2).
    moved = adapter(torch.tensor([[3.0, 4.0]]))
    expected = [1.5 + math.tanh(0.8) / 2, 2 + math.tanh(2) / 2]
    torch.testing.assert_close(moved.detach(), torch.tensor([expected]))


def test_fitting_lowers_the_loss() -> None:
    generator = torch.Generator().manual_seed(1)
    prompts, text = torch.randn(6, 8, generator=generator), torch.randn(2, 8, generator=generator)
    adapter = PatchAdapter(prompts, text, temperature=0.1, rate=1e-2)
    adapter.restart_at_random(generator)
    tokens = torch.randn(1, 5, 8, generator=generator)
    noise = torch.randn(1, 5, 8, generator=generator) * 0.05
    losses = list(adapter.fit(tokens, [noise] * 20))
    assert losses[-1] < losses[0]


def test_only_as_published_does_a_result_depend_on_what_was_judged_before() -> None:
    images = tiny.images()
    for kind in ("published", "independent"):
        fresh = model(adaptation=kind, views=False, adaptation_rate=0.1)
        first = fresh.predict(images[1:]).map
        again = fresh.predict(images[1:]).map
        assert torch.equal(first, again) == (kind == "independent"), kind
    plain = model(views=False).predict(images[1:])
    assert not torch.allclose(first, plain.map, atol=1e-5), "it adapts"
    torch.testing.assert_close(fresh.predict(images[1:]).global_score, plain.global_score)


# --- against stored values, and against its authors' code ------------------------------------


@pytest.mark.parametrize("size", golden.SIZES)
def test_every_stage_is_the_stored_one(size: str) -> None:
    stored.check("anovl", golden.anovl_values, size, share=1e-5)


@pytest.fixture(scope="module")
def towers(oracles: Path) -> Backbone:
    return oracle.backbone(oracles)


def test_every_sentence_is_a_published_one(oracles: Path, towers: Backbone) -> None:
    inputs = oracle.arrays(oracles / "anovl", "inputs")
    things = sorted({key.split("/")[1] for key in inputs.files if key.startswith("tokens/")})
    assert things
    for thing in things:
        said = anovl_ensemble("published", ImageContent(thing))
        for side, sentences in (("normal", said.normal), ("abnormal", said.abnormal)):
            mine = towers.text.tokenize(sentences).numpy()
            theirs = inputs[f"tokens/{thing}/{side}"]
            np.testing.assert_array_equal(mine, theirs[:, : mine.shape[1]])


def test_every_stage_is_the_published_one(oracles: Path, towers: Backbone) -> None:
    stages = list(oracle_training_free.anovl_text_stages(oracles, towers))
    sizes = oracle_training_free.anovl_sizes(oracles)
    assert len(sizes) >= 2
    for size in sizes:
        stages += oracle_training_free.anovl_stages(oracles, towers, size)
    for stage in stages:
        stage.check()
        assert stage.relative_error < 1e-4, stage.name


def test_adaptation_goes_the_published_way(oracles: Path, towers: Backbone) -> None:
    # Its gradients are around 1e-6, so that weights carry their noise; maps do not.
    for stage in oracle_training_free.adaptation_stages(oracles, towers):
        stage.check()
        if "map" in stage.name or "loss" in stage.name or "probabilities" in stage.name:
            assert stage.relative_error < 1e-4, stage.name
