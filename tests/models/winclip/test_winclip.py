"""WinCLIP: by hand, by its properties, against stored values, against published code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from headclip_med.content import ImageContent
from headclip_med.errors import InvalidSettings
from headclip_med.models.clip.towers import Backbone
from headclip_med.models.inference import predict_together
from headclip_med.models.model import AnomalyModel, NamesContent
from headclip_med.models.sentences import SENTENCES_PER_PASS, encode, mean_direction
from headclip_med.models.winclip.model import (
    WinClip,
    mean_reciprocal,
    pool_abnormality,
    pool_normality,
    run_windows,
    sum_over_windows,
    winclip_ensemble,
    window_index,
)
from headclip_med.models.winclip.settings import WinClipSettings
from headclip_med.settings import ScoreSettings
from tests import tiny
from tests.reference import golden_training_free as golden
from tests.reference import oracle, oracle_training_free, stored


def model(**settings: object) -> WinClip:
    return WinClip(tiny.backbone(), WinClipSettings(**settings))  # type: ignore[arg-type]


# --- sentences -------------------------------------------------------------------------------


def test_anomalib_says_one_sentence_twice_and_another_not_at_all() -> None:
    said = winclip_ensemble("anomalib", "published", ImageContent("brain")).normal
    assert len(said) == 21 * 7
    assert "a cropped photo of a brain." not in said
    assert said.count("a jpeg corrupted photo of the brain.") == 2
    right = winclip_ensemble("anomalib", "published", ImageContent("brain"), corrected=True)
    assert (len(set(right.normal)), len(set(right.abnormal))) == (22 * 7, 22 * 4)
    assert "a cropped photo of a brain." in right.normal
    assert right.name == "winclip-anomalib-corrected"


def test_caoyunkang_says_22_descriptions_of_each_state() -> None:
    said = winclip_ensemble("caoyunkang", "published", ImageContent("pipe_fryum"))
    assert (len(set(said.normal)), len(set(said.abnormal))) == (22 * 7, 22 * 4)
    assert said.normal[1] == "a cropped photo of the flawless pipe_fryum"
    assert said.abnormal[-1] == "a photo of a pipe_fryum with damage for anomaly detection"


@pytest.mark.parametrize(
    ("subject", "sentence"),
    [
        (ImageContent("brain", "MR"), "an MRI scan of a brain without lesion"),
        (ImageContent("abdomen", "CT"), "a CT scan of an abdomen without lesion"),
        (ImageContent("uterus", "US"), "an ultrasound image of a uterus without lesion"),
        (ImageContent(), "a medical scan of an object without lesion"),
    ],
)
def test_the_medical_wording_names_scan_and_organ(subject: ImageContent, sentence: str) -> None:
    said = winclip_ensemble("anomalib", "medical", subject)
    assert sentence in said.normal
    assert (len(said.normal), len(said.abnormal)) == (22 * 7, 22 * 4)
    assert not any("damage" in one or "industrial" in one for one in said.abnormal)


def test_sides_are_averaged_before_they_are_normalised() -> None:
    normal = torch.tensor([[4.0, 0.0], [0.0, 1.0], [-1.0, 1.0]])
    abnormal = torch.tensor([[0.0, 2.0]])
    # The mean of the three is (1, 2/3), of length sqrt(13) / 3.
    expected = torch.tensor([[3 / 13**0.5, 2 / 13**0.5], [0.0, 1.0]])
    torch.testing.assert_close(mean_direction(normal, abnormal), expected)


def test_many_sentences_are_encoded_as_one_by_one() -> None:
    text = tiny.backbone().text
    said = [f"a photo of {number}" for number in range(SENTENCES_PER_PASS + 2)]
    together = encode(text, said)
    assert len(together) == len(said)
    for number in (0, SENTENCES_PER_PASS, len(said) - 1):
        torch.testing.assert_close(together[number], text.encode([said[number]])[0])


def test_a_sentence_that_would_be_cut_off_is_refused() -> None:
    long = model(class_name="posterior cranial fossa of the skull of a very small animal")
    with pytest.raises(InvalidSettings, match="does not fit the text tower"):
        long.predict(tiny.images())


# --- windows, by hand ------------------------------------------------------------------------


def test_windows_are_listed_row_by_row() -> None:
    assert window_index(2, 3, 2).tolist() == [[0, 1, 3, 4], [1, 2, 4, 5]]
    assert window_index(2, 3, 1).tolist() == [[0], [1], [2], [3], [4], [5]]


def test_a_window_larger_than_the_image_is_refused() -> None:
    with pytest.raises(InvalidSettings, match="Windows of 3 x 3 patches do not fit"):
        window_index(2, 5, 3)
    with pytest.raises(InvalidSettings, match="5 x 5 patches do not fit an image of 4 x 4"):
        model(scales=(5,)).predict(tiny.images())


def test_patches_pool_harmonically_over_the_windows_that_cover_them() -> None:
    # Two windows of 2 x 2 on a grid of 2 x 3: 1/2 on the left, 1/4 on the right.
    scores = torch.tensor([[[0.5, 0.25]]])
    pooled = 1 / mean_reciprocal(scores, 2)
    # In the middle both count: 2 / (2 + 4).
    torch.testing.assert_close(pooled, torch.tensor([[[0.5, 1 / 3, 0.25]] * 2]))


def test_the_whole_image_is_one_more_scale_of_abnormality() -> None:
    scores = [torch.tensor([[[0.5, 0.25]]]), torch.full((1, 2, 3), 0.2)]
    odds = [one.logit() for one in scores]
    pooled = pool_abnormality(torch.tensor([0.1]).logit(), odds, (2, 1)).sigmoid()
    # Left: 3 / (1/0.1 + 1/0.5 + 1/0.2), middle: 3 / (10 + 3 + 5), right: 3 / (10 + 4 + 5).
    expected = torch.tensor([[[3 / 17, 3 / 18, 3 / 19]] * 2])
    torch.testing.assert_close(pooled, expected)


def test_caoyunkang_pools_normality_instead() -> None:
    scores = [torch.tensor([[[0.5, 0.75]]]), torch.full((1, 2, 3), 0.2)]
    pooled = pool_normality([one.logit() for one in scores], (2, 1)).sigmoid()
    # 1 / normality is 2 and 4, in the middle 3; of the second scale 1.25; their means' inverse.
    means = torch.tensor([(2 + 1.25) / 2, (3 + 1.25) / 2, (4 + 1.25) / 2])
    torch.testing.assert_close(pooled, (1 - 1 / means).expand(1, 2, 3))


def test_certain_windows_do_not_break_the_pooling() -> None:
    certain = torch.tensor([[[0.0, 1.0]]])
    assert (1 / mean_reciprocal(certain, 2)).tolist() == [[[0.0, 0.0, 1.0]] * 2]
    odds, never = certain.logit(), torch.zeros(1).logit()
    assert pool_normality([odds], (2,)).sigmoid().tolist() == [[[0.0, 1.0, 1.0]] * 2]
    assert pool_abnormality(never, [odds], (2,)).sigmoid().tolist() == [[[0.0] * 3] * 2]


@given(st.integers(1, 3), st.integers(0, 4), st.integers(0, 4), st.integers(0, 99))
def test_pooling_is_what_a_loop_over_patches_finds(
    scale: int, more_rows: int, more_columns: int, seed: int
) -> None:
    rows, columns = scale + more_rows, scale + more_columns
    index = window_index(rows, columns, scale)
    values = torch.rand(len(index), generator=torch.Generator().manual_seed(seed)) + 0.01
    grid = values.view(1, more_rows + 1, more_columns + 1)
    covering = [(index == patch).any(dim=1) for patch in range(rows * columns)]
    sums = torch.stack([values[these].sum() for these in covering]).view(1, rows, columns)
    torch.testing.assert_close(sum_over_windows(grid, scale), sums)
    harmonic = [int(these.sum()) / (1 / values[these]).sum() for these in covering]
    expected = torch.stack(harmonic).view(1, rows, columns)
    torch.testing.assert_close(1 / mean_reciprocal(grid, scale), expected)
    assert bool((expected >= values.min() - 1e-6).all() and (expected <= values.max() + 1e-6).all())


# --- the model -------------------------------------------------------------------------------


def test_a_window_of_the_whole_grid_is_the_plain_pass() -> None:
    built = model()
    with torch.no_grad():
        *_, last = tiny.walk(built.vision, built.prepare(tiny.images()))
        first = tiny.walk(built.vision, built.prepare(tiny.images()))[0].tokens_in
        token = run_windows(built.vision, first, window_index(4, 4, 4))[:, 0]
    torch.testing.assert_close(token, last.tokens[:, 0])


def test_windows_run_in_parts_are_those_run_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    built, images = model(), tiny.images()
    at_once = built.predict(images)
    monkeypatch.setattr("headclip_med.models.winclip.model.TOKENS_PER_PASS", 25)
    in_parts = built.predict(images)
    torch.testing.assert_close(in_parts.map, at_once.map, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("implementation", golden.IMPLEMENTATIONS)
def test_it_judges_batches_and_other_shapes(implementation: str) -> None:
    built = model(implementation=implementation)
    assert isinstance(built, AnomalyModel)
    images = tiny.images(size=24)[:, :, :16]
    both = built.predict(images)
    assert both.map.shape == (2, 16, 24)
    for number in range(2):
        alone = built.predict(images[number : number + 1])
        torch.testing.assert_close(alone.map[0], both.map[number], atol=1e-6, rtol=1e-5)
    for values in (both.map, both.global_score):
        assert bool(((values >= 0) & (values <= 1)).all())


def test_the_published_image_scores_are_the_class_token_or_the_highest_pixel() -> None:
    images = tiny.images()
    one, other = model(), model(implementation="caoyunkang")
    with torch.no_grad():
        *_, last = tiny.walk(one.vision, one.prepare(images))
        features = torch.nn.functional.normalize(one.vision.project(last.tokens[:, 0]), dim=-1)
    torch.testing.assert_close(one.predict(images).global_score, one.abnormality(features))
    found = other.predict(images)
    torch.testing.assert_close(found.global_score, found.map.amax(dim=(1, 2)))


def test_the_corrected_map_is_twice_the_published_one() -> None:
    published, right = (model(implementation="caoyunkang", corrected=c) for c in (False, True))
    halved, whole = (one.predict(tiny.images()) for one in (published, right))
    torch.testing.assert_close(2 * halved.map, whole.map)
    torch.testing.assert_close(2 * halved.global_score, whole.global_score)
    assert (published.threshold, right.threshold) == (0.25, 0.5)


def test_sentences_follow_the_subject_unless_a_name_was_chosen() -> None:
    built = model(wording="medical")
    assert isinstance(built, NamesContent)
    brain = built.with_content(ImageContent("brain", "CT"))
    prompts = brain.describe()["prompts"]
    assert isinstance(prompts, dict)
    assert (prompts["wording"], prompts["class_name"]) == ("winclip-medical", "brain")
    assert prompts["examples"][0] == "a cropped CT scan of the brain"
    assert not torch.equal(brain.sentences().text, built.sentences().text)
    chosen = model(wording="medical", class_name="skull").with_content(ImageContent("brain", "CT"))
    assert chosen.ensemble.normal[0] == "a cropped CT scan of the skull"


def test_it_shares_the_pass_of_the_trunk_and_all_parameters() -> None:
    towers = tiny.backbone()
    one, other = WinClip(towers), WinClip(towers, WinClipSettings(implementation="caoyunkang"))
    assert one.pass_key(16, 16) == other.pass_key(16, 16)
    assert one.pass_key(24, 24) != other.pass_key(24, 24), "positions are stretched otherwise"
    together = predict_together([one, other], tiny.images())
    for built, found in zip((one, other), together, strict=True):
        assert torch.equal(found.map, built.predict(tiny.images()).map)
    shared = {id(parameter) for parameter in towers.clip.parameters()}
    assert {id(one) for one in (*one.vision.parameters(), *one.text.parameters())} <= shared
    assert towers.vision.position_interpolation == "bilinear", "the caller's are left as they are"


def test_it_describes_itself_in_plain_values_and_can_have_jas() -> None:
    built = model()
    described = json.loads(json.dumps(built.describe()))
    assert described["method"] == "winclip"
    assert described["settings"]["scales"] == [2, 3]
    assert described["prompts"]["sentences"] == [147, 84]
    assert (built.scores.image_score, built.scores.global_weight) == ("global", 1.0)
    joint = built.with_scores(ScoreSettings(image_score="joint", joint_weight=0.25))
    assert joint.scores.global_weight == 0.25
    assert built.scores.global_weight == 1.0


@pytest.mark.parametrize(
    "settings", [{"scales": ()}, {"scales": (0,)}, {"temperature": 0.0}, {"class_name": " "}]
)
def test_settings_out_of_range_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(InvalidSettings):
        model(**settings)


# --- against stored values, and against published code ---------------------------------------


@pytest.mark.parametrize("size", golden.SIZES)
def test_every_stage_is_the_stored_one(size: str) -> None:
    stored.check("winclip", golden.winclip_values, size, share=1e-5)


@pytest.fixture(scope="module")
def towers(oracles: Path) -> Backbone:
    return oracle.backbone(oracles)


@pytest.mark.parametrize("implementation", golden.IMPLEMENTATIONS)
def test_every_sentence_is_a_published_one(oracles: Path, implementation: str) -> None:
    inputs = oracle.arrays(oracles / "winclip", "inputs")
    said = winclip_ensemble(implementation, "published", ImageContent("brain"))
    tokenize = tiny.backbone(text_cfg={**tiny.CONFIG["text_cfg"], "context_length": 77}).text
    for side, sentences in (("normal", said.normal), ("abnormal", said.abnormal)):
        theirs = inputs[f"{implementation}_tokens_{side}"]
        mine = tokenize.tokenize(sentences).numpy()
        theirs = theirs[:, : mine.shape[1]]
        # anomalib goes through its descriptions state by state; a mean does not mind.
        assert sorted(map(tuple, mine.tolist())) == sorted(map(tuple, theirs.tolist()))


@pytest.mark.parametrize("implementation", golden.IMPLEMENTATIONS)
def test_every_stage_of_every_run_is_the_published_one(
    oracles: Path, towers: Backbone, implementation: str
) -> None:
    stages = {
        "anomalib": oracle_training_free.anomalib_stages,
        "caoyunkang": oracle_training_free.caoyunkang_stages,
    }[implementation]
    runs = oracle_training_free.winclip_runs(oracles, implementation)
    assert len(runs) >= 2
    for run in runs:
        for stage in stages(oracles, towers, run):
            stage.check()
            assert stage.relative_error < 1e-4, (run, stage.name)
