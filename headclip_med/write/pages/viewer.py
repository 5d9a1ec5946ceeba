"""A screening in NiiVue, which turns volumes in a notebook: the volume under its heatmap."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import numpy as np

from headclip_med.errors import InvalidSettings, named_extras
from headclip_med.findings import Screening
from headclip_med.write.nifti import COMPACT
from headclip_med.write.pictures.overlay import STRONGEST_BLEND

if TYPE_CHECKING:
    from ipyniivue import NiiVue

    from headclip_med.exchange.libraries import Nifti1Image

FASTEST = 1
HEIGHT_PX = 420


def to_widget(screening: Screening) -> NiiVue:
    """Show a volume in its window, and above it the heatmap from the threshold on.

    Both are handed to the notebook as they are in memory; nothing is fetched.

    Returns:
        A widget with two volumes, whose ``opacity``, ``cal_min`` and the like can be set.

    Raises:
        InvalidSettings: It is a picture, which has nothing to turn.
        MissingExtra: NiiVue is not installed.
        UnusableGeometry: The slices are unevenly spaced.
    """
    volume, window = screening.volume, screening.window
    if not volume.grid.is_patient or volume.voxels.ndim != 3:
        raise InvalidSettings(
            "NiiVue shows volumes, and this is a picture.", "Take show(), or the page of save()."
        )
    with named_extras():
        from ipyniivue import ColormapType, NiiVue, Volume
    encoded = np.frombuffer(COMPACT.encode(screening.heatmap.values), dtype=np.uint8)
    heat = screening.heatmap.to_nibabel()
    levels = type(heat)(encoded.reshape(screening.heatmap.values.shape).swapaxes(0, 2), heat.affine)
    levels.header.set_slope_inter(1 / COMPACT.steps, 0)  # type: ignore[no-untyped-call]
    widget = NiiVue(height=HEIGHT_PX)
    widget.load_volumes(
        [
            Volume(
                data=_zipped(_small(volume.to_nibabel())), name="volume.nii.gz", colormap="gray",
                cal_min=float(window.low), cal_max=float(window.high), colorbar_visible=False,
            ),
            Volume(
                data=_zipped(levels), name="heatmap.nii.gz", colormap="inferno",
                opacity=STRONGEST_BLEND, cal_min=float(screening.threshold), cal_max=1.0,
                colormap_type=ColormapType.ZERO_TO_MAX_TRANSPARENT_BELOW_MIN,
            ),
        ]
    )  # fmt: skip
    return widget


def _small(image: Nifti1Image) -> Nifti1Image:
    """Hold whole numbers in 16 bits, where they fit."""
    values = np.asanyarray(image.dataobj)
    limits = np.iinfo(np.int16)
    fits = values.min() >= limits.min and values.max() <= limits.max
    if not fits or (values != np.rint(values)).any():
        return image
    return type(image)(values.astype(np.int16), image.affine)


def _zipped(image: Nifti1Image) -> bytes:
    return gzip.compress(image.to_bytes(), FASTEST, mtime=0)
