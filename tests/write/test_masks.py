"""Masks and plain heatmaps: candidates by their ids, values by their steps, pixel for pixel."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import jsonschema
import nibabel
import numpy as np
from PIL import Image

from headclip_med.findings import Screening
from headclip_med.geometry import Grid
from headclip_med.volume import Heatmap, SliceSource, Volume
from headclip_med.write import write_screening
from headclip_med.write.result import result_schema
from tests.write.dicom.test_seg import STACKS, ct_volume, screening_of, two_lesions


def photographs(slices: int, labels: np.ndarray) -> Screening:
    grid = Grid.of_pixels(slices=slices, rows=labels.shape[1], columns=labels.shape[2])
    volume = Volume(
        np.full(grid.shape, 40, np.float32), grid, (SliceSource(Path()),) * slices, "image"
    )
    return screening_of(volume, labels)


def test_a_nifti_mask_holds_the_ids_where_the_heatmap_lies(tmp_path: Path) -> None:
    grid = STACKS["oblique"]()
    screening = screening_of(ct_volume(tmp_path / "in", grid), two_lesions(grid.shape))
    written = write_screening(screening, tmp_path / "out", outputs=["mask", "heatmap"])
    mask, heatmap = (
        nibabel.load(written.folder / f"{name}.nii.gz") for name in ("mask", "heatmap")
    )
    np.testing.assert_array_equal(np.asarray(mask.dataobj).T, screening.labels)
    np.testing.assert_array_equal(mask.affine, heatmap.affine)
    assert b"mask - research use only" in bytes(mask.header["descrip"])
    assert written.notes == ()


def test_a_mask_of_uneven_slices_says_that_its_affine_is_off(tmp_path: Path) -> None:
    grid = STACKS["gapped"]()
    screening = screening_of(ct_volume(tmp_path / "in", grid), two_lesions(grid.shape))
    (note,) = write_screening(screening, tmp_path / "out", outputs=["mask"]).notes
    assert "mask.nii.gz has even steps" in note


def test_a_photograph_has_its_mask_and_its_heatmap_as_pictures(tmp_path: Path) -> None:
    labels = np.zeros((1, 12, 15), np.int32)
    labels[0, 2:5, 3:9] = 1
    labels[0, 8, 1] = 2
    screening = photographs(1, labels)
    heat = np.linspace(0, 1, 180, dtype=np.float32).reshape(1, 12, 15)
    screening = replace(screening, heatmap=Heatmap(heat, screening.volume.grid))
    written = write_screening(screening, tmp_path, outputs=["mask-png", "heatmap-png"])
    assert written.outputs["mask-png"] == "mask-png.png"
    mask = np.asarray(Image.open(written.folder / "mask-png.png"))
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, labels[0])
    grey = np.asarray(Image.open(written.folder / "heatmap-png.png"))
    np.testing.assert_array_equal(grey, np.floor(heat[0] * 255 + 0.5))
    assert (grey[0, 0], grey[-1, -1]) == (0, 255)
    assert written.result["heatmaps"].keys() == {"heatmap-png"}  # type: ignore[attr-defined]
    jsonschema.validate(written.result, result_schema())


def test_hundreds_of_candidates_and_several_pictures(tmp_path: Path) -> None:
    labels = np.zeros((2, 40, 40), np.int32)
    labels[1].reshape(-1)[: 2 * 300 : 2] = np.arange(1, 301)
    written = write_screening(photographs(2, labels), tmp_path, outputs=["mask-png"])
    assert written.outputs["mask-png-002"] == "mask-png-002.png"
    np.testing.assert_array_equal(Image.open(written.folder / "mask-png-002.png"), labels[1])


def test_what_lies_in_the_patient_has_no_plain_pictures(tmp_path: Path) -> None:
    grid = STACKS["axial"]()
    screening = screening_of(ct_volume(tmp_path / "in", grid), two_lesions(grid.shape))
    skipped = write_screening(screening, tmp_path / "out", outputs=["mask-png"]).result[
        "skipped_outputs"
    ]
    codes = {one["output"]: one["code"] for one in skipped}  # type: ignore[attr-defined]
    assert codes["mask-png"] == codes["heatmap-png"] == "needs-pictures"
