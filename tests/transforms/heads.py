"""Drawn heads whose plane of symmetry is known, with a lesion on one side where one is wanted."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from headclip_med.geometry import Grid
from headclip_med.volume import SliceSource, Volume

LESION_MM = (28.0, 8.0, 6.0)
"""Its centre: to the left, to the back, to the head."""

RADIUS_MM = 11.0


def grey_head(
    x: np.ndarray, y: np.ndarray, z: np.ndarray | float, *, lesion: float = 0.0
) -> np.ndarray:
    """Draw a head in its own millimetres (left, back, up): equal on both sides but for a lesion."""
    shell = (x / 68) ** 2 + (y / 86) ** 2 + (z / 78) ** 2
    grey = np.where(shell < 1, 0.95, 0.0)
    grey = np.where(shell < 0.84, 0.45 + 0.1 * np.cos(x / 9) * np.sin(y / 11 + 0.3), grey)
    for side in (-1, 1):
        horn = ((x - side * 14) / 7) ** 2 + ((y + 4) / 26) ** 2 + ((z - 8) / 16) ** 2
        grey = np.where(horn < 1, 0.12, grey)
    near = sum(((one - at) ** 2 for one, at in zip((x, y, z), LESION_MM, strict=True)), 0.0)
    return np.where(near < RADIUS_MM**2, grey + lesion, grey).clip(0, 1).astype(np.float32)


def head_picture(
    angle_deg: float = 0, offset_px: float = 0, *, lesion: float = 0.0, side_px: int = 200
) -> np.ndarray:
    """Cut a head through its lesion; its axis is turned and shifted as a ``MirrorLine`` says."""
    down, across = np.mgrid[:side_px, :side_px] - (side_px - 1) / 2
    angle, mm = math.radians(angle_deg), 200 / side_px
    along = down * math.sin(angle) + across * math.cos(angle) - offset_px
    back = down * math.cos(angle) - across * math.sin(angle)
    return grey_head(along * mm, back * mm, LESION_MM[2], lesion=lesion)


def head_volume(
    yaw_deg: float = 0, roll_deg: float = 0, offset_mm: float = 0, *, lesion: float = 0.0,
    part: str | None = "HEAD", plane: str = "axial",
) -> Volume:  # fmt: skip
    """Draw a head CT, 0 to 100 HU, whose plane of symmetry is turned, tilted and shifted."""
    yaw, roll = math.radians(yaw_deg), math.radians(roll_deg)
    left = np.array(
        [math.cos(roll) * math.cos(yaw), math.cos(roll) * math.sin(yaw), math.sin(roll)]
    )
    back = np.array([-math.sin(yaw), math.cos(yaw), 0.0])
    grid = _grid(plane)
    indices = np.argwhere(np.ones(grid.shape)).astype(float)
    grey = np.zeros(len(indices), dtype=np.float32)
    for within in (-0.4, -0.2, 0.0, 0.2, 0.4):  # a slice is as thick as the way to the next
        places = grid.to_lps_mm(indices) + within * grid.mean_step_lps_mm
        own = [places @ left - offset_mm, places @ back, places @ np.cross(left, back)]
        grey += grey_head(*own, lesion=lesion) / 5
    grey = grey.reshape(grid.shape)
    return Volume(
        voxels=100 * grey, grid=grid, sources=(SliceSource(Path("drawn")),) * grid.shape[0],
        origin="dicom", modality="CT", body_part=part,
    )  # fmt: skip


def _grid(plane: str) -> Grid:
    """Give 34 slices of 80 x 80 pixels, 5 mm apart and 2.5 mm wide."""
    steps = {
        "axial": ((0, 0, 5), (0, 2.5, 0), (2.5, 0, 0)),
        "sagittal": ((5, 0, 0), (0, 0, -2.5), (0, 2.5, 0)),
    }[plane]
    affine = np.eye(4)
    affine[:3, :3] = np.array(steps, float).T
    affine[:3, 3] = -affine[:3, :3] @ (np.array([33, 79, 79]) / 2)
    return Grid.from_affine_lps(affine, shape=(34, 80, 80))
