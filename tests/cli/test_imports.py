"""Starting up is light: no heavy library is loaded before it is needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

HEAVY = ("torch", "monai", "mlflow", "highdicom", "open_clip", "matplotlib", "numpy", "pydicom")

NOT_FOR_A_PHOTO = (
    "IPython", "SimpleITK", "fire", "highdicom", "huggingface_hub", "ignite", "jsonschema",
    "matplotlib.pyplot", "mlflow", "monai", "onnx", "open_clip", "pandas", "pyarrow", "scipy.stats",
    "sklearn", "sqlalchemy", "sympy", "timm", "torch._dynamo", "torchvision", "triton",
)  # fmt: skip
"""What screening a picture does without: each costs from a tenth of a second to five."""

FOR_A_PHOTO = {
    "torch": "the model",
    "numpy": "voxels",
    "PIL": "reading and drawing pictures",
    "safetensors": "weights",
    "ftfy": "CLIP's tokenizer",
    "regex": "CLIP's tokenizer",
    "scipy": "smoothing, and the body's outline",
    "skimage": "labelled regions",
    "matplotlib": "the overlay's colours and letters",
    "nibabel": "the heatmap's file",
    "pydicom": "nibabel reads Siemens' headers with it",
    "jinja2": "the page",
    "jaxtyping": "shapes",
    "pydantic": "settings",
    "tyro": "options",
    "tqdm": "progress",
}
"""The libraries that screening a picture loads itself, and what for; those bring others along."""


def loaded_by(statement: str, libraries: tuple[str, ...] = HEAVY) -> set[str]:
    code = f"{statement}\nimport sys; print(*(m for m in {libraries!r} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "one.jpg"
    pixels = np.random.default_rng(0).integers(0, 255, (96, 96, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def test_the_command_line_starts_without_heavy_libraries() -> None:
    assert loaded_by("import headclip_med, headclip_med.cli") == set()


def test_settings_and_methods_are_known_without_torch() -> None:
    modules = (
        "models.registry, headclip_med.models.request, headclip_med.evaluation.request, "
        "headclip_med.tracking"
    )
    assert not loaded_by(f"import headclip_med.{modules}") & {"torch", "numpy", "mlflow", "monai"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["evaluate", "BrainMRI:nowhere"],
        ["evaluate", "--data-root", "nowhere"],
        ["evaluate", "--data-root", "."],
        ["evaluate", "--protocol", "mvtec-to-all", "--data-root", "."],
        ["experiment", "lhw", "--data-root", "nowhere"],
        ["experiment", "lhw", "--datasets", "BrainMRI:nowhere"],
        ["train", "--data", "mvtec:nowhere", "--out", "out"],
        ["screen", "nowhere", "--out", "out"],
    ],
)
def test_what_is_missing_is_told_before_torch_is_loaded(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code = f"from headclip_med.cli import main\nassert main({arguments!r}) in (1, 2)"
    assert "torch" not in loaded_by(code)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("wrong", [["nowhere"], ["one.jpg", "--model", "nowhere"]])
def test_a_wrong_screening_is_told_before_anything_slow_is_loaded(
    wrong: list[str], photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photo.parent)
    code = (
        "from headclip_med.cli import main\n"
        f"assert main(['screen', *{wrong!r}, '--out', 'nothing']) in (1, 2)"
    )
    slow = ("SimpleITK", "nibabel", "pydicom", "scipy", "torch")
    assert loaded_by(code, slow) == set()


def test_screening_a_photo_loads_what_it_needs_alone(photo: Path) -> None:
    code = (
        "from headclip_med.cli import main\n"
        f"assert main(['screen', {str(photo)!r}, '--out', {str(photo.parent / 'out')!r}]) == 0"
    )
    seen = loaded_by(code, (*NOT_FOR_A_PHOTO, *FOR_A_PHOTO))
    assert seen & set(NOT_FOR_A_PHOTO) == set()
    assert seen == set(FOR_A_PHOTO)


def test_the_three_functions_need_no_library_of_training(photo: Path) -> None:
    code = (
        "from headclip_med import load_model, read_volume, screen\n"
        f"assert 0 <= screen(read_volume({str(photo)!r}), load_model('headclip-mini')).score <= 1"
    )
    seen = loaded_by(code, (*NOT_FOR_A_PHOTO, "matplotlib", "nibabel", "torch"))
    assert seen == {"torch"}


def test_the_check_above_can_fail() -> None:
    assert "torch" in loaded_by("import torch")
