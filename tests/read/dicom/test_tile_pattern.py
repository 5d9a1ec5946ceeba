"""Pages of tiles that only their picture shows, and pictures that are none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from headclip_med.errors import UnreadableInput
from headclip_med.read import find_inputs, read_volume
from headclip_med.read.dicom.pixels.tile_pattern import TilePattern, find_tile_pattern
from headclip_med.write.dicom.series import write_mr_series
from tests.phantoms import edit, make_grid

Change = Callable[[Dataset, int], object]


def disc(
    shape: tuple[int, int], centre: tuple[float, float], radii: tuple[float, float]
) -> np.ndarray:
    down, across = np.mgrid[: shape[0], : shape[1]]
    return np.hypot((down - centre[0]) / radii[0], (across - centre[1]) / radii[1]) < 1


def head(height: float, side: int = 64) -> np.ndarray:
    """Draw one slice of a head: skull, brain, ventricles; from -1 (base) to 1 (vertex)."""
    middle, wide = side / 2, side * 0.42 * np.sqrt(1 - 0.8 * height**2)
    skull = disc((side, side), (middle, middle), (wide, wide * 0.8))
    brain = disc((side, side), (middle, middle), (wide * 0.88, wide * 0.68))
    ventricle = disc((side, side), (middle, middle + side / 14), (wide * 0.3, wide * 0.1))
    return 900.0 * skull - 400 * brain + 300 * (ventricle & brain) * (abs(height) < 0.4)


def page(pictures: int, across: int, down: int | None = None, side: int = 64) -> np.ndarray:
    """Lay slices of a head side by side, with the noise of a scan."""
    down = down or across
    tiles = np.zeros((down * across, side, side))
    reach = min(0.85, 0.15 * pictures)
    tiles[:pictures] = [head(height, side) for height in np.linspace(-reach, reach, pictures)]
    whole = tiles.reshape(down, across, side, side).swapaxes(1, 2)
    whole = whole.reshape(down * side, across * side)
    noise = np.abs(np.random.default_rng(3).normal(0, 15, whole.shape))
    return (whole + noise).astype(np.float32)


@pytest.mark.parametrize(
    ("pictures", "across", "down"),
    [(4, 2, 2), (5, 3, 3), (9, 3, 3), (12, 4, 4), (24, 5, 5), (36, 6, 6), (60, 8, 8), (12, 4, 3)],
)
def test_pages_of_heads_are_seen(pictures: int, across: int, down: int) -> None:
    image = page(pictures, across, down)
    assert find_tile_pattern(image) == TilePattern(down, across, pictures)


def of_noise() -> np.ndarray:
    return np.random.default_rng(5).normal(100, 20, (256, 256))


def of_two_knees() -> np.ndarray:
    return np.hstack([head(0.1, 128), head(0.12, 128)])


def of_two_screens() -> np.ndarray:
    return np.vstack([np.hstack([head(0.0, 128), head(0.3, 128)]), np.zeros((128, 256))])


def of_a_grid_phantom() -> np.ndarray:
    down, across = np.mgrid[:256, :256]
    lines = (down % 16 < 3) | (across % 16 < 3)
    return 800.0 * disc((256, 256), (128, 128), (110, 110)) * ~lines


def of_tubes_in_a_ring() -> np.ndarray:
    turns = np.linspace(0, 2 * np.pi, 9)[:-1]
    tubes = [
        disc((240, 240), (120 + 80 * np.sin(turn), 120 + 80 * np.cos(turn)), (18, 18))
        for turn in turns
    ]
    return sum(500.0 * (number + 4) * tube for number, tube in enumerate(tubes))


SINGLE: dict[str, Callable[[], np.ndarray]] = {
    "a head": lambda: head(0.1, 256),
    "the top of a head": lambda: head(0.99, 256),
    "a head to the edge": lambda: np.kron(head(0.1, 128), np.ones((2, 2)))[12:-12, 24:-24],
    "nothing": lambda: np.zeros((256, 256)),
    "noise": of_noise,
    "two knees": of_two_knees,
    "two screens": of_two_screens,
    "a phantom of lines": of_a_grid_phantom,
    "tubes in a ring": of_tubes_in_a_ring,
    "checks": lambda: 500.0 * np.kron(np.indices((16, 16)).sum(axis=0) % 2, np.ones((16, 16))),
}


@pytest.mark.parametrize("kind", SINGLE)
def test_single_pictures_are_no_pages(kind: str) -> None:
    assert find_tile_pattern(SINGLE[kind]().astype(np.float32)) is None


def write_pages(folder: Path, images: np.ndarray, **elements: object) -> tuple[Path, ...]:
    """Write images of MR that say nothing of how they were acquired."""
    paths = write_mr_series(folder, images.astype(np.int16), make_grid(shape=images.shape))

    def change(dataset: Dataset, _index: int) -> None:
        for keyword, value in elements.items():
            setattr(dataset, keyword, value)

    edit(paths, change)
    return paths


def test_a_page_whose_header_says_nothing_is_refused_by_what_is_seen(tmp_path: Path) -> None:
    (path,) = write_pages(tmp_path, page(12, 4)[None])
    with pytest.raises(UnreadableInput, match=r"4 x 4 tiles, 12 slices") as refused:
        read_volume(path)
    assert refused.value.code == "looks-like-tiles"


def test_pages_of_a_time_series_are_refused_each(tmp_path: Path) -> None:
    images = np.stack([page(12, 4), 1.1 * page(12, 4)])

    def at_one_place(dataset: Dataset, _index: int) -> None:
        dataset.ImagePositionPatient = [0, 0, 0]

    edit(write_pages(tmp_path, images), at_one_place)
    found = find_inputs([tmp_path]).readable
    assert len(found) == 2
    for one in found:
        with pytest.raises(UnreadableInput, match="4 x 4 tiles"):
            one.read()


SAYING: dict[str, dict[str, object]] = {
    "as many lines as it has": {"AcquisitionMatrix": [256, 0, 0, 192]},
    "its field of view": {"ReconstructionDiameter": "768"},
    "another modality": {"Modality": "CT", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"},
}


@pytest.mark.parametrize("kind", SAYING)
def test_what_says_that_it_is_one_slice_is_believed(tmp_path: Path, kind: str) -> None:
    (path,) = write_pages(tmp_path, page(12, 4)[None], **SAYING[kind])
    assert read_volume(path).voxels.shape == (1, 256, 256)


def test_a_matrix_of_a_quarter_does_not_say_so(tmp_path: Path) -> None:
    matrix = {"AcquisitionMatrix": [64, 0, 0, 64], "PixelSpacing": ["1", "1"]}
    with pytest.raises(UnreadableInput, match="4 x 4 tiles"):
        read_volume(write_pages(tmp_path, page(12, 4)[None], **matrix)[0])


def test_slices_at_several_places_are_slices_whatever_they_show(tmp_path: Path) -> None:
    write_pages(tmp_path, np.stack([page(12, 4)] * 3))
    assert read_volume(tmp_path).voxels.shape == (3, 256, 256)


@pytest.mark.slow
@pytest.mark.parametrize("part", ["dicom", "nifti"])
def test_no_image_of_a_patient_is_taken_for_a_page(shared_data: Path, part: str) -> None:
    seen = 0
    for one in find_inputs([shared_data / part]).readable:
        try:
            voxels = one.read().voxels
        except UnreadableInput:
            continue
        grey = voxels if voxels.ndim == 3 else voxels.mean(axis=-1, dtype=np.float32)
        for image in grey[:: 1 + len(grey) // 40]:
            assert find_tile_pattern(np.asarray(image)) is None
            seen += 1
    assert seen > 100
