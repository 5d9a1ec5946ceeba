"""MONAI's trainer runs every method; batches, patience, precision and what is kept of a network."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from monai.engines.trainer import SupervisedTrainer
from monai.handlers.checkpoint_saver import CheckpointSaver
from torch.utils.data import DataLoader, Dataset

from headclip_med.errors import InvalidSettings
from headclip_med.models.headclip.features import Features
from headclip_med.models.headclip.learning import HeadClipNetwork, headclip_loss
from headclip_med.ranks import Ranks, torchrun_ranks
from headclip_med.training.batches import Batches, Example, Parts
from headclip_med.training.handlers import (
    LOG_FILE,
    EpochReport,
    LossHistory,
    StepReport,
    out_of_patience,
)
from headclip_med.training.loop import build_trainer, optimiser_of
from headclip_med.training.network import BatchLoss
from headclip_med.training.state import STATE_FILE
from tests import tiny
from tests.learning import train_model
from tests.models.headclip.test_learning import SETTINGS, Squares, trained

# --- batches ---------------------------------------------------------------------------------


def numbers(count: int, size: int, ranks: Ranks, epoch: int = 1, seed: int = 3) -> list[list[int]]:
    parts = Parts(count, size, seed, ranks)
    parts.epoch = epoch
    return list(parts)


def test_the_order_is_that_of_a_shuffling_loader() -> None:
    generator = torch.Generator().manual_seed(3 + 2)
    loader = DataLoader(range(10), batch_size=4, shuffle=True, generator=generator)  # type: ignore[arg-type]
    assert numbers(10, 4, Ranks(), epoch=2) == [batch.tolist() for batch in loader]


def test_processes_share_each_batch() -> None:
    whole = numbers(10, 4, Ranks())
    first, second = (numbers(10, 4, Ranks(rank, 2)) for rank in range(2))
    assert [len(batch) for batch in first] == [2, 2, 1]
    for one, other, both in zip(first, second, whole, strict=True):
        assert sorted(one + other) == sorted(both)


def test_a_process_without_an_image_takes_part_with_one_that_counts_nothing() -> None:
    whole, second = numbers(5, 4, Ranks()), numbers(5, 4, Ranks(1, 2))
    assert second[-1] == whole[-1]
    parts = Parts(5, 4, 3, Ranks(1, 2))
    assert [parts.sizes(step) for step in range(2)] == [(2, 4), (0, 1)]
    first = Parts(7, 4, 3, Ranks(0, 2))
    assert [first.sizes(step) for step in range(2)] == [(2, 4), (2, 3)]


def test_shares_make_every_image_weigh_the_same() -> None:
    # Of 3 images, one process has 2 and the other 1: their means, weighted 4/3 and 2/3, averaged.
    losses = [1.0, 2.0, 6.0]
    parts = [Parts(3, 3, 0, Ranks(rank, 2)) for rank in range(2)]
    mine = [losses[0::2], losses[1::2]]
    shares = [parts[rank].sizes(0)[0] * 2 / 3 for rank in range(2)]
    means = [sum(one) / len(one) for one in mine]
    averaged = sum(share * mean for share, mean in zip(shares, means, strict=True)) / 2
    assert averaged == pytest.approx(3)


def test_a_batch_says_what_it_holds() -> None:
    batches = Batches(Squares(5), 4, seed=1)
    batches.begin_epoch(2)
    big, small = batches
    assert len(batches) == 2
    assert (big.whole, small.whole, big.share) == (4, 1, 1.0)
    assert big.images.shape == (4, 3, 16, 16)
    assert big.categories == ("object",) * 4
    assert torch.equal(big.labels, big.masks.flatten(1).amax(dim=1).long())


def test_examples_that_change_are_told_the_epoch() -> None:
    class Changing(Squares):
        told: list[int] = []  # noqa: RUF012

        def begin_epoch(self, epoch: int) -> None:
            self.told.append(epoch)

    network = HeadClipNetwork(tiny.model())
    batches, loss = Batches(Changing(2), 2), BatchLoss(network.terms_of, SETTINGS)
    adam = optimiser_of(network.learned, SETTINGS)
    build_trainer(network, batches, adam, loss, epochs=3, epochs_before=1).run()
    assert Changing.told == [2, 3]


# --- MONAI's trainer -------------------------------------------------------------------------


def test_the_parts_fit_monais_trainer_and_handlers(tmp_path: Path) -> None:
    model = tiny.model()
    network = HeadClipNetwork(model)
    loss = BatchLoss(network.terms_of, SETTINGS)
    adam = torch.optim.Adam(network.learned, SETTINGS.learning_rate, betas=SETTINGS.betas)
    batches = Batches(Squares(), SETTINGS.batch_size, seed=SETTINGS.seed)
    history = LossHistory(loss)
    saver = CheckpointSaver(str(tmp_path), {"network": network}, save_interval=1, n_saved=1)
    trainer = build_trainer(
        network, batches, adam, loss, epochs=SETTINGS.epochs, handlers=[history, saver]
    )
    assert isinstance(trainer, SupervisedTrainer)
    trainer.run()
    alone, losses = trained(tmp_path / "alone")
    assert history.losses == losses
    assert trainer.state.metrics["loss"] == losses[-1]
    for key, value in alone.learned_state().items():
        assert torch.equal(value, model.learned_state()[key])
    (saved,) = tmp_path.glob("*.pt")
    state = torch.load(saved, weights_only=True)
    assert sorted(state) == ["model.head_weights", "model.prompts.context", "model.prompts.deep"]
    other = HeadClipNetwork(tiny.model(seed=4))
    other.load_state_dict(state)
    assert torch.equal(other.model.learned_state()["deep"], model.learned_state()["deep"])
    del state["model.head_weights"]
    with pytest.raises(RuntimeError, match="head_weights"):
        other.load_state_dict(state)


def test_the_loss_is_headclips_weighted() -> None:
    network = HeadClipNetwork(tiny.model())
    loss = BatchLoss(network.terms_of, replace(SETTINGS, local_weight=3.0))
    (batch,) = Batches(Squares(4), 4)
    outputs = network(batch)
    terms = headclip_loss(outputs.image, outputs.maps, batch.labels, batch.masks)
    torch.testing.assert_close(loss(outputs, batch), terms.total(3.0))
    assert loss.last["loss"] == pytest.approx(terms.total(3.0).item())
    assert loss.last["focal"] == pytest.approx(terms.focal.item())
    torch.testing.assert_close(loss(outputs, replace(batch, share=0.5)), terms.total(3.0) / 2)


def test_training_leaves_the_models_modes_alone(tmp_path: Path) -> None:
    model = tiny.model()
    before = [module.training for module in model.modules()]
    train_model(model, Squares(), replace(SETTINGS, epochs=1), folder=tmp_path)
    assert [module.training for module in model.modules()] == before


def test_every_step_and_epoch_is_reported(tmp_path: Path) -> None:
    steps: list[StepReport] = []
    epochs: list[EpochReport] = []
    losses = train_model(
        tiny.model(), Squares(), replace(SETTINGS, epochs=2), folder=tmp_path,
        report=steps.append, report_epoch=epochs.append,
    )  # fmt: skip
    assert [(one.epoch, one.step, one.steps) for one in steps] == [
        (1, 1, 3), (1, 2, 3), (1, 3, 3), (2, 1, 3), (2, 2, 3), (2, 3, 3),
    ]  # fmt: skip
    assert [one.epoch for one in epochs] == [1, 2]
    assert [one.loss for one in epochs] == losses
    focal = sum(step.terms["focal"] for step in steps[3:]) / 3
    assert epochs[1].terms["focal"] == pytest.approx(focal)


def test_an_error_of_the_data_reaches_the_caller_and_no_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Squares):
        def __getitem__(self, number: int) -> Example:
            raise InvalidSettings("patient-7 cannot be read")

    with pytest.raises(InvalidSettings, match="patient-7"):
        train_model(tiny.model(), Broken(), SETTINGS, folder=tmp_path)
    assert "patient-7" not in caplog.text


# --- patience --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("losses", "patience", "stops"),
    [
        ([], 1, False),
        ([3.0], 1, False),
        ([3.0, 2.0], 1, False),
        ([3.0, 3.0], 1, True),  # it must fall
        ([3.0, 4.0], 1, True),
        ([3.0, 4.0], 2, False),
        ([3.0, 4.0, 3.5], 2, True),
        ([3.0, 4.0, 2.9], 2, False),
        ([3.0, 4.0, 5.0], 0, False),
    ],
)
def test_patience_counts_epochs_since_the_lowest_loss(
    losses: list[float], patience: int, stops: bool
) -> None:
    assert out_of_patience(losses, patience) == stops


RISING = replace(SETTINGS, epochs=9, learning_rate=0.02)


def test_a_training_without_progress_stops_and_stays_stopped(tmp_path: Path) -> None:
    _, losses = trained(tmp_path / "all", RISING)
    assert losses[1] > losses[0], "this data gives a second epoch that is no better"
    _, stopped = trained(tmp_path / "some", replace(RISING, patience=1))
    assert stopped == losses[:2]
    _, again = trained(tmp_path / "some", replace(RISING, patience=1), resume=True)
    assert again == stopped
    _, patient = trained(tmp_path / "more", replace(RISING, patience=9))
    assert patient == losses


def test_dice_terms_go_over_rows_of_a_batch_of_one_where_asked_for() -> None:
    network = HeadClipNetwork(tiny.model())
    for count in (1, 2):
        (batch,) = Batches(Squares(count), count)
        outputs, found = network(batch), []
        for choice in (False, True):
            loss = BatchLoss(network.terms_of, replace(SETTINGS, squeezed_dice=choice))
            loss(outputs, batch)
            found.append(loss.last)
        plain, squeezed = found
        assert plain["focal"] == squeezed["focal"]
        assert (plain["dice_normal"] == squeezed["dice_normal"]) == (count == 2)
        assert (plain["dice_abnormal"] == squeezed["dice_abnormal"]) == (count == 2)


def test_stopping_ends_monais_trainer() -> None:
    network = HeadClipNetwork(tiny.model())
    loss = BatchLoss(network.terms_of, SETTINGS)
    history = LossHistory(loss, [0.0], patience=2)  # nothing can be lower
    trainer = build_trainer(
        network, Batches(Squares(2), 2), optimiser_of(network.learned, SETTINGS), loss,
        epochs=5, epochs_before=1, handlers=[history],
    )  # fmt: skip
    trainer.run()
    assert trainer.state.epoch == 3


# --- precision -------------------------------------------------------------------------------


@pytest.mark.usefixtures("quick_bf16")
def test_bfloat16_stays_close_and_its_features_can_be_kept(tmp_path: Path) -> None:
    slow = replace(SETTINGS, learning_rate=1e-4)  # a quick one would drift apart by chance
    short = replace(slow, precision="bf16")
    _, losses = trained(tmp_path / "fp32", slow)
    rounded, near = trained(tmp_path / "bf16", short)
    assert near != losses
    assert near == pytest.approx(losses, rel=0.02)
    assert all(value.dtype == torch.float32 for value in rounded.learned_state().values())
    model = tiny.model()
    kept = Features(model, 8, "ram", data_digest="squares", precision="bf16")
    (tmp_path / "kept").mkdir()
    same = train_model(model, Squares(), short, folder=tmp_path / "kept", features=kept)
    assert same == pytest.approx(near, abs=1e-6)


@pytest.mark.usefixtures("quick_bf16")
def test_what_is_run_in_bfloat16_is_compared_in_float32() -> None:
    network = HeadClipNetwork(tiny.model(), precision="bf16")
    (batch,) = Batches(Squares(4), 4)
    outputs = network(batch)
    assert outputs.image.dtype == outputs.maps.dtype == torch.float32
    # Probabilities that came from rounded logits would themselves be few.
    assert len(outputs.maps.unique()) > 4 * 16


# --- stopped from outside --------------------------------------------------------------------

ENDLESS = """
import sys
from dataclasses import replace
from pathlib import Path
import torch
from tests.models.headclip.test_learning import SETTINGS, trained
torch.set_num_threads(int(sys.argv[2]))
trained(Path(sys.argv[1]), replace(SETTINGS, epochs=1_000_000))
"""


def test_a_killed_training_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    # Sums follow the number of threads, which another test may have changed here.
    threads = str(torch.get_num_threads())
    process = subprocess.Popen([sys.executable, "-c", ENDLESS, str(folder), threads])
    try:
        deadline = time.monotonic() + 120
        while not (folder / STATE_FILE).exists():
            assert process.poll() is None, "it ended by itself"
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(0.1)
    finally:
        process.kill()
    assert process.wait() == -signal.SIGKILL
    done = len(torch.load(folder / STATE_FILE, weights_only=True)["losses"])
    settings = replace(SETTINGS, epochs=done + 2)
    resumed, losses = trained(folder, settings, resume=True)
    whole, same = trained(tmp_path / "whole", settings)
    assert losses == same
    for key, value in whole.learned_state().items():
        assert torch.equal(value, resumed.learned_state()[key])
    logs = [(one / LOG_FILE).read_text() for one in (folder, tmp_path / "whole")]
    assert logs[0] == logs[1]


def test_lines_of_an_epoch_that_is_done_again_are_not_kept(tmp_path: Path) -> None:
    trained(tmp_path / "a", replace(SETTINGS, epochs=1))
    log = tmp_path / "a" / LOG_FILE
    log.write_text(log.read_text() + json.dumps({"epoch": 2, "step": 1}) + "\n")
    trained(tmp_path / "a", replace(SETTINGS, epochs=2), resume=True)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(line["epoch"], line["step"]) for line in lines] == [
        (1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3),
    ]  # fmt: skip


def test_torchrun_says_which_process_this_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert torchrun_ranks() == Ranks(0, 1, 0)
    assert torchrun_ranks().first
    for name, value in (("RANK", "5"), ("WORLD_SIZE", "8"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    assert torchrun_ranks() == Ranks(5, 8, 1)
    assert not torchrun_ranks().first


def test_no_images_make_no_batches() -> None:
    class Nothing(Dataset[Example]):
        def __len__(self) -> int:
            return 0

        def __getitem__(self, number: int) -> Example:
            raise IndexError(number)

    with pytest.raises(InvalidSettings, match="no images to train on"):
        Batches(Nothing(), 2)
