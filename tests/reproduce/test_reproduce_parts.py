"""Parts of a reproduction, worked out by hand: facts that are kept, bands, counts of work."""

from __future__ import annotations

from pathlib import Path

import pytest

from headclip_med.pipelines.experiments.definitions import EXPERIMENTS
from headclip_med.pipelines.experiments.models import Setup
from headclip_med.pipelines.experiments.plan import Request, replan
from headclip_med.pipelines.experiments.results import Compared
from headclip_med.pipelines.reproduce import run
from headclip_med.pipelines.reproduce.bench import Bench, ReproduceRequest
from headclip_med.pipelines.reproduce.data import files_digest
from headclip_med.pipelines.reproduce.facts import FactFile, Objection
from headclip_med.pipelines.reproduce.rates import Rates
from headclip_med.pipelines.reproduce.smoke import (
    BandCheck,
    causes_of,
    check_bands,
    smoke_objection,
    smoke_plan,
)
from headclip_med.pipelines.reproduce.work import StageWork, WorkEstimate
from headclip_med.write.plain_text import duration
from headclip_med.write.tables import Line, Number, Table
from tests import set_copies, tiny


@pytest.fixture
def data(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    for copy in (set_copies.MVTEC_AD, set_copies.BRAIN_MRI, set_copies.HEAD_CT, set_copies.KVASIR):
        copy.write(root / copy.name)
    return root


def bench(data: Path, tmp_path: Path, **asked: object) -> Bench:
    setup = Setup(backbone=tiny.backbone(), out=tmp_path / "out", training={"epochs": 3})
    return Bench.of(ReproduceRequest(data=Request(data, **asked)), setup)  # type: ignore[arg-type]


def test_a_stage_is_done_once_for_what_it_depends_on(tmp_path: Path) -> None:
    done: list[str] = []

    def work() -> dict[str, object]:
        done.append("once")
        return {"count": len(done), "pair": (1, 2)}

    file = FactFile(tmp_path, "data", {"sets": ("a", "b")})
    assert file.read() is None
    first, again = file.settle(work), file.settle(work)
    assert (first.values, first.is_new) == ({"count": 1, "pair": [1, 2]}, True)
    assert (again.values, again.is_new) == (first.values, False)
    assert FactFile(tmp_path, "data", {"sets": ("a",)}).settle(work).is_new
    assert FactFile(tmp_path, "smoke", {"sets": ("a", "b")}).settle(work).is_new
    assert file.settle(work, is_whole=lambda facts: facts["count"] > 1).values["count"] == 4
    (path,) = tmp_path.glob(f"facts/{file.entry.folder.name}/about.json")
    path.write_text(path.read_text()[:40])
    assert file.read() is None


def table(*rows: tuple[str, Number]) -> Table:
    lines = tuple(Line((name, "HeadCLIP"), (None, number)) for name, number in rows)
    return Table("table3-image", "Table 3", ("set", "variant"), ("AUROC", "mAD"), lines)


def test_a_number_lies_within_five_points_of_the_paper_s_or_outside() -> None:
    shown = table(
        ("BrainMRI", Compared(90.5, paper=95.5)),  # just within
        ("HeadCT", Compared(89.1, paper=94.2)),  # 5.1 below
        ("Br35H", Compared(99.0, paper=90.0)),  # too good is no better
        ("COVID-19", Compared(float("nan"), paper=67.3)),
        ("Average", Compared(10.0, paper=88.4)),
        ("DDTI", Number(10.0)),
    )
    states = {one.dataset: one.state for one in check_bands([shown])}
    assert states == {
        "BrainMRI": "inside", "HeadCT": "outside", "Br35H": "outside", "COVID-19": "not-judged"
    }  # fmt: skip


def test_bands_say_nothing_of_other_images_or_another_backbone() -> None:
    shown = table(("HeadCT", Compared(20.0, paper=94.2, other_images=True)))
    (one,) = check_bands([shown])
    assert (one.state, one.causes) == ("not-judged", ("images",))
    (one,) = check_bands([table(("HeadCT", Compared(20.0, paper=94.2)))], ["backbone", "limit"])
    assert (one.state, one.causes) == ("not-judged", ("backbone", "limit"))
    assert smoke_objection([one]) is None
    assert BandCheck.from_json(one.to_json()) == one


def test_what_lies_outside_is_named_with_both_numbers() -> None:
    shown = table(("BrainMRI", Compared(95.0, paper=95.5)), ("HeadCT", Compared(60.0, paper=94.2)))
    found = smoke_objection(check_bands([shown]))
    assert found is not None
    assert found.code == "smoke-outside-band"
    assert found.reason.startswith("1 of 2 numbers of the smoke test lie more than 5 points of mAD")
    assert "HeadCLIP on HeadCT: 60.0, the paper's 94.2" in found.reason
    assert "--go-on" in str(found.error())


def test_why_a_run_cannot_be_held_against_the_paper(data: Path, tmp_path: Path) -> None:
    given = (f"MVTecAD:{data / 'MVTecAD'}",)
    assert causes_of(bench(data, tmp_path, train=given, limit=2)) == (
        "backbone", "settings", "training-data", "limit"
    )  # fmt: skip
    paper = Setup(backbone=tiny.build_clip(tiny.CONFIG, name="ViT-L-14-336"), out=tmp_path / "out")
    assert causes_of(Bench.of(ReproduceRequest(data=Request(data)), paper)) == ()


def test_the_smoke_test_takes_the_smallest_sets_of_both_levels(data: Path, tmp_path: Path) -> None:
    plan = smoke_plan(bench(data, tmp_path))
    assert {one.name for one in plan.tested} == {"BrainMRI", "HeadCT", "Kvasir"}
    assert [one.name for one in plan.variants] == ["AnoVL", "HeadCLIP"]
    assert [(variant.name, key) for variant, key in plan.trainings] == [
        ("HeadCLIP", "mvtec-to-all")
    ]


RATES = Rates(
    read=1.0, trunk=10.0, predict=dict.fromkeys(("headclip", "anovl"), 2.0),
    first_epoch={"headclip": 100.0}, later_epoch={"headclip": 7.0}, measure=3.0,
    image_size={"headclip": 16, "anovl": 16}, device_peak_gb=None, unmeasured={},
)  # fmt: skip


def test_work_that_stages_share_is_counted_once(data: Path, tmp_path: Path) -> None:
    here = bench(data, tmp_path)
    sets = {one.name: one.dataset for one in here.plan.tested if one.dataset}
    trained_on = len(sets["MVTecAD"].split("test").samples)
    assert trained_on == 5
    estimate = WorkEstimate(here, RATES)
    lhw = replan(here.plan, EXPERIMENTS["lhw"], sets=("HeadCT",))
    asked = len(sets["HeadCT"].samples)
    found = estimate.of_experiment(lhw)
    assert (found.trainings, found.trained_images) == (2, 2 * 3 * trained_on)
    assert found.asked_images == 2 * asked
    # Two trainings of three epochs; two models that share one pass of the tower over each image.
    trainings, questions = 2 * trained_on * (100 + 2 * 7), asked * (10 + 2 * (2 + 3))
    assert found.seconds == pytest.approx(trainings + questions)
    assert found.disk_gb == pytest.approx(asked * 16 * 16 * (2 * 4 + 5) / 1e9)
    modules = replan(here.plan, EXPERIMENTS["modules"], sets=("HeadCT",))
    assert estimate.of_experiment(modules) == StageWork(seconds=0.0)
    smoke = estimate.of_experiment(smoke_plan(here))
    assert smoke.trainings == 0, "HeadCLIP is lhw's LHW"


def test_a_disk_that_is_too_small_is_told_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = {"main": StageWork(disk_gb=30.0, features_gb=20.0), "lhw": StageWork(disk_gb=10.0)}
    assert run.disk_objection(work, tmp_path, 61.0) is None
    found = run.disk_objection(work, tmp_path, 59.0)
    assert isinstance(found, Objection)
    assert found.code == "disk-too-small"
    assert "take about 60 GB, and the disk of the folder has 59 GB left" in found.reason
    monkeypatch.setattr(run, "taken_bytes", lambda folder: 2e9)
    assert run.disk_objection(work, tmp_path, 59.0) is None


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (89.0, "89 s"), (150.0, "2 min"), (5400.0, "1.5 h")]
)
def test_times_are_written_as_people_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_set_is_checked_again_once_a_file_of_it_changes(data: Path) -> None:
    before = files_digest(data / "HeadCT")
    assert files_digest(data / "HeadCT") == before != files_digest(data / "BrainMRI")
    next((data / "HeadCT").rglob("*.png")).write_bytes(b"another")
    assert files_digest(data / "HeadCT") != before
