"""The bundle as a MONAI Label application: its candidates, to be corrected in a viewer.

MONAI Label 0.8 needs pydicom 2 and headclip-med pydicom 3, so each has an environment of its own:

    monailabel start_server --app headclip_lesion_segmentation/label --studies IMAGES \
      --conf python /path/to/the/environment/of/headclip-med/bin/python

Screens as the working copy's ``configs/inference.json`` says. Research use only.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory
from typing import Any

import nibabel
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType
from starlette.exceptions import HTTPException

BUNDLE = Path(__file__).absolute().parents[1]
CANDIDATE = "lesion candidate"


class ScreeningTask(InferTask):
    """Screens one image a request, by MONAI's own command.

    Args:
        python: The interpreter of the environment that headclip-med is installed in.
        metadata: Of the bundle.
    """

    def __init__(self, python: str, metadata: dict[str, Any]) -> None:
        self._python = python
        super().__init__(
            type=InferType.SEGMENTATION,
            labels={CANDIDATE: 1},
            dimension=3,
            description=metadata["description"],
        )

    def is_valid(self) -> bool:
        """The command is tried when it is needed."""
        return True

    def __call__(self, request: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Give the file of the label, 1 inside candidates, and what was found, as plain values."""
        with TemporaryDirectory() as place:
            self._run(Path(request["image"]), Path(place), request.get("device") or "cpu")
            (folder,) = [path.parent for path in Path(place).rglob("result.json")]
            result = json.loads((folder / "result.json").read_text("utf-8"))
            return _one_label(folder / "mask.nii.gz"), {
                "label_names": {CANDIDATE: 1},
                "score": result["score"],
                "candidates": result["lesions"],
                "notes": result["notes"],
            }

    def _run(self, image: Path, out: Path, device: str) -> None:
        overrides = {
            "bundle_root": BUNDLE, "dataset_dir": image, "output_dir": out, "outputs": "mask",
            "device": f"$torch.device({device!r})",
        }  # fmt: skip
        command = [self._python, "-m", "monai.bundle", "run"]
        command += ["--config_file", str(BUNDLE / "configs/inference.json")]
        for name, value in overrides.items():
            command += [f"--{name}", str(value)]
        ended = subprocess.run(command, cwd=out, capture_output=True, text=True)  # noqa: S603
        if ended.returncode != 0:
            # The server passes this kind's words on; of its own it answers that something failed.
            raise HTTPException(500, _reason(out, ended.stderr))


class ScreeningApp(MONAILabelApp):
    """One model and no training: what is corrected stays with the server."""

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        self._metadata = json.loads((BUNDLE / "configs/metadata.json").read_text("utf-8"))
        super().__init__(
            app_dir=app_dir, studies=studies, conf=conf, name=self._metadata["name"],
            description=self._metadata["intended_use"], version=self._metadata["version"],
        )  # fmt: skip

    def init_infers(self) -> dict[str, InferTask]:
        """Name the model after the bundle."""
        if "python" not in self.conf:
            raise ValueError(
                "The environment of headclip-med is not named. "
                "Add --conf python /path/to/its/bin/python."
            )
        return {BUNDLE.name: ScreeningTask(self.conf["python"], self._metadata)}


def _one_label(mask: Path) -> str:
    """Copy a mask of candidates' ids to one of a single label; the server removes it later."""
    ids = nibabel.load(mask)
    marked = (ids.get_fdata() > 0).astype("uint8")
    # A name of its own: the image's may name a patient.
    with NamedTemporaryFile(suffix=".nii.gz", delete=False) as file:
        nibabel.save(nibabel.Nifti1Image(marked, ids.affine), file.name)
    return file.name


def _reason(out: Path, said: str) -> str:
    """What the summary says of the image that failed, or the command's last line."""
    if (out / "summary.json").is_file():
        failures = json.loads((out / "summary.json").read_text("utf-8"))["failures"]
        if failures:
            return f"{failures[0]['reason']} {failures[0]['what_to_do']}"
    return (said.strip().splitlines() or ["The command ended without a word."])[-1]
