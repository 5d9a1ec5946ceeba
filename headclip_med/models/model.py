"""The one seam that every method stands behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from headclip_med.prediction import Prediction
from headclip_med.settings import ScoreSettings


@runtime_checkable
class AnomalyModel(Protocol):
    """Judges images without having seen their kind before."""

    @property
    def image_size(self) -> int:
        """Rows and columns of the images it was made for, in pixels."""

    @property
    def scores(self) -> ScoreSettings:
        """How its maps become scores."""

    @property
    def threshold(self) -> float:
        """Map value from which a pixel counts as abnormal."""

    def describe(self) -> Mapping[str, object]:
        """Name, method, backbone, digests and settings, all plain JSON values."""

    def with_scores(self, scores: ScoreSettings) -> AnomalyModel:
        """Give the same model, its maps smoothed and scored otherwise; weights are shared."""

    def predict(self, images: Float[Tensor, "batch 3 height width"]) -> Prediction:
        """Judge a batch of images with values in [0, 1]; sides a multiple of the patch."""


@dataclass(frozen=True)
class Subject:
    """What images show, as far as it is known.

    Attributes:
        name: As a sentence would call it, for example ``"brain"``.
        modality: DICOM modality.
    """

    name: str | None = None
    modality: str | None = None


@runtime_checkable
class NamesSubject(Protocol):
    """A model whose sentences say what is looked at."""

    def with_subject(self, subject: Subject) -> AnomalyModel:
        """Give the same model, its sentences about a subject; weights are shared.

        A name that the settings have chosen already stays.
        """


def name_subject(model: AnomalyModel, subject: Subject) -> AnomalyModel:
    """Tell a model what it will see; one without sentences about it stays as it is."""
    return model.with_subject(subject) if isinstance(model, NamesSubject) else model
