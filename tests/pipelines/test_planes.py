"""The same patient gives the same answer, however the file stores its axes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import nibabel
import numpy as np
import pytest
from highdicom.seg import segread
from jaxtyping import Float

from headclip_med.findings import PlaneLeftOut, Screening
from headclip_med.models.model import AnomalyModel
from headclip_med.pipelines.screen import screen
from headclip_med.read import read_volume
from headclip_med.settings import Plane, ScoreSettings, ScreenSettings
from headclip_med.volume import Volume
from headclip_med.write import write_screening
from headclip_med.write.dicom.series import write_ct_series
from tests import tiny
from tests.bright import BrightModel
from tests.phantoms import make_grid
from tests.stored_orders import ORDERS, Order, head, sheared, stored, write

BRIGHT = BrightModel(image_size=48, threshold=0.8, scores=ScoreSettings(sigma_px=0.0))
WINDOW = ScreenSettings(window="100,200", minimum_size=0.0)
"""0 HU is black, 200 HU is white."""


@cache
def tiny_model() -> AnomalyModel:
    return tiny.model().fold()


def turned(affine_ras: Float[np.ndarray, "4 4"], degrees: float) -> Float[np.ndarray, "4 4"]:
    """Turn the patient's head to one side, and nod."""
    angle = np.radians(degrees)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    nod = np.eye(4)
    nod[1:3, 1:3] = turn[:2, :2]
    return np.asarray(nod @ turn @ affine_ras)


def patient_voxels(array: np.ndarray, order: Order) -> np.ndarray:
    """Bring what lies on stored slices, ``(slice, row, column)``, to the phantom's own order."""
    axes, signs = order
    back = array.transpose(2, 1, 0)
    back = back[tuple(slice(None, None, sign) for sign in signs)]
    return back.transpose(np.argsort(axes))


@dataclass(frozen=True)
class Answer:
    """What must not depend on the order."""

    score: float
    planes: tuple[Plane | None, ...]
    lesions: tuple[tuple[float, ...], ...]

    @classmethod
    def of(cls, found: Screening) -> Answer:
        return cls(
            found.score,
            tuple(one.name for one in found.planes),
            tuple((*one.centre, one.size, one.max_score) for one in found.lesions),
        )

    def agrees(self, other: Answer) -> bool:
        return (
            abs(self.score - other.score) < 0.01
            and self.planes == other.planes
            and len(self.lesions) == len(other.lesions)
            and bool(np.allclose(self.lesions, other.lesions, atol=0.01, rtol=1e-4))
        )


def half_turned(affine_ras: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "4 4"]:
    """Put two axes exactly half way between two of the patient's."""
    turn = np.eye(4)
    turn[:2, :2] = np.array([[1, -1], [1, 1]]) / np.sqrt(2)
    return np.asarray(turn @ affine_ras)


@pytest.mark.parametrize(
    ("placed", "planes"),
    [
        (lambda affine: affine, "axial"),
        (lambda affine: sheared(affine, 20), "axial"),
        (lambda affine: turned(affine, 25), "axial"),
        (half_turned, "axial"),
        (lambda affine: affine, "coronal"),
        (lambda affine: affine, "all"),
        (lambda affine: sheared(affine, 20), "all"),
    ],
    ids=["upright", "tilted", "oblique", "half way", "coronal", "all planes", "all planes, tilted"],
)
@pytest.mark.parametrize("model", [lambda: BRIGHT, tiny_model], ids=["bright", "headclip"])
def test_every_storage_order_gives_the_same_answer(
    placed: Callable[[np.ndarray], np.ndarray],
    planes: str,
    model: Callable[[], AnomalyModel],
    tmp_path: Path,
) -> None:
    voxels, affine = head(shape=(40, 48, 24))
    affine = placed(affine)
    settings = WINDOW.changed(planes=planes, threshold=None if model() is BRIGHT else 0.3)
    first: tuple[Answer, np.ndarray] | None = None
    for order in ORDERS if planes == "axial" else ORDERS[::5]:
        volume = read_volume(write(tmp_path, *stored(voxels, affine, order)))
        found = screen(volume, model(), settings=settings)
        assert found.heatmap.values.shape == volume.voxels.shape
        assert found.heatmap.grid is volume.grid
        answer, heat = Answer.of(found), patient_voxels(found.heatmap.values, order)
        first = first or (answer, heat)
        assert answer.agrees(first[0]), order
        np.testing.assert_allclose(heat, first[1], atol=1e-4, err_msg=str(order))
        assert_lesions_lie_in_their_slices(found)
    assert first is not None
    assert len(first[0].lesions) > 0 or model() is not BRIGHT


def assert_lesions_lie_in_their_slices(found: Screening) -> None:
    for lesion in found.lesions:
        (slices,) = np.nonzero((found.labels == lesion.id).any(axis=(1, 2)))
        assert (slices[0], slices[-1]) == lesion.slices
        peak = found.heatmap.values[lesion.peak_slice]
        highest = peak[found.labels[lesion.peak_slice] == lesion.id].max()
        assert highest == pytest.approx(lesion.max_score)


def test_the_lesion_is_found_where_it_lies_in_every_order(tmp_path: Path) -> None:
    voxels, affine = head()
    marked = voxels == 75
    truth_ras = (affine @ np.append(np.argwhere(marked).mean(axis=0), 1))[:3]
    volume_mm3 = marked.sum() * 4 * 4 * 8
    settings = WINDOW.changed(window="40,70", crop="none")
    model = BrightModel(image_size=48, threshold=0.9, scores=ScoreSettings(sigma_px=0.0))
    dark = np.where(voxels == 900, 0, voxels).astype(np.float32)
    for order in ORDERS:
        found = screen(
            read_volume(write(tmp_path, *stored(dark, affine, order))), model, settings=settings
        )
        (lesion,) = found.lesions
        np.testing.assert_allclose(lesion.centre, truth_ras * (-1, -1, 1), atol=2)  # half a voxel
        assert lesion.size == pytest.approx(volume_mm3, rel=0.25)


def read_of(tmp_path: Path, shape: tuple[int, int, int], spacing_mm: tuple[float, ...]) -> Volume:
    return read_volume(write(tmp_path, *head(shape, spacing_mm)))


@pytest.mark.parametrize(
    ("shape", "spacing_mm", "asked", "used", "why"),
    [
        ((40, 48, 16), (2.0, 2.0, 8.0), "sagittal", "axial", "uneven-pixels"),
        ((16, 48, 40), (6.5, 2.0, 2.0), "axial", "sagittal", "uneven-pixels"),
        ((40, 16, 48), (2.0, 8.0, 2.0), "axial", "coronal", "uneven-pixels"),
        ((40, 48, 12), (4.0, 4.0, 8.0), "coronal", "axial", "too-few-pixels"),
        ((40, 48, 1), (4.0, 4.0, 4.0), "coronal", "axial", "too-few-pixels"),
        ((1, 48, 40), (4.0, 4.0, 4.0), "axial", "sagittal", "too-few-pixels"),
    ],
)
def test_a_plane_that_spacing_does_not_allow_gives_way_to_the_acquired_one(
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, ...],
    asked: str,
    used: str,
    why: str,
    tmp_path: Path,
) -> None:
    voxels, affine = head(shape, spacing_mm)
    for order in ORDERS[::7]:
        volume = read_volume(write(tmp_path, *stored(voxels, affine, order)))
        found = screen(volume, BRIGHT, settings=WINDOW.changed(planes=asked))
        assert [one.name for one in found.planes] == [used]
        assert [(one.name, one.why) for one in found.planes_left_out] == [(asked, why)]
        assert found.notes[-1] == PlaneLeftOut(asked, why).sentence()  # type: ignore[arg-type]


def test_all_planes_are_the_mean_of_each(tmp_path: Path) -> None:
    volume = read_of(tmp_path, (40, 36, 24), (4.0, 4.0, 4.0))
    each = [
        screen(volume, BRIGHT, settings=WINDOW.changed(planes=plane))
        for plane in ("axial", "coronal", "sagittal")
    ]
    found = screen(volume, BRIGHT, settings=WINDOW.changed(planes="all"))
    assert [(one.name, one.slices, one.is_stored, one.is_resampled) for one in found.planes] == [
        ("axial", 24, True, False), ("coronal", 36, False, False), ("sagittal", 40, False, False),
    ]  # fmt: skip
    assert found.score == pytest.approx(np.mean([one.score for one in each]))
    assert [one.score for one in found.planes] == [one.score for one in each]
    mean = np.mean([one.heatmap.values for one in each], axis=0)
    np.testing.assert_allclose(found.heatmap.values, mean, atol=1e-6)
    # The stored slices are the axial ones, and keep what the model said of them.
    np.testing.assert_array_equal(found.slice_scores, each[0].slice_scores)


def test_thick_planes_are_left_out_of_all(tmp_path: Path) -> None:
    volume = read_of(tmp_path, (40, 48, 20), (1.0, 1.0, 5.0))
    found = screen(volume, BRIGHT, settings=WINDOW.changed(planes="all"))
    axial = screen(volume, BRIGHT, settings=WINDOW)
    assert [one.name for one in found.planes] == ["axial"]
    assert [one.name for one in found.planes_left_out] == ["coronal", "sagittal"]
    np.testing.assert_array_equal(found.heatmap.values, axial.heatmap.values)
    assert found.score == axial.score


def test_pixels_of_a_plane_across_the_stack_are_made_square(tmp_path: Path) -> None:
    volume = read_of(tmp_path, (40, 48, 24), (2.0, 2.0, 4.0))
    found = screen(volume, BRIGHT, settings=WINDOW.changed(planes="coronal", window="400,800"))
    (used,) = found.planes
    assert (used.slices, used.is_stored, used.is_resampled) == (48, False, True)
    # The model's map is the image itself: there and back again.
    grey = np.clip(volume.voxels / 800, 0, 1)
    near_an_edge = np.abs(np.diff(grey, axis=0, prepend=grey[:1])) > 0.05
    off = np.abs(found.heatmap.values - grey)
    assert np.median(off) < 0.01
    assert np.quantile(off[~near_an_edge], 0.9) < 0.05


def sagittal_series(folder: Path, step_mm: float) -> Volume:
    """Write a CT series of sagittal slices, as a scanner numbers them, and read it."""
    voxels, _ = head((20, 40, 36))
    grid = make_grid(
        shape=(20, 36, 40), step_lps_mm=(-step_mm, 0, 0), across=(0, 1, 0), down=(0, 0, -1),
        spacing_mm=(4.0, 4.0),
    )  # fmt: skip
    # The phantom runs to the right, the front and up: rows go down, columns to the back.
    write_ct_series(folder, voxels.transpose(0, 2, 1)[:, ::-1, ::-1], grid)
    return read_volume(folder)


def test_thick_sagittal_slices_of_a_scanner_are_screened_as_they_were_acquired(
    tmp_path: Path,
) -> None:
    volume = sagittal_series(tmp_path, 13.0)
    found = screen(volume, BRIGHT, settings=WINDOW)
    assert [(one.name, one.is_stored) for one in found.planes] == [("sagittal", True)]
    assert [one.why for one in found.planes_left_out] == ["uneven-pixels"]
    assert len(found.slice_scores) == 20


def test_thin_sagittal_slices_of_a_scanner_are_screened_as_axial_ones(tmp_path: Path) -> None:
    volume = sagittal_series(tmp_path, 4.0)
    model = replace(BRIGHT, image_size=40)
    found = screen(volume, model, settings=WINDOW.changed(crop="none"))
    assert [(one.name, one.slices, one.is_stored) for one in found.planes] == [("axial", 36, False)]
    assert len(found.slice_scores) == len(volume.sources) == 20
    grey = np.clip(volume.voxels / 200, 0, 1)
    assert np.corrcoef(found.heatmap.values.ravel(), grey.ravel())[0, 1] > 0.95


def test_an_ordinary_axial_series_is_what_it_was(tmp_path: Path) -> None:
    write_ct_series(tmp_path, np.zeros((20, 24, 24)), make_grid(shape=(20, 24, 24)))
    volume = read_volume(tmp_path)
    found = screen(volume, BRIGHT, settings=WINDOW)
    assert [(one.name, one.is_stored, one.is_resampled) for one in found.planes] == [
        ("axial", True, False)
    ]
    assert found.planes_left_out == ()
    assert found.notes == volume.notes


def test_uneven_slices_stay_what_they_are(tmp_path: Path) -> None:
    grid = make_grid(shape=(20, 36, 40), across=(0, 1, 0), down=(0, 0, -1), spacing_mm=(3.0, 3.0))
    grid.origins_lps_mm[:] = 0
    grid.origins_lps_mm[:, 0] = -3.0 * (np.arange(20) + 4 * (np.arange(20) > 9))
    write_ct_series(tmp_path, np.zeros((20, 36, 40)), grid)
    found = screen(read_volume(tmp_path), BRIGHT, settings=WINDOW)
    assert [one.name for one in found.planes] == ["sagittal"]
    assert [one.why for one in found.planes_left_out] == ["uneven-spacing"]


def test_progress_counts_the_volume_s_own_slices(tmp_path: Path) -> None:
    volume, told = read_of(tmp_path, (40, 36, 24), (4.0, 4.0, 4.0)), []
    screen(volume, BRIGHT, settings=WINDOW.changed(planes="all"), report=told.append)
    assert sum(told) == 24


def test_what_is_written_lies_on_stored_slices_in_every_order(tmp_path: Path) -> None:
    voxels, affine = head(shape=(40, 48, 24))
    first: np.ndarray | None = None
    for number, order in enumerate(ORDERS[::7]):
        volume = read_volume(write(tmp_path, *stored(voxels, affine, order)))
        found = screen(volume, BRIGHT, settings=WINDOW)
        written = write_screening(found, tmp_path / str(number))
        image = nibabel.load(written.folder / written.outputs["heatmap"])
        values = np.asarray(image.dataobj, dtype=np.float32)
        np.testing.assert_allclose(values.T, found.heatmap.values, atol=1 / 500)
        np.testing.assert_allclose(image.affine, stored(voxels, affine, order)[1], atol=1e-3)
        back = patient_voxels(values.T, order)
        first = back if first is None else first
        np.testing.assert_allclose(back, first, atol=1 / 250)
        assert [one["score"] for one in written.result["planes"]["used"]] == [  # type: ignore[index]
            pytest.approx(found.score, abs=1e-6)
        ]


def test_a_segmentation_of_other_slices_is_bound_to_those_of_the_scanner(tmp_path: Path) -> None:
    volume = sagittal_series(tmp_path / "in", 4.0)
    found = screen(volume, BRIGHT, settings=WINDOW)
    assert not found.planes[0].is_stored
    written = write_screening(found, tmp_path / "out")
    segmentation = segread(written.folder / "seg.dcm")
    uids = [str(source.sop_instance_uid) for source in volume.sources]
    pixels = segmentation.get_pixels_by_source_instance(uids, combine_segments=False)
    for number, lesion in enumerate(found.lesions):
        np.testing.assert_array_equal(pixels[..., number] > 0, found.labels == lesion.id)
        assert (found.labels[lesion.peak_slice] == lesion.id).any()
