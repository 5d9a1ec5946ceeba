"""Slices of a volume compared with their mirror images, beside a model that looks at them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from headclip_med.content import content_of_volume
from headclip_med.errors import UnusableGeometry
from headclip_med.findings import SYMMETRIC, Box, SymmetryUsed, WindowUsed
from headclip_med.models.model import AnomalyModel
from headclip_med.prediction import Images, PatchGrid, Prediction
from headclip_med.settings import ScreenSettings, Symmetry
from headclip_med.transforms import cut_slices, memory_advice, resize_images, resize_maps
from headclip_med.transforms import symmetry as sides
from headclip_med.volume import Volume

Mirrored = tuple[Float[Tensor, "block 3 height width"], Bool[np.ndarray, "block"]]
"""Mirror images of some slices, and which slices show two sides."""


@runtime_checkable
class Mirror(Protocol):
    """Mirrors the slices of a volume."""

    @property
    def head_share(self) -> float | None:
        """Size of the head as a share of a whole slice's; None where each slice has its own."""

    def mirrored(
        self, volume: Volume, window: WindowUsed, span: slice, box: Box, images: Images
    ) -> Mirrored:
        """Mirror what a model sees of some slices.

        Args:
            volume: As it is shown.
            window: What makes its values grey levels.
            span: Which slices.
            box: The part of each that the model sees.
            images: That part.
        """

    def place(self, volume: Volume) -> SymmetryUsed:
        """Say where it lies in a volume; all else as by default."""


@dataclass(frozen=True, eq=False)
class PlaneMirror:
    """Mirrors a volume in one plane.

    Attributes:
        fit: The plane.
    """

    fit: sides.PlaneFit

    @property
    def head_share(self) -> float | None:
        """Of the largest slice: a small one near the vertex is not compared as if it were large."""
        return self.fit.head_share

    def mirrored(
        self, volume: Volume, window: WindowUsed, span: slice, box: Box, images: Images
    ) -> Mirrored:
        """Sample the mirrored volume where the slices lie."""
        is_across = self.fit.plane.stands_on(volume.grid.normal_lps)
        if not is_across:
            return images, np.zeros(len(images), dtype=bool)
        grey = sides.mirrored_slices(volume, window, self.fit.plane, span, box)
        return cut_slices(grey), np.ones(len(images), dtype=bool)

    def place(self, volume: Volume) -> SymmetryUsed:
        """Give its tilt from the patient's own left and right, and its way from the middle."""
        grid, plane = volume.grid, self.fit.plane
        middle = grid.to_lps_mm((np.array([grid.shape], dtype=float) - 1) / 2)[0]
        return SymmetryUsed(
            kind="plane", yaw_deg=plane.yaw_deg, roll_deg=plane.roll_deg,
            offset=plane.distance_mm(middle), unit="mm",
        )  # fmt: skip


class LineMirror:
    """Mirrors each slice in a line of its own."""

    def __init__(self) -> None:
        self._lines: list[sides.MirrorLine] = []

    @property
    def head_share(self) -> None:
        """Each slice has its own."""
        return None

    def mirrored(
        self, volume: Volume, window: WindowUsed, span: slice, box: Box, images: Images
    ) -> Mirrored:
        """Fit a line to every slice; those whose outline is not symmetric stay as they are."""
        row, column = volume.grid.pixel_spacing_mm
        found, shows_both = images.clone(), np.zeros(len(images), dtype=bool)
        for number, image in enumerate(images):
            fit = sides.fit_line(image.mean(dim=0).numpy(), row / column)
            if fit is None or not fit.is_symmetric:
                continue
            shows_both[number] = True
            self._lines.append(fit.line)
            channels = image.numpy() if volume.is_colour else image[:1].numpy()
            found[number] = torch.from_numpy(np.stack([*map(fit.line.mirrored, channels)]))
        return found, shows_both

    def place(self, volume: Volume) -> SymmetryUsed:
        """Give the medians over slices."""
        return SymmetryUsed(
            kind="lines",
            yaw_deg=float(np.median([one.angle_deg for one in self._lines])),
            offset=float(np.median([one.offset_px for one in self._lines])),
            unit="px",
        )


def find_mirror(
    volume: Volume, window: WindowUsed, asked: Symmetry
) -> tuple[Mirror | None, SymmetryUsed]:
    """Decide whether a volume's sides are compared, and fit the plane of one that is deep.

    Args:
        volume: As it is shown, in any of its planes: the plane of symmetry is the patient's.
        window: What makes its values grey levels.
        asked: As ``ScreenSettings.symmetry``.

    Returns:
        What mirrors it, None where it is not to be, and why.
    """
    basis = sides.wants_symmetry(asked, content_of_volume(volume))
    if basis not in SYMMETRIC:
        return None, SymmetryUsed(basis)
    if volume.is_colour or not sides.spans_enough(volume.grid):
        return LineMirror(), SymmetryUsed(basis)
    fit = sides.fit_plane(volume, window)
    is_seen = fit is not None and fit.is_symmetric
    return (PlaneMirror(fit) if fit is not None and is_seen else LineMirror()), SymmetryUsed(basis)


class Watched:
    """A model that keeps the local features of what it was last shown.

    Args:
        model: What sees images.

    Attributes:
        patches: Of the last images; None where it gives none.
    """

    def __init__(self, model: AnomalyModel) -> None:
        self.model = model
        self.patches: PatchGrid | None = None

    @property
    def image_size(self) -> int:
        """As the model's."""
        return self.model.image_size

    def predict(self, images: Images) -> Prediction:
        """Predict as the model does."""
        found = self.model.predict(images)
        self.patches = found.patches
        return found


class SideComparison:
    """Compares the slices of one view with their mirror images, block by block.

    Args:
        mirror: Of the volume.
        volume: As it is shown.
        window: What makes its values grey levels.
        box: The part of its slices that the model sees.
        model: Gives local features.

    Attributes:
        watched: The model; shown whole slices, it keeps what would else be asked again.
        slices: How many showed two sides so far.
        has_features: Whether the model gave local features.
    """

    def __init__(
        self, mirror: Mirror, volume: Volume, window: WindowUsed, box: Box, model: AnomalyModel
    ) -> None:
        self.watched, self.slices, self.has_features = Watched(model), 0, False
        self._mirror, self._volume, self._window, self._box = mirror, volume, window, box

    def compare(
        self, span: slice, images: Images, settings: ScreenSettings, *, is_fresh: bool = False
    ) -> tuple[Float[np.ndarray, "block height width"], Float[np.ndarray, "block"]]:
        """Say how each slice differs from its mirror image.

        Args:
            span: Which slices.
            images: What of them the model sees.
            settings: Of the screening.
            is_fresh: Whether ``watched`` has just been shown these images, each whole.

        Returns:
            Maps in [0, 1] of the part that the model sees, and a score of each slice in [0, 1]; 0
            and NaN of slices that do not show two sides.

        Raises:
            OutOfMemory: A batch does not fit the device.
        """
        height, width = images.shape[-2:]
        maps = np.zeros((len(images), height, width), np.float32)
        scores = np.full(len(images), np.nan)
        other, shows_both = self._mirror.mirrored(
            self._volume, self._window, span, self._box, images
        )
        if not shows_both.any():
            return maps, scores
        seen = self.watched.patches if is_fresh else self._patches(images, settings)
        its = None if seen is None else self._patches(other, settings)
        self.has_features = seen is not None
        rows = torch.from_numpy(np.flatnonzero(shows_both))
        features = None if seen is None or its is None else (seen.cpu()[rows], its.cpu()[rows])
        pair = sides.Sides(images[rows], other[rows], features, self._head_share(height, width))
        found = sides.compare_sides(pair)
        shown = resize_maps(torch.from_numpy(found.maps), height, width).clamp(0, 1)
        maps[shows_both], scores[shows_both] = shown.numpy(), found.scores
        self.slices += len(rows)
        return maps, scores

    def place(self) -> SymmetryUsed:
        """Say where the mirror lies."""
        return self._mirror.place(self._volume)

    def _head_share(self, height: int, width: int) -> float | None:
        """Give the head's size as a share of what the model sees."""
        share, grid = self._mirror.head_share, self._volume.grid
        return None if share is None else share * (grid.rows * grid.columns / height / width) ** 0.5

    def _patches(self, images: Images, settings: ScreenSettings) -> PatchGrid | None:
        side = self.watched.image_size
        with memory_advice(settings.batch_size, side), torch.no_grad():
            self.watched.predict(resize_images(images, side))
        return self.watched.patches


class Comparisons:
    """The comparisons of all views of a volume.

    Args:
        asked: As ``ScreenSettings.symmetry``.
    """

    def __init__(self, asked: Symmetry) -> None:
        self._asked, self._decided = asked, SymmetryUsed()
        self._mirror: Mirror | None = None
        self._views: list[SideComparison] = []

    def decide(self, volume: Volume, window: WindowUsed) -> None:
        """Decide by a volume whether sides are compared, and find where it is mirrored."""
        self._mirror, self._decided = find_mirror(volume, window, self._asked)

    def of_view(
        self, volume: Volume, window: WindowUsed, box: Box, model: AnomalyModel
    ) -> SideComparison | None:
        """Begin a view; see ``SideComparison``. None where sides are not compared."""
        if self._mirror is None:
            return None
        self._views.append(SideComparison(self._mirror, volume, window, box, model))
        return self._views[-1]

    def used(self, own_score: float, side_score: float) -> SymmetryUsed:
        """Say how both sides were compared, and what came of it.

        Args:
            own_score: The study's, by the method alone.
            side_score: The same by both sides alone.

        Raises:
            UnusableGeometry: It was asked for, and no slice shows two sides.
        """
        basis, used = self._decided.basis, [one for one in self._views if one.slices]
        if basis not in SYMMETRIC:
            return self._decided
        if not used and basis == "asked":
            raise UnusableGeometry(
                "Symmetry was asked for, and no slice shows two sides that could be compared.",
                "Leave symmetry at auto, or turn it off.",
                code="no-symmetry",
            )
        if not used:
            return SymmetryUsed("not-symmetric")
        return replace(
            used[0].place(),
            basis=basis,
            slices=sum(one.slices for one in used),
            has_features=any(one.has_features for one in used),
            own_score=own_score,
            share=side_score / (own_score + side_score) if side_score > 0 else 0.0,
        )
