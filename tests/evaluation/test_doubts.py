"""What the check of a set says of its masks is said where the set is used, before a model runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headclip_med.cli import main
from headclip_med.datasets import open_dataset
from headclip_med.errors import UnreadableInput
from headclip_med.evaluation.models import evaluate_models
from headclip_med.evaluation.request import EvaluationSettings
from tests.bright import BrightModel


def screws(root: Path, *, inverted: int = 0, empty: int = 0) -> Path:
    """Three good images and three dents, of which some masks are inverted and some empty."""
    for number in range(6):
        kind = "good" if number < 3 else "dent"
        image = np.random.default_rng(number).integers(0, 200, (16, 16), dtype=np.uint8)
        folder = root / f"test/{kind}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{number}.png")
        if number >= 3:
            mask = np.zeros((16, 16), np.uint8)
            mask[2:6, 3:7] = 0 if number - 3 < empty else 255
            (root / "ground_truth/dent").mkdir(parents=True, exist_ok=True)
            drawn = 255 - mask if number >= 6 - inverted else mask
            Image.fromarray(drawn).save(root / f"ground_truth/dent/{number}_mask.png")
    return root


def test_an_inverted_mask_is_said_counted_and_noted(tmp_path: Path) -> None:
    (screws(tmp_path, inverted=2) / "test/dent/Thumbs.db").write_bytes(b"\0")
    lines: list[str] = []
    (found,) = evaluate_models(
        open_dataset(f"mvtec:{tmp_path}"), [BrightModel()],
        EvaluationSettings(intervals=False), say=lines.append,
    )  # fmt: skip
    assert found.doubts == {"passed-over": 1, "most-mask": 2}
    assert found.to_json()["doubts"] == found.doubts
    assert any("passed-over 1, most-mask 2" in note for note in found.notes)
    assert any("4_mask.png marks 94 % of its image test/dent/4.png" in line for line in lines)
    assert any("The file test/dent/Thumbs.db is an operating system's" in line for line in lines)


def test_a_sound_set_has_no_doubts_and_no_note(tmp_path: Path) -> None:
    (found,) = evaluate_models(
        open_dataset(f"mvtec:{screws(tmp_path)}"), [BrightModel()],
        EvaluationSettings(intervals=False),
    )  # fmt: skip
    assert (found.doubts, found.notes) == ({}, ())


def test_an_empty_mask_is_refused_before_a_model_runs(tmp_path: Path) -> None:
    model = BrightModel()
    with pytest.raises(UnreadableInput, match=r"3_mask\.png marks nothing.*1 more") as caught:
        evaluate_models(open_dataset(f"mvtec:{screws(tmp_path, empty=2)}"), [model])
    assert caught.value.code == "empty-mask"
    assert not model.calls


def test_training_refuses_and_says_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = screws(tmp_path / "screw", empty=1, inverted=1), tmp_path / "run"
    assert main(["train", "--data", f"mvtec:{data}", "--out", str(out), "--no-tracking"]) == 1
    assert "ground_truth/dent/3_mask.png marks nothing" in capsys.readouterr().err
    assert not out.exists()
