"""Models of a registry: checkpoints with a name and a version, and the way back to the file."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from mlflow import MlflowClient, MlflowException
from mlflow.artifacts import download_artifacts
from mlflow.entities.model_registry import ModelVersion

from headclip_med.atomic import sha256_of
from headclip_med.errors import InvalidSettings, UnusableWeights
from headclip_med.tracking.client import connect, quietly, saying
from headclip_med.tracking.options import REGISTERED, TrackingOptions

_LOADER = "headclip_med.pipelines.served"
"""The module that MLflow loads a model with, by its name alone."""
_DIGEST_TAG = "checkpoint_sha256"
_FOLDER = "model"


def register(
    client: MlflowClient, run_id: str, checkpoint: Path, name: str, tags: Mapping[str, str]
) -> str:
    """Register a checkpoint as the next version of a model.

    What is registered is the checkpoint itself and the name of the module that loads it: nothing
    is pickled. MLflow loads and serves it as a ``pyfunc``.

    Args:
        client: Of the tracker.
        run_id: Of the run that it came from.
        checkpoint: That ``headclip train`` wrote.
        name: Of the model.
        tags: What its page says of it.

    Returns:
        ``models:/NAME/VERSION``.
    """
    with TemporaryDirectory() as scratch:
        # Under a name of ours, whatever the file is called.
        copied = Path(shutil.copyfile(checkpoint, Path(scratch, "checkpoint.safetensors")))
        model = Path(scratch, _FOLDER)
        _save(copied, model)
        client.log_artifacts(run_id, str(model), _FOLDER)
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    source = f"{client.get_run(run_id).info.artifact_uri}/{_FOLDER}"
    stated = {**tags, _DIGEST_TAG: sha256_of(checkpoint)}
    version = client.create_model_version(name, source, run_id, tags=stated)
    return f"{REGISTERED}{name}/{version.version}"


def _save(checkpoint: Path, folder: Path) -> None:
    """Write MLflow's description of the model beside a copy of the checkpoint."""
    with quietly():
        from mlflow import pyfunc
        from mlflow.models import ModelSignature
        from mlflow.types import Schema, TensorSpec

        real = np.dtype(np.float32)
        images = TensorSpec(real, (-1, 3, -1, -1))
        maps = TensorSpec(real, (-1, -1, -1), "map")
        scores = TensorSpec(real, (-1,), "global_score")
        pyfunc.save_model(
            folder, loader_module=_LOADER, data_path=str(checkpoint),
            signature=ModelSignature(inputs=Schema([images]), outputs=Schema([maps, scores])),
            pip_requirements=["headclip-med"],
        )  # fmt: skip


@contextmanager
def fetched_checkpoint(name: str, uri: str | None) -> Iterator[Path]:
    """Fetch the checkpoint of a registered model; see ``tracking.registered_checkpoint``."""
    model, version, alias = _parts(name)
    client = connect(TrackingOptions(uri=uri), to_record=False)
    try:
        if alias:
            found = client.get_model_version_by_alias(model, alias)
        else:
            found = client.get_model_version(model, version)
    except MlflowException as error:
        raise UnusableWeights(
            f"The tracker has no {name}.",
            "Look at what it has with 'mlflow ui', or name the tracker that has it with "
            "--tracking-uri or in MLFLOW_TRACKING_URI.",
            code="no-such-model",
        ) from error
    with TemporaryDirectory() as scratch:
        yield _fetched(client, found, Path(scratch))


def _parts(name: str) -> tuple[str, str, str]:
    """Split into model, version and alias; one of the last two is empty."""
    found = re.fullmatch(rf"{REGISTERED}([^/:@]+)(?:/(\d+)|@([^/:@]+))", name)
    if not found:
        raise InvalidSettings(
            f"{name} names no registered model.",
            "Write models:/NAME/VERSION or models:/NAME@ALIAS.",
            code="model-name",
        )
    return found[1], found[2] or "", found[3] or ""


def _fetched(client: MlflowClient, version: ModelVersion, folder: Path) -> Path:
    """Copy the checkpoint, under a name that says which it is, and compare digests."""
    with saying("does not hand the model out"):
        source = client.get_model_version_download_uri(version.name, version.version)
        copied = download_artifacts(
            artifact_uri=source, dst_path=str(folder), tracking_uri=client.tracking_uri
        )
    files = list(Path(copied).rglob("*.safetensors"))
    if len(files) != 1 or version.tags.get(_DIGEST_TAG) != sha256_of(files[0]):
        raise UnusableWeights(
            f"What the tracker keeps as version {version.version} of {version.name} is not the "
            "checkpoint that was registered.",
            "Train and register it anew.",
            code="not-what-was-registered",
        )
    return files[0].rename(folder / f"{version.name}-{version.version}.safetensors")
