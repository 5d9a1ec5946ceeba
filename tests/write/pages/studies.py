"""Screenings of drawn volumes, and what a page of one holds."""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from headclip_med.findings import Box, Screening, WindowUsed
from headclip_med.geometry import Grid
from headclip_med.transforms.lesions import find_lesions
from headclip_med.volume import Heatmap, SliceSource, Volume
from headclip_med.write import write_screening

DATA = re.compile(r'<script type="application/json" id="data">(.*?)</script>', re.DOTALL)


def screening_of(
    voxels: np.ndarray, grid: Grid, heat: np.ndarray | None = None, **facts: Any
) -> Screening:
    """Screen a volume with a heatmap that is known; its window is from 0 to 255."""
    heat = np.zeros(grid.shape, np.float32) if heat is None else heat.astype(np.float32)
    heatmap = Heatmap(heat, grid)
    labels, lesions = find_lesions(heatmap, 0.5, 0.0)
    scores = heat.reshape(len(heat), -1).max(axis=1).astype(np.float64)
    given = {"origin": "nifti", "modality": "CT", "name": "head.nii", **facts}
    sources = (SliceSource(Path("x")),) * len(voxels)
    return Screening(
        Volume(voxels.astype(np.float32), grid, sources, **given), heatmap, scores,
        float(scores.max()), 0.5, labels, lesions, WindowUsed("wide", 0.0, 255.0, "asked for"),
        Box(0, grid.rows, 0, grid.columns), {"name": "known", "method": "none"}, {},
    )  # fmt: skip


def axial_grid(
    shape: tuple[int, int, int], spacing_mm: tuple[float, float, float] = (4.0, 2.0, 2.0)
) -> Grid:
    """Place axial slices from the feet up, upright, the first voxel at the origin."""
    affine = np.eye(4)
    affine[:3, :3] = np.diag(spacing_mm)[::-1]
    return Grid.from_affine_lps(affine, shape=shape)


@dataclass(frozen=True)
class StudyPage:
    """A page that was written.

    Attributes:
        path: Of it.
        text: The page.
        data: What its script works on.
    """

    path: Path
    text: str
    data: dict[str, Any]

    def picture(self, plane: int, layer: str, number: int) -> np.ndarray:
        """Decode a picture, wherever it lies."""
        address = self.data["planes"][plane][layer][number]
        if not address.startswith("data:"):
            return np.asarray(Image.open(self.path.parent / address))
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))))


def page_of(screening: Screening, out: Path) -> StudyPage:
    """Write a screening's page and read it back."""
    written = write_screening(screening, out, outputs=["view"])
    path = written.folder / written.outputs["view"]
    text = path.read_text("utf-8")
    found = DATA.search(text)
    assert found is not None
    return StudyPage(path, text, json.loads(found[1]))
