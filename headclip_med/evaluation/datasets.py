"""Open sets as the command line names them; volumes are read, cut and windowed as in screening."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8

from headclip_med.datasets import Dataset, Report, check_set, find_set, join_datasets, open_dataset
from headclip_med.datasets.own.spec import SetSpec
from headclip_med.errors import HeadClipError, UnreadableInput
from headclip_med.geometry import STRAIGHT_TOLERANCE_MM, Grid
from headclip_med.read import read_volume
from headclip_med.settings import Plane
from headclip_med.transforms import apply_window, choose_views, choose_window
from headclip_med.transforms.planes import View
from headclip_med.volume import Volume

VOLUMES_KEPT = 4
"""As images, and as many as masks; training that shuffles slices over more reads them again."""


@dataclass(frozen=True)
class VolumeSlices:
    """Reads slices of NIfTI volumes for ``open_dataset``, through the library's one reader.

    Slices are those that a screening sees: the patient's, whichever way a file stores its axes. The
    mask is cut and turned as its image is, and may be stored in another order.

    Attributes:
        window: How values become grey levels; see ``choose_window``.
        planes: Which of the patient's planes slices are cut in; see ``choose_views``.
    """

    window: str = "auto"
    planes: Plane = "axial"

    def cut(self, image_path: Path, mask_path: Path) -> tuple[int, Plane | None]:
        """Count the slices of a volume whose mask lies on the same grid.

        Returns:
            How many there are, and their plane: that of the acquisition where the one asked for
            cannot be cut well, None where the volume has no place in the patient.

        Raises:
            UnreadableInput: A file cannot be read, or the mask lies on another grid.
        """
        view = _view(image_path, self.planes)
        image, mask = view.grid, _view(mask_path, self.planes).grid
        if image.shape != mask.shape:
            raise UnreadableInput(
                f"The mask {mask_path.name} has {_size(mask)} voxels, but its image "
                f"{image_path.name} has {_size(image)}.",
                "Find the mask that was drawn on this volume.",
                code="mask-size",
            )
        if not _lie_alike(image, mask):
            raise UnreadableInput(
                f"The mask {mask_path.name} lies elsewhere than its image {image_path.name}: "
                "their affines differ.",
                "Resample the mask onto the image.",
                code="mask-grid",
            )
        return image.shape[0], view.plane

    def image(self, path: Path, index: int) -> UInt8[np.ndarray, "rows columns 3"]:
        """Read one slice, from 0, as red, green, blue in [0, 255]."""
        grey = _grey(path, self.planes, self.window)[index]
        return grey if grey.ndim == 3 else np.repeat(grey[..., None], 3, axis=2)

    def mask(self, path: Path, index: int) -> Bool[np.ndarray, "rows columns"]:
        """Read which pixels of one slice, from 0, are abnormal: those that are not 0."""
        marked: Bool[np.ndarray, "rows columns"] = _marked(path, self.planes)[index]
        return marked


def open_datasets(
    specs: Sequence[str], *, window: str = "auto", planes: Plane = "axial"
) -> Dataset:
    """Open one set or several as one, each given as ``LAYOUT:FOLDER``.

    Args:
        specs: See ``open_dataset``; ``nifti:FOLDER`` is understood as well.
        window: How values of volumes become grey levels.
        planes: Which of the patient's planes volumes are cut in.

    Raises:
        InvalidSettings: A layout is unknown, or the sets do not go together.
        UnreadableInput: A folder does not have its layout, or a file is missing.
    """
    reader = VolumeSlices(window, planes)
    return join_datasets([open_dataset(spec, reader) for spec in specs])


def check_spec(spec: str, *, progress: Callable[[int, int], None] | None = None) -> Report:
    """Open every image and mask of a set given as ``LAYOUT:FOLDER``, and report what is wrong.

    Args:
        spec: See ``open_dataset``.
        progress: Called with images done and images in all.

    Raises:
        InvalidSettings: The layout is unknown, or an option of no use.
    """
    named = SetSpec.parse(spec)
    known = replace(find_set(named.layout), options=named.options)
    return check_set(known, named.path, slices=VolumeSlices(), progress=progress)


def _volume(path: Path) -> Volume:
    try:
        volume = read_volume(path)
    except HeadClipError as error:
        raise UnreadableInput(
            f"The file {path.name} cannot be used. {error.reason}", error.advice, code=error.code
        ) from error
    if volume.voxels.shape[0] < 1:
        raise UnreadableInput(
            f"The file {path.name} holds no slice.", "Write it again.", code="empty-volume"
        )
    return volume


def _view(path: Path, planes: Plane) -> View:
    (view,), _ = choose_views(_volume(path), planes)
    return view


@lru_cache(maxsize=VOLUMES_KEPT)
def _grey(
    path: Path, planes: Plane, window: str
) -> UInt8[np.ndarray, "slices rows columns *colour"]:
    shown = _view(path, planes).shown
    grey = apply_window(shown.voxels, choose_window(shown, window))
    return np.asarray(np.round(grey * 255), dtype=np.uint8)


@lru_cache(maxsize=VOLUMES_KEPT)
def _marked(path: Path, planes: Plane) -> Bool[np.ndarray, "slices rows columns"]:
    """Cut a mask as its image; where pixels are resampled, at one half."""
    stored = _volume(path)
    colours = stored.voxels.ndim == 4
    painted = np.asarray(stored.voxels.any(axis=-1) if colours else stored.voxels != 0)
    marked = replace(stored, voxels=np.asarray(painted, dtype=np.float32))
    (view,), _ = choose_views(marked, planes)
    return np.asarray(view.shown.voxels >= 0.5)


def _lie_alike(one: Grid, other: Grid) -> bool:
    return all(
        np.allclose(mine, its, rtol=0, atol=STRAIGHT_TOLERANCE_MM)
        for mine, its in (
            (one.origins_lps_mm, other.origins_lps_mm),
            (one.row_step_lps_mm, other.row_step_lps_mm),
            (one.column_step_lps_mm, other.column_step_lps_mm),
        )
    )


def _size(grid: Grid) -> str:
    return " x ".join(str(length) for length in grid.shape)
