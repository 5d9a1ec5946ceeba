"""Volumes as MONAI carries them: a ``MetaTensor`` that can become the same ``Volume`` again.

MONAI's loaders collate what a tensor knows about itself, and take it apart again afterwards. Lists
and missing values do not survive that; one text does. So what a ``Volume`` knows beyond its voxels
travels as one JSON text. The axes are (row, column, slice), which MONAI's ``SliceInferer`` cuts
into upright slices along the last.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from monai.data.image_reader import ImageReader
from monai.data.meta_tensor import MetaTensor

from headclip_med.errors import HeadClipError, UnreadableInput
from headclip_med.geometry import Grid
from headclip_med.read import read_volume
from headclip_med.reading import Reading
from headclip_med.volume import SliceSource, Volume
from headclip_med.write.nifti import LPS_TO_RAS, ras_affine

FACTS = "headclip_volume"
"""The key in a tensor's ``meta`` under which the facts of its volume stand."""

_PLAIN = (
    "origin", "modality", "body_part", "name", "study_instance_uid", "series_instance_uid", "part",
)  # fmt: skip


def tensor_of(volume: Volume) -> MetaTensor:
    """Give a volume as MONAI's transforms take it.

    Args:
        volume: What was read.

    Returns:
        Shape ``(channel, row, column, slice)``, its affine to RAS millimetres.
    """
    array, meta = _array_and_meta(volume)
    voxels = torch.from_numpy(array)
    channel_first = voxels.permute(3, 0, 1, 2) if volume.is_colour else voxels[None]
    return MetaTensor(channel_first, meta=meta)


def volume_of(tensor: MetaTensor) -> Volume:
    """Give the volume that a tensor of ``tensor_of`` or ``VolumeReader`` was, UIDs included.

    Args:
        tensor: Shape ``(channel, row, column[, slice])``. One that another reader made is taken
            as a NIfTI file would be, its place from its affine.
    """
    array = tensor.as_tensor().detach().cpu().numpy().astype(np.float32, copy=False)
    if array.ndim == 3:
        array = array[..., None]
    voxels = array.transpose(3, 1, 2, 0)
    voxels = voxels if len(array) == 3 else voxels[..., 0]
    if FACTS not in tensor.meta:
        affine_ras = np.asarray(tensor.affine, dtype=np.float64)
        affine_lps = (LPS_TO_RAS @ affine_ras)[:, [2, 0, 1, 3]]
        slices, rows, columns = voxels.shape[:3]
        grid = Grid.from_affine_lps(affine_lps, shape=(slices, rows, columns))
        source = SliceSource(Path(str(tensor.meta.get("filename_or_obj", "image"))))
        return Volume(voxels, grid, (source,) * slices, origin="nifti")
    return _volume_from(facts_of(tensor), voxels)


def facts_of(tensor: MetaTensor) -> dict[str, Any]:
    """Give what a tensor, or the first of a batch, knows of its volume."""
    text = tensor.meta[FACTS]
    facts: dict[str, Any] = json.loads(text if isinstance(text, str) else text[0])
    return facts


class VolumeReader(ImageReader):
    """This project's reading of DICOM, NIfTI and pictures, for MONAI's ``LoadImage``.

    ``LoadImage`` quietly turns to another reader where one's ``read`` raises, and that one may put
    slices into a wrong order. So ``read`` keeps what went wrong, and ``get_data`` raises it.
    """

    def verify_suffix(self, filename: Sequence[Any] | Any) -> bool:
        """Every file may be one of ours: what it holds decides, not what it is called."""
        return True

    def read(self, data: Sequence[Any] | Any, **kwargs: Any) -> Volume | HeadClipError:
        """Read a file, or a folder with one series."""
        names = [data] if isinstance(data, (str, Path)) else list(data)
        if len(names) != 1:
            return UnreadableInput(
                f"{len(names)} files are named where a volume is one file or folder.",
                "Name the folder of the series.",
                code="several-files",
            )
        try:
            return read_volume(names[0])
        except HeadClipError as error:
            return error

    def get_data(self, img: Volume | HeadClipError) -> tuple[np.ndarray, dict[str, Any]]:
        """Give the voxels, ``(row, column, slice[, colour])``, and what is known of them.

        Raises:
            UnreadableInput: There is no volume there, or more than one.
            UnusableGeometry: The slices form no stack.
        """
        if isinstance(img, HeadClipError):
            raise img
        return _array_and_meta(img)


def _array_and_meta(volume: Volume) -> tuple[Float[np.ndarray, "..."], dict[str, Any]]:
    voxels = volume.voxels.astype(np.float32, copy=False)
    array = np.moveaxis(voxels, 0, 2)
    affine = ras_affine(volume.grid)[:, [1, 0, 2, 3]]
    meta = {
        "affine": affine,
        "original_affine": affine.copy(),
        "space": "RAS",
        "spatial_shape": np.array(array.shape[:3]),
        "original_channel_dim": -1 if volume.is_colour else float("nan"),
        "filename_or_obj": str(volume.sources[0].path),
        FACTS: json.dumps(_facts(volume)),
    }
    return array, meta


def _facts(volume: Volume) -> dict[str, Any]:
    grid = volume.grid
    return {
        **{name: getattr(volume, name) for name in _PLAIN},
        "window": volume.window,
        "reading": volume.reading.to_json(),
        "sources": [(str(one.path), one.sop_instance_uid, one.frame) for one in volume.sources],
        "origins_lps_mm": grid.origins_lps_mm.tolist(),
        "row_step_lps_mm": grid.row_step_lps_mm.tolist(),
        "column_step_lps_mm": grid.column_step_lps_mm.tolist(),
        "rows": grid.rows,
        "columns": grid.columns,
        "is_patient": grid.is_patient,
    }


def _volume_from(facts: dict[str, Any], voxels: np.ndarray) -> Volume:
    grid = Grid(
        np.array(facts["origins_lps_mm"], dtype=np.float64),
        np.array(facts["row_step_lps_mm"], dtype=np.float64),
        np.array(facts["column_step_lps_mm"], dtype=np.float64),
        facts["rows"],
        facts["columns"],
        facts["is_patient"],
    )
    window = facts["window"]
    return Volume(
        voxels=np.ascontiguousarray(voxels),
        grid=grid,
        sources=tuple(SliceSource(Path(path), uid, frame) for path, uid, frame in facts["sources"]),
        window=None if window is None else (float(window[0]), float(window[1])),
        reading=Reading.from_json(facts["reading"]),
        **{name: facts[name] for name in _PLAIN},
    )
