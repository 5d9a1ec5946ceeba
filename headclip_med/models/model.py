"""The one seam that every method stands behind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from headclip_med.content import ImageContent
from headclip_med.prediction import Images, Prediction
from headclip_med.settings import ScoreSettings

EVEN = 0.5
"""The threshold where none was measured: where both sentences fit a place equally well."""


@runtime_checkable
class AnomalyModel(Protocol):
    """Finds what is abnormal in images without having seen their kind before."""

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

    def predict(self, images: Images) -> Prediction:
        """Predict a batch of images with values in [0, 1]; sides a multiple of the patch."""


@runtime_checkable
class NamesContent(Protocol):
    """A model whose sentences say what is looked at."""

    def with_content(self, subject: ImageContent) -> AnomalyModel:
        """Give the same model, its sentences about a subject; weights are shared.

        A name that the settings have chosen already stays.
        """


def name_content(model: AnomalyModel, subject: ImageContent) -> AnomalyModel:
    """Tell a model what it will see; one without sentences about it stays as it is."""
    return model.with_content(subject) if isinstance(model, NamesContent) else model
