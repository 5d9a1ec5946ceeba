"""Every command of the documentation runs as it stands there, or is parsed where it cannot."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest

from headclip_med.cli import main
from headclip_med.cli.main import COMMANDS
from headclip_med.cli.options import form_of, parse
from headclip_med.models.header import checkpoint_of
from tests.bright import BrightModel, stand_in
from tests.docs.pages import ELSEWHERE, PAGES, ROOT, DocumentedCommand, commands, inline
from tests.phantoms import write_phantom
from tests.set_copies import write_image

WITH_COMMANDS = [page for page in PAGES if commands(page)]
EVERY = [one for page in WITH_COMMANDS for one in commands(page)]
DEMO = ["demo", "--out", "out/demo"]
"""What 'make demo' comes to once the environment is there; once is enough."""

OF_DEMO = "docs/tutorials/first-ct.md"
MANY = "docs/calibration.md"
"""A page with twenty studies, which the bright model judges."""

BEFORE = {"docs/worklist.md": ["batch", "ARCHIVE", "--out", "results", "--workers", "0"]}
"""What a page takes for granted."""

ENDS = {"report results --resend 7": 1}
"""Exit codes, where they are no 0: no result has that number."""

LEAVES = {
    "docs/tutorials/first-ct.md": [
        "results/index.html", "results/*/*/overlay.png", "results/*/*/heatmap.nii.gz",
        "results/*/*/result.json", "out/demo/results/index.html",
    ],
    "docs/calibration.md": ["calibration.json", "results/*/*/result.json"],
    "docs/worklist.md": ["results/index.html"],
    "docs/screening.md": ["results/index.html", "results/summary.csv"],
    "README.md": ["headclip_lesion_segmentation/configs/inference.json"],
}  # fmt: skip
"""What stands there when a page has been worked through."""


def runnable(page: str) -> list[list[str]]:
    """What our command line is given, one after the other."""
    found = []
    for one in commands(page):
        arguments = DEMO if one.text == "make demo" else one.arguments
        if arguments is not None and (one.reason is None or arguments == DEMO):
            found += [arguments] if page == OF_DEMO or arguments != DEMO else []
    return found


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with everything that the pages name."""
    monkeypatch.chdir(tmp_path)
    for name in ("STUDY", "STUDY_FOLDER", "ARCHIVE/a", "ARCHIVE/b"):
        write_phantom(tmp_path / name, study_seed=name)
    for number in range(20):
        write_phantom(tmp_path / f"NORMALS/{number}", study_seed=f"normal {number}")
    write_image(tmp_path / "photo.png")
    voxels = np.random.default_rng(0).integers(0, 255, (8, 9, 3)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), tmp_path / "scan.nii.gz")
    mini = checkpoint_of("headclip-mini", "headclip")
    assert mini is not None
    for place in ("runs/vitl/headclip.safetensors", "headclip.safetensors"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(mini, tmp_path / place)
    return tmp_path


@pytest.mark.parametrize("one", EVERY, ids=lambda one: f"{one.page}: {one.text}")
def test_a_command_is_ours_or_a_program_that_is_known(one: DocumentedCommand) -> None:
    if one.arguments is None:
        assert one.reason is not None, f"say in PROGRAMS what {one.words[0]} is"
    if one.words[0] == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert {word for word in one.words[1:] if "=" not in word} <= set(targets)


@pytest.mark.parametrize("page", WITH_COMMANDS)
def test_the_command_line_takes_every_command_of_a_page(page: str, folder: Path) -> None:
    for one in commands(page):
        if one.arguments is None:
            continue
        name, *given = one.arguments
        assert name in COMMANDS, one.text
        if "..." in given:  # the rest is what was said before
            given = [word for word in given if word != "..."]
            given += [] if "--out" in given or name != "train" else ["--out", "OUT"]
        try:
            parse(COMMANDS[name], given, prog=f"headclip {name}")
        except SystemExit as ended:
            pytest.fail(f"{one.text}: ended with {ended.code}")


@pytest.mark.parametrize("page", [page for page in PAGES if inline(page)])
def test_what_sentences_say_of_the_command_line_is_there(page: str) -> None:
    for text in inline(page):
        name, *words = text.split()
        if name.startswith("-") or name == "COMMAND":
            continue
        assert name in COMMANDS, f"{page}: headclip {text}"
        options = form_of(COMMANDS[name]).__dataclass_fields__
        known = {f"--{one.replace('_', '-')}" for one in options} | {"--help", "--check"}
        known |= {f"--no-{one[2:]}" for one in known}
        asked = {word.partition("=")[0].strip("[],.") for word in words if word.startswith("--")}
        assert asked <= known, f"{page}: headclip {text}"


@pytest.mark.slow  # most load the model
@pytest.mark.parametrize("page", [page for page in WITH_COMMANDS if runnable(page)])
def test_a_page_runs_from_top_to_bottom(
    page: str, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if page == MANY:
        stand_in(monkeypatch, BrightModel)
    if page in BEFORE:
        assert main(BEFORE[page]) == 0
    for arguments in runnable(page):
        code = main(arguments)
        said = capsys.readouterr().err
        assert code == ENDS.get(" ".join(arguments), 0), f"headclip {' '.join(arguments)}\n{said}"
    for name in LEAVES.get(page, ()):
        assert list(folder.glob(name)), name


@pytest.mark.parametrize("page", ELSEWHERE)
def test_a_page_with_a_test_of_its_own_is_read_there(page: str) -> None:
    assert Path(page).name in (ROOT / ELSEWHERE[page]).read_text()


def test_the_pages_that_are_run_are_not_fewer_than_they_were() -> None:
    ran = {page for page in WITH_COMMANDS if runnable(page)} | set(ELSEWHERE)
    assert ran >= {
        "README.md", "docs/batch.md", "docs/calibration.md", "docs/inputs.md", "docs/screening.md",
        "docs/tutorials/first-ct.md", "docs/weights.md", "docs/worklist.md",
        "docs/your-own-data.md",
    }  # fmt: skip
    assert set(LEAVES) <= ran
