"""What is read here, beside what SimpleITK, dcmtk, dcm2niix and nibabel read of the same files.

Where they agree we read the same, or one of the named reasons holds, each of which is checked.
With ``HEADCLIP_WRITE_DOCS=1`` docs/results/second_readers.md is written anew; without it the page
must say what is found.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813 - its usual name
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless

from headclip_med.errors import HeadClipError
from headclip_med.geometry import Grid
from headclip_med.read import find_inputs, read_volume
from headclip_med.volume import Volume
from headclip_med.write.dicom.series import write_mr_series
from tests.phantoms import edit, make_grid, make_voxels, write_phantom
from tests.read.dicom.test_multiframe import Change, write_enhanced
from tests.read.second_readers import (
    Sight,
    dcm2niix_volumes,
    dcmtk_slices,
    itk_slices,
    nifti_slices,
)

PAGE = Path(__file__).parents[2] / "docs" / "results" / "second_readers.md"
SAME_FRACTION = 1e-5
"""Values agree within this fraction of the largest: rescaled to float32 they hold no more."""

REASONS = {
    "padding": "Pixels that the scanner marks as not scanned are given air (CT) or the lowest "
    "value here; the others show the mark.",
    "white is low": "MONOCHROME1 is mirrored here, so that more is brighter.",
    "palette": "A palette's colours are shown here; the others give its entries' numbers, or "
    "eight of their sixteen bits.",
    "lossy": "Lossy JPEG, decoded by different programs within one grey level.",
}
"""Why values differ from what the second readers give; each is checked on the values."""


@dataclass(frozen=True)
class Compared:
    """One DICOM file beside the second readers.

    Attributes:
        modality: Or "none".
        syntax: The transfer syntax by name.
        values: "same", "alone" where no other reads it, a reason's name, or "differs".
        place: "same" or "differs" from SimpleITK; "none" where one of both has no geometry.
    """

    modality: str
    syntax: str
    values: str
    place: str


@pytest.fixture(autouse=True)
def _quiet_itk() -> None:
    sitk.ProcessObject.SetGlobalWarningDisplay(False)


def seen(volume: Volume) -> list[Sight]:
    grid = volume.grid
    return [
        Sight(np.asarray(values, np.float64), origin, grid.row_step_lps_mm, grid.column_step_lps_mm)
        for values, origin in zip(volume.voxels, grid.origins_lps_mm, strict=True)
    ]


def header_of(path: Path) -> pydicom.FileDataset:
    with pydicom.config.disable_value_validation():
        return pydicom.dcmread(path, force=True, stop_before_pixels=True)


def syntax_of(header: pydicom.FileDataset) -> str:
    uid = header.file_meta.get("TransferSyntaxUID")
    return "none" if uid is None else uid.name


def explain(
    mine: np.ndarray, theirs: np.ndarray, volume: Volume, header: pydicom.FileDataset
) -> str:
    """Say whether two readings of a slice are the same, and else which reason holds."""
    is_palette = header.get("PhotometricInterpretation") == "PALETTE COLOR"
    if mine.shape != theirs.shape:
        return "palette" if is_palette else "differs"
    allowed = SAME_FRACTION * max(1.0, float(np.abs(theirs).max()))
    off = np.abs(mine - theirs)
    if off.max() <= allowed:
        return "same"
    if volume.reading.is_inverted and np.ptp(mine + theirs) <= 2 * allowed:
        return "white is low"
    marked = theirs[off > allowed]
    if "PixelPaddingValue" in header and np.ptp(marked) <= allowed:
        lowest = np.isclose(mine[off > allowed], -1000 if volume.modality == "CT" else mine.min())
        if lowest.all():
            return "padding"
    is_lossy = syntax_of(header).startswith(("JPEG Baseline", "JPEG Extended"))
    if is_lossy and off.max() <= 1 + allowed:
        return "lossy"
    return "palette" if is_palette and off.max() <= 1 else "differs"


def compare_files(volume: Volume, modality: str | None, scratch: Path) -> Iterator[Compared]:
    """Compare the slices of every file of one volume with SimpleITK and dcmtk."""
    by_path: dict[Path, list[int]] = defaultdict(list)
    for index, source in enumerate(volume.sources):
        by_path[source.path].append(index)
    slices = seen(volume)
    for path, indices in by_path.items():
        header = header_of(path)
        itk, dcmtk = itk_slices(path) or [], dcmtk_slices(path, scratch) or []
        values, places = set(), set()
        for index in indices:
            mine, frame = slices[index], (volume.sources[index].frame or 1) - 1
            found = [
                explain(mine.values, other[frame].values, volume, header)
                for other in (itk, dcmtk)
                if frame < len(other)
            ]
            # Where one of them reads as we do, two agree.
            values.add("alone" if not found else "same" if "same" in found else found[0])
            if frame < len(itk) and volume.grid.is_patient:
                places.add("same" if mine.is_at(itk[frame]) else "differs")
        yield Compared(modality or "none", syntax_of(header), _worst(values), _worst(places))


def _worst(found: set[str]) -> str:
    order = ("differs", *REASONS, "same", "alone")
    return next((one for one in order if one in found), "none")


def matches(volume: Volume, other: Sequence[Sight]) -> bool:
    """Whether a volume of another program holds the same values at the same places."""
    mine = seen(volume)
    if len(mine) != len(other) or mine[0].values.ndim != other[0].values.ndim:
        return False
    affine = np.eye(4)
    step = other[-1].origin_lps_mm - other[0].origin_lps_mm
    affine[:3, 0] = step / max(1, len(other) - 1)
    affine[:3, 1], affine[:3, 2] = other[0].down_lps_mm, other[0].across_lps_mm
    affine[:3, 3] = other[0].origin_lps_mm
    if abs(np.linalg.det(affine)) < 1e-9:
        return False
    stack = np.stack([one.values for one in other])
    corners = np.array([[s, r, c] for s in (0, len(mine) - 1) for r in (0, 1) for c in (0, 1)])
    corners = corners * [1, mine[0].values.shape[0] - 1, mine[0].values.shape[1] - 1]
    places = volume.grid.to_lps_mm(corners.astype(np.float64))
    indices = (np.linalg.inv(affine) @ np.c_[places, np.ones(8)].T).T[:, :3]
    whole = np.rint(indices).astype(int)
    near = np.abs((affine[:3, :3] @ (indices - whole).T).T).max() <= 0.05
    if not near or (whole < 0).any() or (whole >= stack.shape[:3]).any():
        return False
    flips = [slice(None, None, -1 if whole[4 >> axis][axis] < whole[0][axis] else 1)
             for axis in range(3)]  # fmt: skip
    theirs, values = stack[tuple(flips)], np.stack([one.values for one in mine])
    padded = np.isin(values, [-1000.0, values.min()])
    allowed = SAME_FRACTION * max(1.0, float(np.abs(theirs).max()))
    return values.shape == theirs.shape and bool(
        ((np.abs(values - theirs) <= allowed) | padded).all()
    )


def even_grids() -> Iterator[tuple[str, Grid]]:
    """Every length of each differs."""
    tilted = [0, 3 * np.tan(np.radians(15)), 3.0]
    turned = np.array([[0.8, 0.6, 0], [-0.6, 0.8, 0]])
    yield "axial", make_grid()
    yield "axial, numbered downwards", make_grid(step_lps_mm=(0, 0, -3))
    yield "oblique", make_grid(across=turned[0], down=turned[1])
    yield "sagittal", make_grid(across=(0, 1, 0), down=(0, 0, -1), step_lps_mm=(2, 0, 0))
    yield "coronal", make_grid(across=(1, 0, 0), down=(0, 0, -1), step_lps_mm=(0, 4, 0))
    yield "tilted by 15 degrees", make_grid(step_lps_mm=tilted)
    rng = np.random.default_rng(3)
    for number in range(6):
        across, down, normal = np.linalg.qr(rng.normal(size=(3, 3)))[0].T
        step = normal * rng.uniform(0.5, 6)
        yield (
            f"any, {number}",
            make_grid(
                across=across, down=down, step_lps_mm=step, origin_lps_mm=rng.normal(size=3) * 100
            ),
        )


@pytest.mark.parametrize(("name", "grid"), list(even_grids()))
@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_a_generated_series_is_read_as_by_three_programs(
    tmp_path: Path, name: str, grid: Grid, modality: str
) -> None:
    if modality == "CT":
        paths = write_phantom(tmp_path / "in", grid)
    else:
        paths = write_mr_series(tmp_path / "in", make_voxels(grid.shape) + 100, grid)
    (one,) = find_inputs([tmp_path / "in"]).readable
    volume = one.read()
    rows = set(compare_files(volume, one.modality, tmp_path))
    assert {(row.values, row.place) for row in rows} == {("same", "same")}
    if "tilted" in name:  # its output is resampled, and holds the values of no slice
        return
    converted = dcm2niix_volumes(paths, tmp_path / "dcm2niix")
    assert [matches(volume, other) for other in converted] == [True]


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_every_lossless_coding_is_read_as_by_the_others(tmp_path: Path, syntax: str) -> None:
    paths = write_phantom(tmp_path / "in", make_grid(shape=(3, 64, 48)))
    edit(paths, lambda dataset, _: dataset.compress(syntax, generate_instance_uid=False))
    (one,) = find_inputs([tmp_path / "in"]).readable
    rows = set(compare_files(one.read(), one.modality, tmp_path))
    assert {(row.values, row.place) for row in rows} == {("same", "same")}


def with_words(bits: int, kind: str, *, unused: int = 0) -> Change:
    """Give each slice whole numbers of so many bits, and anything above them."""

    def change(dataset: Dataset) -> None:
        is_signed, wide = kind.startswith("i"), np.dtype(kind).itemsize * 8
        values = np.arange(dataset.Rows * dataset.Columns) * 7 % (1 << bits)
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = wide, bits, bits - 1
        dataset.PixelRepresentation = int(is_signed)
        above = (np.arange(values.size) % 2) << bits if unused else 0
        dataset.PixelData = (values | above).astype(f"u{wide // 8}").tobytes()

    return change


def as_lossless_jpeg(coded_bits: int, stored_bits: int) -> Change:
    """Code each slice with another precision than its header has."""

    def change(dataset: Dataset) -> None:
        values = np.arange(dataset.Rows * dataset.Columns, dtype=np.uint16) * 7 % 1000
        stream = imagecodecs.ljpeg_encode(
            values.reshape(dataset.Rows, -1), bitspersample=coded_bits
        )
        dataset.BitsStored, dataset.HighBit = stored_bits, stored_bits - 1
        dataset.PixelRepresentation = 0
        dataset.PixelData = encapsulate([stream])
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = JPEGLosslessSV1

    return change


ODD: dict[str, Change] = {
    "eight bits with a sign": with_words(8, "i1"),
    "ten bits with a sign": with_words(10, "i2"),
    "twelve bits below an overlay": with_words(12, "u2", unused=1),
    "JPEG of 16 bits for 12": as_lossless_jpeg(16, 12),
    "JPEG of 12 bits for 16": as_lossless_jpeg(12, 16),
    "JPEG of 10 bits for 16": as_lossless_jpeg(10, 16),
}


@pytest.mark.parametrize("kind", ODD)
def test_odd_pixels_are_read_as_by_the_others(tmp_path: Path, kind: str) -> None:
    paths = write_phantom(tmp_path / "in", make_grid(shape=(3, 16, 18)))
    edit(paths, lambda dataset, _: ODD[kind](dataset))
    (one,) = find_inputs([tmp_path / "in"]).readable
    rows = set(compare_files(one.read(), one.modality, tmp_path))
    assert {(row.values, row.place) for row in rows} == {("same", "same")}


@pytest.mark.parametrize("frames", [1, 4])
def test_the_parts_of_a_concatenation_are_one_volume(tmp_path: Path, frames: int) -> None:
    whole = pydicom.dcmread(write_enhanced(tmp_path / "whole", make_grid(shape=(8, 6, 7))))
    (tmp_path / "in").mkdir()
    stored, groups = whole.pixel_array, whole.PerFrameFunctionalGroupsSequence
    for number, first in enumerate(range(0, 8, frames), start=1):
        part = deepcopy(whole)
        part.ConcatenationUID, part.InConcatenationNumber = "1.2.3", number
        part.SOPInstanceUID = part.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number}"
        part.ConcatenationFrameOffsetNumber = first
        part.NumberOfFrames = frames
        part.PerFrameFunctionalGroupsSequence = groups[first : first + frames]
        part.PixelData = stored[first : first + frames].tobytes()
        part.save_as(tmp_path / "in" / f"{number}.dcm")
    (one,) = find_inputs([tmp_path / "in"]).readable
    volume = one.read()
    np.testing.assert_array_equal(volume.voxels, read_volume(tmp_path / "whole").voxels)
    rows = set(compare_files(volume, one.modality, tmp_path))
    assert {(row.values, row.place) for row in rows} == {("same", "same")}


@pytest.mark.slow
def test_the_page_tells_what_is_read_of_real_files(shared_data: Path, tmp_path: Path) -> None:
    found = find_inputs([shared_data / "dicom"])
    compared: list[Compared] = []
    refused: Counter[tuple[str, ...]] = Counter()
    volumes: Counter[tuple[str, ...]] = Counter()
    for one in found.readable:
        if one.kind != "dicom":
            continue
        try:
            volume = one.read()
        except HeadClipError as error:
            refused.update((error.code, _readers_of(path, tmp_path)) for path in one.paths)
            continue
        compared += compare_files(volume, one.modality, tmp_path)
        if volume.grid.is_patient and len(volume.voxels) > 1:
            others = dcm2niix_volumes(one.paths, tmp_path / "dcm2niix")
            volumes[volume.modality or "none", _beside(volume, others)] += 1
    refused.update((one.code, _readers_of(one.path, tmp_path)) for one in found.failures)
    niftis = Counter(_nifti_rows(shared_data / "nifti"))
    told = "\n\n".join(
        [
            HEAD,
            "## DICOM files read, by modality and transfer syntax",
            _grid_table((one.modality, one.syntax) for one in compared),
            "## Their values and places beside SimpleITK and dcmtk",
            _table(("values", "place", "files"),
                   Counter((one.values, one.place) for one in compared)),
            "\n".join(f"- *{name}*: {why}" for name, why in REASONS.items()),
            "## Volumes of several slices beside dcm2niix",
            _table(("modality", "dcm2niix", "volumes"), volumes),
            "## Files that are not read, by what reads them",
            _table(("code", "read by", "files"), refused),
            "## NIfTI volumes beside SimpleITK and nibabel",
            _table(("SimpleITK", "nibabel", "volumes"), niftis),
        ]
    )  # fmt: skip
    if os.environ.get("HEADCLIP_WRITE_DOCS"):
        PAGE.write_text(told + "\n")
    assert "differs" not in {value for one in compared for value in (one.values, one.place)}
    assert "differs" not in {beside for _, beside in volumes}
    assert "differs" not in {beside for pair in niftis for beside in pair}
    assert told + "\n" == PAGE.read_text()


HEAD = """# What is read, beside other programs

Made by `tests/read/test_second_readers.py` (`HEADCLIP_WRITE_DOCS=1` writes it anew) of collections
of real files: the test files of pydicom and highdicom, dcmqi's segmentations with their sources,
the NEMA WG-04 codec set, a tilted head CT, and NIfTI files of nibabel, NiiVue and
TotalSegmentator. *alone* means that no second reader could decode the file, *none* that one of
both gives no place."""


def _readers_of(path: Path, scratch: Path) -> str:
    names = []
    if itk_slices(path):
        names.append("SimpleITK")
    if dcmtk_slices(path, scratch):
        names.append("dcmtk")
    return ", ".join(names) or "none"


def _beside(volume: Volume, others: Sequence[Sequence[Sight]]) -> str:
    if any(matches(volume, other) for other in others):
        return "same"
    if not others:
        return "converts nothing"
    if volume.reading.tilt_degrees:
        return "resamples the tilt"
    if not volume.grid.is_even:
        return "holds no gaps"
    return "differs"


def _nifti_rows(folder: Path) -> Iterator[tuple[str, str]]:
    for one in find_inputs([folder]).readable:
        if one.kind != "nifti":
            continue
        try:
            volume = one.read()
        except HeadClipError as error:
            yield error.code, "none"
            continue
        itk = itk_slices(one.paths[0])
        plain = nifti_slices(one.paths[0])[one.part - 1]
        yield (
            "refuses" if itk is None else "same" if matches(volume, itk) else "differs",
            "same" if matches(volume, plain) else "differs",
        )


def _table(names: tuple[str, ...], counted: Counter[tuple[str, ...]]) -> str:
    rows = [(*key, str(count)) for key, count in sorted(counted.items())]
    lines = [names, ("---",) * len(names), *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines)


def _grid_table(pairs: Iterable[tuple[str, str]]) -> str:
    counted = Counter(pairs)
    modalities = sorted({modality for modality, _ in counted})
    lines = [("transfer syntax", *modalities), ("---",) * (len(modalities) + 1)]
    for syntax in sorted({syntax for _, syntax in counted}):
        counts = (counted[modality, syntax] for modality in modalities)
        lines.append((syntax, *(str(count or "") for count in counts)))
    return "\n".join(f"| {' | '.join(row)} |" for row in lines)
