"""The MONAI Label application, which runs MONAI's command in the project's own environment.

MONAI Label cannot be installed beside the project (it needs pydicom 2), so three names of it are
stood in for: a base class that keeps what it is given, another, and a kind of task.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from runpy import run_path
from types import ModuleType, SimpleNamespace
from typing import Any

import nibabel
import numpy as np
import pytest
from starlette.exceptions import HTTPException

from headclip_med.pipelines.bundle.folder import write_bundle


class Keeper:
    """Keeps what it is told, as MONAI Label's bases do."""

    def __init__(self, **told: Any) -> None:
        self.__dict__.update(told)


@pytest.fixture
def application(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The application of a working copy, in which a reader has set a threshold."""
    app, infer = ModuleType("app"), ModuleType("infer")
    app.MONAILabelApp = Keeper  # type: ignore[attr-defined]
    infer.InferTask = Keeper  # type: ignore[attr-defined]
    infer.InferType = SimpleNamespace(SEGMENTATION="segmentation")  # type: ignore[attr-defined]
    names = ("monailabel", "monailabel.interfaces", "monailabel.interfaces.tasks")
    stand_ins = {name: ModuleType(name) for name in names}
    stand_ins["monailabel.interfaces.app"] = app
    stand_ins["monailabel.interfaces.tasks.infer_v2"] = infer
    for name, module in stand_ins.items():
        monkeypatch.setitem(sys.modules, name, module)
    bundle = write_bundle(tmp_path / "headclip_lesion_segmentation")
    config = bundle / "configs/inference.json"
    changed = json.loads(config.read_text()) | {"threshold": 0.02, "minimum_size": 0.0}
    config.write_text(json.dumps(changed))
    return run_path(str(bundle / "label/main.py"))


@pytest.mark.slow
def test_a_request_gives_a_label_on_the_image_s_grid(
    application: dict[str, Any], tmp_path: Path
) -> None:
    down, across, _ = np.mgrid[0:60, 0:50, 0:3]
    voxels = np.where((down - 30) ** 2 + (across - 25) ** 2 < 400, 40.0, -1000.0)
    voxels[20:28, 30:36, 1] = 80.0
    affine = np.array([[-2.0, 0, 0, 50], [0, -2, 0.4, 60], [0, 0, 5, -30], [0, 0, 0, 1]])
    nibabel.save(nibabel.Nifti1Image(voxels, affine), tmp_path / "head.nii.gz")
    (tmp_path / "broken.nii.gz").write_bytes(b"\x1f\x8b no gzip")
    app = application["ScreeningApp"]("app", "studies", {"python": sys.executable})
    (task,) = app.init_infers().values()
    assert (task.type, task.labels) == ("segmentation", {"lesion candidate": 1})

    file, found = task({"image": str(tmp_path / "head.nii.gz")})
    label = nibabel.load(file)
    np.testing.assert_allclose(label.affine, affine, atol=1e-4)
    values = np.asarray(label.dataobj)
    Path(file).unlink()
    assert values.shape == voxels.shape
    assert set(np.unique(values)) == {0, 1}
    assert "head" not in Path(file).name
    voxel_mm3 = abs(np.linalg.det(affine))
    sizes_mm3 = sum(one["size"] for one in found["candidates"])
    assert sizes_mm3 == pytest.approx(values.sum() * voxel_mm3, rel=1e-3)
    assert 0 < found["score"] < 1

    with pytest.raises(HTTPException) as refused:
        task({"image": str(tmp_path / "broken.nii.gz")})
    assert "no readable NIfTI image" in refused.value.detail


def test_the_environment_has_to_be_named(application: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="--conf python"):
        application["ScreeningApp"]("app", "studies", {}).init_infers()
