"""What a run will do is said before, what became of each file after; names can be withheld."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from PIL import Image

from headclip_med.cli import main
from headclip_med.pipelines.batch import screen_inputs
from headclip_med.pipelines.plan import Plan
from headclip_med.pipelines.work.screener import Screener
from headclip_med.read import find_inputs
from headclip_med.settings import ScreenSettings
from tests.bright import BrightModel, stand_in, write_picture
from tests.phantoms import write_phantom

PATIENT = "Zyxwvut"
"""A patient's name, as hospitals put it into names of files."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A series, a copy of one slice, pictures (one packed), and what cannot be used."""
    root = tmp_path / "in"
    first, *_ = write_phantom(root / f"{PATIENT}_ct")
    (root / "copy").mkdir()
    (root / "copy" / f"{PATIENT}.dcm").write_bytes(first.read_bytes())
    write_picture(root / f"{PATIENT}.png", 255)
    picture = io.BytesIO()
    Image.new("L", (20, 24), 40).save(picture, "PNG")
    with zipfile.ZipFile(root / f"{PATIENT}.zip", "w") as packed:
        packed.writestr(f"{PATIENT}/dim.png", picture.getvalue())
    (root / f"{PATIENT}.txt").write_text("text")
    (root / f"{PATIENT}.heic").write_bytes(b"\0\0\0\x18ftypheic")
    (root / f"{PATIENT}_empty.dcm").touch()
    (root / f".{PATIENT}").mkdir()
    return root


COUNTS = {"files": 13, "planned": 7, "repeat": 1, "left-out": 3, "failed": 2}
"""Of the folder: five slices and two pictures; text, archive, hidden folder; HEIC and empty."""


def test_the_plan_accounts_for_every_file_with_a_reason(folder: Path) -> None:
    plan = Plan(find_inputs([folder]))
    assert plan.counts() == COUNTS
    assert sum(COUNTS.values()) == 2 * COUNTS["files"]
    stated = plan.to_json()
    ct, bright, dim = stated["series"]
    assert {key: ct[key] for key in ("kind", "modality", "slices", "rows", "columns", "part")} == {
        "kind": "dicom", "modality": "CT", "slices": 5, "rows": 6, "columns": 7, "part": 1,
    }  # fmt: skip
    assert ct["bytes"] == sum(path.stat().st_size for path in (folder / f"{PATIENT}_ct").iterdir())
    assert [one["file"] for one in ct["files"]] == sorted(one["file"] for one in ct["files"])
    assert (bright["files"][0]["file"], dim["files"][0]["file"]) == (
        f"{PATIENT}.png", f"{PATIENT}.zip/{PATIENT}/dim.png",
    )  # fmt: skip
    reasons = {one["file"]: (one["status"], one["code"]) for one in stated["not_used"]}
    repeat = next(one for one in stated["not_used"] if one["status"] == "repeat")
    copies = {repeat["file"], repeat["repeats"]["file"]}
    assert copies == {f"copy/{PATIENT}.dcm", ct["files"][0]["file"]} or len(copies) == 2
    assert Counter(reasons.values()) == {
        ("failed", "unread-format"): 1,
        ("failed", "zero-byte-file"): 1,
        ("left-out", "text-file"): 1,
        ("left-out", "unpacked-archive"): 1,
        ("left-out", "hidden-folder"): 1,
        ("repeat", "repeat"): 1,
    }
    assert all(one["reason"].endswith(".") for one in stated["not_used"])
    numbers = [one["number"] for series in stated["series"] for one in series["files"]]
    numbers += [one["number"] for one in stated["not_used"]]
    assert sorted(numbers) == list(range(1, 14))


def test_a_plan_runs_no_model_and_needs_no_torch(folder: Path) -> None:
    program = (
        "import sys; from headclip_med.cli import main\n"
        "code = main(['screen', *sys.argv[1:]])\n"
        "heavy = {'torch', 'monai', 'open_clip', 'SimpleITK'} & sys.modules.keys()\n"
        "sys.exit(f'imported {heavy}' if heavy else code)"
    )
    command = [sys.executable, "-c", program, str(folder), "--plan"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (3, "")
    assert done.stdout.startswith(
        "13 found: 7 in 3 series, 1 repeated, 3 left out, 2 failed\n\nseries 1: CT, 5 slices of "
        "6 x 7, 5 files, "
    )
    assert f"{PATIENT}.txt  left-out (text-file): The file is no image (text).\n" in done.stdout
    assert "repeat (repeat of " in done.stdout


def test_a_plan_ends_as_the_run_would(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["screen", str(folder), "--plan", "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["counts"] == COUNTS
    assert main(["screen", str(folder / f"{PATIENT}_ct"), "--plan"]) == 0
    assert main(["screen", str(folder / f"{PATIENT}.heic"), "--plan"]) == 1
    assert main(["screen", str(tmp_path / "nowhere"), "--plan"]) == 1
    assert "not-found" in capsys.readouterr().out
    assert main(["screen", str(folder)]) == 2  # without --plan results need a folder
    assert "--out" in capsys.readouterr().err


def test_the_summary_says_what_became_of_each_file(folder: Path, tmp_path: Path) -> None:
    inputs = find_inputs([folder])
    screener = Screener(model=BrightModel(), out=tmp_path / "out", settings=ScreenSettings())
    report = screen_inputs(inputs, screener)
    assert report.exit_code == 3
    summary = json.loads(report.outputs["json"].read_text())
    counts = summary["file_counts"]
    assert {
        **{key: counts[key] for key in ("files", "repeat", "left-out", "failed", "screened")},
        "planned": 7,
    } == {**COUNTS, "screened": 7}
    assert sum(one["files"] for one in counts["by_code"]) == 13
    files = {one["file"]: one for one in summary["files"]}
    assert [*files] == list(inputs.names.values())
    folders = {row.folder for row in report.rows}
    assert {one["status"] for one in files.values() if set(one["series"]) & folders} == {"screened"}
    dim = files[f"{PATIENT}.zip/{PATIENT}/dim.png"]
    assert [row.name for row in report.rows if [row.folder] == dim["series"]] == [
        f"{PATIENT}.zip/{PATIENT}/dim.png"
    ]
    repeat = next(one for one in files.values() if one["status"] == "repeat")
    assert files[repeat["repeats"]]["status"] == "screened"
    assert files[f"{PATIENT}.heic"]["code"] == "unread-format"
    with report.outputs["csv"].open(newline="") as table:
        lines = list(csv.DictReader(table))
    assert Counter(line["status"] for line in lines) == {
        "screened": 3, "failed": 2, "left-out": 3, "repeat": 1,
    }  # fmt: skip
    assert sum(int(line["files"]) for line in lines) == 13
    page = report.outputs["page"].read_text()
    assert all(name in page for name in inputs.names.values())


def test_a_part_that_fails_leaves_its_file_screened_with_a_code(tmp_path: Path) -> None:
    write_phantom(tmp_path / "in")
    write_picture(tmp_path / "in" / "a.png", 200)
    screener = Screener(model=BrightModel(breaks_at=1), out=tmp_path / "out")
    report = screen_inputs(find_inputs([tmp_path / "in"]), screener)
    summary = json.loads(report.outputs["json"].read_text())
    assert Counter((one["status"], one["code"]) for one in summary["files"]) == {
        ("failed", "unexpected"): 5,
        ("screened", None): 1,
    }


@pytest.mark.parametrize("command", ["screen", "batch"])
def test_names_of_files_can_be_withheld_from_everything(
    folder: Path,
    tmp_path: Path,
    command: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    stand_in(monkeypatch, BrightModel)
    out = tmp_path / "out"
    here = ["--workers", "0"] if command == "batch" else []
    shown = [command, str(folder), "--out", str(out), *here]
    assert main(shown) == 3
    assert PATIENT in capfd.readouterr().out  # and a later run that hides takes nothing over
    assert main([*shown, "--hide-names"]) == 3
    said = "".join(capfd.readouterr())
    for path in out.rglob("*"):
        assert PATIENT.encode() not in path.name.encode()
        if path.is_file() and path.suffix != ".dcm":
            assert PATIENT.encode() not in path.read_bytes(), path.name
    assert PATIENT not in said
    assert main([command, str(folder), "--plan", "--hide-names"]) == 3
    assert PATIENT not in capfd.readouterr().out
    # The plan is the key: numbers stand for the names in their order.
    key = dict(enumerate(find_inputs([folder]).names.values(), start=1))
    summary = json.loads((out / "summary.json").read_text())
    assert [one["file"] for one in summary["files"]] == [f"file {n:02}" for n in range(1, 14)]
    failed = next(one for one in summary["files"] if one["code"] == "unread-format")
    assert key[int(failed["file"].removeprefix("file "))] == f"{PATIENT}.heic"
    names = {row["name"] for row in summary["series"] if row["name"]}
    assert {key[int(name.removeprefix("file "))] for name in names} == {
        f"{PATIENT}.png",
        f"{PATIENT}.zip/{PATIENT}/dim.png",
    }


def test_what_failed_alike_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in(monkeypatch, BrightModel)
    (tmp_path / "in").mkdir()
    write_picture(tmp_path / "in" / "a.png", 200)
    for number in range(50):
        (tmp_path / "in" / f"b{number:02}.heic").write_bytes(b"\0\0\0\x18ftypheic")
    assert main(["screen", str(tmp_path / "in"), "--out", str(tmp_path / "out")]) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("headclip: b00.heic, b01.heic, b02.heic and 47 more: The file is an ")


@pytest.mark.parametrize("name", ["a.mha", "a.nrrd", "a.mgz"])
def test_a_volume_is_screened_on_its_own_grid(tmp_path: Path, name: str) -> None:
    affine_ras = np.array([[0, 0.75, 0, -10], [-0.5, 0, 0, -20], [0, 0, 3, 30], [0, 0, 0, 1]])
    stored = np.full((24, 20, 3), 30, np.uint8)
    stored[15:20, 3:8, 1] = 255
    nibabel.MGHImage(stored, affine_ras).to_filename(tmp_path / "a.mgz")
    image = SimpleITK.GetImageFromArray(stored.T)
    image.SetDirection((0, -1, 0, 1, 0, 0, 0, 0, 1))
    image.SetSpacing((0.5, 0.75, 3))
    image.SetOrigin((10, 20, 30))
    if name != "a.mgz":
        SimpleITK.WriteImage(image, tmp_path / name)
    settings = ScreenSettings(minimum_size=0.0)
    screener = Screener(model=BrightModel(), out=tmp_path / "out", settings=settings)
    (row,) = screen_inputs(find_inputs([tmp_path / name]), screener).rows
    assert row.name == name
    heatmap = nibabel.load(tmp_path / "out" / row.folder / row.outputs["heatmap"])
    np.testing.assert_allclose(heatmap.affine, affine_ras, atol=1e-5)
    assert heatmap.shape == stored.shape
    (lesion,) = row.lesions
    assert (lesion.unit, lesion.peak_slice) == ("mm3", 1)
    expected = affine_ras @ [17, 5, 1, 1]
    np.testing.assert_allclose(lesion.centre, expected[:3] * [-1, -1, 1], atol=0.6)
