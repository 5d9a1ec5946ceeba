"""The check of a copy: faults put in on purpose are found, named, and decide the exit code."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headclip_med.cli import main
from headclip_med.datasets import KNOWN_SETS, Report, check_set, find_set
from tests.set_copies import (
    BRAIN_MRI,
    COLUMNS,
    KVASIR,
    MVTEC_AD,
    OTHERS,
    ROWS,
    SDD_AS_PUBLISHED,
    SEVENTEEN,
    Copy,
    write_image,
    write_mask,
)


def checked(copy: Copy, root: Path) -> Report:
    return check_set(find_set(copy.name), root)


def codes(report: Report, severity: str = "error") -> list[str]:
    return [one.code for one in report.findings if one.severity == severity]


@pytest.mark.parametrize(
    "copy", SEVENTEEN + OTHERS, ids=lambda copy: f"{copy.name}-{copy.lines[0].image}"
)
def test_a_sound_copy_is_usable_and_counted(copy: Copy, tmp_path: Path) -> None:
    report = checked(copy, copy.write(tmp_path))
    assert report.is_usable
    assert codes(report) == []
    assert report.masks == sum(bool(line.mask) for line in copy.lines)
    tests = [line for line in copy.lines if line.split == "test"]
    abnormal = sum(
        line.label == 1 or (line.label is None and line.mask not in copy.black_masks)
        for line in tests
    )
    assert report.counts["test"] == (len(tests) - abnormal, abnormal)
    assert set(report.categories) == {line.category for line in copy.lines}
    unused = [one for one in report.findings if one.code == "unused"]
    assert bool(unused) == bool(copy.ignored)


def test_labels_that_only_masks_tell_are_counted_by_them(tmp_path: Path) -> None:
    report = checked(SDD_AS_PUBLISHED, SDD_AS_PUBLISHED.write(tmp_path))
    assert report.counts == {"test": (2, 1)}
    assert report.expected == {"test": (347, 52)}


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:50])


def turned(path: Path) -> None:
    Image.new("L", (ROWS, COLUMNS), 255).save(path)


def blackened(path: Path) -> None:
    write_mask(path, black=True)


BOTTLE = "bottle/test/broken_large/000.png"
MASK = "bottle/ground_truth/broken_large/000_mask.png"


@pytest.mark.parametrize(
    ("file", "fault", "code", "named"),
    [
        (BOTTLE, cut_short, "broken-picture", f"The file {BOTTLE} is"),
        (MASK, cut_short, "broken-picture", f"The file {MASK} is"),
        (MASK, Path.unlink, "missing-mask", f"The image {BOTTLE} has no mask"),
        (MASK, turned, "mask-size", f"The mask {MASK} has"),
        (MASK, blackened, "empty-mask", f"The mask {MASK} marks nothing"),
        ("metal_nut/test/flip/000.png", Path.unlink, "empty-class", "metal_nut/test/flip holds"),
    ],
)
def test_a_fault_is_an_error_that_names_the_file(
    tmp_path: Path, file: str, fault: Callable[[Path], None], code: str, named: str
) -> None:
    MVTEC_AD.write(tmp_path)
    fault(tmp_path / file)
    report = checked(MVTEC_AD, tmp_path)
    (error,) = [one for one in report.findings if one.severity == "error"]
    assert error.code == code
    assert named in error.message
    assert not report.is_usable


def test_all_faults_are_reported_at_once(tmp_path: Path) -> None:
    MVTEC_AD.write(tmp_path)
    (tmp_path / MASK).unlink()
    cut_short(tmp_path / "bottle/test/good/000.png")
    (tmp_path / "metal_nut/test/good/000.png").unlink()
    assert sorted(codes(checked(MVTEC_AD, tmp_path))) == [
        "broken-picture", "empty-class", "missing-mask",
    ]  # fmt: skip


def test_equal_files_and_equal_pixels_are_told_apart(tmp_path: Path) -> None:
    BRAIN_MRI.write(tmp_path)
    for name in ("a.png", "b.png"):
        write_image(tmp_path / "yes" / name)
    shutil.copy(tmp_path / "yes/a.png", tmp_path / "yes/c.png")
    Image.open(tmp_path / "yes/b.png").save(tmp_path / "yes/d.bmp")
    found = {one.code: one.message for one in checked(BRAIN_MRI, tmp_path).findings}
    assert "yes/a.png, yes/c.png are the same file" in found["equal-files"]
    assert "yes/b.png, yes/d.bmp show the same pixels" in found["equal-pixels"]
    assert "label" not in found["equal-files"]


def test_one_image_under_two_labels_is_said(tmp_path: Path) -> None:
    BRAIN_MRI.write(tmp_path)
    shutil.copy(tmp_path / "yes/Y1.jpg", tmp_path / "no/N2.jpg")
    report = checked(BRAIN_MRI, tmp_path)
    (warning,) = [one for one in report.findings if one.code == "equal-files"]
    assert "labelled normal and another abnormal" in warning.message
    assert report.is_usable


def test_one_image_in_train_and_test_is_said(tmp_path: Path) -> None:
    MVTEC_AD.write(tmp_path)
    shutil.copy(
        tmp_path / "bottle/train/good/000.png", tmp_path / "bottle/test/good/007.png"
    )  # fmt: skip
    (warning,) = [
        one for one in checked(MVTEC_AD, tmp_path).findings if one.code == "equal-files"
    ]  # fmt: skip
    assert "in train and in test" in warning.message


def test_blurred_masks_are_doubted(tmp_path: Path) -> None:
    MVTEC_AD.write(tmp_path)
    ramp = np.tile(np.linspace(0, 255, COLUMNS, dtype=np.uint8), (ROWS, 1))
    ramp[0, :8] = np.arange(8)
    Image.fromarray(ramp).save(tmp_path / MASK)
    assert "grey-mask" in codes(checked(MVTEC_AD, tmp_path), "warning")
    KVASIR.write(tmp_path / "kvasir")
    path = tmp_path / "kvasir" / KVASIR.lines[0].mask
    Image.fromarray(np.full((ROWS, COLUMNS), 140, dtype=np.uint8)).save(path)
    found = codes(checked(KVASIR, tmp_path / "kvasir"), "warning")
    assert {"grey-mask", "full-mask"} <= set(found)


def test_other_counts_than_published_are_a_warning_with_both(tmp_path: Path) -> None:
    report = checked(MVTEC_AD, MVTEC_AD.write(tmp_path))
    texts = [one.message for one in report.findings if one.code == "counts"]
    assert texts[1].startswith("test: 2 normal and 3 abnormal images, but MVTecAD has 467 and 1258")
    assert any("13 of 15 categories are absent: cable" in one.message for one in report.findings)


def test_a_folder_of_something_else_is_one_error_in_words(tmp_path: Path) -> None:
    report = check_set(KNOWN_SETS["TN3K"], tmp_path)
    assert codes(report) == ["unknown-layout"]
    assert report.folder is None


def test_the_command_lists_every_set_with_terms_source_counts_and_level(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["datasets"]) == 0
    text = capsys.readouterr().out
    for known in KNOWN_SETS.values():
        assert {known.name, known.source} <= set(text.split())
    assert "467 + 1258" in text
    assert main(["datasets", "list", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["VisA"]["test"] == {"normal": 962, "abnormal": 1200}
    assert rows["HeadCT"]["level"] == "image"
    assert rows["MVTecAD"]["licence"] == "CC BY-NC-SA 4.0"


def test_the_page_about_data_sets_says_the_same_as_the_list() -> None:
    page = (Path(__file__).parents[2] / "docs/datasets.md").read_text()
    for known in KNOWN_SETS.values():
        (row,) = [line for line in page.splitlines() if line.startswith(f"| [{known.name}](")]
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        counts = f"{known.test[0]} + {known.test[1]}" if known.test else "not known"
        assert cells[:5] == [
            f"[{known.name}]({known.source})", known.level, str(len(known.categories) or 1),
            counts, known.licence,
        ]  # fmt: skip
        assert all(f"`{layout.images}`" in cells[5] for layout in known.layouts)


def test_the_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["datasets", "--help"])
    assert stopped.value.code == 0
    assert "check NAME DIR" in capsys.readouterr().out


def test_the_command_says_with_its_exit_code_whether_a_copy_is_usable(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    MVTEC_AD.write(tmp_path)
    assert main(["datasets", "check", "MVTecAD", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "test: 2 normal and 3 abnormal images (published: 467 and 1258)" in text
    assert text.endswith("usable\n")
    (tmp_path / MASK).unlink()
    assert main(["datasets", "check", "mvtec", str(tmp_path)]) == 1
    assert f"error: The image {BOTTLE} has no mask" in capsys.readouterr().out
    assert main(["datasets", "check", "mvtec", str(tmp_path), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["usable"] is False
    assert found["findings"][0]["code"] == "missing-mask"


def test_many_findings_of_one_kind_are_cut_unless_all_are_wanted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(12):
        write_image(tmp_path / f"images/{number}.png")
    write_mask(tmp_path / "masks/other.png")
    assert main(["datasets", "check", "DDTI", str(tmp_path)]) == 1
    text = capsys.readouterr().out
    assert text.count("has no mask of its name") == 10
    assert "2 more of the kind missing-mask" in text
    assert main(["datasets", "check", "DDTI", str(tmp_path), "--all"]) == 1
    assert capsys.readouterr().out.count("has no mask of its name") == 12


@pytest.mark.parametrize("arguments", [["check"], ["check", "VisA"], ["check", "nothing", "/x"]])
def test_wrong_usage_is_said(arguments: list[str]) -> None:
    assert main(["datasets", *arguments]) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("BrainMRI", "medical/BrainMRI"),
        ("HeadCT", "medical/HeadCT"),
        ("COVID", "medical/COVID"),
        ("BUSI", "medical/BUSI"),
        ("Kvasir", "medical/KvasirSEG"),
        ("ISIC2017", "medical/ISIC2017"),
        ("DDTI", "medical/DDTI_thyroid"),
        ("MVTecAD", "industrial/mvtec"),
        ("Magnetic-Tile", "industrial/magnetic_tile"),
    ],
)
def test_real_copies_are_usable(shared_data: Path, name: str, folder: str) -> None:
    assert codes(check_set(KNOWN_SETS[name], shared_data / folder)) == []
