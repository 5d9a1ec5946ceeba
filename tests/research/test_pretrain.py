import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from shutil import copyfile

import pytest
import torch
from safetensors import safe_open

from headclip_med.cli.options import parse
from headclip_med.cli.train import Train
from headclip_med.errors import InvalidSettings, UnusableWeights
from headclip_med.models.clip.loading import EMBEDDED_PATH, load_backbone
from headclip_med.models.headclip.settings import HeadClipSettings, usual_settings
from headclip_med.pipelines.bundle import TrainingNetwork
from headclip_med.pipelines.experiments.definitions import experiment_named
from headclip_med.pipelines.experiments.models import Setup
from headclip_med.settings import EMBEDDED_NAME
from headclip_med.training.losses import dice_loss
from research.mini import make as program
from research.mini import pools
from research.mini.corpus import Samples, draw_samples
from research.mini.curve import Curve
from research.mini.files import BACKBONE, CHECKPOINT, backbone_tensors
from research.mini.losses import caption_loss, pixel_loss, plain_focal_loss, top_loss
from research.mini.model import MiniModel, cosine_filters, sine_positions
from research.mini.pools import PHASE_POOLS, Corpus
from research.mini.pretrain import LOG, Pretraining, loss_terms, train_mini, train_step
from research.mini.settings import MiniClosing, MiniSettings

TINY = MiniSettings(
    seed=3, width=32, layers=2, head_width=16, image_px=32, small_px=16, local_layers=(2,),
    joint_width=16, text_width=16, text_heads=2, text_layers=1, steps=6, batch=4, warmup_steps=2,
    map_px=16, pool_images=16, live_pools=2, steps_per_pool=2, workers=0, threads=1,
    checkpoint_every=3, evaluate_every=6, log_every=2, curve_images=32, curve_volumes=2,
    closings=(MiniClosing("closing", 3), MiniClosing("hard", 2, anew=True)), closing_warmup_steps=1,
)  # fmt: skip

AUXILIARY = ("last_head", "local_head")

TWO_CLOSINGS = (MiniClosing("closing", 10), MiniClosing("hard", 4, anew=True))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_mini(TINY, tmp_path_factory.mktemp("whole"))


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    with safe_open(path, framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


def _assert_equal(expected_file: Path, found_file: Path) -> None:
    expected, found = _tensors(expected_file), _tensors(found_file)
    assert expected.keys() == found.keys()
    for key, value in expected.items():
        assert torch.equal(found[key], value), key


def test_cosine_filters_are_orthonormal_and_start_with_the_mean() -> None:
    filters = cosine_filters(8)

    gram = torch.einsum("acuv,bcuv->ab", filters, filters)
    assert filters.shape == (192, 3, 8, 8)
    assert torch.allclose(gram, torch.eye(192), atol=1e-5)
    assert torch.allclose(filters[0], torch.full((3, 8, 8), 192**-0.5))


def test_sine_positions_tell_rows_from_columns() -> None:
    table = sine_positions(5, 32).view(5, 5, 32)

    assert torch.equal(table[2, 0, :16], table[2, 4, :16])
    assert torch.equal(table[0, 3, 16:], table[4, 3, 16:])
    assert torch.unique(table.view(25, 32), dim=0).shape[0] == 25


def test_the_rate_warms_up_stays_and_falls_to_zero() -> None:
    recipe = replace(TINY, steps=100, warmup_steps=10, decay_fraction=0.2, rate=1.0)

    rates = [recipe.learning_rate(step) for step in (0, 9, 50, 79, 90)]

    assert rates == pytest.approx([0.1, 1, 1, 1, 0.5])


def test_the_rate_of_each_closing_warms_up_and_falls_to_zero() -> None:
    recipe = replace(
        TINY, steps=100, closings=TWO_CLOSINGS, closing_warmup_steps=2, closing_rate=1.0
    )

    first = [recipe.learning_rate(step) for step in (100, 105, 107, 109)]
    second = [recipe.learning_rate(step) for step in (110, 111, 112, 113, 114)]

    assert first == pytest.approx([0.5, 1, 0.6, 0.2])
    assert second == pytest.approx([0.5, 1, 1, 0.5, 0])
    assert (recipe.losses_at(99), recipe.losses_at(100)) == (recipe.losses, recipe.closing_losses)


def test_a_step_belongs_to_the_phase_that_has_not_ended() -> None:
    recipe = replace(TINY, steps=100, closings=TWO_CLOSINGS)

    assert recipe.ends == (100, 110, 114)
    assert [step for step in range(120) if recipe.begins_anew(step)] == [110]
    assert [recipe.phase(step) for step in (0, 99, 100, 109, 110, 113)] == [0, 0, 1, 1, 2, 2]
    assert replace(TINY, steps=100, closings=()).phase(99) == 0


def test_each_phase_draws_its_own_family(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, str]] = []

    def listen(seed: int, index: int, count: int, size_px: int, family: str) -> Samples:
        asked.append((index, family))
        return draw_samples(seed, index, count, size_px, family)

    monkeypatch.setattr(pools, "draw_samples", listen)
    firsts = (0, *TINY.ends[:-1])
    images = [Corpus(TINY, first).batch(first).images for first in firsts]

    assert asked == [
        (phase * PHASE_POOLS + pool, family)
        for phase, family in enumerate(("mixed", "closing", "hard"))
        for pool in range(TINY.live_pools)
    ]
    assert [picture.shape[-1] for picture in images] == [TINY.small_px, *[TINY.image_px] * 2]
    assert not torch.equal(images[1], images[2])


def test_pictures_grow_once_and_by_step() -> None:
    recipe = replace(TINY, steps=100, small_fraction=0.6)

    assert [recipe.size_px(step) for step in (0, 59, 60, 99)] == [16, 16, 32, 32]


@pytest.mark.parametrize(
    "fault",
    [
        {"image_px": 30},
        {"local_layers": (3,)},
        {"steps": 0},
        {"closings": (MiniClosing("hard", 0),)},
        {"decay_fraction": 0.0},
    ],
)
def test_settings_that_cannot_work_are_refused(fault: dict[str, object]) -> None:
    with pytest.raises(InvalidSettings):
        replace(TINY, **fault)


def test_focal_loss_of_a_coin_toss_is_a_quarter_of_its_cross_entropy() -> None:
    half = torch.full((1, 2, 2), 0.5)

    assert float(plain_focal_loss(half, torch.eye(2)[None])) == pytest.approx(
        0.25 * 0.6931, abs=1e-4
    )


def test_dice_loss_of_a_hand_worked_map() -> None:
    mask = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])
    probability = torch.tensor([[[0.5, 0.5], [0.0, 0.0]]])

    # 1 - (2 * 0.5 + 1) / (1 + 1 + 1)
    assert float(dice_loss(probability, mask)) == pytest.approx(1 / 3)
    assert float(dice_loss(mask, mask)) == pytest.approx(0)


def test_an_emphasised_pixel_counts_as_many_times_as_it_says() -> None:
    mask = torch.tensor([[[1.0, 0.0]]])
    half = torch.full((1, 1, 2), 0.5)

    loss = pixel_loss(half, mask, 2 * mask, positives=5.0)

    assert float(loss) == pytest.approx(0.6931 * (10 + 1) / 2, abs=1e-3)


def test_the_top_loss_judges_a_small_defect_by_its_own_area() -> None:
    # 100 pixels, 6 %: healthy pictures by their 6 and 2 highest, a defect of 3 pixels by 3.
    probability = torch.zeros(2, 10, 10)
    probability[:, 0, :3] = 0.6
    mask = torch.zeros(2, 10, 10)
    mask[1, 0, :3] = 1

    loss = top_loss(probability, mask, torch.tensor([False, True]), percent=6.0)

    healthy = -(torch.tensor([0.7, 0.4]).log().sum() / 2)
    abnormal = -torch.tensor(0.6).log()
    assert float(loss) == pytest.approx(float((healthy + abnormal) / 2), abs=1e-5)


def test_pictures_with_equal_captions_share_the_target() -> None:
    features = torch.tensor([[1.0, 0.0], [1.0, 0.0]])

    shared = caption_loss(features, features, torch.tensor([[5], [5]]), torch.tensor(10.0))
    wrong = caption_loss(features, features, torch.tensor([[5], [6]]), torch.tensor(10.0))

    # Both pictures and both texts are alike: one half each is right when captions are equal.
    assert float(shared) == pytest.approx(0.6931, abs=1e-3)
    assert float(wrong) == pytest.approx(0.6931, abs=1e-3)
    apart = torch.eye(2)
    good = caption_loss(apart, apart, torch.tensor([[5], [6]]), torch.tensor(10.0))
    assert float(good) < 1e-3


def test_every_loss_term_reaches_the_weights() -> None:
    model = MiniModel(TINY)
    terms = loss_terms(model, Corpus(TINY, 0).batch(0), 0)
    parameters = list(model.trained().values())

    for name, term in terms.items():
        gradients = torch.autograd.grad(term, parameters, allow_unused=True, retain_graph=True)
        assert any(g is not None and g.abs().sum() > 0 for g in gradients), name


def test_a_batch_follows_from_the_step_whatever_came_before() -> None:
    unbroken = Corpus(TINY, 0)
    for step in range(4):
        unbroken.batch(step)

    expected, found = unbroken.batch(4), Corpus(TINY, 4).batch(4)

    assert torch.equal(found.images, expected.images)
    assert torch.equal(found.masks, expected.masks)
    assert torch.equal(found.tokens, expected.tokens)


def test_masks_and_pictures_are_mirrored_together() -> None:
    batches = [Corpus(replace(TINY, flip=1.0), 0).batch(step) for step in range(2)]

    assert all(batch.mirrored for batch in batches)
    for batch in batches:
        assert torch.equal(batch.masks.flatten(1).any(1), batch.labels)
        assert torch.equal(batch.emphasis > 0, batch.masks > 0)


def test_training_steps_lower_the_loss_on_a_batch_seen_again() -> None:
    run = Pretraining.start(replace(TINY, steps=500, rate=3e-3))
    batch = Corpus(TINY, 0).batch(0)
    first = loss_terms(run.model, batch, 0)["pixel"].item()

    for _ in range(25):
        train_step(run, batch)

    assert loss_terms(run.model, batch, 0)["pixel"].item() < first


@pytest.mark.parametrize("step", [5, 7, 9, 10])
def test_a_killed_run_resumes_to_identical_weights(
    trained: Path, tmp_path: Path, step: int
) -> None:
    # Killed before this step: what came after the last checkpoint (3, 6 or 9) is lost.
    class Killed(Exception):
        pass

    def kill(run: Pretraining, batch: object) -> None:
        if run.step == step:
            raise Killed
        train_step(run, batch)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("research.mini.pretrain.train_step", kill)
        with pytest.raises(Killed):
            train_mini(TINY, tmp_path)
    resumed = train_mini(TINY, tmp_path, resume=True)

    _assert_equal(trained, resumed)


def test_the_last_closing_runs_from_the_finished_file_before_it(
    trained: Path, tmp_path: Path
) -> None:
    before = train_mini(replace(TINY, closings=TINY.closings[:1]), tmp_path)
    (tmp_path / CHECKPOINT).unlink()

    resumed = train_mini(TINY, before.parent, resume=True)

    _assert_equal(trained, resumed)


def test_pools_that_are_drawn_in_the_background_are_the_same() -> None:
    ahead, here = (Corpus(replace(TINY, workers=workers), 0).batch(0) for workers in (1, 0))

    torch.testing.assert_close(ahead.images, here.images)
    assert torch.equal(ahead.tokens, here.tokens)


def test_a_closing_that_begins_anew_keeps_the_average_and_forgets_the_rest() -> None:
    run = Pretraining.start(TINY)
    train_step(run, Corpus(TINY, 0).batch(0))

    fresh = run.anew()

    assert fresh.step == 1
    assert not fresh.optimiser.state
    weights, start = fresh.model.trained(), Pretraining.start(TINY).model.trained()
    for name, kept in run.average.items():
        expected = start[name] if name.startswith(AUXILIARY) else kept.half().float()
        assert torch.equal(weights[name], expected), name
        assert torch.equal(fresh.average[name], expected), name


def test_a_finished_file_that_no_closing_follows_cannot_be_resumed(
    trained: Path, tmp_path: Path
) -> None:
    copyfile(trained, tmp_path / BACKBONE)

    with pytest.raises(UnusableWeights, match="ends at step 11, where no closing begins anew"):
        train_mini(TINY, tmp_path, resume=True)


@pytest.mark.parametrize(
    ("there", "resumes"), [(None, False), (CHECKPOINT, True), (BACKBONE, True)]
)
def test_the_program_goes_on_from_whatever_lies_in_its_folder(
    there: str | None, resumes: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Asked(Exception):
        pass

    def listen(settings: MiniSettings, out: Path, *, resume: bool) -> Path:
        raise Asked(settings, out, resume)

    monkeypatch.setattr(program, "train_mini", listen)
    folder = tmp_path / "backbone"
    folder.mkdir()
    if there is not None:
        (folder / there).touch()

    with pytest.raises(Asked) as asked:
        program.main(["--out", str(tmp_path), "--resume"])

    assert asked.value.args == (MiniSettings(), folder, resumes)


def test_a_finished_file_of_another_network_cannot_be_resumed(tmp_path: Path) -> None:
    copyfile(EMBEDDED_PATH, tmp_path / BACKBONE)

    with pytest.raises(UnusableWeights, match="another network"):
        train_mini(TINY, tmp_path, resume=True)


def test_a_run_cannot_resume_from_a_checkpoint_of_another_network(
    trained: Path, tmp_path: Path
) -> None:
    copyfile(trained.parent / CHECKPOINT, tmp_path / CHECKPOINT)

    with pytest.raises(UnusableWeights, match="another network"):
        train_mini(replace(TINY, joint_width=8), tmp_path, resume=True)


def test_a_run_cannot_resume_from_nothing(tmp_path: Path) -> None:
    with pytest.raises(UnusableWeights, match="Start without --resume"):
        train_mini(TINY, tmp_path, resume=True)


def test_the_finished_file_loads_and_gives_the_features_it_was_trained_for(trained: Path) -> None:
    backbone = load_backbone(str(trained))
    model = MiniModel(TINY)
    state = _tensors(trained)
    with torch.no_grad():
        model.table.copy_(state["token_embedding.weight"].float())
        model.backbone.clip.load_state_dict(backbone.clip.state_dict())
    sentences = ["a photo of a damaged head scan.", "a photo of a flawless screw."]

    own = model.read(backbone.text.tokenize(sentences))

    loaded = torch.nn.functional.normalize(backbone.text.encode(sentences), dim=-1)
    assert torch.allclose(own, loaded, atol=1e-5)


def test_the_finished_file_holds_trained_words_only_and_says_what_it_is(trained: Path) -> None:
    with safe_open(trained, framework="pt") as file:
        header = file.metadata()
    state = _tensors(trained)

    assert header["format"] == "headclip-backbone"
    assert header["activation"] == "gelu"
    assert json.loads(header["preprocess"]) == {"mean": [0.5] * 3, "std": [0.25] * 3}
    assert json.loads(header["config"])["embed_dim"] == 16
    assert json.loads(header["training"])["steps"] == 6
    assert state["token_embedding.rows"].dtype == torch.int32
    assert len(state["token_embedding.weight"]) == len(state["token_embedding.rows"]) < 400
    assert all(value.dtype in (torch.float16, torch.int32) for value in state.values())


def test_what_is_kept_is_the_average_and_not_the_last_step() -> None:
    run = Pretraining.start(TINY)
    train_step(run, Corpus(TINY, 0).batch(0))
    for value in run.average.values():
        value.fill_(0.25)

    kept = backbone_tensors(run.model, run.average)

    assert (kept["visual.conv1.weight"] == 0.25).all()
    assert (kept["token_embedding.weight"] == 0.25).all()


def test_the_log_has_losses_and_a_row_of_the_curve_for_each_phase(trained: Path) -> None:
    rows = [json.loads(line) for line in (trained.parent / LOG).read_text().splitlines()]

    losses = [row for row in rows if "pixel" in row]
    assert [row["step"] for row in losses] == [2, 4, 6, 8, 10]
    curves = {row["step"]: row["curve"] for row in rows if "curve" in row}
    assert set(curves) == set(TINY.ends)
    for curve in curves.values():
        assert {"held pixel", "brain pixel", "slice J", "volume J", "text cosine"} <= curve.keys()


def test_measuring_leaves_the_weights_alone() -> None:
    from research.mini.pretrain import measure_average

    run = Pretraining.start(TINY)
    train_step(run, Corpus(TINY, 0).batch(0))
    before = {name: value.detach().clone() for name, value in run.model.trained().items()}

    measure_average(run, Curve(TINY))

    assert all(torch.equal(value, before[name]) for name, value in run.model.trained().items())


def test_headclip_on_the_backbone_is_what_it_was_pretrained_for() -> None:
    usual = usual_settings(EMBEDDED_NAME)

    assert usual.local_layers == MiniSettings().local_layers
    assert usual.class_token_norm, "training reads the class token with the norm"
    assert usual_settings("ViT-L-14-336") == HeadClipSettings()


def test_every_way_to_train_starts_from_that(tmp_path: Path) -> None:
    usual = usual_settings(EMBEDDED_NAME)
    backbone = load_backbone(EMBEDDED_NAME)
    given = parse(Train, ["--data", "mvtec:none", "--out", str(tmp_path)], prog="train")

    variant = experiment_named("lhw").variants[1]

    assert given.chosen_settings()[0] == usual
    assert Setup(backbone, tmp_path).model_settings(variant) == usual
    assert TrainingNetwork(EMBEDDED_NAME).trained.settings == usual


def test_an_option_that_is_given_stands_before_it(tmp_path: Path) -> None:
    given = parse(Train, ["--out", str(tmp_path), "--set", "local_layers=2-3"], prog="train")

    assert given.chosen_settings()[0].local_layers == (2, 3)
