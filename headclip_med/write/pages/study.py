"""view.html: a study to scroll through, its heatmap above it, in one file that opens anywhere."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped
from scipy.ndimage import find_objects

from headclip_med.findings import Lesion
from headclip_med.geometry import Grid
from headclip_med.transforms.planes import AS_STORED, Arrangement, arrangements_of
from headclip_med.write.nifti import COMPACT
from headclip_med.write.outputs import Writer, WrittenOutput
from headclip_med.write.pages.frame import BESIDE, EMBEDDED, STUDY, render
from headclip_med.write.pictures.layers import (
    highest_of,
    mean_of,
    outline_of,
    step_to,
    to_jpeg,
    to_png,
)
from headclip_med.write.pictures.overlay import STRONGEST_BLEND, heat_colours, levels_of, side_of
from headclip_med.write.pictures.reslices import MOST_PX, Reslices
from headclip_med.write.pictures.sheet import MOST_TILES, most_suspicious, point_words

PAGE, FOLDER = "view.html", "view"

MOST_EMBEDDED_BYTES = 12_000_000
"""Of pictures in the page, which grow by a third there; more lie beside it, in ``FOLDER``."""

SIDES_PX = {1: 1600, 8: 1024, 400: 512}
"""Longer side of a slice's picture, of up to so many slices."""

SIDE_OF_MANY_PX = 256

LEAST_SLICES = 8
"""Of fewer there is nothing to see across them."""

LONGEST_LIST = 50
"""Of candidates; result.json has all."""

WHOLE = [0.0, 0.0, 1.0, 1.0]
"""A slice, where nothing says which part of it: left, top, right, bottom."""


@dataclass(eq=False)
class ShownPlane:
    """One direction in which a study is scrolled, as the page's script knows it.

    Attributes:
        name: Of the patient's plane; None where that is not known.
        arrangement: Which axes of the slices as they are shown are its own.
        lengths: Width and height, in millimetres, or in pixels where there are none.
        size_px: Width and height that outlines are drawn in.
        edges: The patient's sides at the left, the top, the right and the bottom.
        at: Where each picture lies along the axis, from 0 to 1.
        centres: The patient's place in the middle of each, as it is shown.
        grey: Names of the pictures.
        heat: Names of the heatmap's levels.
        outlines: Borders of candidates, by number from 0.
        is_placed: Whether a place in the stack can be shown on it.
    """

    name: str | None
    arrangement: Arrangement
    lengths: tuple[float, float]
    size_px: tuple[float, float]
    edges: tuple[str, ...] = ()
    at: list[float] = field(default_factory=list)
    centres: list[str] = field(default_factory=list)
    grey: list[str] = field(default_factory=list)
    heat: list[str] = field(default_factory=list)
    outlines: dict[int, str] = field(default_factory=dict)
    is_placed: bool = True

    def to_json(self, addresses: Mapping[str, str], *, has_places: bool) -> dict[str, Any]:
        """Put it into plain values, its pictures by their addresses."""
        axes, back = self.arrangement.axes, self.arrangement.is_reversed
        sides = {"down": (axes[1], back[1]), "across": (axes[2], back[2])}
        return {
            "lengths": [round(one, 3) for one in self.lengths],
            "has_mm": has_places,
            "size": [round(one, 3) for one in self.size_px],
            "edges": self.edges,
            "axis": axes[0],
            **(sides if self.is_placed else dict.fromkeys(sides)),
            "at": [round(one, 5) for one in self.at],
            "centres": self.centres,
            "grey": [addresses[name] for name in self.grey],
            "heat": [addresses[name] for name in self.heat],
            "outlines": self.outlines,
        }


class StudyViewWriter(Writer):
    """``view.html``: every slice under its heatmap, the planes across them, and the candidates.

    Up to ``MOST_EMBEDDED_BYTES`` of pictures lie in it; where there are more, all lie in ``view/``.
    """

    def begin(self) -> None:
        """Find out how slices are to be turned, and which planes there are."""
        volume, grid = self.screening.volume, self.screening.volume.grid
        known = arrangements_of(grid) if grid.is_patient else {}
        stored = next((name for name, one in known.items() if one.keeps_slices), None)
        self._turn = AS_STORED if stored is None else _in_plane(known[stored])
        self._grid = self._turn.grid_of(grid)
        count, shape = len(volume.voxels), (self._grid.rows, self._grid.columns)
        side_px = next((px for most, px in SIDES_PX.items() if count <= most), SIDE_OF_MANY_PX)
        self._step, self._small_step = step_to(shape, side_px), step_to(shape, MOST_PX)
        self._pictures = Pictures(self.folder)
        self._slices = ShownPlane(
            stored, AS_STORED, _lengths(self._grid), _pixels(self._grid, self._step),
            _edges(self._grid) if grid.is_patient else (),
        )  # fmt: skip
        is_stack = grid.is_patient and count >= LEAST_SLICES and volume.voxels.ndim == 3
        has_extent = is_stack and np.ptp(grid.slice_positions_mm) > 0
        self._reslices = Reslices(self._grid) if has_extent else None
        self._boxes: dict[int, list[float]] = {}

    def add(self, slices: range) -> None:
        """Make their pictures."""
        for index in slices:
            self._add(index)
        if self._reslices is not None:
            self._reslices.release()

    def _add(self, index: int) -> None:
        levels = self._turned(levels_of(self.screening, index))
        heat = self.screening.heatmap.values[index]
        encoded = np.frombuffer(COMPACT.encode(heat), dtype=np.uint8).reshape(heat.shape)
        small = highest_of(self._turned(encoded), self._small_step)
        plane = self._slices
        self._keep(plane, index, to_jpeg(mean_of(levels, self._step)), to_png(small))
        if self._grid.is_patient:
            middle = np.array([[index, (self._grid.rows - 1) / 2, (self._grid.columns - 1) / 2]])
            plane.centres.append(point_words(self._grid.to_lps_mm(middle)[0]))
        labels = self._turned(np.asarray(self.screening.labels[index]))
        if index in self.marked:
            first = self._step // 2
            plane.outlines[index] = outline_of(labels[first :: self._step, first :: self._step])
            self._box(index, labels)
        if self._reslices is not None:
            marked = highest_of((labels > 0).astype(np.uint8), self._small_step)
            self._reslices.add(index, mean_of(levels, self._small_step), small, marked)

    def _box(self, index: int, labels: Shaped[np.ndarray, "rows columns"]) -> None:
        """Note where the candidates lie that peak in this slice: left, top, right, bottom."""
        peaks = {one.id for one in self.screening.lesions if one.peak_slice == index}
        for number, box in enumerate(find_objects(labels) if peaks else (), start=1):
            if number not in peaks or box is None:
                continue
            rows, columns = box
            ends = columns.start, rows.start, columns.stop, rows.stop
            sizes = (self._grid.columns, self._grid.rows) * 2
            self._boxes[number] = [
                round(end / size, 5) for end, size in zip(ends, sizes, strict=True)
            ]

    def _keep(self, plane: ShownPlane, number: int, grey: bytes, heat: bytes) -> None:
        name = f"{plane.name or 'image'}-{number + 1:03d}"
        plane.grey.append(self._pictures.add(f"{name}.jpg", grey))
        plane.heat.append(self._pictures.add(f"{name}-heat.png", heat))

    def _turned(self, image: Shaped[np.ndarray, "..."]) -> Shaped[np.ndarray, "..."]:
        return np.asarray(self._turn.seen(image[None])[0])

    def end(self) -> WrittenOutput:
        """Cut the planes across the slices, and write the page."""
        planes = [self._slices, *self._across()]
        addresses = self._pictures.addresses()
        page = render(
            STUDY,
            images=EMBEDDED if self._pictures.is_embedded else BESIDE,
            screening=self.screening,
            planes=planes,
            lesions=self.screening.lesions[:LONGEST_LIST],
            marked=self.marked,
            montage=sorted(most_suspicious(self.screening, MOST_TILES)),
            highest=int(np.argmax(self.screening.slice_scores)),
            colours=heat_colours(),
            strongest=STRONGEST_BLEND,
            data=_as_data(self._data(planes, addresses)),
        )
        (self.folder / PAGE).write_text(page, "utf-8")
        beside = {} if self._pictures.is_embedded else {"view-pictures": FOLDER}
        return WrittenOutput({"view": PAGE, **beside})

    def _across(self) -> Iterator[ShownPlane]:
        """Make the planes across the slices."""
        stack = self._reslices
        if stack is None:
            return
        self._slices.is_placed = stack.is_upright
        self._slices.at = stack.at.tolist()
        lengths = stack.lengths_mm
        for name, arrangement in arrangements_of(self._grid).items():
            if arrangement.keeps_slices:
                continue
            _, rows, columns = arrangement.axes
            edges = _edges(arrangement.grid_of(self._grid))
            size_px = float(stack.shape[columns]), float(stack.shape[rows])
            own = lengths[columns], lengths[rows]
            plane = ShownPlane(name, arrangement, own, size_px, edges)
            for number, cut in enumerate(stack.across(arrangement)):
                self._keep(plane, number, to_jpeg(cut.grey), to_png(cut.heat))
                plane.at.append(cut.at)
                plane.centres.append(point_words(cut.centre_lps_mm))
                if path := outline_of(cut.marked):
                    plane.outlines[number] = path
            yield plane

    def _data(self, planes: list[ShownPlane], addresses: Mapping[str, str]) -> dict[str, Any]:
        """Put what the script works on into plain values."""
        found = self.screening
        return {
            "planes": [
                one.to_json(addresses, has_places=self._grid.is_patient) for one in planes
            ],
            "lesions": [self._lesion(one) for one in found.lesions[:LONGEST_LIST]],
            "scores": [round(float(score), 4) for score in found.slice_scores],
            "first": found.lesions[0].peak_slice if found.lesions else
            int(np.argmax(found.slice_scores)),
        }  # fmt: skip

    def _lesion(self, lesion: Lesion) -> dict[str, Any]:
        box = self._boxes.get(lesion.id, WHOLE)
        return {
            "id": lesion.id,
            "slice": lesion.peak_slice,
            "slices": list(lesion.slices),
            "box": box,
            "at": self._place_of(lesion.peak_slice, (box[1] + box[3]) / 2, (box[0] + box[2]) / 2),
        }

    def _place_of(self, index: int, down: float, across: float) -> list[float]:
        """Say where in the stack a place of a slice is, along its three axes."""
        if self._reslices is None:
            return []
        place = self._reslices.place_of(index, down, across)
        return [round(one, 5) for one in place]


class Pictures:
    """Keeps pictures for a page, and writes them beside it once they are too much for it.

    Args:
        folder: Where the page will be.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[str, bytes] = {}
        self._names: list[str] = []
        self._bytes = 0

    @property
    def is_embedded(self) -> bool:
        """Whether they lie in the page."""
        return self._bytes <= MOST_EMBEDDED_BYTES

    def add(self, name: str, content: bytes) -> str:
        """Take one, and give its name back."""
        self._names.append(name)
        self._held[name] = content
        self._bytes += len(content)
        if not self.is_embedded:
            (self._folder / FOLDER).mkdir(exist_ok=True)
            for waiting, held in self._held.items():
                (self._folder / FOLDER / waiting).write_bytes(held)
            self._held.clear()
        return name

    def addresses(self) -> dict[str, str]:
        """Give the address of each for the page: its content, or where it lies."""
        if not self.is_embedded:
            return {name: f"{FOLDER}/{name}" for name in self._names}
        kinds = {".jpg": "jpeg", ".png": "png"}
        return {
            name: f"data:image/{kinds[name[-4:]]};base64,{base64.b64encode(content).decode()}"
            for name, content in self._held.items()
        }


def _in_plane(arrangement: Arrangement) -> Arrangement:
    """Turn slices as they are looked at, and leave their order, which their numbers follow."""
    return Arrangement(arrangement.axes, (False, *arrangement.is_reversed[1:]))


def _lengths(grid: Grid) -> tuple[float, float]:
    down, across = grid.pixel_spacing_mm if grid.is_patient else (1.0, 1.0)
    return grid.columns * across, grid.rows * down


def _pixels(grid: Grid, step: int) -> tuple[float, float]:
    return grid.columns / step, grid.rows / step


def _edges(grid: Grid) -> tuple[str, ...]:
    """Name the patient's sides at the left, the top, the right and the bottom."""
    across, down = grid.column_step_lps_mm, grid.row_step_lps_mm
    return tuple(side_of(one) for one in (-across, -down, across, down))


def _as_data(values: Mapping[str, Any]) -> str:
    """Write plain values so that they can stand in a page."""
    return json.dumps(values, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
