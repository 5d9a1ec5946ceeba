"""Masks and label maps beside images: left out where they say so, noted where they look like it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from nibabel.nifti1 import Nifti1Extension
from PIL import Image

from headclip_med.evaluation.datasets import open_datasets
from headclip_med.pipelines.plan import Plan
from headclip_med.read import find_inputs, read_volume
from headclip_med.volume import count_labels

SHAPE = (14, 12, 10)


def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 250, SHAPE).astype(np.int16)


def labels(count: int = 3) -> np.ndarray:
    """Regions of one value each, around them 0."""
    found = np.zeros(SHAPE, dtype=np.int16)
    for number in range(count):
        found[1 + number :, 2:9, 1:9] = number + 1
    return found


def nifti(path: Path, voxels: np.ndarray) -> nibabel.Nifti1Image:
    made = nibabel.Nifti1Image(voxels, np.diag([1.0, 1.0, 2.0, 1.0]))
    nibabel.save(made, path)
    return made


def intended(path: Path) -> Path:
    made = nifti(path.with_name("m.nii.gz"), labels())
    made.header.set_intent("label", name="organs")
    nibabel.save(made, path.with_name("m.nii.gz"))
    return path.with_name("m.nii.gz")


def tabled(path: Path) -> Path:
    """As Connectome Workbench and TotalSegmentator write names of labels."""
    made = nifti(path.with_name("m.nii"), labels())
    table = b"<CaretExtension><VolumeInformation><LabelTable/></VolumeInformation></CaretExtension>"
    made.header.extensions.append(Nifti1Extension(0, table))
    nibabel.save(made, path.with_name("m.nii"))
    return path.with_name("m.nii")


def nrrd(line: str) -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        sitk.WriteImage(sitk.GetImageFromArray(labels()), path.with_name("m.nrrd"))
        header, _, voxels = path.with_name("m.nrrd").read_bytes().partition(b"\n\n")
        path.with_name("m.nrrd").write_bytes(header + f"\n{line}\n\n".encode() + voxels)
        return path.with_name("m.nrrd")

    return write


DECLARED: dict[str, Callable[[Path], Path]] = {
    "NIfTI's intent": intended,
    "a table of labels": tabled,
    "3D Slicer's segments": nrrd("Segment0_ID:=Segment_1"),
    "MITK's labels": nrrd("org.mitk.multilabel.segmentation.version:=1"),
}


@pytest.mark.parametrize("name", DECLARED)
def test_what_says_that_it_holds_labels_is_left_out_beside_an_image(
    name: str, tmp_path: Path
) -> None:
    nifti(tmp_path / "scan.nii.gz", image())
    mask = DECLARED[name](tmp_path / "m")
    found = find_inputs([tmp_path])
    (one,) = found.readable
    assert one.paths == (tmp_path / "scan.nii.gz",)
    (refused,) = found.failures
    assert (refused.path, refused.code, refused.status) == (mask, "label-map", "left-out")
    assert "labels" in refused.reason
    assert Plan(found).counts() == {
        "files": 2, "planned": 1, "repeat": 0, "left-out": 1, "failed": 0,
    }  # fmt: skip


@pytest.mark.parametrize("name", DECLARED)
def test_labels_that_are_given_by_name_are_read_and_said_to_be_labels(
    name: str, tmp_path: Path
) -> None:
    volume = read_volume(DECLARED[name](tmp_path / "m"))
    assert volume.reading.declares_labels
    assert volume.reading.label_values == 0
    assert any("scores mean nothing" in note for note in volume.notes)


def test_masks_that_declare_labels_serve_as_ground_truth(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    nifti(tmp_path / "images/m.nii.gz", image())
    intended(tmp_path / "masks/m")
    assert len(open_datasets([f"nifti:{tmp_path}"]).samples) == SHAPE[2]


def mha(path: Path, voxels: np.ndarray) -> Path:
    sitk.WriteImage(sitk.GetImageFromArray(voxels), path.with_suffix(".mha"))
    return path.with_suffix(".mha")


def nii(path: Path, voxels: np.ndarray) -> Path:
    nifti(path.with_suffix(".nii"), voxels)
    return path.with_suffix(".nii")


def png(path: Path, voxels: np.ndarray) -> Path:
    Image.fromarray(voxels[5].astype(np.uint8)).save(path.with_suffix(".png"))
    return path.with_suffix(".png")


@pytest.mark.parametrize("write", [mha, nii, png])
def test_what_only_looks_like_labels_is_read_with_a_note(
    write: Callable[[Path, np.ndarray], Path], tmp_path: Path
) -> None:
    for name, voxels in (("mask", labels(1) * 255), ("image", image())):
        volume = read_volume(write(tmp_path / name, voxels))
        assert not volume.reading.declares_labels
        assert volume.reading.label_values == (2 if name == "mask" else 0)
        assert any("label map" in note for note in volume.notes) == (name == "mask")


@pytest.mark.parametrize(
    ("voxels", "count"),
    [
        (labels(1), 2),
        (labels(12), 13),
        (labels(12) * 1000, 13),
        (np.eye(10)[None], 2),
        (np.zeros(SHAPE), 0),
        (np.ones(SHAPE), 0),
        (labels(1) * 0.5, 0),
        (labels(1) - 1, 0),
        (image(), 0),
        (image() // 60, 0),
        (labels(12) * 6000, 0),
        (np.stack([labels(1)] * 3, axis=-1), 0),
    ],
    ids=["mask", "organs", "numbered by thousands", "single pixels", "nothing", "one value",
         "halves", "below 0", "noise", "coarse noise", "beyond all numbers", "colours"],
)  # fmt: skip
def test_labels_are_few_whole_numbers_in_regions(voxels: np.ndarray, count: int) -> None:
    assert count_labels(np.asarray(voxels, dtype=np.float32)) == count


def test_real_masks_are_told_from_real_images(shared_data: Path) -> None:
    found = find_inputs([shared_data / "nifti"])
    declared = {one.path.name for one in found.failures if one.code == "label-map"}
    assert declared == {"example_seg.nii.gz", "example_seg_mr.nii.gz"}
    looks = {
        one.paths[0].name: one.read().reading.label_values > 0
        for one in found.readable
        if one.kind == "nifti" and one.part == 1
    }
    masks = {"lesion.nii.gz", "standard.nii.gz"}
    assert {name for name, is_mask in looks.items() if is_mask} == masks
