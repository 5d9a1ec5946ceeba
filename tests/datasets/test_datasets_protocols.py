"""The published protocols by name, and several sets as one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import pytest

from headclip_med.cli.main import main
from headclip_med.datasets import (
    KNOWN_SETS,
    PROTOCOLS,
    Protocol,
    find_sets,
    join_datasets,
    open_dataset,
    protocol_sets,
)
from headclip_med.errors import InvalidSettings
from tests.set_copies import (
    BRAIN_MRI,
    BTAD,
    COLON_DB,
    KVASIR,
    MPDD,
    MVTEC_AD,
    SEVENTEEN,
    VISA,
    Copy,
)


def written(copy: Copy, root: Path, folder: str) -> str:
    return f"{copy.name}:{copy.write(root / folder)}"


def test_the_protocols_are_those_of_the_paper() -> None:
    assert PROTOCOLS["visa-to-mvtec"].train == ("VisA",)
    assert PROTOCOLS["visa-to-mvtec"].test == ("MVTecAD",)
    rest = PROTOCOLS["mvtec-to-all"]
    assert rest.train == ("MVTecAD",)
    assert {*rest.train, *rest.test} == {copy.name for copy in SEVENTEEN}
    assert len(rest.test) == 16


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_no_protocol_tests_what_it_trained_on(protocol: Protocol) -> None:
    assert not set(protocol.train) & set(protocol.test)
    assert {*protocol.train, *protocol.test} <= set(KNOWN_SETS)


def test_a_protocol_is_resolved_and_what_is_absent_is_told(tmp_path: Path) -> None:
    mvtec = written(MVTEC_AD, tmp_path, "mvtec_anomaly_detection")
    btad = written(BTAD, tmp_path, "industrial/BTech_Dataset_transformed")
    kvasir = written(KVASIR, tmp_path, "medical/Kvasir-SEG")
    assert protocol_sets("mvtec-to-all", tmp_path, "train") == ([mvtec], [])
    found, absent = protocol_sets("mvtec-to-all", tmp_path, "test")
    assert found == [btad, kvasir]
    assert len(absent) == 14
    assert "VisA" in absent
    assert [open_dataset(spec).name for spec in found] == ["BTAD", "Kvasir"]


@pytest.mark.parametrize(("part", "wanted"), [("train", "VisA"), ("test", "MVTecAD")])
def test_a_protocol_without_any_set_names_what_it_needs(
    tmp_path: Path, part: Literal["train", "test"], wanted: str
) -> None:
    with pytest.raises(InvalidSettings, match=f"It needs {wanted}"):
        protocol_sets("visa-to-mvtec", tmp_path, part)


def test_an_unknown_protocol_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="visa-to-mvtec, mvtec-to-all"):
        protocol_sets("all-to-all", tmp_path, "test")


def test_of_two_copies_the_first_by_path_is_taken(tmp_path: Path) -> None:
    for folder in ("b/BrainMRI", "a/BrainMRI"):
        written(BRAIN_MRI, tmp_path, folder)
    assert find_sets(tmp_path) == {"BrainMRI": tmp_path / "a/BrainMRI"}


def test_several_sets_become_one_whose_categories_stay_apart(tmp_path: Path) -> None:
    specs = [written(VISA, tmp_path, "VisA"), written(MPDD, tmp_path, "MPDD")]
    visa, mpdd = (open_dataset(spec) for spec in specs)
    both = join_datasets([visa, mpdd])
    assert both.name == "VisA+MPDD"
    assert both.level == "pixel"
    assert both.categories == (
        "VisA/candle", "VisA/pipe_fryum", "MPDD/bracket_black", "MPDD/tubes",
    )  # fmt: skip
    assert [s.image_path for s in both.samples] == [
        s.image_path for one in (visa, mpdd) for s in one.samples
    ]
    assert len(both.split("test").samples) == len(visa.split("test").samples) + len(
        mpdd.split("test").samples
    )


def test_a_single_set_stays_as_it_is(tmp_path: Path) -> None:
    one = open_dataset(written(KVASIR, tmp_path, "Kvasir"))
    assert join_datasets([one]) is one


def test_what_does_not_go_together_is_refused(tmp_path: Path) -> None:
    masks = open_dataset(written(COLON_DB, tmp_path, "ColonDB"))
    labels = open_dataset(written(BRAIN_MRI, tmp_path, "BrainMRI"))
    with pytest.raises(InvalidSettings, match=r"sets without \(BrainMRI\)"):
        join_datasets([masks, labels])
    with pytest.raises(InvalidSettings, match="each of them once"):
        join_datasets([masks, masks])
    with pytest.raises(InvalidSettings, match="at least one"):
        join_datasets([])


def test_a_protocol_is_evaluated_on_the_sets_that_are_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written(MVTEC_AD, tmp_path, "MVTecAD")
    written(BRAIN_MRI, tmp_path, "BrainMRI")
    command = ["evaluate", "--protocol", "mvtec-to-all", "--data-root", str(tmp_path)]
    assert main([*command, "--device", "cpu", "--json", "--no-tracking"]) == 0
    printed = capsys.readouterr()
    assert [one["dataset"] for one in json.loads(printed.out)] == ["BrainMRI"]
    assert "absent, and left out: VisA, MPDD" in printed.err
