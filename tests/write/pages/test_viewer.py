"""NiiVue's widget holds the volume and the heatmap, each in its place and with its values."""

from __future__ import annotations

import gzip
import sys

import nibabel
import numpy as np
import pytest

from headclip_med.errors import InvalidSettings, MissingExtra
from headclip_med.findings import Screening
from headclip_med.geometry import Grid
from tests.write.pages.studies import axial_grid, screening_of

SHAPE = (5, 12, 20)


@pytest.fixture
def found() -> Screening:
    voxels = np.arange(np.prod(SHAPE)).reshape(SHAPE) - 500.0
    heat = np.random.default_rng(0).random(SHAPE)
    return screening_of(voxels, axial_grid(SHAPE, (5.0, 0.5, 0.75)), heat)


def image_of(data: bytes) -> nibabel.Nifti1Image:
    return nibabel.Nifti1Image.from_bytes(gzip.decompress(data))


def test_the_widget_holds_the_volume_and_the_heatmap_above_it(found: Screening) -> None:
    below, above = found.view().volumes
    assert (below.name, below.colormap, below.opacity) == ("volume.nii.gz", "gray", 1.0)
    assert (below.cal_min, below.cal_max) == (0.0, 255.0)  # the window
    assert (above.name, above.colormap, above.opacity) == ("heatmap.nii.gz", "inferno", 0.7)
    assert (above.cal_min, above.cal_max) == (0.5, 1.0)  # from the threshold on
    volume, heatmap = image_of(below.data), image_of(above.data)
    assert (volume.get_data_dtype(), heatmap.get_data_dtype()) == (np.int16, np.uint8)
    assert (found.volume.voxels == volume.get_fdata().T).all()
    assert np.abs(heatmap.get_fdata().T - found.heatmap.values).max() <= 1 / 510 + 1e-6
    for image in (volume, heatmap):
        assert image.affine == pytest.approx(found.volume.grid.affine_ras)


def test_values_that_are_no_whole_numbers_stay_as_they_are() -> None:
    found = screening_of(np.full(SHAPE, 0.25), axial_grid(SHAPE))
    volume = image_of(found.view().volumes[0].data)
    assert volume.get_data_dtype() == np.float32
    assert (volume.get_fdata() == 0.25).all()


def test_a_picture_is_refused() -> None:
    picture = screening_of(np.zeros((1, 9, 9)), Grid.of_pixels(slices=1, rows=9, columns=9))
    with pytest.raises(InvalidSettings, match="this is a picture"):
        picture.view()


def test_without_niivue_it_names_the_extra(
    found: Screening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ipyniivue", None)
    with pytest.raises(MissingExtra, match=r"headclip-med\[viewer\]"):
        found.view()
