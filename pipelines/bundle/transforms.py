"""Reading and writing as MONAI's transforms; ``headclip_med.transforms`` has the steps between.

A case is a dictionary: the image as a tensor, and beside it, as the objects that they are, the
``Volume`` that was read and what was chosen for it. The tensor's axes are (channel, row, column,
slice), which MONAI's ``SliceInferer`` cuts into upright slices along the last.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from monai.config.type_definitions import KeysCollection
from monai.data.image_reader import ImageReader
from monai.data.meta_tensor import MetaTensor
from monai.transforms.transform import MapTransform

from headclip_med.content import content_of_volume
from headclip_med.errors import HeadClipError, UnreadableInput
from headclip_med.models.model import name_content
from headclip_med.pipelines.bundle.network import ScreeningNetwork
from headclip_med.pipelines.plan import Job
from headclip_med.pipelines.screen import Prepared, SlicePredictions, compare_sides_of, postprocess
from headclip_med.read import read_volume
from headclip_med.settings import Plane, ScreenSettings, require
from headclip_med.transforms import choose_views, split_blended
from headclip_med.transforms.planes import View
from headclip_med.volume import Volume
from headclip_med.write import USUAL_OUTPUTS, SummaryRow, check_outputs, write_screening

VOLUME = "volume"
"""The key of a case under which its ``Volume`` lies; ``VolumeReader`` leaves it in ``meta``."""

VIEW = "view"
"""The key under which the ``View`` lies that its slices are of."""

LEFT_OUT = "planes_left_out"
"""The key under which the planes stand that were asked for and not cut."""

PREPARED_S = "prepared_s"
"""The key under which the seconds stand that reading and preparing a case took, where known."""


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
        return _voxels(img), {**_meta(img), VOLUME: boxed(img)}


def tensor_of(volume: Volume) -> MetaTensor:
    """Give a volume's voxels as MONAI's transforms take them.

    Args:
        volume: What was read.

    Returns:
        Shape ``(channel, row, column, slice)``, its affine to RAS millimetres; ``meta`` names body
        part and modality where they are known, for methods whose sentences name them.
    """
    voxels = torch.from_numpy(_voxels(volume))
    channel_first = voxels.permute(3, 0, 1, 2) if volume.is_colour else voxels[None]
    return MetaTensor(channel_first, meta=_meta(volume))


def boxed(thing: object) -> np.ndarray:
    """Put an object, no container, in an array without axes: MONAI takes it out again unchanged."""
    box = np.empty((), dtype=object)
    box[()] = thing
    return box


class LoadVolumed(MapTransform):
    """Read a volume with this project's reader, and no other.

    Args:
        keys: Each names a file or a folder with one series, or is a ``Job`` of a batch; or a tensor
            of ``VolumeReader``, where an application reads before MONAI's transforms.
        planes: The patient's plane that slices are cut in, as for ``ScreenSettings``.
        volume_key: Gets the volume in that plane's slices, of which the tensor is.
        view_key: Gets the ``View``; what is found is written from it.
        allow_missing_keys: Pass over keys that are not there.

    Raises:
        HeadClipError: What is there cannot be used; the message says why, and what to do.
        InvalidSettings: All planes are asked for together.
    """

    def __init__(
        self,
        keys: KeysCollection,
        planes: Plane | Literal["all"] = "axial",
        *,
        volume_key: str = VOLUME,
        view_key: str = VIEW,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        require(
            planes != "all",
            "A network is shown the slices of one plane.",
            "Name axial, coronal or sagittal; 'headclip screen' takes all three together.",
        )
        self.planes, self.volume_key, self.view_key = planes, volume_key, view_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace each name by its voxels."""
        result = dict(data)
        for key in self.key_iterator(data):
            (view, *_), result[LEFT_OUT] = choose_views(_read(data[key]), self.planes)
            result[self.view_key], result[self.volume_key] = view, view.shown
            result[key] = tensor_of(view.shown)
        return result


class WriteScreeningd(MapTransform):
    """Turn a network's maps into a ``Screening``, and write it as ``headclip screen`` does.

    Args:
        keys: Maps and score planes on whole slices, ``(plane, row, column, slice)``.
        network: What made them; it says how maps become scores.
        settings: Fields of ``ScreenSettings``.
        output_dir: Gets ``<study>/<series>/``.
        outputs: Names of what is written, of ``OUTPUTS``; a list, or a text with commas.

    Raises:
        InvalidSettings: A number is out of its range, or an output unknown.
    """

    def __init__(
        self,
        keys: KeysCollection,
        network: ScreeningNetwork,
        settings: Mapping[str, Any],
        output_dir: str | Path,
        *,
        outputs: str | Sequence[str] = USUAL_OUTPUTS,
    ) -> None:
        super().__init__(keys)
        self.network = network
        self.settings = ScreenSettings(**settings)
        self.output_dir = Path(output_dir)
        self.outputs = check_outputs(outputs)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write the files; add the ``screening``, and its ``row`` for the summary."""
        result = dict(data)
        view: View = data[VIEW]
        prepared = Prepared(view, data["window"], data["crop_box"])
        model = name_content(self.network.model, content_of_volume(view.stored))
        timings_s = {"preprocess": data[PREPARED_S]} if PREPARED_S in data else {}
        for key in self.key_iterator(data):
            found = SlicePredictions(prepared, model.scores)
            planes = torch.as_tensor(data[key]).detach().cpu().float().permute(3, 0, 1, 2)
            shown = planes[(..., *prepared.crop_box.indices)]
            found.add(slice(0, len(planes)), *split_blended(shown))
            comparisons = compare_sides_of(found, model, self.settings)
            left_out = data.get(LEFT_OUT, ())
            screening = postprocess(
                [found], model, self.settings, timings_s, left_out=left_out,
                comparisons=comparisons,
            )  # fmt: skip
            written = write_screening(screening, self.output_dir, outputs=self.outputs)
            result["screening"] = screening
            result["row"] = SummaryRow.of(written, self.output_dir)
        return result


def _read(one: Any) -> Volume:
    if isinstance(one, Job):
        return one.read()
    if not isinstance(one, torch.Tensor):
        return read_volume(one)
    if not isinstance(one, MetaTensor) or VOLUME not in one.meta:
        raise UnreadableInput(
            "The image was read by another reader, which may have put slices into a wrong order.",
            "Read it with headclip_med.pipelines.bundle.VolumeReader, or give its path.",
            code="foreign-reader",
        )
    volume: Volume = one.meta[VOLUME].item()
    return volume


def _voxels(volume: Volume) -> Float[np.ndarray, "rows columns slices *colour"]:
    voxels = np.moveaxis(volume.voxels.astype(np.float32, copy=False), 0, 2)
    # A view of stored slices may run backwards, which no tensor does.
    return voxels if min(voxels.strides) > 0 else voxels.copy()


def _meta(volume: Volume) -> dict[str, Any]:
    affine = volume.grid.affine_ras[:, [1, 0, 2, 3]]
    known = {"body_part": volume.body_part, "modality": volume.modality}
    return {
        "affine": affine,
        "original_affine": affine.copy(),
        "space": "RAS",
        "spatial_shape": np.array([volume.grid.rows, volume.grid.columns, len(volume.voxels)]),
        "original_channel_dim": -1 if volume.is_colour else float("nan"),
        "filename_or_obj": str(volume.sources[0].path),
        **{key: value for key, value in known.items() if value is not None},
    }
