"""Volumes with masks as data sets: each slice is an image, read by the library's one reader."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Literal

import nibabel
import numpy as np
import pytest
from jaxtyping import Shaped

from headclip_med.cli import main
from headclip_med.datasets import check_set, find_set, open_dataset, read_image, read_mask
from headclip_med.errors import InvalidSettings, UnreadableInput
from headclip_med.evaluation.datasets import VolumeSlices, open_datasets
from headclip_med.evaluation.models import evaluate_models
from headclip_med.evaluation.request import EvaluationSettings
from headclip_med.models.model import AnomalyModel
from headclip_med.settings import Plane, ScoreSettings
from tests import tiny
from tests.bright import BrightModel
from tests.set_copies import COLON_DB
from tests.stored_orders import ORDERS, head, sheared, stored

COLUMNS, ROWS, SLICES = 7, 5, 3
AFFINE = np.diag([-0.5, -0.75, 2.0, 1.0])


def write(path: Path, voxels: Shaped[np.ndarray, "..."], affine: object = AFFINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(voxels, np.asarray(affine)), path)
    return path


def pair(image: Path, mask: Path, seed: int = 0) -> None:
    """A volume whose second slice is marked at column 6, row 4."""
    voxels = np.random.default_rng(seed).integers(0, 900, (COLUMNS, ROWS, SLICES), dtype=np.int16)
    marked = np.zeros((COLUMNS, ROWS, SLICES), dtype=np.uint8)
    marked[6, 4, 1] = 3  # masks may be codes
    write(image, voxels)
    write(mask, marked)


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("images/a.nii.gz", "masks/a.nii.gz"),
        ("images/a.nii", "labels/a.nii.gz"),
        ("images/a.nii.gz", "masks/a_seg.nii"),
        ("imagesTr/a.nii.gz", "labelsTr/a.nii.gz"),
        ("imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz"),
        ("a.nii.gz", "a_mask.nii.gz"),
        ("a.nii", "a_label.nii"),
    ],
)
def test_every_slice_of_a_volume_is_an_image_with_its_mask(
    tmp_path: Path, image: str, mask: str
) -> None:
    pair(tmp_path / image, tmp_path / mask)
    dataset = open_datasets([f"nifti:{tmp_path}"])
    assert dataset.level == "pixel"
    assert [s.slice_index for s in dataset.samples] == [0, 1, 2]
    assert [s.label for s in dataset.samples] == [None] * 3
    marked = [read_mask(sample) for sample in dataset.samples]
    assert [int(one.sum()) for one in marked] == [0, 1, 0]
    assert marked[1].shape == (ROWS, COLUMNS)
    assert marked[1][4, 6]
    assert read_image(dataset.samples[0]).shape == (ROWS, COLUMNS, 3)


def test_slices_are_windowed_as_one_volume_and_not_each_for_itself(tmp_path: Path) -> None:
    ramp = np.zeros((COLUMNS, ROWS, SLICES), dtype=np.int16)
    ramp[...] = [40, 0, 80]  # one value a slice
    write(tmp_path / "images/a.nii", ramp)
    write(tmp_path / "masks/a.nii", np.zeros_like(ramp, dtype=np.uint8))
    dataset = open_datasets([f"nifti:{tmp_path}"], window="40,80")
    assert [int(read_image(s).max()) for s in dataset.samples] == [128, 0, 255]


def lesion_of(voxels: np.ndarray) -> np.ndarray:
    return np.asarray(voxels == 75, dtype=np.uint8)


@pytest.mark.parametrize("planes", ["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("degrees", [0, 20])
def test_slices_and_masks_are_the_patients_however_both_are_stored(
    tmp_path: Path, planes: Plane, degrees: float
) -> None:
    voxels, affine = head(shape=(40, 48, 24))
    affine = sheared(affine, degrees)
    first: list[np.ndarray] | None = None
    for number, order in enumerate(ORDERS[:: 1 if planes == "axial" else 5]):
        folder = tmp_path / str(number)
        write(folder / "images/a.nii", *stored(voxels, affine, order))
        other = ORDERS[(number * 7 + 3) % len(ORDERS)]
        write(folder / "masks/a.nii", *stored(lesion_of(voxels), affine, other))
        dataset = open_datasets([f"nifti:{folder}"], window="100,200", planes=planes)
        assert {sample.plane for sample in dataset.samples} == {planes}
        found = [np.stack([read_image(one) for one in dataset.samples]).astype(int),
                 np.stack([read_mask(one) for one in dataset.samples])]  # fmt: skip
        first = first or found
        assert found[1].any()
        assert found[0].shape[:3] == found[1].shape
        assert np.abs(found[0] - first[0]).max() <= 1
        np.testing.assert_array_equal(found[1], first[1])
        has_its_grey = np.abs(found[0][found[1]] - 96) <= 1  # of 75 HU in a window of 0 to 200
        assert has_its_grey.mean() > (0.6 if planes != "axial" else 0.999)  # edges are resampled
    assert first is not None
    assert len(first[0]) == {"axial": 24, "coronal": 48, "sagittal": 40}[planes]


@pytest.mark.parametrize(
    "model",
    [
        BrightModel(image_size=48, threshold=0.8, scores=ScoreSettings(sigma_px=0.0)),
        tiny.model().fold(),
    ],
    ids=["bright", "headclip"],
)
@pytest.mark.parametrize("size", ["input", "native"])
def test_every_storage_order_has_the_same_metrics(
    tmp_path: Path, model: AnomalyModel, size: Literal["input", "native"]
) -> None:
    voxels, affine = head(shape=(40, 48, 24))
    rows = []
    for number, order in enumerate(ORDERS[::11]):
        write(tmp_path / f"{number}/a/images/a.nii", *stored(voxels, affine, order))
        write(tmp_path / f"{number}/a/masks/a.nii", *stored(lesion_of(voxels), affine, order))
        dataset = open_datasets([f"nifti:{tmp_path}/{number}/a"])
        settings = EvaluationSettings(intervals=False, eval_size=size)
        (found,) = evaluate_models(dataset, [model], settings)
        assert found.planes == {"axial": 1}
        assert found.notes == () or size == "native"
        rows.append(
            {
                (row.level, row.method, row.score, name): estimate.value
                for row in found.rows
                for name, estimate in row.metrics.items()
            }
        )
    for one in rows[1:]:
        assert one == pytest.approx(rows[0], abs=0.005, nan_ok=True)


def test_thick_slices_are_judged_as_they_were_acquired_and_the_table_says_so(
    tmp_path: Path,
) -> None:
    voxels, affine = head(shape=(12, 48, 40), spacing_mm=(16.0, 4.0, 4.0))
    write(tmp_path / "a/images/a.nii", voxels, affine)
    write(tmp_path / "a/masks/a.nii", lesion_of(voxels), affine)
    dataset = open_datasets([f"nifti:{tmp_path / 'a'}"])
    assert {sample.plane for sample in dataset.samples} == {"sagittal"}
    (found,) = evaluate_models(dataset, [BrightModel()], EvaluationSettings(intervals=False))
    assert found.planes == {"sagittal": 1}
    assert found.notes == (
        "Volumes judged in sagittal slices, as they were acquired, because axial ones would be too "
        "coarse: 1.",
    )


def test_the_plane_is_part_of_what_a_set_is(tmp_path: Path) -> None:
    voxels, affine = head(shape=(24, 24, 24), spacing_mm=(4.0, 4.0, 4.0))
    write(tmp_path / "images/a.nii", voxels, affine)
    write(tmp_path / "masks/a.nii", lesion_of(voxels), affine)
    digests = {
        open_datasets([f"nifti:{tmp_path}"], planes=planes).content_digest
        for planes in ("axial", "coronal", "sagittal")
    }
    assert len(digests) == 3


def test_several_volumes_keep_their_order_and_a_digest_of_their_own(tmp_path: Path) -> None:
    for number, name in enumerate(("a", "b")):
        pair(tmp_path / f"images/{name}.nii", tmp_path / f"masks/{name}.nii", seed=number)
    dataset = open_datasets([f"nifti:{tmp_path}"])
    assert [(s.image_path.name, s.slice_index) for s in dataset.samples] == [
        (name, index) for name in ("a.nii", "b.nii") for index in range(3)
    ]
    digest = dataset.content_digest
    pair(tmp_path / "images/b.nii", tmp_path / "masks/b.nii", seed=5)
    assert open_datasets([f"nifti:{tmp_path}"]).content_digest != digest


def test_samples_travel_to_other_processes(tmp_path: Path) -> None:
    pair(tmp_path / "images/a.nii", tmp_path / "masks/a.nii")
    sample = open_datasets([f"nifti:{tmp_path}"]).samples[1]
    copy = pickle.loads(pickle.dumps(sample))  # noqa: S301
    assert copy == sample
    np.testing.assert_array_equal(read_mask(copy), read_mask(sample))


@pytest.mark.parametrize(
    ("shape", "affine", "code"),
    [
        ((COLUMNS, ROWS, 2), AFFINE, "mask-size"),
        ((ROWS, COLUMNS, SLICES), AFFINE, "mask-size"),
        ((COLUMNS, ROWS, SLICES), np.diag([0.5, -0.75, 2.0, 1.0]), "mask-grid"),
        ((COLUMNS, ROWS, SLICES), np.diag([-0.5, -0.75, 2.2, 1.0]), "mask-grid"),
    ],
)
def test_a_mask_on_another_grid_is_an_error_that_names_it(
    tmp_path: Path, shape: tuple[int, ...], affine: object, code: str
) -> None:
    pair(tmp_path / "images/a.nii", tmp_path / "masks/a.nii")
    write(tmp_path / "masks/a.nii", np.ones(shape, dtype=np.uint8), affine)
    with pytest.raises(UnreadableInput, match=r"mask a\.nii") as caught:
        open_datasets([f"nifti:{tmp_path}"])
    assert caught.value.code == code


def test_lost_masks_and_broken_volumes_are_named_together(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        pair(tmp_path / f"images/{name}.nii", tmp_path / f"masks/{name}.nii")
    (tmp_path / "masks/a.nii").unlink()
    content = (tmp_path / "images/b.nii").read_bytes()
    (tmp_path / "images/b.nii").write_bytes(content[:400])
    report = check_set(find_set("nifti"), tmp_path, slices=VolumeSlices())
    errors = [one.message for one in report.findings if one.severity == "error"]
    assert len(errors) == 2
    assert "a.nii" in errors[0]
    assert errors[1].startswith("The file b.nii cannot be used. ")
    assert report.counts == {"test": (2, 1)}


def test_the_command_checks_volumes_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pair(tmp_path / "images/a.nii", tmp_path / "masks/a.nii")
    assert main(["datasets", "check", "nifti", str(tmp_path)]) == 0
    assert "test: 2 normal and 1 abnormal images" in capsys.readouterr().out


def test_volumes_without_a_reader_say_who_has_one(tmp_path: Path) -> None:
    pair(tmp_path / "images/a.nii", tmp_path / "masks/a.nii")
    with pytest.raises(InvalidSettings, match="need a reader"):
        open_dataset(f"nifti:{tmp_path}")


def test_pictures_and_volumes_may_be_trained_on_together(tmp_path: Path) -> None:
    pair(tmp_path / "volumes/images/a.nii", tmp_path / "volumes/masks/a.nii")
    COLON_DB.write(tmp_path / "ColonDB")
    both = open_datasets([f"nifti:{tmp_path / 'volumes'}", f"CVC-ColonDB:{tmp_path / 'ColonDB'}"])
    assert both.categories == ("volumes/volumes", "CVC-ColonDB/colon")
    assert len({read_image(sample).shape[2] for sample in both.samples}) == 1


def test_a_real_volume_and_its_organ_mask_are_read_slice_by_slice(
    tmp_path: Path, shared_data: Path
) -> None:
    for folder, name in (("images", "example_ct_sm"), ("masks", "example_seg")):
        (tmp_path / folder).mkdir()
        source = shared_data / "nifti/totalsegmentator" / f"{name}.nii.gz"
        (tmp_path / folder / "scan.nii.gz").symlink_to(source)
    dataset = open_datasets([f"nifti:{tmp_path}"])
    middle = dataset.samples[len(dataset.samples) // 2]
    assert read_image(middle).shape[:2] == read_mask(middle).shape
    assert read_mask(middle).any()
