"""A hospital's viewer shows what was sent: every candidate, on its slices, at its place."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pytest
import requests
from PIL import Image
from scipy import ndimage

from headclip_med.pipelines.screen import screen
from headclip_med.pipelines.service.delivery import Destination, stow
from headclip_med.pipelines.service.delivery.objects import objects_of
from headclip_med.read import read_volume
from headclip_med.settings import ScreenSettings
from headclip_med.write import write_screening
from headclip_med.write.dicom.series import write_ct_series
from tests.bright import BrightModel
from tests.phantoms import make_grid
from tests.service.ohif import FOLDER, viewer
from tests.service.orthanc import PASSWORD, USER, orthanc
from tests.service.programs import program

if TYPE_CHECKING:
    from playwright.sync_api import Page

SIZE = 128
HEAD_RADIUS = 50
LESIONS = {  # slices, rows, columns: unlike in all three, so that no flip is missed
    1: (slice(3, 6), slice(30, 50), slice(70, 95)),
    2: (slice(7, 9), slice(80, 95), slice(35, 50)),
}
SLICES = 12
OUTPUTS = ["seg", "sr", "sc"]
WITHIN_PX = 1.5  # of the slice's own pixels
FLAGS = [
    "--no-sandbox",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SEEN = FOLDER.parent / "seen"
"""Where pictures of the viewer stay, for people."""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a viewer on a study whose CT is tilted and whose candidates were sent."""
    if not (FOLDER / "dist").is_dir():
        reason = "the viewer is missing: make viewer"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    folder = tmp_path_factory.mktemp("viewer")
    rows, columns = np.ogrid[:SIZE, :SIZE]
    head = (rows - SIZE / 2) ** 2 + (columns - SIZE / 2) ** 2 < HEAD_RADIUS**2
    voxels = np.repeat(np.where(head, 30.0, -1000.0)[None], SLICES, axis=0).astype(np.float32)
    for place in LESIONS.values():
        voxels[place] = 80
    grid = make_grid(shape=voxels.shape, step_lps_mm=(0, 1.2, 3), spacing_mm=(0.8, 0.8))
    files = write_ct_series(folder / "ct", voxels, grid, body_part="HEAD")
    settings = ScreenSettings(window="brain", crop="none", symmetry="off", minimum_size=0.0)
    found = screen(read_volume(folder / "ct"), BrightModel(image_size=SIZE), settings=settings)
    written = write_screening(found, folder / "out", outputs=OUTPUTS)
    secret = folder / "credentials"
    secret.write_text(f"{USER}:{PASSWORD}")
    secret.chmod(0o600)
    with orthanc(folder / "orthanc", {}) as archive:
        for path in files:
            requests.post(
                f"{archive.url}/instances", data=path.read_bytes(), auth=(USER, PASSWORD), timeout=9
            ).raise_for_status()
        pacs = Destination(
            name="pacs",
            kind="dicomweb",
            url=f"{archive.url}/dicom-web",
            credentials_file=str(secret),
        )
        objects = objects_of(written.folder, OUTPUTS)
        stow.send(pacs, objects)
        with viewer(archive.url, (USER, PASSWORD)) as address:
            yield f"{address}/viewer?StudyInstanceUIDs={objects[0].study_instance_uid}"


@pytest.fixture
def page(study: str) -> Iterator[Page]:
    from playwright.sync_api import sync_playwright

    chromium = program("chromium", "chromium")
    with sync_playwright() as browsers:
        browser = browsers.chromium.launch(executable_path=chromium, args=FLAGS)
        opened = browser.new_page(viewport={"width": 1280, "height": 800})
        opened.set_default_timeout(120_000)
        opened.goto(study)
        opened.get_by_text("Skip all").click()
        yield opened
        browser.close()


def picture(page: Page, name: str) -> np.ndarray:
    SEEN.mkdir(parents=True, exist_ok=True)
    path = SEEN / f"{name}.png"
    page.screenshot(path=path)
    with Image.open(path) as seen:
        return np.asarray(seen.convert("RGB"), dtype=float)


def shown_instance(page: Page) -> int:
    """Number of the image that the viewer says it shows."""
    words = page.locator('[data-cy="viewport-overlay-bottom-right"]').inner_text()
    found = re.search(r"(\d+)\s*\(", words)
    assert found, words
    return int(found[1])


def inside(page: Page, name: str) -> np.ndarray:
    """What the viewer shows of the image, without its own signs at the border."""
    pane = page.locator('[data-cy="viewport-pane"]').bounding_box()
    assert pane is not None
    top, left = int(pane["y"]) + 20, int(pane["x"]) + 20
    bottom, right = int(pane["y"] + pane["height"]) - 20, int(pane["x"] + pane["width"]) - 30
    return picture(page, name)[top:bottom, left:right]


def place(head: np.ndarray, lesion: np.ndarray) -> list[tuple[float, float]] | None:
    """First and last row and column of a lesion, in pixels of the CT; None where there is none."""
    whole, part = largest_part(head), largest_part(lesion)
    if whole is None or part is None:
        return None
    scale = (whole[0].stop - whole[0].start) / (2 * HEAD_RADIUS - 1)
    first = SIZE // 2 - HEAD_RADIUS + 1  # row and column where the head begins
    return [
        ((one.start - all_.start) / scale + first, (one.stop - all_.start) / scale + first)
        for one, all_ in zip(part, whole, strict=True)
    ]


def expected_at(index: int) -> list[tuple[int, int]] | None:
    """What lies on a slice, from the phantom."""
    here = [one for one in LESIONS.values() if one[0].start <= index < one[0].stop]
    return [(one.start, one.stop) for one in here[0][1:]] if here else None


def largest_part(mask: np.ndarray) -> tuple[slice, slice] | None:
    """The box around the largest part; the viewer's own signs are too small to be one."""
    labels, _ = ndimage.label(mask)
    sizes = np.bincount(labels.ravel())[1:]
    if sizes.max(initial=0) < 500:
        return None
    rows, columns = ndimage.find_objects(labels)[int(sizes.argmax())]
    return rows, columns


@pytest.mark.slow
def test_ohif_draws_each_candidate_on_its_slices_at_its_place(page: Page) -> None:
    series = page.locator('[data-cy="study-browser-thumbnail-no-image"]')
    series.filter(has_text="SR").wait_for()
    series.filter(has_text="SEG").dblclick()
    yes = page.locator('[data-cy="yes-hydrate-btn"]')
    yes.wait_for()
    yes.click()
    page.locator('[data-cy="panelSegmentation-btn"]').click()
    for number in LESIONS:
        page.get_by_text(f"Lesion candidate {number}", exact=True).first.wait_for()
    page.locator('[data-cy="viewport-pane"]').hover()
    seen: dict[int, list[tuple[float, float]] | None] = {}
    for wheel in [-100] * SLICES + [100] * SLICES:
        page.mouse.wheel(0, wheel)
        time.sleep(0.6)
        number = shown_instance(page)
        if number not in seen:
            shown = inside(page, f"slice-{number:02d}")
            is_coloured = np.ptp(shown, axis=2) > 25
            seen[number] = place(is_coloured | (shown.mean(axis=2) > 60), is_coloured)
    assert sorted(seen) == list(range(1, SLICES + 1))
    for index in range(SLICES):
        found, expected = seen[index + 1], expected_at(index)
        assert (found is None) == (expected is None), f"slice {index}"
        if expected is not None:
            np.testing.assert_allclose(found, expected, atol=WITHIN_PX, err_msg=f"slice {index}")


@pytest.mark.slow
def test_ohif_shows_the_secondary_captures(page: Page) -> None:
    captures = page.locator('[data-cy="study-browser-thumbnail"]').filter(has_text="OT")
    captures.dblclick()
    page.get_by_text("Heatmap overlays - RESEARCH ONLY").last.wait_for()
    page.locator('[data-cy="viewport-pane"]').hover()
    for _ in range(SLICES):  # to the first one, of the first lesion; the viewer begins at the last
        page.mouse.wheel(0, 100)
        time.sleep(0.6)
    assert shown_instance(page) == 1
    shown = inside(page, "capture")
    grey = shown.mean(axis=2)
    found = place(grey > 40, grey > 190)
    np.testing.assert_allclose(found, expected_at(3), atol=WITHIN_PX)
