"""What a run that is being recorded takes, and the one that records nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import UInt8
    from matplotlib.figure import Figure

REGISTERED_NAME = "headclip"
"""What trained models are registered as, unless another name is given."""


@runtime_checkable
class Run(Protocol):
    """A run: what was set, what came out, and files, under one name.

    Whoever records decides what is recorded: no name of an input's file, no value of a patient.
    Absolute paths in parameters and tags are blanked, whatever they are.
    """

    @property
    def name(self) -> str:
        """What it is called by in its experiment; empty where nothing is recorded."""

    @property
    def is_recording(self) -> bool:
        """Whether anything is kept; false spares the drawing of pictures that nobody sees."""

    def parameters(self, values: Mapping[str, object]) -> None:
        """Record what was set; nested mappings become ``outer.inner``, and nothing may change.

        Raises:
            ValueError: A parameter has another value already.
        """

    def tags(self, values: Mapping[str, object]) -> None:
        """Record what describes the run; a later value takes the place of an earlier one."""

    def metrics(self, values: Mapping[str, float], *, step: int = 0) -> None:
        """Record numbers; those that are not finite are undefined, and left out.

        Args:
            values: By name, such as ``loss`` or ``BrainMRI/pixels/AUROC``.
            step: Where on its curve a number stands: an optimiser's step, an epoch.
        """

    def dataset(self, name: str, digest: str | None, *, use: str) -> None:
        """Record what a run works on.

        Args:
            name: Of the data set.
            digest: Of its content.
            use: ``training`` or ``evaluation``.
        """

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Keep a copy of a file of ours, under its own name."""

    def text(self, text: str, name: str) -> None:
        """Keep a text as a file, for example ``table.md``."""

    def figure(self, figure: Figure, name: str) -> None:
        """Keep a drawing as a file, for example ``heads.png``."""

    def image(self, pixels: UInt8[np.ndarray, "height width 3"], name: str) -> None:
        """Keep a picture as a PNG file."""

    def register_headclip(
        self,
        checkpoint: Path,
        name: str = REGISTERED_NAME,
        about: Mapping[str, object] | None = None,
    ) -> str | None:
        """Register a checkpoint as the next version of a model.

        Args:
            checkpoint: That ``headclip train`` wrote.
            name: Of the registered model.
            about: What its page shall say of it.

        Returns:
            What ``load_model`` takes, for example ``models:/headclip/3``; None where nothing is
            recorded.

        Raises:
            UnusableTracker: The tracker refuses.
        """

    def child(
        self, name: str, parameters: Mapping[str, object] | None = None
    ) -> AbstractContextManager[Run]:
        """Begin a run below this one, for one point of a sweep; it ends with the block."""


class NullRun:
    """A run that records nothing, for ``--no-tracking``."""

    name = ""
    is_recording = False

    def parameters(self, values: Mapping[str, object]) -> None:
        """Leave them."""

    def tags(self, values: Mapping[str, object]) -> None:
        """Leave them."""

    def metrics(self, values: Mapping[str, float], *, step: int = 0) -> None:
        """Leave them."""

    def dataset(self, name: str, digest: str | None, *, use: str) -> None:
        """Leave it."""

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Leave it."""

    def text(self, text: str, name: str) -> None:
        """Leave it."""

    def figure(self, figure: Figure, name: str) -> None:
        """Leave it."""

    def image(self, pixels: UInt8[np.ndarray, "height width 3"], name: str) -> None:
        """Leave it."""

    def register_headclip(
        self,
        checkpoint: Path,
        name: str = REGISTERED_NAME,
        about: Mapping[str, object] | None = None,
    ) -> None:
        """Leave it."""

    @contextmanager
    def child(self, name: str, parameters: Mapping[str, object] | None = None) -> Iterator[Run]:
        """Give another that records nothing."""
        yield NullRun()
