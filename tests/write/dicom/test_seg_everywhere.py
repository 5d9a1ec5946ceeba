"""Segmentations of whatever there is to be read: valid, bound to their space, and read back."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813 - as everybody calls it

from headclip_med.errors import HeadClipError
from headclip_med.findings import Box, Lesion, Screening, WindowUsed
from headclip_med.read import find_inputs
from headclip_med.transforms.even import even_grid
from headclip_med.volume import Heatmap, Volume
from headclip_med.write import write_screening
from headclip_med.write.dicom.spacing import common_step_mm
from tests.write.dicom.places import points_by_segment, sorted_points


def screened(volume: Volume) -> Screening:
    """What a model would leave that finds two uneven candidates wherever it looks."""
    slices, rows, columns = volume.grid.shape
    labels = np.zeros(volume.grid.shape, dtype=np.int32)
    labels[: slices // 2 + 1, : rows // 3 + 1, : columns // 4 + 1] = 1
    labels[slices // 2 :, rows // 2 + 1 : rows - rows // 8, columns // 2 + 1 :] = 2
    found = [number for number in (1, 2) if (labels == number).any()]
    heat = (labels / np.float32(4)).astype(np.float32)
    lesions = tuple(
        Lesion(number, 1.0, "px", (0.0, 0.0, 0.0), "column_row_slice", 0.5, (0, 0), 0)
        for number in found
    )
    return Screening(
        volume, Heatmap(heat, volume.grid), heat.max(axis=(1, 2)).astype(np.float64), 0.5, 0.2,
        labels, lesions, WindowUsed("as-is", 0.0, 1.0, "a test"), Box(0, 1, 0, 1),
        {"name": "two corners", "method": "none"}, {},
    )  # fmt: skip


def complaints(dciodvfy: str, path: Path) -> list[str]:
    done = subprocess.run(
        [dciodvfy, "-new", path.name], cwd=path.parent, capture_output=True, check=False
    )
    lines = done.stderr.decode("latin-1").splitlines()
    return [line for line in lines if line.startswith("Error")]


def read_by_dcmqi(path: Path, folder: Path) -> list[sitk.Image]:
    """Each segment as the independent reader sees it."""
    folder.mkdir()
    program = Path(sys.executable).with_name("segimage2itkimage")
    command = [program, "--inputDICOM", path, "--outputDirectory", folder, "--outputType", "nrrd"]
    subprocess.run(command, capture_output=True, check=True)
    return [sitk.ReadImage(one) for one in sorted(folder.glob("*.nrrd"), key=lambda p: int(p.stem))]


def read_back(path: Path, volume: Volume, folder: Path) -> str:
    """Both segments lie in a reader that is not ours where the stored voxels lie.

    dcmqi gives an image of each segment, whose slices lie straight on one another: of stacks that
    lean the frames are read one by one.
    """
    labels = np.asarray(screened(volume).labels)
    numbers = [number for number in (1, 2) if (labels == number).any()]
    if even_grid(volume.grid) is None or common_step_mm(volume.grid) is not None:
        who, found = "by dcmqi", [points(image) for image in read_by_dcmqi(path, folder)]
        shutil.rmtree(folder)
    else:
        who, by_segment = "by frames", points_by_segment(pydicom.dcmread(path))
        found = [sorted_points(by_segment[place]) for place in sorted(by_segment)]
    assert len(found) == len(numbers), path
    for segment, number in zip(found, numbers, strict=True):
        true = volume.grid.to_lps_mm(np.argwhere(labels == number).astype(float))
        assert segment.shape == true.shape, path
        assert np.abs(segment - sorted_points(true)).max() < 0.01, path
    return who


def points(image: sitk.Image) -> np.ndarray:
    """Where the marked voxels are in the patient, sorted."""
    index = np.argwhere(sitk.GetArrayFromImage(image) > 0)
    lps = [image.TransformIndexToPhysicalPoint(tuple(map(int, one[::-1]))) for one in index]
    return sorted_points(np.array(lps))


@pytest.mark.slow  # every series that there is, and two other programs on each
def test_every_segmentation_of_real_series_is_valid_and_read_back(
    shared_data: Path, tmp_path: Path, dciodvfy: str
) -> None:
    inputs = find_inputs([shared_data / "dicom"])
    counts: Counter[str] = Counter()
    wrong: list[str] = []
    for number, one in enumerate(inputs.readable):
        try:
            volume = one.read()
        except HeadClipError as error:
            counts[error.code] += 1
            continue
        if volume.origin != "dicom":
            continue
        written = write_screening(screened(volume), tmp_path / str(number), outputs=["seg"])
        if "seg" not in {Path(name).stem.split("-")[0] for name in written.outputs.values()}:
            (skipped,) = (s for s in written.result["skipped_outputs"] if s["output"] == "seg")  # type: ignore[attr-defined]
            counts[skipped["code"]] += 1
            continue
        for name in written.outputs.values():
            if name.endswith(".dcm"):
                counts["written"] += 1
                found = complaints(dciodvfy, written.folder / name)
                wrong += [f"{number} {volume.sources[0].path.name}: {line}" for line in found]
                if volume.grid.is_patient:
                    counts[read_back(written.folder / name, volume, tmp_path / "dcmqi")] += 1
        shutil.rmtree(tmp_path / str(number))

    assert wrong == [], counts
    assert counts["written"] > 100
    assert counts["by dcmqi"] > 40
