"""Phantoms for the reading tests: small series with a lesion in one corner, and their faults."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset

from headclip_med.geometry import Grid
from headclip_med.write.dicom.series import write_ct_series

PATIENT_NAME = "Zyxwvut^Qponml"
"""Must never be seen again once it is in a file."""


def make_grid(
    *,
    shape: tuple[int, int, int] = (5, 6, 7),
    step_lps_mm: Sequence[float] = (0, 0, 3),
    across: Sequence[float] = (1, 0, 0),
    down: Sequence[float] = (0, 1, 0),
    spacing_mm: tuple[float, float] = (0.8, 0.5),
    origin_lps_mm: Sequence[float] = (-20, -30, 40),
) -> Grid:
    """Build a grid whose every length differs; ``step`` need not be along the normal."""
    slices, rows, columns = shape
    origins = np.array(origin_lps_mm, float) + np.arange(slices)[:, None] * np.array(step_lps_mm)
    return Grid(
        origins.astype(np.float64),
        np.array(down, float) * spacing_mm[0],
        np.array(across, float) * spacing_mm[1],
        rows,
        columns,
    )


def make_voxels(shape: tuple[int, int, int] = (5, 6, 7)) -> np.ndarray:
    """Give every voxel its own value, in whole Hounsfield units, and one corner a lesion."""
    values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape) - 100
    values[0, 0, 1] = 2000
    return values


def write_phantom(folder: Path, grid: Grid | None = None, **options: str) -> tuple[Path, ...]:
    """Write the phantom as a CT series."""
    grid = grid or make_grid()
    options.setdefault("patient_name", PATIENT_NAME)
    return write_ct_series(folder, make_voxels(grid.shape), grid, **options)


def edit(paths: Sequence[Path], change: Callable[[Dataset, int], object]) -> None:
    """Change the data set of each file; ``change`` also gets the slice's index."""
    with pydicom.config.disable_value_validation():
        for index, path in enumerate(paths):
            dataset = pydicom.dcmread(path)
            change(dataset, index)
            dataset.save_as(path)


def read_at(path: Path) -> Dataset:
    """Read one data set."""
    return pydicom.dcmread(path)
