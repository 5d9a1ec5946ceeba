"""The steps of a screening as MONAI's dictionary transforms, each by the code that ``screen`` has.

Before the network: load, window, crop. After it: MONAI's ``Invertd`` undoes the crop, then
conclude and save.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from monai.config.type_definitions import KeysCollection
from monai.data.meta_tensor import MetaTensor
from monai.transforms.croppad.array import Crop
from monai.transforms.inverse import InvertibleTransform
from monai.transforms.transform import MapTransform
from monai.transforms.utility.array import EnsureChannelFirst

from headclip_med.content import content_of_volume
from headclip_med.errors import UnreadableInput
from headclip_med.findings import Box, WindowUsed
from headclip_med.models.model import name_content
from headclip_med.pipelines.bundle.network import ScreeningNetwork
from headclip_med.pipelines.bundle.volumes import FACTS, tensor_of, volume_of
from headclip_med.pipelines.screen import Judged, Prepared, find_judged, postprocess
from headclip_med.read import Failure, Input, read_volume
from headclip_med.settings import ScreenSettings
from headclip_med.transforms import apply_window, choose_window, split_blended
from headclip_med.write import SummaryRow, write_screening

WINDOW, JUDGED, TIMINGS = "headclip_window", "headclip_judged", "headclip_timings"
"""Keys in ``meta``, each with one JSON text; see ``volumes``."""


class LoadVolumed(MapTransform):
    """Read a volume with this project's reader, and no other.

    Args:
        keys: Each names a file, a folder with one series, or one of ``find_inputs``' inputs; or is
            a tensor of ``VolumeReader``, where an application reads before MONAI's transforms.
        allow_missing_keys: Pass over keys that are not there.

    Raises:
        HeadClipError: What is there cannot be used; the message says why, and what to do.
    """

    def __init__(self, keys: KeysCollection, *, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace each name by its volume."""
        result = dict(data)
        for key in self.key_iterator(data):
            one = result[key]
            if isinstance(one, Failure):
                raise one.to_error()
            if isinstance(one, torch.Tensor):
                result[key] = _channel_first(one)
                continue
            result[key] = tensor_of(one.read() if isinstance(one, Input) else read_volume(one))
        return result


def _channel_first(read: torch.Tensor) -> torch.Tensor:
    if not isinstance(read, MetaTensor) or FACTS not in read.meta:
        raise UnreadableInput(
            "The image was read by another reader, which may have put slices into a wrong order.",
            "Read it with headclip_med.pipelines.bundle.VolumeReader, or give its path.",
            code="foreign-reader",
        )
    return EnsureChannelFirst()(read)


class WindowVolumed(MapTransform):
    """Map a volume's values to grey levels in [0, 1].

    Args:
        keys: Volumes of ``LoadVolumed``.
        settings: Its ``window`` counts.
        volume_key: Keeps the volume as it was read; what is found is written from it.
    """

    def __init__(self, keys: KeysCollection, settings: ScreenSettings, volume_key: str) -> None:
        super().__init__(keys)
        self.settings = settings
        self.volume_key = volume_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace each volume by its grey levels."""
        result = dict(data)
        for key in self.key_iterator(data):
            started = perf_counter()
            volume = volume_of(result[key])
            used = choose_window(volume, self.settings.window)
            grey = torch.from_numpy(apply_window(result[key].as_tensor().numpy(), used))
            result[self.volume_key] = result[key]
            meta = {**result[key].meta, WINDOW: json.dumps(asdict(used))}
            meta[TIMINGS] = json.dumps({"prepare": perf_counter() - started})
            result[key] = MetaTensor(grey, meta=meta)
        return result


class CropToBodyd(MapTransform, InvertibleTransform):
    """Cut every slice to the part that the model is shown; ``Invertd`` puts the air back.

    Args:
        keys: Grey levels of ``WindowVolumed``.
        settings: Its ``crop`` counts.
        volume_key: As in ``WindowVolumed``.
    """

    def __init__(self, keys: KeysCollection, settings: ScreenSettings, volume_key: str) -> None:
        super().__init__(keys)
        self.settings = settings
        self.volume_key = volume_key
        self.cropper = Crop()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Cut the grey levels."""
        result = dict(data)
        for key in self.key_iterator(data):
            grey = result[key].as_tensor().numpy().transpose(3, 1, 2, 0)
            volume = volume_of(result[self.volume_key])
            grey = grey if volume.is_colour else grey[..., 0]
            box = find_judged(volume, grey, self.settings)
            meta = {**result[key].meta, JUDGED: json.dumps(asdict(box))}
            cut = self.cropper(result[key], (*box.indices, slice(None)))
            if not isinstance(cut, MetaTensor):
                raise TypeError("MONAI's cropper keeps the kind of a tensor")
            cut.meta = {**meta, "affine": cut.affine}
            result[key] = cut
        return result

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Give maps the size of the whole slices, 0 around the part that was judged."""
        result = dict(data)
        for key in self.key_iterator(data):
            result[key] = self.cropper.inverse(result[key])
        return result


class ConcludeScreeningd(MapTransform):
    """Turn a network's maps into a ``Screening``: heatmap, lesion candidates, scores.

    Args:
        keys: Maps and score planes on whole slices, ``(plane, row, column, slice)``.
        network: What made them; it says how maps become scores.
        settings: Of the screening.
        image_key: Grey levels as the network saw them.
        volume_key: As in ``WindowVolumed``.
        screening_key: Gets the result.
    """

    def __init__(
        self,
        keys: KeysCollection,
        network: ScreeningNetwork,
        settings: ScreenSettings,
        *,
        image_key: str = "image",
        volume_key: str = "volume",
        screening_key: str = "screening",
    ) -> None:
        super().__init__(keys)
        self.network = network
        self.settings = settings
        self.image_key, self.volume_key = image_key, volume_key
        self.screening_key = screening_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the screening."""
        result = dict(data)
        volume = volume_of(result[self.volume_key])
        meta = result[self.image_key].meta
        box = Box(**json.loads(meta[JUDGED]))
        prepared = Prepared(volume, WindowUsed(**json.loads(meta[WINDOW])), box)
        model = name_content(self.network.model, content_of_volume(volume))
        for key in self.key_iterator(data):
            slices = torch.as_tensor(result[key]).detach().cpu().float().permute(3, 0, 1, 2)
            maps, scores, local = split_blended(slices[(..., *box.indices)])
            found = Judged(
                np.ascontiguousarray(maps),
                scores.numpy(),
                json.loads(meta[TIMINGS]),
                None if local is None else local.numpy(),
            )
            result[self.screening_key] = postprocess(prepared, found, model, self.settings)
        return result


class SaveScreeningd(MapTransform):
    """Write heatmap, pictures, DICOM-SEG and result.json, as ``headclip screen`` does.

    Args:
        keys: Screenings of ``ConcludeScreeningd``.
        output_dir: Gets ``<study>/<series>/``.
        seg: Whether to write DICOM segmentations.
        row_key: Gets the line for the summary.
    """

    def __init__(
        self,
        keys: KeysCollection,
        output_dir: str | Path,
        *,
        seg: bool = True,
        row_key: str = "row",
    ) -> None:
        super().__init__(keys)
        self.output_dir = Path(output_dir)
        self.seg = seg
        self.row_key = row_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write the files."""
        result = dict(data)
        for key in self.key_iterator(data):
            written = write_screening(result[key], self.output_dir, seg=self.seg)
            result[self.row_key] = SummaryRow.of(result[key], written, self.output_dir)
        return result
