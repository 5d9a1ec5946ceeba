"""What each experiment plans to do, worked out by hand; what may not be tested, and why."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from shutil import copytree
from typing import get_args, get_type_hints

import pytest

from headclip_med.cli.experiment import RunExperiment as Command
from headclip_med.datasets import open_dataset
from headclip_med.errors import InvalidSettings
from headclip_med.models.headclip.settings import HeadClipSettings
from headclip_med.paper import paper_values
from headclip_med.pipelines.experiments.definitions import (
    EXPERIMENTS,
    experiment_named,
    scaled_layers,
)
from headclip_med.pipelines.experiments.models import Setup, training_of
from headclip_med.pipelines.experiments.plan import Request, plan_experiment, same_data
from headclip_med.settings import ScoreSettings, TrainSettings
from tests import set_copies, tiny

PROTOCOLS = ("visa-to-mvtec", "mvtec-to-all")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    for copy in (set_copies.MVTEC_AD, set_copies.VISA, set_copies.BRAIN_MRI, set_copies.DDTI):
        copy.write(root / copy.name)
    return root


def setup(tmp_path: Path, **changes: object) -> Setup:
    return Setup(backbone=tiny.backbone(), out=tmp_path / "out", **changes)  # type: ignore[arg-type]


def test_the_command_line_names_every_experiment() -> None:
    assert tuple(EXPERIMENTS) == get_args(get_type_hints(Command)["name"])
    with pytest.raises(InvalidSettings, match=r"There is no experiment 'all'\. Choose one of main"):
        experiment_named("all")


def test_every_table_of_the_paper_belongs_to_one_experiment() -> None:
    mirrored = [
        number for name, one in EXPERIMENTS.items() if name != "readings" for number in one.tables
    ]
    assert sorted(mirrored) == list(range(1, 27))


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("lhw", ["no LHW", "LHW"]),
        ("init", ["Gaussian", "0.0", "0.5", "1.0"]),
        ("modules", ["neither", "LHW", "JAS", "LHW and JAS"]),
        ("main", ["WinCLIP", "AnoVL", "AnomalyCLIP", "AdaCLIP", "HeadCLIP"]),
        ("jas", ["WinCLIP", "AnoVL", "AnomalyCLIP", "AdaCLIP", "HeadCLIP"]),
    ],
)
def test_the_rows_of_an_experiment(name: str, rows: list[str]) -> None:
    assert [variant.name for variant in EXPERIMENTS[name].variants] == rows


def test_seven_layer_settings_stand_with_and_without_head_weights() -> None:
    variants = EXPERIMENTS["layers"].variants
    assert len(variants) == 14
    assert variants[0].model == {"local_layers": (6, 12, 18, 24), "head_weights": "ones"}
    assert variants[13].model == {"local_layers": (6,)}
    assert {variant.image_score for variant in variants} == {"global"}


def test_readings_stand_beside_rows_of_the_tables_that_they_read() -> None:
    readings = EXPERIMENTS["readings"]
    names = {one.name for one in readings.variants}
    for layers in ("5-19", "6-20", "5-24", "6-24"):
        for residual in ("residual", "no residual"):
            assert {f"layers {layers}; {residual}; {px} px" for px in (336, 518)} <= names
    printed = {one.paper for one in readings.variants}
    with_lhw = {one for one in paper_values(table=7)["setting"] if "no LHW" not in one}
    assert printed == with_lhw | {"LHW; without JAS"}


def test_what_rows_are_called_in_the_paper_is_what_its_tables_call_them() -> None:
    for experiment in EXPERIMENTS.values():
        if experiment.name == "readings":  # several rows of it for one of the paper's
            continue
        for number in experiment.tables[:3]:
            settings = set(paper_values(table=number)["setting"])
            printed = {one.paper for one in experiment.variants if one.is_printed}
            assert printed == settings, experiment.name


@pytest.mark.parametrize(
    ("layers", "depth", "expected"),
    [
        ((6, 12, 18, 24), 24, (6, 12, 18, 24)),
        ((6, 12, 18, 24), 12, (3, 6, 9, 12)),
        ((12, 18, 24), 4, (2, 3, 4)),
        ((24,), 6, (6,)),
        ((6,), 2, (1,)),  # half a layer is the first
    ],
)
def test_layers_keep_their_place_in_a_tower_of_another_depth(
    layers: tuple[int, ...], depth: int, expected: tuple[int, ...]
) -> None:
    assert scaled_layers(layers, depth) == expected


def test_the_published_protocols_decide_what_is_trained_for_which_set(data: Path) -> None:
    plan = plan_experiment(EXPERIMENTS["lhw"], Request(data))
    trained_for = {one.name: one.auxiliary for one in plan.tested if one.dataset}
    assert trained_for == {
        "MVTecAD": PROTOCOLS[0],
        "VisA": PROTOCOLS[1],
        "BrainMRI": PROTOCOLS[1],
        "DDTI": PROTOCOLS[1],
    }
    assert {key: sets[0].name for key, sets in plan.auxiliaries.items()} == {
        "visa-to-mvtec": "VisA",
        "mvtec-to-all": "MVTecAD",
    }
    assert [(variant.name, key) for variant, key in plan.trainings] == [
        ("no LHW", PROTOCOLS[0]),
        ("LHW", PROTOCOLS[0]),
        ("no LHW", PROTOCOLS[1]),
        ("LHW", PROTOCOLS[1]),
    ]


def test_absent_sets_are_marked_and_no_error(data: Path) -> None:
    plan = plan_experiment(EXPERIMENTS["lhw"], Request(data))
    absent = [one.name for one in plan.tested if one.reason == "absent"]
    assert len(plan.tested) == 18  # the paper's, and DDTI
    assert len(absent) == 14
    assert "HeadCT" in absent
    assert plan.tested[-1].name == "DDTI"


def test_nothing_to_test_at_all_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="Nothing can be tested") as caught:
        plan_experiment(EXPERIMENTS["lhw"], Request(tmp_path))
    assert caught.value.code == "nothing-to-test"
    with pytest.raises(InvalidSettings, match="Say where the data are"):
        plan_experiment(EXPERIMENTS["lhw"], Request())


def test_a_set_without_its_auxiliary_set_is_marked(data: Path) -> None:
    for path in sorted((data / "VisA").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (data / "VisA").rmdir()
    plan = plan_experiment(EXPERIMENTS["main"], Request(data))
    mvtec = next(one for one in plan.tested if one.name == "MVTecAD")
    assert mvtec.refusal("headclip") == "not trained: VisA is absent"
    assert mvtec.refusal("winclip") == ""


def test_named_sets_are_trained_on_for_every_test_and_never_tested(data: Path) -> None:
    request = Request(data, train=(f"MVTecAD:{data / 'MVTecAD'}",))
    plan = plan_experiment(EXPERIMENTS["lhw"], request)
    refused = {one.name: one.untrained for one in plan.tested if one.untrained}
    assert refused == {"MVTecAD": "trained on MVTecAD"}
    assert set(plan.auxiliaries) == {"given"}
    assert len(plan.trainings) == 2


def test_asking_for_nothing_but_the_set_trained_on_is_refused(data: Path) -> None:
    request = Request(data, datasets=("BrainMRI",), train=(f"BrainMRI:{data / 'BrainMRI'}",))
    with pytest.raises(InvalidSettings, match="BrainMRI: trained on BrainMRI"):
        plan_experiment(EXPERIMENTS["lhw"], request)


def test_the_same_data_are_known_under_other_names(data: Path, tmp_path: Path) -> None:
    whole = open_dataset(f"MVTecAD:{data / 'MVTecAD'}")
    category = open_dataset(f"mvtec:{data / 'MVTecAD/bottle'}")
    assert "shares images" in same_data(category, whole)
    copytree(data / "MVTecAD", tmp_path / "elsewhere")
    other = open_dataset(f"mvtec:{tmp_path / 'elsewhere/bottle'}")
    assert "whose categories it has" in same_data(other, whole)
    copied = replace(open_dataset(f"mvtec:{tmp_path / 'elsewhere'}"), name="renamed")
    assert "copy of it" in same_data(copied, whole)
    assert same_data(whole, open_dataset(f"BrainMRI:{data / 'BrainMRI'}")) == ""


def test_sets_outside_the_data_root_are_named_with_their_folder(data: Path) -> None:
    request = Request(
        datasets=(f"BrainMRI:{data / 'BrainMRI'}", f"DDTI:{data / 'DDTI'}"),
        train=(f"mvtec:{data / 'MVTecAD'}",),
    )
    plan = plan_experiment(EXPERIMENTS["jas"], request)
    assert [one.name for one in plan.tested] == ["BrainMRI", "DDTI"]


def test_a_broken_set_is_marked_and_the_others_go_on(data: Path) -> None:
    next((data / "DDTI/masks").iterdir()).unlink()
    plan = plan_experiment(EXPERIMENTS["lhw"], Request(data))
    (broken,) = (one for one in plan.tested if one.failed)
    assert broken.name == "DDTI"
    assert broken.reason.startswith("unusable: ")


def test_one_of_two_sets_of_one_name_must_be_chosen(data: Path, tmp_path: Path) -> None:
    copytree(data / "BrainMRI", tmp_path / "other/BrainMRI")
    request = Request(data, datasets=("BrainMRI", f"BrainMRI:{tmp_path / 'other/BrainMRI'}"))
    with pytest.raises(InvalidSettings, match="Two sets are called BrainMRI"):
        plan_experiment(EXPERIMENTS["lhw"], request)


def test_only_methods_that_are_compared_can_be_chosen(data: Path) -> None:
    plan = plan_experiment(EXPERIMENTS["main"], Request(data, methods=("winclip",)))
    assert [variant.name for variant in plan.variants] == ["WinCLIP"]
    assert plan.trainings == ()
    with pytest.raises(InvalidSettings, match="The experiment lhw has no method 'winclip'"):
        plan_experiment(EXPERIMENTS["lhw"], Request(data, methods=("winclip",)))


def test_settings_outside_their_range_are_refused_before_anything_is_trained(
    data: Path, tmp_path: Path
) -> None:
    with pytest.raises(InvalidSettings, match="limit must be at least 1"):
        plan_experiment(EXPERIMENTS["lhw"], Request(data, limit=0))
    for changes in (
        {"scores": {"top_percent": 0.0}},
        {"training": {"epochs": 0}},
        {"model": {"deep_tokens": 0}},
        {"batch_size": 0},
    ):
        with pytest.raises(InvalidSettings):
            setup(tmp_path, **changes)


def test_experiments_share_trainings_that_are_the_same(data: Path, tmp_path: Path) -> None:
    sets = [open_dataset(f"MVTecAD:{data / 'MVTecAD'}")]
    bench = setup(tmp_path)

    def digest(name: str, row: str, **changes: object) -> str:
        (variant,) = (one for one in EXPERIMENTS[name].variants if one.name == row)
        return training_of(variant, sets, replace(bench, **changes)).digest  # type: ignore[arg-type]

    learned = digest("lhw", "LHW")
    same = [("main", "HeadCLIP"), ("init", "1.0"), ("modules", "LHW"), ("modules", "LHW and JAS")]
    assert {digest(*one) for one in same} == {learned}
    assert digest("modules", "neither") == digest("lhw", "no LHW") != learned
    assert digest("init", "0.5") != learned
    assert digest("lhw", "LHW", scores={"top_percent": 9.0}) == learned
    assert digest("lhw", "LHW", training={"epochs": 2}) != learned
    assert digest("lhw", "LHW", backbone=tiny.backbone(seed=1)) != learned
    sets = [open_dataset(f"BrainMRI:{data / 'BrainMRI'}")]
    assert digest("lhw", "LHW") != learned


def test_settings_are_those_of_the_variant_and_then_the_user_s(tmp_path: Path) -> None:
    bench = setup(
        tmp_path, model={"context_tokens": 5, "image_size": 32}, training={"epochs": 2},
        scores={"top_percent": 1.0},
    )  # fmt: skip
    layers = EXPERIMENTS["layers"].variants[0]
    assert bench.model_settings(layers) == HeadClipSettings(
        local_layers=(1, 2, 3, 4), head_weights="ones", context_tokens=5, image_size=32
    )
    adaclip = EXPERIMENTS["main"].variants[3]
    assert bench.model_settings(adaclip).image_size == 32
    assert bench.train_settings("adaclip").epochs == 2
    assert bench.train_settings("adaclip").batch_size == 1
    assert bench.train_settings("headclip") == TrainSettings(epochs=2)
    assert bench.model_settings(EXPERIMENTS["main"].variants[0]).image_size == 32
    assert bench.score_settings(layers, ScoreSettings()) == ScoreSettings(
        image_score="global", top_percent=1.0
    )


@pytest.mark.parametrize(
    ("name", "changes", "option"),
    [
        ("layers", {"model": {"local_layers": (1,)}}, "local_layers"),
        ("init", {"model": {"head_weight_start": "0.5"}}, "head_weight_start"),
        ("lhw", {"scores": {"image_score": "joint"}}, "image_score"),
        ("jas", {"scores": {"joint_weight": 0.3}}, "joint_weight"),
    ],
)
def test_what_an_experiment_varies_is_not_the_user_s_to_set(
    name: str, changes: dict[str, object], option: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidSettings, match=f"The experiment {name} varies {option} itself"):
        setup(tmp_path, **changes).refuse_varied(EXPERIMENTS[name])
    setup(tmp_path, **changes).refuse_varied(EXPERIMENTS["main"])
