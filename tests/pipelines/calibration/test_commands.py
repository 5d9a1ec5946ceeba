"""From normal studies on disk to p-values in results, by the commands that people give."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from PIL import Image

from headclip_med.cli import main
from headclip_med.read import read_volume
from headclip_med.write.dicom.series import write_ct_series
from headclip_med.write.result import result_schema
from tests.bright import BrightModel, stand_in
from tests.phantoms import PATIENT_NAME, edit, make_grid, write_phantom

GRID = make_grid(shape=(2, 8, 8))

HERE = ("batch", "--workers", "0")
"""In this process, which has the stand-in for a model."""


def write_study(folder: Path, patient: str, spot_hu: float, *, part: str = "HEAD") -> None:
    """Write a study whose score follows from how bright its one spot is."""
    voxels = np.full(GRID.shape, 20.0)
    voxels[0, 2:4, 2:4] = spot_hu
    paths = write_ct_series(folder, voxels, GRID, patient_name=PATIENT_NAME, study_seed=folder.name)

    def name(dataset: Any, _: int) -> None:
        dataset.PatientID, dataset.BodyPartExamined = f"Zyx {patient}", part

    edit(paths, name)


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five patients with a head each, one of whom has two, and two with a chest."""
    root = tmp_path_factory.mktemp("studies")
    for number, patient in enumerate([1, 2, 3, 4, 5, 5]):
        write_study(root / f"normals/head{number}", str(patient), 30 + 5 * number)
    for number in range(2):
        write_study(root / f"normals/chest{number}", f"c{number}", 40, part="CHEST")
    write_study(root / "new/ill", "ill", 60)
    write_study(root / "new/well", "well", 25)
    write_study(root / "new/chest", "chest", 100, part="CHEST")
    return root


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> list[BrightModel]:
    """The models that were asked for, in order."""
    made: list[BrightModel] = []

    def make() -> BrightModel:
        made.append(BrightModel())
        return made[-1]

    stand_in(monkeypatch, make)
    return made


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_bytes(bytes(range(32)))
    return path


@pytest.fixture
def made(studies: Path, models: list[BrightModel], key: Path, tmp_path: Path) -> Path:
    """A calibration of the normal studies."""
    path = tmp_path / "calibration.json"
    arguments = [str(studies / "normals"), "--out", str(path), "--alpha", "0.2"]
    assert main(["calibrate", *arguments, "--patient-key", str(key)]) == 3
    return path


def results(out: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(out.glob("*/*/result.json")):
        result = json.loads(path.read_text())
        jsonschema.validate(result, result_schema())
        yield result


def test_p_values_reach_result_summary_page_and_terminal(
    made: Path, studies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    capsys.readouterr()
    assert main(
        ["screen", str(studies / "new"), "--out", str(out), "--calibration", str(made)]
    ) == 0  # fmt: skip
    printed = capsys.readouterr()
    found = sorted(results(out), key=lambda one: (one["input"]["body_part"], one["score"]))
    chest, well, ill = (one["calibration"] for one in found)

    assert (ill["p_value"], ill["flagged"], ill["studies"]) == (pytest.approx(1 / 6), True, 5)
    assert (well["p_value"], well["flagged"]) == (1.0, False)
    assert [one["calibrated"] for one in found] == [False, True, True]
    assert chest["code"] == "no-stratum"
    assert "headclip: 1 of 3: Uncalibrated: the calibration has no normal" in printed.err
    assert "p 0.17" in printed.out
    rows = (out / "summary.csv").read_text().splitlines()
    assert sum(",yes,0.166667,yes,," in row for row in rows) == 1
    assert sum(",no,,,no-stratum," in row for row in rows) == 1
    summary = json.loads((out / "summary.json").read_text())
    assert {one["calibration"]["code"] for one in summary["series"]} == {None, "no-stratum"}
    page = (out / "index.html").read_text()
    assert "p = 0.17: 0 of 5 normal studies like this one (CT, HEAD, window brain)" in page
    assert "1</b>flagged of 2 with a p-value" in page
    assert "Where there is no p-value, scores only sort" in page


def test_without_a_calibration_results_say_so(
    studies: Path, models: list[BrightModel], tmp_path: Path
) -> None:
    assert main(["screen", str(studies / "new/ill"), "--out", str(tmp_path / "out")]) == 0
    (found,) = results(tmp_path / "out")
    assert (found["calibrated"], found["calibration"]["code"]) == (False, "no-calibration")
    assert found["calibration"]["words"] is None


def test_what_calibrate_prints(
    studies: Path, models: list[BrightModel], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "c.json"
    arguments = ["calibrate", str(studies / "normals"), "--out", str(path), "--alpha", "0.2"]
    assert main(arguments) == 3
    printed = capsys.readouterr()

    assert printed.out.startswith(
        "CT, HEAD, window brain: Of normal studies like these 5, on average at most 20 % are "
    )
    assert printed.out.endswith(f"wrote {path}\n")
    assert "CT, CHEST, window lung: not calibrated. It has 2 normal studies" in printed.err
    assert "5 normal studies are few" in printed.err
    assert printed.err.count("left out (same-patient): ") == 1
    assert main([*arguments, "--json"]) == 3
    plain = json.loads(capsys.readouterr().out)
    assert plain["left_out"][0]["study"] in plain["names"]
    assert [one["code"] for one in plain["refused"]] == ["too-few-studies"]


def test_the_same_studies_and_key_give_the_same_bytes(
    made: Path, studies: Path, key: Path, tmp_path: Path
) -> None:
    """From another place, in another order of files."""
    moved = tmp_path / "elsewhere"
    for number, folder in enumerate(sorted((studies / "normals").iterdir(), reverse=True)):
        shutil.copytree(folder, moved / f"{number:02}")
    again = tmp_path / "again.json"
    arguments = ["--out", str(again), "--alpha", "0.2", "--patient-key", str(key)]
    assert main(["calibrate", str(moved), *arguments]) == 3
    assert again.read_bytes() == made.read_bytes()


def test_no_value_of_a_patient_is_written_printed_or_logged(
    studies: Path,
    models: list[BrightModel],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    out = tmp_path / "out"
    arguments = [str(studies / "normals"), "--out", str(out / "c.json"), "--alpha", "0.2"]
    with caplog.at_level(logging.DEBUG):
        assert main(["calibrate", *arguments, "--results", str(out / "kept")]) == 3
    printed = capsys.readouterr()
    texts = [path.read_text() for path in out.rglob("*") if path.is_file()]
    said = "\n".join([*texts, printed.out, printed.err, caplog.text])
    volume = read_volume(studies / "normals/head0")

    assert len(texts) > 8
    assert "Zyx" not in said
    assert volume.patient_key not in said
    assert volume.study_instance_uid not in (out / "c.json").read_text()


def test_results_that_are_kept_are_taken_up(
    studies: Path, models: list[BrightModel], tmp_path: Path
) -> None:
    kept = ["--results", str(tmp_path / "kept"), "--alpha", "0.2"]
    for name in ("first.json", "second.json"):
        place = ["--out", str(tmp_path / name)]
        assert main(["calibrate", str(studies / "normals"), *place, *kept]) == 3
    assert [bool(model.calls) for model in models] == [True, False]
    digests = [json.loads((tmp_path / f"{n}.json").read_text())["digest"] for n in
               ("first", "second")]  # fmt: skip
    assert digests[0] == digests[1]


def test_results_of_a_batch_are_taken_as_they_are(
    made: Path, studies: Path, models: list[BrightModel], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    batch = [*HERE, str(studies), "--out", str(out), "--calibration", str(made)]
    assert main(batch) == 0
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    place = ["--out", str(tmp_path / "again.json"), "--results", str(out), "--alpha", "0.2"]
    assert main(["calibrate", str(studies / "normals"), *place]) == 3
    assert not models[-1].calls
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    digests = [json.loads(path.read_text())["digest"] for path in (made, tmp_path / "again.json")]
    assert digests[0] == digests[1]


def without_times(out: Path) -> dict[str, Any]:
    return {
        path.relative_to(out).as_posix(): json.dumps(
            {**json.loads(path.read_text()), "timings_s": None}
        )
        for path in out.glob("*/*/result.json")
    } | {name: (out / name).read_text() for name in ("summary.csv", "summary.json")}


def test_a_finished_batch_is_judged_anew_without_the_model(
    made: Path, studies: Path, models: list[BrightModel], tmp_path: Path
) -> None:
    """What stands there then is what a run from the beginning writes; without one it stays."""
    batch = [*HERE, str(studies / "new"), "--out", str(tmp_path / "batch")]
    use = ["--calibration", str(made)]
    assert main(batch) == main([*batch, *use]) == 0
    assert main(["screen", str(studies / "new"), "--out", str(tmp_path / "whole"), *use]) == 0
    assert not models[-2].calls
    assert models[-1].calls
    assert without_times(tmp_path / "batch") == without_times(tmp_path / "whole")
    assert main(batch) == 0
    assert not models[-1].calls
    assert without_times(tmp_path / "batch") == without_times(tmp_path / "whole")


def test_a_report_never_keeps_the_p_value_of_another_calibration(
    made: Path, studies: Path, models: list[BrightModel], tmp_path: Path
) -> None:
    batch = [*HERE, str(studies / "new/ill"), "--out", str(tmp_path), "--outputs", "sr"]
    use = ["--calibration", str(made)]
    stated = []
    for arguments in (batch, [*batch, *use], [*batch, *use]):
        assert main(arguments) == 0
        (path,) = tmp_path.glob("*/*/sr.dcm")
        stated.append("PVALUE" in path.read_bytes().decode("latin-1"))
    assert stated == [False, True, True]
    assert [bool(one.calls) for one in models[-3:]] == [True, True, False]


def test_another_setting_or_site_makes_results_uncalibrated(
    made: Path, studies: Path, tmp_path: Path
) -> None:
    for more, code in (("crop=none", "other-settings"), ("site=North", "no-stratum")):
        out = tmp_path / code
        use = ["--out", str(out), "--calibration", str(made), "--set", more]
        assert main(["screen", str(studies / "new/ill"), *use]) == 0
        (found,) = results(out)
        assert (found["calibration"]["code"], found["calibrated"]) == (code, False)


def test_a_site_is_bound(studies: Path, models: list[BrightModel], tmp_path: Path) -> None:
    path = tmp_path / "north.json"
    place = ["--out", str(path), "--site", "North, scanner 2", "--alpha", "0.2"]
    assert main(["calibrate", str(studies / "normals"), *place]) == 3
    use = ["screen", str(studies / "new/ill"), "--calibration", str(path)]
    codes = {}
    for name, more in (("none", []), ("north", ["--set", "site=North, scanner 2"])):
        assert main([*use, "--out", str(tmp_path / name), *more]) == 0
        codes[name] = next(results(tmp_path / name))["calibration"]["code"]
    assert codes == {"none": "no-stratum", "north": None}


def test_pictures_count_each_and_their_patients_are_said_to_be_unknown(
    models: list[BrightModel], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(4):
        Image.new("L", (8, 8), 40 + number).save(_in(tmp_path / "normals") / f"{number}.png")
    place = ["--out", str(tmp_path / "c.json"), "--alpha", "0.2"]
    assert main(["calibrate", str(tmp_path / "normals"), *place]) == 0
    printed = capsys.readouterr()
    assert "nothing says whose 4 of 4 studies are" in printed.err
    assert "nothing says what these studies show" in printed.err
    assert "no modality, no body part, window as-is" in printed.out


def _in(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["calibrate"], 2, "There are no normal studies"),
        (["calibrate", "{in}"], 2, "There is no file for the calibration"),
        (["calibrate", "{in}", "--out", "{c}", "--alpha", "1"], 2, "alpha must be a number above"),
        (["calibrate", "{in}", "--out", "{c}", "--patient-key", "{c}"], 2, "key of patients"),
        (["calibrate", "{in}", "--out", "{c}"], 2, "There are 1, and 19 are needed."),
        (["calibrate", "{empty}", "--out", "{c}"], 1, "No images were found"),
        (["screen", "{in}", "--out", "{c}", "--calibration", "{c}"], 1, "cannot be read"),
        (["screen", "{in}", "--out", "{c}", "--set", "site=X"], 2, "with a calibration only"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    arguments: list[str],
    code: int,
    message: str,
    models: list[BrightModel],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_phantom(tmp_path / "in")
    (tmp_path / "empty").mkdir()
    names = {name: str(tmp_path / name) for name in ("in", "empty", "c")}
    assert main([one.format(**names) for one in arguments]) == code
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert message in printed.err
    assert not (tmp_path / "c").exists()
