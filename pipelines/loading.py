"""Load a model by any name that a user may have for it, the registry's included."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TypedDict, Unpack

from headclip_med.models import loading
from headclip_med.models.clip.snapshots import Activation
from headclip_med.models.inference import InferenceModel
from headclip_med.models.request import ModelRequest
from headclip_med.settings import EMBEDDED_NAME, MethodSettings, Precision
from headclip_med.tracking import REGISTERED, registered_checkpoint


class LoadOptions(TypedDict, total=False):
    """What ``models.loading.load_model`` takes beside the name."""

    method: str | None
    settings: MethodSettings | None
    weights: str | Path | None
    activation: Activation | None
    device: str
    precision: Precision
    seed: int


def load_model(
    name: str | Path = EMBEDDED_NAME,
    *,
    tracking_uri: str | None = None,
    **options: Unpack[LoadOptions],
) -> InferenceModel:
    """Load a model.

    Args:
        name: ``headclip-mini``, or another of the names that ``ModelRequest`` lists; or a
            checkpoint that was registered with MLflow, as ``models:/NAME/VERSION`` or
            ``models:/NAME@ALIAS``.
        tracking_uri: Where a registered model is looked up; by default what
            ``MLFLOW_TRACKING_URI`` says, else ``sqlite:///mlflow.db``.
        options: See ``models.loading.load_model``.

    Raises:
        InvalidSettings: The model, the method or the device is unknown, or a value is refused.
        UnusableTracker: A registered model was named, and there is no tracker.
        UnusableWeights: There are no weights, or they do not fit, or are another method's.
    """
    with _known_name(str(name), tracking_uri) as known:
        return loading.load_model(known, **options)


def load_models(request: ModelRequest) -> loading.LoadedMethods:
    """Load what a request asks for; see ``load_model`` and ``models.loading.load_models``."""
    with _known_name(request.name, request.tracking_uri) as known:
        return loading.load_models(replace(request, name=str(known)))


def _known_name(
    name: str, tracking_uri: str | None
) -> AbstractContextManager[str] | AbstractContextManager[Path]:
    """Give what ``models`` knows a model by: of a registered one, the file that was fetched."""
    if name.startswith(REGISTERED):
        return registered_checkpoint(name, tracking_uri)
    return nullcontext(name)
