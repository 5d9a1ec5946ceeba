"""The page of a study in a browser, opened as a file: it scrolls, jumps, hides, and asks for
nothing.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Locator

from headclip_med.geometry import Grid
from headclip_med.write.pages import study
from headclip_med.write.pictures.overlay import heat_colours
from tests.service.browser import Seen, chromium, looking
from tests.write.pages.studies import StudyPage, axial_grid, page_of, screening_of

pytestmark = pytest.mark.slow  # a browser starts

SHOTS = os.environ.get("HEADCLIP_SHOTS")
EDGE_PX = 4
"""Rounded corners, and what is no whole pixel."""

SHAPE = (12, 80, 120)
LEVELS = (40, 90, 127, 128, 200)
"""Of the heatmap's five columns, from the left."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> StudyPage:
    return page_of(drawn(), tmp_path_factory.mktemp("study"))


def drawn() -> object:
    """Each slice is darker than the next; a marker lies high, right and in front."""
    voxels = np.broadcast_to(np.arange(12)[:, None, None] * 15.0, SHAPE).copy()
    voxels[9, 5:15, 10:20] = 255
    heat = np.zeros(SHAPE)
    for place, level in enumerate(LEVELS):
        heat[6, :, 24 * place : 24 * place + 24] = level / 255
    heat[2, 60:70, 90:110] = 0.9
    return screening_of(voxels, axial_grid(SHAPE, (5.0, 2.0, 2.0)), heat)


def pane(seen: Seen, place: int = 0) -> Locator:
    return seen.page.locator(f'.plane[data-plane="{place}"] .pane')


def said(seen: Seen, place: int = 0) -> str:
    return seen.page.locator(f'.plane[data-plane="{place}"] .said').inner_text()


def pixels(one: Locator) -> np.ndarray:
    """What is on the screen, without letters, lines and outlines."""
    hide = "(pane, off) => [...pane.children].forEach(c => c.toggleAttribute('hidden', off))"
    one.evaluate(hide.replace("off))", "off && c.tagName !== 'IMG'))"), True)
    shown = Image.open(io.BytesIO(one.screenshot())).convert("RGB")
    one.evaluate(hide, False)
    return np.asarray(shown).astype(int)[EDGE_PX:-EDGE_PX, EDGE_PX:-EDGE_PX]


def set_range(seen: Seen, name: str, value: int) -> None:
    seen.page.locator(f".controls [name={name}]").evaluate(
        "(one, value) => { one.value = value; one.dispatchEvent(new Event('input', "
        "{bubbles: true})); }",
        value,
    )


@pytest.mark.parametrize(("width_px", "is_dark"), [(1280, False), (420, True)])
def test_it_scrolls_by_wheel_keys_slider_and_buttons(
    browser: Browser, page: StudyPage, tmp_path: Path, width_px: int, is_dark: bool
) -> None:
    with looking(browser, width_px, is_dark=is_dark) as seen:
        seen.page.goto(page.path.as_uri())
        assert seen.overflow_px() == 0
        assert said(seen).startswith("3 of 12, score 0.90, centre (LPS, mm) 119.0, 79.0, 10.0")
        for key, number in (
            ("ArrowDown", 4), ("ArrowRight", 5), ("+", 6), ("ArrowUp", 5), ("ArrowLeft", 4),
            ("-", 3), ("End", 12), ("PageUp", 2), ("PageDown", 12), ("ArrowDown", 12), ("Home", 1),
        ):  # fmt: skip
            seen.page.keyboard.press(key)  # the picture has the focus from the start
            assert said(seen).startswith(f"{number} of 12,"), key
        pane(seen).hover()
        seen.page.mouse.wheel(0, 100)
        seen.page.wait_for_function("document.querySelector('.said').textContent.startsWith('2 ')")
        slider = seen.page.get_by_label("Axial slice", exact=True)
        slider.focus()
        seen.page.keyboard.press("ArrowRight")
        assert said(seen).startswith("3 of 12,")
        assert slider.get_attribute("aria-valuetext") == "3 of 12, score 0.90"
        seen.page.get_by_role("button", name="Next axial").click()
        assert said(seen).startswith("4 of 12,")
        seen.page.get_by_label("Coronal slice", exact=True).focus()
        seen.page.keyboard.press("End")
        assert said(seen, 1).startswith("40 of 40,")
        assert (pane(seen).locator("img").first.get_attribute("alt") or "").startswith("Axial 4 of")
        seen.shot(Path(SHOTS or tmp_path), f"study-{width_px}")
        assert seen.complaints == []
        assert [one for one in seen.requests if not one.startswith("data:")] == [page.path.as_uri()]


def test_what_is_on_the_screen_is_that_slice_upright(browser: Browser, page: StudyPage) -> None:
    with looking(browser, 1280) as seen:
        seen.page.goto(page.path.as_uri())
        set_range(seen, "opacity", 0)
        seen.page.keyboard.press("Home")
        for index in range(12):
            assert abs(np.median(pixels(pane(seen))) - 15 * index) <= 1
            seen.page.keyboard.press("ArrowDown")
        seen.page.goto(f"{page.path.as_uri()}#slice-10")
        set_range(seen, "opacity", 0)
        for place, (down, across) in enumerate(
            [(10 / 80, 15 / 120), (2.5 / 12, 15 / 120), (2.5 / 12, 10 / 80)]
        ):
            if place == 0:  # a click on the marker moves the others there
                box = pane(seen).bounding_box()
                assert box is not None
                assert box["width"] / box["height"] == pytest.approx(1.5, abs=0.01)
                at = {"x": across * box["width"], "y": down * box["height"]}
                pane(seen).click(position=at)  # type: ignore[arg-type]
            rows, columns = np.nonzero(pixels(pane(seen, place))[..., 0] > 215)
            height, width = pixels(pane(seen, place)).shape[:2]
            assert rows.mean() / height == pytest.approx(down, abs=0.03)
            assert columns.mean() / width == pytest.approx(across, abs=0.03)
        box = pane(seen, 1).bounding_box()
        assert box is not None
        assert box["width"] / box["height"] == pytest.approx(240 / 60, rel=0.02)


def test_the_sliders_hide_what_lies_below_and_blend_what_does_not(
    browser: Browser, page: StudyPage
) -> None:
    with looking(browser, 1280) as seen:
        seen.page.goto(f"{page.path.as_uri()}#slice-7")
        colours = heat_colours().astype(float)

        def columns() -> np.ndarray:
            shown = pixels(pane(seen))
            middles = [round((place + 0.5) / 5 * shown.shape[1]) for place in range(5)]
            return shown[shown.shape[0] // 2, middles]

        for low in (0, 41, 128, 129):
            set_range(seen, "low", low)
            expected = []
            for level in LEVELS:
                share = 0.7 * level / 255 if level >= low else 0.0
                expected.append(90 * (1 - share) + colours[level] * share)
            assert np.abs(columns() - np.array(expected)).max() <= 2, low
        set_range(seen, "opacity", 100)
        set_range(seen, "low", 200)
        share = 200 / 255
        assert np.abs(columns()[4] - (90 * (1 - share) + colours[200] * share)).max() <= 2
        assert np.abs(columns()[:4] - 90).max() <= 1
        seen.page.get_by_role("button", name="candidates' threshold").click()
        assert seen.page.locator("[name=low_said]").inner_text() == "0.50"
        assert np.abs(columns()[2] - 90).max() <= 1  # 127 lies below it, 128 does not
        assert np.abs(columns()[3] - 90).max() > 20
        assert seen.page.locator(".outline").first.is_visible()
        seen.page.get_by_label("outlines").uncheck()
        assert not seen.page.locator(".outline").first.is_visible()
        assert seen.complaints == []


@pytest.mark.parametrize("width_px", [1280, 420])
def test_candidates_and_the_montage_lead_to_their_slices(
    browser: Browser, page: StudyPage, width_px: int
) -> None:
    with looking(browser, width_px) as seen:
        seen.page.goto(page.path.as_uri())
        candidates = seen.page.locator(".candidates button")
        assert candidates.count() == 2
        candidates.nth(1).click()
        assert said(seen).startswith("7 of 12,")
        candidates.nth(0).focus()
        seen.page.keyboard.press("Enter")
        assert said(seen).startswith("3 of 12,")
        where = [said(seen, place).rpartition("mm) ")[2].split(", ") for place in (1, 2)]
        assert abs(float(where[0][1]) - 129) <= 4  # row 64.5 of 2 mm
        assert abs(float(where[1][0]) - 199) <= 4  # column 99.5
        assert candidates.nth(0).get_attribute("aria-current") == "true"
        montage = seen.page.locator(".montage button")
        numbers = [int(one.split(" ")[0]) for one in montage.all_inner_texts()]
        assert numbers == sorted(numbers)
        assert len(numbers) == 12
        assert seen.page.locator(".montage .highest").all_inner_texts() == ["3 · 0.90 · highest"]
        montage.nth(10).click()
        assert said(seen).startswith("11 of 12,")
        crop = np.asarray(Image.open(io.BytesIO(candidates.nth(0).locator(".crop").screenshot())))
        assert (crop[56, 56, :3] - heat_colours()[230].astype(int) * 0.6 > -40).all()
        seen.page.goto(f"{page.path.as_uri()}#candidate-2")
        assert said(seen).startswith("7 of 12,")
        seen.page.evaluate("location.hash = '#slice-5'")
        seen.page.wait_for_function("document.querySelector('.said').textContent.startsWith('5 ')")
        assert seen.overflow_px() == 0
        assert seen.complaints == []


def test_pictures_beside_the_page_are_shown_from_there(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "MOST_EMBEDDED_BYTES", 1000)
    page = page_of(drawn(), tmp_path)  # type: ignore[arg-type]
    with looking(browser, 1280) as seen:
        seen.page.goto(f"{page.path.as_uri()}#slice-7")
        set_range(seen, "low", 150)
        shown = pixels(pane(seen))
        assert abs(int(shown[shown.shape[0] // 2, 10, 0]) - 90) <= 1
        assert shown[shown.shape[0] // 2, -10].max() > 120
        folder = page.path.with_name("view").as_uri()
        assert {one for one in seen.requests if not one.startswith(f"{folder}/")} == {
            f"{page.path.as_uri()}#slice-7".partition("#")[0]
        }
        assert seen.complaints == []


@pytest.mark.parametrize("width_px", [1280, 420])
def test_a_photograph_fits(browser: Browser, tmp_path: Path, width_px: int) -> None:
    grid = Grid.of_pixels(slices=1, rows=300, columns=200)
    heat = np.zeros(grid.shape)
    heat[0, 200:240, 20:60] = 0.8
    found = screening_of(np.full(grid.shape, 90.0), grid, heat, origin="image", modality=None)
    page = page_of(found, tmp_path)
    with looking(browser, width_px) as seen:
        seen.page.goto(page.path.as_uri())
        assert said(seen) == "score 0.80"
        assert seen.page.locator("input[type=range]").count() == 2
        assert seen.page.locator(".bar-of-mm").count() == 0
        seen.page.locator(".candidates button").click()
        shown = pixels(pane(seen))
        assert shown[int(220 / 300 * shown.shape[0]), int(40 / 200 * shown.shape[1])].max() > 150
        seen.shot(Path(SHOTS or tmp_path), f"photograph-{width_px}")
        assert seen.overflow_px() == 0
        assert seen.complaints == []
