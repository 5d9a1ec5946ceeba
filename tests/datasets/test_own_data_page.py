"""Every command of the page about one's own data is run, on folders as the page draws them."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from headclip_med.cli import main
from headclip_med.metrics import ranking
from tests.docs.pages import commands
from tests.set_copies import write_image, write_mask

PAGE = Path(__file__).parents[2] / "docs" / "your-own-data.md"
COMMANDS = [one.text for one in commands("docs/your-own-data.md")]


def classes(root: Path, normal: str, abnormal: str) -> None:
    for kind in (normal, abnormal):
        for number in range(3):
            write_image(root / kind / f"{number}.png")


def pairs(root: Path, image: str, mask: str) -> None:
    for name in "abc":
        write_image(root / image.format(name))
        write_mask(root / mask.format(name))


def screws(root: Path) -> None:
    for name in ("train/good/0.png", "test/good/0.png", "test/good/1.png", "test/scratch/0.png"):
        write_image(root / name)
    write_mask(root / "ground_truth/scratch/0_mask.png")


def listed(root: Path) -> None:
    write_image(root / "a.png")
    write_image(root / "b.png")
    write_mask(root / "m/b.png")
    entries = [
        {"img_path": "a.png", "mask_path": "", "cls_name": "x", "specie_name": "", "anomaly": 0},
        {"img_path": "b.png", "mask_path": "m/b.png", "cls_name": "x", "specie_name": "y",
         "anomaly": 1},
    ]  # fmt: skip
    (root / "meta.json").write_text(json.dumps({"train": {}, "test": {"x": entries}}))


def tables(root: Path) -> None:
    write_image(root / "scans/a.png")
    write_image(root / "scans/b.png")
    write_mask(root / "masks/b.png")
    text = PAGE.read_text("utf-8")
    drawn = re.search(r"```\n(image,mask.*?)```", text, re.DOTALL)
    assert drawn
    (root / "list.csv").write_text(drawn[1])
    (root / "export.csv").write_text(
        "scan;report\nscans/a.png;unremarkable\nscans/b.png;glioma of the left lobe\n"
    )


MAKERS: dict[str, Callable[[Path], None]] = {
    "classes": lambda root: classes(root, "healthy", "tumor"),
    "scanners": lambda root: classes(root, "before", "after"),
    "pairs": lambda root: pairs(root, "images/{}.png", "masks/{}.png"),
    "drawn": lambda root: pairs(root, "images/{}.png", "labels/{}_gt.png"),
    "beside": lambda root: pairs(root, "{}.png", "{}.mask.png"),
    "screws": screws,
    "listed": listed,
    "table": tables,
}


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, make in MAKERS.items():
        make(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_page_shows_five_shapes_and_uses_every_folder() -> None:
    assert len(re.findall(r"^## \d\.", PAGE.read_text("utf-8"), re.MULTILINE)) == 5
    assert all(any(name in command for command in COMMANDS) for name in MAKERS)


@pytest.mark.parametrize("command", [one for one in COMMANDS if " train " not in one])
def test_a_command_of_the_page_works(
    command: str, folders: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ranking, "IMAGE_REPEATS", 10)
    monkeypatch.setattr(ranking, "PIXEL_REPEATS", 4)
    arguments = shlex.split(command)[1:]
    if arguments[0] == "evaluate":
        arguments += ["--no-tracking", "--json"]
    assert main(arguments) == 0
    if arguments[0] != "evaluate":
        assert "usable" in capsys.readouterr().out
        return
    for one in json.loads(capsys.readouterr().out):
        levels = {row["level"] for row in one["rows"]}
        is_pixel = one["settings"]["level"] == "pixel"
        assert ("pixels" in levels) == is_pixel
        said = "The set has no masks: images were told apart, and nothing is said of pixels."
        assert (said in one["notes"]) != is_pixel


@pytest.mark.slow
@pytest.mark.parametrize("command", [one for one in COMMANDS if " train " in one])
def test_a_training_of_the_page_works(
    command: str, folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*shlex.split(command)[1:], "--no-tracking"]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "classes has no masks: HeadCLIP learns from the images' labels alone" in said
    assert (folders / "runs/labels/headclip.safetensors").is_file()


def test_the_bundle_takes_the_same_specifications(folders: Path) -> None:
    from headclip_med.pipelines.bundle.training import LabelledImages

    found = LabelledImages(str(folders / "scanners?normal=before"), "folder")
    assert [one["image"].label for one in found] == [1, 1, 1, 0, 0, 0]
    assert len(LabelledImages(folders / "table/list.csv", "csv")) == 2
