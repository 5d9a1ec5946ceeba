"""Means and standard deviations over seeds."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from headclip_med.errors import InvalidSettings
from headclip_med.evaluation.request import EvaluationRequest
from headclip_med.evaluation.results import Estimate, Evaluation, ResultRow, to_csv
from headclip_med.evaluation.seeds import over_seeds, requests_of_seeds, sets_over_seeds
from headclip_med.evaluation.spread import mean_and_deviation
from headclip_med.models.request import ModelRequest
from headclip_med.pipelines.experiments.seeds import over_seeds as tables_over_seeds
from headclip_med.write.plain_text import aligned
from headclip_med.write.tables import Line, Number, Table, table_to_json, table_to_markdown
from headclip_med.write.tables import to_csv as tables_to_csv


def test_the_deviation_has_n_minus_1_below() -> None:
    assert mean_and_deviation([1.0, 3.0]) == (2.0, pytest.approx(math.sqrt(2)))
    assert mean_and_deviation([2.0]) == (2.0, None)
    assert mean_and_deviation([2.0, 2.0]) == (2.0, None)
    value, deviation = mean_and_deviation([1.0, math.nan])
    assert math.isnan(value)
    assert deviation is None


def table(value: float, *, reason: str = "") -> Table:
    numbers = () if reason else (Number(value, value + 10, 50.0), None)
    return Table("t1", "T", ("set",), ("AUROC", "AP"), (Line(("a",), numbers, reason),))


def test_tables_of_seeds_become_one() -> None:
    (found,) = tables_over_seeds([[table(60.0)], [table(64.0)], [table(62.0)]])
    assert "62.0 ± 2.0 | 72.0 ± 2.0 | 50.0 | +12.0" in table_to_markdown(found)
    header, row = tables_to_csv([found]).splitlines()
    assert header.endswith("difference,deviation,exact_deviation,reason,differs")
    assert row == "t1,a,AUROC,62.0,72.0,50.0,12.0,2.0,2.0,,"
    assert '"deviation": 2.0' in str(table_to_json(found)).replace("'", '"')


def test_one_seed_shows_no_deviation() -> None:
    (found,) = tables_over_seeds([[table(60.0)]])
    assert "±" not in table_to_markdown(found)
    assert "deviation" not in tables_to_csv([found])


def test_a_row_that_one_seed_could_not_fill_says_why() -> None:
    (found,) = tables_over_seeds([[table(60.0)], [table(0.0, reason="failed: no")]])
    assert found.lines[0].reason == "failed: no"


def evaluation(value: float) -> Evaluation:
    rows = (
        ResultRow("images", "model", "joint", {"AUROC": Estimate(value, 0.1, 0.9)}),
        ResultRow("images", "centre", "local", {"AUROC": Estimate(0.5)}, is_baseline=True),
    )
    return Evaluation("a", {"normal": 1, "abnormal": 1}, 16, None, {}, {}, rows)


def test_evaluations_of_seeds_become_one() -> None:
    found = over_seeds([evaluation(0.6), evaluation(0.7)])
    assert "| 65.0 ± 7.1 |" in found.to_markdown()
    assert "| 50.0 |" in found.to_markdown()  # what learned nothing does not move
    assert to_csv([found]).splitlines()[0].endswith("high,deviation")
    assert "deviation" not in to_csv([evaluation(0.6)])


def test_a_set_that_one_seed_could_not_use_is_in_no_mean() -> None:
    other = replace(evaluation(0.9), dataset="b")
    (found,) = sets_over_seeds([[evaluation(0.6), other], [evaluation(0.7)]])
    assert found.dataset == "a"
    assert "| 65.0 ± 7.1 |" in found.to_markdown()
    assert sets_over_seeds([[other], [evaluation(0.7)]]) == []


def request(**changes: object) -> EvaluationRequest:
    model = ModelRequest(**changes)  # type: ignore[arg-type]
    return EvaluationRequest(data=("folder:x",), model=model, seeds=2)


def test_seeds_that_change_nothing_are_refused() -> None:
    with pytest.raises(InvalidSettings, match="every seed would give the same"):
        requests_of_seeds(request())
    with pytest.raises(InvalidSettings, match="every seed would give the same"):
        requests_of_seeds(request(method="anovl"))


def test_the_folder_of_a_training_gives_its_checkpoints(tmp_path: Path) -> None:
    for seed in (111, 9):
        (tmp_path / f"seed-{seed}").mkdir()
        (tmp_path / f"seed-{seed}" / "headclip.safetensors").touch()
    found = requests_of_seeds(request(name=str(tmp_path)))
    assert [Path(one.model.name).parent.name for one in found] == ["seed-9", "seed-111"]
    assert not any(one.intervals for one in found)
    with pytest.raises(InvalidSettings, match="2 seeds, fewer than --seeds 3"):
        requests_of_seeds(request(name=str(tmp_path)).changed(seeds=3))


def test_random_weights_are_drawn_with_each_seed() -> None:
    found = requests_of_seeds(request(weights="random", seed=4))
    assert [one.model.seed for one in found] == [4, 5]


def test_tables_are_aligned_for_a_terminal() -> None:
    text = "a | b\n| x | long title |\n|---|--:|\n| 1 | - |\nend"
    assert aligned(text).splitlines() == [
        "a | b", "| x   | long title |", "| --- | ---------: |", "| 1   | -          |", "end",
    ]  # fmt: skip
