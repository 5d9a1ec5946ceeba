"""Tables of experiments: averages formed by hand, the paper's column, and the difference's sign."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import replace

import numpy as np
import pytest

from headclip_med.datasets import KNOWN_SETS
from headclip_med.datasets.discover import INDUSTRIAL, MEDICAL
from headclip_med.errors import InvalidSettings
from headclip_med.paper import METRICS, Level, paper_values
from headclip_med.pipelines.experiments.definitions import EXPERIMENTS
from headclip_med.pipelines.experiments.plan import EvaluationSet, ExperimentPlan
from headclip_med.pipelines.experiments.results import (
    OTHER_IMAGES,
    ResultKey,
    Results,
    SetResult,
    Value,
)
from headclip_med.pipelines.experiments.tables import (
    OTHER_IMAGES_NOTE,
    OTHER_SETS,
    averaged_sets,
    form_of,
    printed,
    tables_of,
)
from headclip_med.write.pictures.curves import head_weights_figure, joint_weight_figure, to_png
from headclip_med.write.tables import (
    Document,
    Drawing,
    Line,
    Number,
    Table,
    render_tables,
    table_from_json,
    table_to_json,
    to_csv,
    to_json,
    to_markdown,
)


def a_set(name: str, domain: str = "industrial", **changes: object) -> EvaluationSet:
    return EvaluationSet(name, domain, **changes)  # type: ignore[arg-type]


def reached(value: float, *levels: Level, categories: tuple[str, ...] = ()) -> SetResult:
    """The value everywhere by the paper's protocol, a hundredth more by the exact one."""
    values = (
        Value(category, level, metric, value, value + 0.01 if level == "pixel" else value)
        for category in ("", *categories)
        for level in levels
        for metric in METRICS[level]
    )
    return SetResult(3, 4, 112, tuple(values))


def as_published(name: str, found: SetResult) -> SetResult:
    """With as many images as the paper's."""
    normal, abnormal = KNOWN_SETS[name].test or (0, 0)
    return replace(found, normal=normal, abnormal=abnormal)


def results(
    name: str, sets: tuple[EvaluationSet, ...], found: dict[tuple[str, str], SetResult]
) -> Results:
    experiment = EXPERIMENTS[name]
    named = {ResultKey(*key): result for key, result in found.items()}
    return Results(ExperimentPlan(experiment, experiment.variants, sets, {}, None), named)


def table(found: Results, key: str) -> Table:
    return next(one for one in tables_of(found) if one.key == key)


def cell(of: Table, *heads: str, column: str) -> Number:
    (line,) = (line for line in of.lines if line.heads == heads)
    number = line.numbers[of.columns.index(column)]
    assert number is not None
    return number


def test_a_set_stands_beside_the_paper_s_number_of_the_same_row() -> None:
    found = results(
        "lhw",
        (a_set("MVTecAD"),),
        {
            ("LHW", "MVTecAD"): reached(0.5, "image", "pixel"),
            ("no LHW", "MVTecAD"): reached(0.6, "image", "pixel"),
        },
    )
    pixel = cell(table(found, "table4-pixel"), "MVTecAD", "LHW", column="mAD")
    assert (pixel.ours, pixel.exact, pixel.paper) == (50, pytest.approx(51), 56.3)
    assert pixel.difference == pytest.approx(-6.3)
    other = cell(table(found, "table4-pixel"), "MVTecAD", "no LHW", column="mAD")
    assert (other.ours, other.paper) == (60, 52.8)
    assert other.difference == pytest.approx(7.2)
    image = cell(table(found, "table4-image"), "MVTecAD", "LHW", column="AUROC")
    assert (image.exact, image.paper) == (None, 90.5)


@pytest.mark.parametrize("number", range(1, 7))
def test_the_paper_s_column_is_the_paper_s_table(number: int) -> None:
    name = "main" if number < 4 else "lhw"
    form = form_of(number)
    sets = tuple(a_set(one, form.domain) for one in form.datasets)
    everything = {
        (variant.name, one.name): reached(0.5, *form.metrics)
        for variant in EXPERIMENTS[name].variants
        for one in sets
    }
    found = results(name, sets, everything)
    shown = [
        cell.paper
        for level in form.metrics
        for line in table(found, f"table{number}-{level}").lines
        for cell in line.numbers
        if cell and cell.paper is not None
    ]
    assert sorted(shown) == sorted(paper_values(table=number)["value"])


def test_averages_over_all_sets_are_beside_the_printed_average() -> None:
    sets = tuple(a_set(name) for name in INDUSTRIAL)
    values = {
        ("LHW", name): reached(number / 10, "pixel")
        for number, name in enumerate(INDUSTRIAL, start=1)
    }
    found = results("lhw", sets, values)
    average = cell(table(found, "table4-pixel"), "Average", "LHW", column="mAD")
    assert average.ours == pytest.approx((10 + 20 + 30 + 40 + 50 + 60 + 70) / 7)
    assert average.exact == pytest.approx(41)
    assert average.paper == 60.5


def test_averages_over_some_sets_are_beside_the_paper_s_over_the_same() -> None:
    sets = (a_set("MVTecAD"), a_set("VisA", reason="absent"), a_set("MPDD"))
    values = {("LHW", "MVTecAD"): reached(0.5, "pixel"), ("LHW", "MPDD"): reached(0.7, "pixel")}
    of = table(results("lhw", sets, values), "table4-pixel")
    average = cell(of, "Average of 2", "LHW", column="mAD")
    assert average.ours == pytest.approx(60)
    assert average.paper == pytest.approx((56.3 + 51.6) / 2)
    assert any("Averages are over MVTecAD, MPDD" in note for note in of.notes)


def test_absent_and_refused_sets_are_marked_with_the_reason() -> None:
    sets = (a_set("MVTecAD", untrained="trained on MVTecAD"), a_set("VisA", reason="absent"))
    values = {("WinCLIP", "MVTecAD"): reached(0.5, "pixel")}
    of = table(results("main", sets, values), "table1-pixel")
    marked = {line.heads: line.reason for line in of.lines if line.reason}
    assert marked["VisA", ""] == "absent"
    assert marked["MVTecAD", "HeadCLIP"] == "trained on MVTecAD"
    assert ("MVTecAD", "WinCLIP") not in marked
    assert cell(of, "MVTecAD", "WinCLIP", column="mAD").paper is None


def test_sets_that_the_paper_has_not_stand_below_its_average() -> None:
    sets = (a_set("Kvasir", "medical"), a_set("DDTI", "medical"))
    values = {("LHW", "Kvasir"): reached(0.5, "pixel"), ("LHW", "DDTI"): reached(0.9, "pixel")}
    of = table(results("lhw", sets, values), "table5-pixel")
    heads = [line.heads for line in of.lines]
    average = heads.index(("Average of 1", "LHW"))
    assert average < heads.index(("DDTI", "LHW"))
    assert cell(of, "Average of 1", "LHW", column="mAD").ours == 50
    assert cell(of, "DDTI", "LHW", column="mAD").paper is None


def test_categories_stand_beside_the_paper_s_whatever_folders_are_called() -> None:
    result = reached(0.5, "image", "pixel", categories=("metal_nut", "screw"))
    found = results("main", (a_set("MVTecAD"),), {("HeadCLIP", "MVTecAD"): result})
    of = table(found, "table10-pixel")
    (paper,) = paper_values(
        table=10, method="HeadCLIP", category="metal nut", level="pixel", metric="AUPRO"
    )["value"]
    assert cell(of, "metal nut", "HeadCLIP", column="AUPRO").paper == paper
    assert next(line for line in of.lines if line.heads[0] == "bottle").reason == "absent"
    assert "mAD" not in of.columns


def test_the_columns_of_table_7_are_read_by_their_size() -> None:
    variant = EXPERIMENTS["layers"].variants[7]
    assert variant.name == "layers 24; LHW"

    of_averages = printed(7, [variant]).set_index(["dataset", "domain", "level", "metric"])

    def shown(domain: str, level: Level) -> float:
        return float(of_averages.loc[("Average", domain, level, "mAD"), "paper"])

    assert shown("industrial", "image") == 88.1
    assert shown("medical", "image") == 86.2  # printed below pixel, industrial
    assert shown("industrial", "pixel") == 60.3  # printed below image, medical
    assert shown("medical", "pixel") == 57.4


def test_tables_of_averages_say_which_sets_are_behind_them() -> None:
    names = averaged_sets("industrial", "image")
    sets = (*(a_set(name) for name in names), a_set("BrainMRI", "medical"))
    values = {
        ("LHW and JAS", name): as_published(name, reached(0.5, "image", "pixel")) for name in names
    }
    values["LHW and JAS", "BrainMRI"] = as_published("BrainMRI", reached(0.8, "image"))
    of = table(results("modules", sets, values), "table9")
    assert of.columns == (
        "image mAD, industrial", "image mAD, medical", "pixel mAD, industrial",
        "pixel mAD, medical",
    )  # fmt: skip
    whole = cell(of, "LHW and JAS", column="image mAD, industrial")
    assert (whole.ours, whole.paper, whole.differs) == (50, 89.7, "")
    part = cell(of, "LHW and JAS", column="image mAD, medical")
    assert (part.ours, part.paper) == (80, 88.4)
    assert part.differs == "ours is over 1 of the paper's 4 sets"
    (line,) = (line for line in of.lines if line.heads == ("LHW and JAS",))
    assert line.numbers[3] is None
    assert "pixel, medical: none of the paper's sets is here." in of.notes
    assert OTHER_SETS in of.notes
    assert OTHER_IMAGES_NOTE not in of.notes
    values["LHW and JAS", "BrainMRI"] = reached(0.8, "image")
    of = table(results("modules", sets, values), "table9")
    part = cell(of, "LHW and JAS", column="image mAD, medical")
    assert part.differs == f"ours is over 1 of the paper's 4 sets; {OTHER_IMAGES}"
    assert OTHER_IMAGES_NOTE in of.notes


def test_differences_of_other_images_are_marked() -> None:
    names = ("HeadCT", "Br35H")
    found = {("HeadCLIP", name): as_published(name, reached(0.5, "image")) for name in names}
    sets = tuple(a_set(name, "medical") for name in names)
    of = table(results("main", sets, found), "table3-image")
    assert not any(number and number.differs for line in of.lines for number in line.numbers)
    found["HeadCLIP", "Br35H"] = reached(0.5, "image")
    of = table(results("main", sets, found), "table3-image")
    marked = {line.heads[0] for line in of.lines for one in line.numbers if one and one.differs}
    assert marked == {"Br35H", "Average of 2"}
    assert of.notes[-1] == OTHER_IMAGES_NOTE


def test_the_paper_prints_no_jas_without_lhw() -> None:
    values = {("JAS", "MVTecAD"): reached(0.5, "image", "pixel")}
    of = table(results("modules", (a_set("MVTecAD"),), values), "table9")
    assert cell(of, "JAS", column="image mAD, industrial").paper is None


def test_table_8_is_about_pixels_alone() -> None:
    values = {("0.5", "Kvasir"): reached(0.5, "pixel")}
    found = results("init", (a_set("Kvasir", "medical"),), values)
    assert table(found, "table8").columns == ("pixel mAD, industrial", "pixel mAD, medical")
    assert cell(table(found, "table8"), "0.5", column="pixel mAD, medical").paper == 55.8
    assert cell(table(found, "sets"), "Kvasir", "0.5", column="pixel mAD").ours == 50


def test_the_sweep_shows_every_r_and_averages_domains() -> None:
    sweeps = {"HeadCT": 0.2, "BrainMRI": 0.6}
    values = {
        ("HeadCLIP", name): replace(reached(0.0, "image"), sweep=(value,) * 10 + (value / 2,))
        for name, value in sweeps.items()
    }
    sets = tuple(a_set(name, "medical") for name in sweeps)
    of = table(results("jas", sets, values), "figure4")
    assert of.columns[0] == "r = 0"
    assert of.columns[-1] == "r = 1"
    assert cell(of, "Average of 2 medical", "HeadCLIP", column="r = 0.3").ours == pytest.approx(40)
    assert cell(of, "Average of 2 medical", "HeadCLIP", column="r = 1").ours == pytest.approx(20)
    assert cell(of, "BrainMRI", "HeadCLIP", column="r = 1").ours == pytest.approx(30)


def test_what_is_undefined_is_said_and_left_out_of_averages() -> None:
    sets = (a_set("MVTecAD"), a_set("VisA"))
    values = {
        ("LHW", "MVTecAD"): reached(math.nan, "pixel"),
        ("LHW", "VisA"): reached(0.4, "pixel"),
    }
    found = results("lhw", sets, values)
    of = table(found, "table4-pixel")
    assert math.isnan(cell(of, "MVTecAD", "LHW", column="mAD").ours)
    assert cell(of, "MVTecAD", "LHW", column="mAD").difference is None
    assert cell(of, "Average of 1", "LHW", column="mAD").ours == pytest.approx(40)
    document = Document("x", "X", (), (), (of,))
    assert "| MVTecAD | LHW | undefined |" in to_markdown(document)
    json.dumps(to_json(document), allow_nan=False)


@pytest.fixture
def document() -> Document:
    shown = Table(
        "t1",
        "A <table>",
        ("set", "variant"),
        ("AUROC", "mAD"),
        (
            Line(("=SUM(A1)", "a|b"), (Number(51.26, 52.0, 50.0, "other sets"), Number(49.94))),
            Line(("absent set", ""), reason="absent"),
            Line(("half", "x"), (None, Number(10.0, paper=20.0))),
        ),
        ("A note.",),
    )
    return Document("t", "Title", ("Intro.",), (("Command", "headclip <x>"),), (shown,),
                    (Drawing("curve", "A curve", b"png"),), {"extra": 1})  # fmt: skip


def test_markdown_shows_one_decimal_and_only_columns_that_have_anything(document: Document) -> None:
    text = to_markdown(document)
    assert (
        "| set | variant | AUROC | AUROC exact | AUROC paper | AUROC difference | mAD | mAD paper "
        "| mAD difference |" in text
    )
    assert "| =SUM(A1) | a\\|b | 51.3 | 52.0 | 50.0 | +1.3* | 49.9 | - | - |" in text
    assert "| absent set |  | absent |  |  |  |  |  |  |" in text
    assert "| half | x | n/a | n/a | n/a | n/a | 10.0 | 20.0 | -10.0 |" in text
    assert "![A curve](t-curve.png)" in text


def test_csv_has_full_precision_and_no_formulas(document: Document) -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(document.tables))))
    assert rows[0]["row"] == "'=SUM(A1) / a|b"
    assert float(rows[0]["difference"]) == pytest.approx(1.26)
    assert rows[0]["differs"] == "other sets"
    assert (rows[2]["row"], rows[2]["reason"]) == ("absent set / ", "absent")
    assert [row["column"] for row in rows] == ["AUROC", "mAD", "", "mAD"]


def test_the_page_is_whole_in_itself_and_runs_nothing(document: Document) -> None:
    page = render_tables(document)
    assert "<script" not in page
    assert "default-src 'none'" in page
    assert "A &lt;table&gt;" in page
    assert "headclip &lt;x&gt;" in page
    assert 'src="data:image/png;base64,' in page
    assert page.count('<td class="up">+1.3*</td>') == 1
    assert page.count('<td class="down">-10.0</td>') == 1
    assert '<td class="first reason" colspan="7">absent</td>' in page


def test_tables_are_read_back_as_they_were_written(document: Document) -> None:
    found = json.loads(json.dumps(to_json(document), allow_nan=False))["tables"]
    spread = Number(50.0, 51.0, 49.5, "other images", deviation=0.5, exact_deviation=0.25)
    lines = (Line(("a",), (spread, None)), Line(("b",), reason="absent"))
    other = Table("other", "Spread", ("row",), ("AP", "mAD"), lines, ("A note.",))
    assert table_from_json(table_to_json(other)) == other
    for stored, one in zip(found, document.tables, strict=True):
        assert table_to_json(table_from_json(stored)) == table_to_json(one)
        assert to_csv([table_from_json(stored)]) == to_csv([one])


def test_json_has_what_tables_show_and_more(document: Document) -> None:
    found = json.loads(json.dumps(to_json(document), allow_nan=False))
    assert found["extra"] == 1
    first = found["tables"][0]["rows"][0]["numbers"][0]
    assert first == {
        "ours": 51.26, "exact": 52, "paper": 50, "differs": "other sets",
        "difference": pytest.approx(1.26),
    }  # fmt: skip


def test_rows_of_another_shape_are_refused() -> None:
    with pytest.raises(InvalidSettings, match="A row of t has 1 numbers"):
        Table("t", "T", ("set",), ("a", "b"), (Line(("x",), (Number(1.0),)),))


def test_pictures_are_the_same_for_the_same_numbers() -> None:
    heads = {"LHW": ((2, 3), np.array([[1.0, 0.5], [1.2, 0.9]]))}
    first, second = (to_png(head_weights_figure(heads)) for _ in range(2))
    assert first == second
    assert first.startswith(b"\x89PNG")
    curve = joint_weight_figure((0.0, 0.5, 1.0), {"medical": {"$x$": [50.0, 60.0, 55.0]}})
    assert to_png(curve).startswith(b"\x89PNG")


def test_all_sets_of_the_paper_have_a_table_of_their_own() -> None:
    own = [form_of(number).datasets for number in range(10, 27)]
    assert sorted(name for (name,) in own) == sorted((*INDUSTRIAL, *MEDICAL))
