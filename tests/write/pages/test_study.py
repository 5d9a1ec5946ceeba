"""The page of a study: slice k is slice k, upright, exact where it must be, and closed."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headclip_med.findings import Screening
from headclip_med.geometry import Grid
from headclip_med.write import write_screening
from headclip_med.write.pages import study
from headclip_med.write.pages.frame import script_of, style_of
from headclip_med.write.pictures.layers import highest_of, outline_of, to_png
from tests.stored_orders import ORDERS, sheared, stored
from tests.write.pages.studies import axial_grid, page_of, screening_of
from tests.write.test_summary import Page

SHAPE = (12, 40, 48)


def marked(shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """Draw a body with a marker high, to the patient's right and in front: axes S, P, L."""
    voxels = np.full(shape, 60.0)
    voxels[9, 5:9, 4:8] = 250
    return voxels


def brightest(picture: np.ndarray) -> tuple[float, float]:
    """Find the middle of what is bright, as shares of the height and the width."""
    rows, columns = np.nonzero(picture > 180)
    height, width = picture.shape
    return float(rows.mean() + 0.5) / height, float(columns.mean() + 0.5) / width


def test_the_highest_of_squares_and_the_outline_are_as_worked_by_hand() -> None:
    levels = np.array([[1, 2, 9], [3, 4, 0], [0, 7, 5]], np.uint8)
    assert highest_of(levels, 2).tolist() == [[4, 9], [7, 5]]
    assert highest_of(levels, 1) is levels
    labels = np.zeros((4, 5), np.int32)
    assert outline_of(labels) == ""
    labels[1, 2] = 1
    assert outline_of(labels) == "M2 1v1M3 1v1M2 1h1M2 2h1"
    labels[1, 3] = 2  # another candidate: there is a border between them
    assert outline_of(labels) == "M2 1v1M3 1v1M4 1v1M2 1h2M2 2h2"
    labels[:] = 1
    assert outline_of(labels) == "M0 0v4M5 0v4M0 0h5M0 4h5"


def test_levels_come_back_as_they_were() -> None:
    levels = np.random.default_rng(0).integers(0, 256, (30, 50), dtype=np.uint8)
    assert (np.asarray(Image.open(io.BytesIO(to_png(levels)))) == levels).all()


def test_the_picture_of_a_slice_is_that_slice_and_its_heat_is_exact(tmp_path: Path) -> None:
    voxels = np.broadcast_to(np.arange(12)[:, None, None] * 20.0, SHAPE)
    heat = np.random.default_rng(1).random(SHAPE)
    page = page_of(screening_of(voxels, axial_grid(SHAPE), heat), tmp_path)
    plane = page.data["planes"][0]
    assert len(plane["grey"]) == len(plane["heat"]) == 12
    for index in range(12):
        assert np.abs(page.picture(0, "grey", index) - 20.0 * index).max() <= 1
        shown = page.picture(0, "heat", index)
        assert (shown == np.floor(heat[index].astype(np.float32) * 255 + np.float32(0.5))).all()
        assert plane["centres"][index] == f"47.0, 39.0, {4.0 * index:.1f}"
    assert plane["lengths"] == [96, 80]
    assert page.data["scores"] == pytest.approx(heat.max(axis=(1, 2)), abs=1e-4)


def test_the_heat_of_a_large_slice_keeps_the_highest_of_what_a_pixel_covers(tmp_path: Path) -> None:
    heat = np.zeros((1, 600, 300))
    heat[0, 451, 299] = 0.8
    page = page_of(screening_of(np.zeros(heat.shape), axial_grid((1, 600, 300)), heat), tmp_path)
    shown = page.picture(0, "heat", 0)
    assert shown.shape == (200, 100)
    assert np.argwhere(shown).tolist() == [[150, 99]]
    assert shown[150, 99] == 204


def test_planes_across_are_upright_with_the_patients_right_at_the_left(tmp_path: Path) -> None:
    page = page_of(screening_of(marked(), axial_grid(SHAPE)), tmp_path)
    axial, coronal, sagittal = page.data["planes"]
    assert axial["edges"] == ["R", "A", "L", "P"]
    assert coronal["edges"] == ["R", "H", "L", "F"]
    assert sagittal["edges"] == ["A", "H", "P", "F"]
    assert coronal["lengths"] == [96, 48]  # mm: 48 columns of 2, 12 slices of 4
    assert sagittal["lengths"] == [80, 48]
    down, across = brightest(page.picture(0, "grey", 9))
    assert (down, across) == pytest.approx((7 / 40, 6 / 48), abs=0.02)
    at = int(np.argmin(np.abs(np.array(coronal["at"]) - 7 / 40)))
    assert brightest(page.picture(1, "grey", at)) == pytest.approx((2.5 / 12, 6 / 48), abs=0.05)
    at = int(np.argmin(np.abs(np.array(sagittal["at"]) - 6 / 48)))
    assert brightest(page.picture(2, "grey", at)) == pytest.approx((2.5 / 12, 7 / 40), abs=0.05)
    assert coronal["centres"][at := 6].split(", ")[1] == f"{2.0 * at:.1f}"


@pytest.mark.parametrize("order", ORDERS[::5], ids=str)
def test_it_looks_the_same_however_a_file_keeps_its_axes(
    tmp_path: Path, order: tuple[tuple[int, int, int], tuple[int, int, int]]
) -> None:
    # Left to right, back to front, up: the marker lies to the right, in front, high.
    own = np.full((24, 20, 16), 60.0)
    own[19:22, 15:18, 12:14] = 250
    voxels, affine = stored(own, np.diag([4.0, 4.0, 5.0, 1.0]), order)
    grid = Grid.from_affine_ras(affine, shape=voxels.shape[::-1])
    page = page_of(screening_of(voxels.transpose(2, 1, 0), grid), tmp_path)
    named = {tuple(one["edges"]): place for place, one in enumerate(page.data["planes"])}
    expected = {
        ("R", "A", "L", "P"): (3.5 / 20, 3.5 / 24),
        ("R", "H", "L", "F"): (3 / 16, 3.5 / 24),
        ("A", "H", "P", "F"): (3 / 16, 3.5 / 20),
    }
    assert set(named) == set(expected)
    for edges, (down, across) in expected.items():
        count = len(page.data["planes"][named[edges]]["grey"])
        pictures = (page.picture(named[edges], "grey", one) for one in range(count))
        shown = max(pictures, key=lambda one: (one > 180).sum())
        assert brightest(shown) == pytest.approx((down, across), abs=0.05)


def test_a_rod_stands_upright_in_a_stack_that_leans(tmp_path: Path) -> None:
    own = np.full((20, 60, 10), 40.0)
    affine = sheared(np.diag([4.0, 2.0, 6.0, 1.0]), 20)
    for slice_index in range(10):  # the stack's rows lie further to the front, slice by slice
        row = 30 - round(np.tan(np.radians(20)) * 6 * slice_index / 2)
        own[9:11, row - 1 : row + 1, slice_index] = 250
    grid = Grid.from_affine_ras(affine, shape=(10, 60, 20))
    page = page_of(screening_of(own.transpose(2, 1, 0), grid), tmp_path)
    planes = page.data["planes"]
    assert planes[0]["down"] is planes[0]["across"] is None  # where others lie is not shown on it
    sagittal = planes[2]
    at = int(np.argmin(np.abs(np.array(sagittal["at"]) - 0.5)))
    shown = page.picture(2, "grey", at) > 150
    columns = [np.flatnonzero(row).mean() for row in shown]
    assert np.ptp(columns) <= 1
    assert shown.shape[1] == 60 + round(np.tan(np.radians(20)) * 6 * 9 / 2)


def test_where_slices_are_missing_nothing_is_shown(tmp_path: Path) -> None:
    grid = axial_grid((10, 20, 20), (5.0, 2.0, 2.0))
    grid.origins_lps_mm[6:, 2] += 15  # three are gone
    voxels = np.full(grid.shape, 200.0)
    page = page_of(screening_of(voxels, grid), tmp_path)
    shown = page.picture(1, "grey", 5)
    assert [bool(row.mean() > 100) for row in shown] == [True] * 4 + [False] * 3 + [True] * 6
    assert page.data["planes"][1]["lengths"] == [40, 65]
    assert page.data["planes"][0]["at"][6] == pytest.approx(9.5 / 13, abs=1e-5)


def test_slices_of_two_thicknesses_lie_on_each_other(tmp_path: Path) -> None:
    grid = axial_grid((10, 20, 20), (4.0, 2.0, 2.0))
    grid.origins_lps_mm[5:, 2] += 3.0 * np.arange(1, 6)  # steps of 4 mm, then of 7
    page = page_of(screening_of(np.full(grid.shape, 200.0), grid), tmp_path)
    assert page.picture(1, "grey", 5).min() > 150
    grid.origins_lps_mm[9, 2] += 8.0  # 15 mm: that is no thickness
    page = page_of(screening_of(np.full(grid.shape, 200.0), grid), tmp_path)
    assert (page.picture(1, "grey", 5).mean(axis=1) < 100).sum() == 2


def test_a_candidate_says_where_it_is_in_every_plane(tmp_path: Path) -> None:
    heat = np.zeros(SHAPE)
    heat[8, 10:20, 30:36] = 0.7
    heat[7, 12:16, 31:33] = 0.6
    page = page_of(screening_of(marked(), axial_grid(SHAPE), heat), tmp_path)
    (lesion,) = page.data["lesions"]
    assert (lesion["id"], lesion["slice"], lesion["slices"]) == (1, 8, [7, 8])
    assert lesion["box"] == pytest.approx([30 / 48, 10 / 40, 36 / 48, 20 / 40], abs=1e-5)
    assert lesion["at"] == pytest.approx([8.5 / 12, 15 / 40, 33 / 48], abs=1e-5)
    assert page.data["first"] == 8
    outlines = page.data["planes"][0]["outlines"]
    assert set(outlines) == {"7", "8"}
    assert outlines["8"] == "M30 10v10M36 10v10M30 10h6M30 20h6"
    assert page.data["planes"][1]["outlines"]
    assert "highest 0.700" in Page(page.text).text


@pytest.mark.parametrize("voxels", [np.zeros((1, 30, 50)), np.full((1, 30, 50, 3), 90.0)])
def test_a_photograph_has_the_same_page_without_what_scrolls(
    tmp_path: Path, voxels: np.ndarray
) -> None:
    grid = Grid.of_pixels(slices=1, rows=30, columns=50)
    facts = {"origin": "image", "modality": None}
    page = page_of(screening_of(voxels, grid, **facts), tmp_path)
    (plane,) = page.data["planes"]
    assert (plane["edges"], plane["centres"], plane["has_mm"]) == ([], [], False)
    assert page.picture(0, "grey", 0).shape == voxels.shape[1:]
    assert 'aria-label="Image slice"' not in page.text


def test_what_is_too_much_for_a_page_lies_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = screening_of(marked(), axial_grid(SHAPE))
    inside = page_of(found, tmp_path / "inside")
    monkeypatch.setattr(study, "MOST_EMBEDDED_BYTES", 2000)
    beside = page_of(found, tmp_path / "beside")
    assert not (inside.path.parent / "view").exists()
    files = {one.name for one in (beside.path.parent / "view").iterdir()}
    addresses = [one for plane in beside.data["planes"] for one in plane["grey"] + plane["heat"]]
    assert sorted(files) == sorted(one.removeprefix("view/") for one in addresses)
    assert (beside.picture(1, "grey", 4) == inside.picture(1, "grey", 4)).all()
    assert "img-src 'self' data:;" in beside.text
    assert "img-src data:;" in inside.text
    assert beside.path.stat().st_size < 60_000
    written = write_screening(found, tmp_path / "beside", outputs=["view"])
    assert written.outputs == {
        "result": "result.json",
        "view": "view.html",
        "view-pictures": "view",
    }


def test_the_same_screening_gives_the_same_bytes(tmp_path: Path) -> None:
    heat = np.random.default_rng(2).random(SHAPE)
    found = screening_of(marked(), axial_grid(SHAPE), heat)
    assert page_of(found, tmp_path / "a").text == page_of(found, tmp_path / "b").text


def test_it_is_closed_and_a_hostile_name_stays_text(tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"
    page = page_of(screening_of(marked(), axial_grid(SHAPE), name=evil), tmp_path)
    seen = Page(page.text)
    assert [one.get("type") for tag, one in seen.tags if tag == "script"] == [
        "application/json", None,
    ]  # fmt: skip
    assert not any(name.startswith("on") for _, one in seen.tags for name in one)
    assert not any("style" in one for _, one in seen.tags)
    assert not {"link", "iframe", "object", "img", "a"} & {tag for tag, _ in seen.tags}
    (policy,) = re.findall('http-equiv="Content-Security-Policy" content="([^"]*)"', page.text)
    script, style = script_of("study/page")[1], style_of("study/page")[1]
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{style}'; "
        f"script-src 'sha256-{script}'; base-uri 'none'; form-action 'none'"
    )
    assert evil in seen.text


def test_it_says_what_it_is_and_in_which_window(tmp_path: Path) -> None:
    text = Page(page_of(screening_of(marked(), axial_grid(SHAPE)), tmp_path).text).text
    for words in ("Research use only.", "window wide: 0 HU is black, 255 HU white",
                  "asked for", "no lesion candidate"):  # fmt: skip
        assert words in text


def test_slices_that_are_few_or_colourful_have_no_planes_across(tmp_path: Path) -> None:
    few = screening_of(np.zeros((7, 9, 9)), axial_grid((7, 9, 9)))
    colourful = screening_of(np.zeros((9, 9, 9, 3)), axial_grid((9, 9, 9)))
    one: Screening
    for place, one in enumerate((few, colourful)):
        assert len(page_of(one, tmp_path / str(place)).data["planes"]) == 1
