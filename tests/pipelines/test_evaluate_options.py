"""``headclip evaluate``: both protocols, the paper's numbers, categories, curves and the store."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import open_clip
import pytest
from PIL import Image

from headclip_med.cli.main import main
from headclip_med.datasets import KNOWN_SETS
from headclip_med.evaluation.results import Estimate, Evaluation, ResultRow, to_csv
from headclip_med.metrics import ranking
from headclip_med.paper import paper_values
from headclip_med.pipelines.experiments.paper_comparison import paper_comparison
from headclip_med.pipelines.experiments.results import OTHER_IMAGES
from tests import tiny

SIDE = 16
METRICS = ("AUROC", "AUPRO", "AP", "F1-max", "IoU-max", "mAD")


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let open_clip's registry hold the tiny model, and intervals rest on few draws."""
    look_up = open_clip.get_model_config
    monkeypatch.setattr(
        open_clip, "get_model_config", lambda n: tiny.CONFIG if n == "tiny" else look_up(n)
    )
    monkeypatch.setattr(ranking, "IMAGE_REPEATS", 10)
    monkeypatch.setattr(ranking, "PIXEL_REPEATS", 4)


def mvtec(root: Path, *categories: str) -> Path:
    """Two good pictures and two with a marked bright square, for each category."""
    random = np.random.default_rng(2)
    for category in categories:
        for kind in ("good", "spot"):
            for number in range(2):
                pixels = random.integers(0, 120, (SIDE, SIDE), dtype=np.uint8)
                if kind == "spot":
                    pixels[4:9, 3:9] = 200
                path = root / category / "test" / kind / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)
        for number in range(2):
            marked = np.zeros((SIDE, SIDE), dtype=np.uint8)
            marked[4:9, 3:9] = 255
            path = root / category / "ground_truth/spot" / f"{number}_mask.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(marked).save(path)
    return root


def evaluate(*arguments: str | Path) -> int:
    base = ["--model", "tiny", "--method", "winclip", "--set", "scales=2", "--weights", "random"]
    return main(["evaluate", *map(str, arguments), *base, "--device", "cpu", "--no-tracking"])


def unpadded(text: str) -> str:
    """Tables without the spaces that align them."""
    return " ".join(re.split(" +", text))


def test_both_protocols_are_named_beside_their_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = f"mvtec:{mvtec(tmp_path / 'set', 'screw', 'nut')}"
    assert evaluate(place, "--metrics", "both", "--no-intervals", "--per-category") == 0
    table = unpadded(capsys.readouterr().out)
    for protocol in ("exact", "paper"):
        assert f"| pixels | model | map | {protocol} |" in table
        assert f"Protocol {protocol}:" in table
    assert "[" not in table, "no intervals"
    headings = [line for line in table.splitlines() if line.startswith("### ")]
    assert [line.rpartition(": ")[2] for line in headings] == ["nut", "screw"]
    assert evaluate(place, "--metrics", "paper") == 0
    table = unpadded(capsys.readouterr().out)
    assert "| exact |" not in table
    assert "### " not in table


def test_the_store_answers_the_second_time_and_curves_are_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = f"mvtec:{mvtec(tmp_path / 'set', 'screw')}"
    options = (place, "--store", tmp_path / "store", "--json")
    assert evaluate(*options) == 0
    first = json.loads(capsys.readouterr().out)
    monkeypatch.setattr("headclip_med.evaluation.predictions.predict_together", None)
    out = tmp_path / "new" / "table.csv"
    assert evaluate(*options, "--set", f"curves={tmp_path / 'curves'}", "--out", out) == 0
    assert json.loads(capsys.readouterr().out) == first
    assert len(list((tmp_path / "curves").glob("*.screw.*.png"))) == 2
    rows = list(csv.DictReader(io.StringIO(out.read_text())))
    aupro = [row for row in rows if (row["judge"], row["metric"]) == ("model", "AUPRO")]
    value = first[0]["rows"][0]["metrics"]["AUPRO"]
    assert [float(one["value"]) for one in aupro] == [value["value"]]
    assert aupro[0]["low"] == repr(value["low"])


def test_a_file_of_another_kind_is_refused_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(f"mvtec:{tmp_path}", "--out", tmp_path / "table.xlsx") == 2
    assert "--out names a file that ends in .md, .csv, .json" in capsys.readouterr().err


def test_the_paper_stands_in_a_table_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(4):
        path = tmp_path / ("yes" if number % 2 else "no") / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((SIDE, SIDE), 40 * number, np.uint8)).save(path)
    arguments = [
        "evaluate", f"BrainMRI:{tmp_path}", "--model", "tiny", "--method", "anovl", "--weights",
        "random", "--set", "views=no", "--device", "cpu", "--no-tracking", "--paper",
    ]  # fmt: skip
    assert main(arguments) == 0
    text = unpadded(capsys.readouterr().out)
    assert "## Beside the paper: images" in text
    assert "| BrainMRI | AnoVL |" in text
    assert OTHER_IMAGES in text
    assert main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    (table,) = found["paper_comparison"]
    mad = paper_values(dataset="BrainMRI", method="AnoVL", level="image", metric="mAD")
    (printed,) = mad["value"][:1]
    assert table["rows"][0]["numbers"][-1]["paper"] == printed
    assert found["evaluations"][0]["dataset"] == "BrainMRI"
    out = tmp_path / "table.csv"
    assert main([*arguments, "--out", str(out)]) == 0
    assert "AnoVL" not in out.read_text(), "the model's own numbers"
    beside = list(csv.DictReader(io.StringIO(out.with_suffix(".paper.csv").read_text())))
    own = next(row for row in beside if row["column"] == "mAD")
    assert own["row"] == "BrainMRI / AnoVL"
    assert float(own["paper"]) == printed
    assert float(own["difference"]) == pytest.approx(float(own["ours"]) - printed)


# --- what is put beside the paper ------------------------------------------------------------


def evaluated(
    dataset: str, method: str, *, value: float = 0.5, counts: tuple[int, int] | None = None
) -> Evaluation:
    """All metrics are ``value``: 0.1 more by exact for pixels, 0.3 more for the global score."""
    normal, abnormal = counts or KNOWN_SETS[dataset].test or (0, 0)

    def row(level: str, score: str, protocol: str, shift: float) -> ResultRow:
        metrics = {name: Estimate(value + shift) for name in METRICS}
        if level == "images":
            metrics = {n: metrics[n] for n in METRICS if n not in ("AUPRO", "IoU-max")}
        return ResultRow(level, "model", score, metrics, protocol)  # type: ignore[arg-type]

    has_pixels = KNOWN_SETS[dataset].level == "pixel"
    pixels = (("exact", 0.1), ("paper", 0.0)) if has_pixels else ()
    rows = [row("pixels", "map", protocol, shift) for protocol, shift in pixels]
    for kind, shift in (("global", 0.3), ("joint", 0.0)):
        rows += [row("images", kind, protocol, shift) for protocol in ("exact", "paper")]
    model = {"method": method, "backbone": {"name": "ViT-L-14-336"}}
    return Evaluation(
        dataset, {"normal": normal, "abnormal": abnormal}, 112, None, model,
        {"scores": {"image_score": "joint"}}, tuple(rows),
    )  # fmt: skip


def printed(dataset: str, method: str, level: str, metric: str) -> float:
    values = paper_values(dataset=dataset, method=method, level=level, metric=metric, category="")  # type: ignore[arg-type]
    return float(values.loc[values["table"].isin((1, 2, 3)), "value"].iloc[0])


def test_ours_by_the_paper_s_protocol_stands_beside_its_number() -> None:
    images, pixels = paper_comparison([evaluated("MVTecAD", "headclip")])
    assert (images.key, pixels.key) == ("paper-images", "paper-pixels")
    (line,) = pixels.lines
    assert line.heads == ("MVTecAD", "HeadCLIP")
    aupro = line.numbers[pixels.columns.index("AUPRO")]
    assert aupro is not None
    paper = printed("MVTecAD", "HeadCLIP", "pixel", "AUPRO")
    assert (aupro.ours, aupro.exact, aupro.paper) == (50.0, pytest.approx(60.0), paper)
    assert aupro.difference == pytest.approx(50.0 - paper)
    assert not aupro.differs
    (line,) = images.lines
    assert line.numbers[0] is not None
    assert (line.numbers[0].ours, line.numbers[0].exact) == (50.0, None), "the joint score"


def test_averages_are_over_sets_and_beside_the_paper_s_over_the_same_sets() -> None:
    two = [evaluated("HeadCT", "anovl", value=0.4), evaluated("Br35H", "anovl", value=0.8)]
    (images,) = paper_comparison([*two, evaluated("BrainMRI", "winclip")])
    assert [line.heads for line in images.lines] == [
        ("HeadCT", "AnoVL"),
        ("Br35H", "AnoVL"),
        ("mean of 2 of the paper's 4 medical sets", "AnoVL"),
    ], "the paper has no WinCLIP"
    number = images.lines[-1].numbers[0]
    assert number is not None
    assert number.paper is not None
    assert number.ours == pytest.approx(60.0)
    both = [printed(name, "AnoVL", "image", "AUROC") for name in ("HeadCT", "Br35H")]
    assert number.paper == pytest.approx(sum(both) / 2)


def test_other_images_are_marked() -> None:
    (images,) = paper_comparison([evaluated("HeadCT", "adaclip", counts=(10, 10))])
    assert {number.differs for number in images.lines[0].numbers if number} == {OTHER_IMAGES}


def test_another_backbone_than_the_paper_s_is_said() -> None:
    own = evaluated("HeadCT", "headclip")
    (images,) = paper_comparison([own])
    assert not any("backbone" in note for note in images.notes)
    small = replace(own, model={"method": "headclip", "backbone": {"name": "headclip-mini"}})
    (images,) = paper_comparison([own, small])
    assert any("Ours are on headclip-mini, the paper's on ViT-L-14-336" in n for n in images.notes)


def test_what_the_paper_does_not_have_is_no_table() -> None:
    assert paper_comparison([replace(evaluated("HeadCT", "headclip"), dataset="mine")]) == ()
    models: Mapping[str, object] = {"headclip": {"method": "headclip"}}
    assert paper_comparison([replace(evaluated("HeadCT", "headclip"), model=models)]) == ()


def test_methods_side_by_side_are_found_by_their_titles() -> None:
    one = evaluated("HeadCT", "headclip")
    rows = [replace(row, method="AdaCLIP") for row in one.rows if row.score == "global"]
    models: Mapping[str, object] = {"headclip": {}, "adaclip": {}}
    (images,) = paper_comparison([replace(one, model=models, rows=tuple(rows))])
    (line,) = images.lines
    assert line.heads == ("HeadCT", "AdaCLIP")
    assert line.numbers[0] is not None
    assert line.numbers[0].ours == pytest.approx(80.0)


def test_csv_has_every_metric_of_every_category() -> None:
    row = ResultRow(
        "pixels", "model", "map", {"AP": Estimate(math.nan), "AUROC": Estimate(0.75, 0.5, 1.0)}
    )
    found = Evaluation("=s", {}, 8, None, {}, {}, (row,), categories={"screw": (row,)})
    lines = to_csv([found]).splitlines()
    assert lines[0] == "dataset,category,level,judge,score,protocol,metric,value,low,high"
    assert lines[1] == "'=s,,pixels,model,map,exact,AP,,,"
    assert lines[4] == "'=s,screw,pixels,model,map,exact,AUROC,0.75,0.5,1.0"
    assert len(lines) == 5


@pytest.mark.parametrize(
    "option", [["--metrics", "both"], ["--store", "kept"], ["--set", "curves=c"]]
)
def test_phantoms_are_refused_with_what_they_cannot_have(
    option: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "--acceptance", "--no-tracking", *option]) == 2
    assert "--acceptance" in capsys.readouterr().err


def test_nothing_that_could_be_evaluated_is_an_error_without_a_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "table.md"
    missing = f"mvtec:{tmp_path / 'none'}"
    assert main(["evaluate", missing, "--no-tracking", "--out", str(out)]) == 1
    assert "None of the sets" in capsys.readouterr().err
    assert not out.exists()
