"""The checks that MONAI's model zoo makes of a bundle, on this machine and offline."""

from __future__ import annotations

import json
import logging
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import jsonschema
import numpy as np
import torch
from monai.bundle.scripts import ckpt_export, create_workflow, onnx_export, verify_net_in_out
from PIL import Image

from headclip_med.errors import HeadClipError
from headclip_med.pipelines.bundle.folder import WEIGHTS_FILE
from headclip_med.pipelines.bundle.network import ScreeningNetwork

REQUIRED = (
    "LICENSE", "configs/metadata.json", "configs/inference.json", "configs/train.json",
    "configs/logging.conf", "docs/README.md", "docs/data_license.txt", WEIGHTS_FILE,
)  # fmt: skip
SCHEMA_FILE = Path(__file__).with_name("metadata.schema.json")
"""What MONAI's schema of 2024-07-25 asks of metadata.json, to be checked without fetching it."""

LARGEST_FILE_BYTES = 25_000_000
"""The model zoo keeps larger files elsewhere and lists them in large_files.yml."""

ONNX_PARTS = ("onnx", "onnxruntime", "onnxscript")
TOLERANCE = 1e-4
"""Between outputs of a network and of what was exported from it, both in [0, 1]."""


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        name: What was looked at.
        state: ``ok``, ``failed``, or ``skipped`` where something to check with is not installed.
        what_to_do: Of a check that is not ok.
    """

    name: str
    state: str
    what_to_do: str = ""


class _Skipped(Exception):
    """Something to check with is not there."""


def verify_bundle(
    folder: Path,
    *,
    schema: Path | None = None,
    seen: Callable[[int, int], None] = lambda count, total: None,
) -> Iterator[Check]:
    """Check a bundle; nothing is fetched, and nothing left behind.

    Args:
        folder: The bundle.
        schema: MONAI's published schema of metadata.json, where it has been fetched.
        seen: Is told of each check, and how many there are.

    Yields:
        One check after the other, as they are done.
    """
    steps: list[tuple[str, Callable[[Path], None]]] = [
        ("required files", _require_files),
        ("metadata", _check_metadata),
        ("metadata against the published schema", partial(_check_metadata, schema=schema)),
        ("file sizes", _check_sizes),
        ("weights, tensors only", _check_weights),
        ("network_def takes and gives what metadata says", _check_network),
        ("properties of inference", _check_inference),
        ("properties of training", _check_training),
        ("export to TorchScript", _check_torchscript),
        ("export to ONNX", _check_onnx),
    ]
    for name, step in steps:
        with _quiet():
            try:
                step(folder)
            except _Skipped as reason:
                check = Check(name, "skipped", str(reason))
            except HeadClipError as error:
                check = Check(name, "failed", str(error))
            except Exception as error:  # whatever breaks MONAI's parser is an answer, too
                check = Check(name, "failed", f"{type(error).__name__}: {_first_line(error)}")
            else:
                check = Check(name, "ok")
        seen(1, len(steps))
        yield check


def _require_files(folder: Path) -> None:
    missing = [name for name in REQUIRED if not (folder / name).is_file()]
    if missing:
        raise HeadClipError(
            f"{', '.join(missing)} missing.", "'headclip bundle init' writes a complete bundle."
        )


def metadata_problems(metadata: dict[str, Any], schema: Path = SCHEMA_FILE) -> list[str]:
    """List what is wrong with a bundle's metadata.

    Args:
        metadata: The content of metadata.json.
        schema: What MONAI asks of it.

    Returns:
        A sentence for each problem; none where it is as MONAI wants it.
    """
    rules = jsonschema.Draft201909Validator(json.loads(schema.read_text("utf-8")))
    problems = [f"At {one.json_path}: {one.message}." for one in rules.iter_errors(metadata)]
    if str(metadata.get("version")) not in metadata.get("changelog", {}):
        problems.append("The changelog does not name the version.")
    return problems


def _check_metadata(folder: Path, schema: Path | None = SCHEMA_FILE) -> None:
    if schema is None:
        raise _Skipped("fetch the file that metadata.json names as its schema, give it as --schema")
    metadata = json.loads((folder / "configs/metadata.json").read_text("utf-8"))
    problems = metadata_problems(metadata, schema)
    if problems:
        raise HeadClipError(" ".join(problems), "Correct configs/metadata.json.")


def _check_sizes(folder: Path) -> None:
    large = [
        path.relative_to(folder).as_posix()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.stat().st_size > LARGEST_FILE_BYTES
    ]
    if large:
        raise HeadClipError(
            f"{', '.join(large)}: above 25 MB.",
            "Host the file elsewhere, list it in large_files.yml.",
        )


def _check_weights(folder: Path) -> None:
    state = torch.load(folder / WEIGHTS_FILE, map_location="cpu", weights_only=True)
    _network(folder).load_state_dict(state, strict=True)


def _check_network(folder: Path) -> None:
    verify_net_in_out(net_id="network_def", n=2, any=64, device="cpu", **_files(folder))


def _check_inference(folder: Path) -> None:
    _require_none(_workflow(folder, "inference").check_properties())


def _check_training(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as place:
        data = write_tiny_set(Path(place) / "data")
        workflow = _workflow(
            folder, "train", device="cpu", dataset_dir=str(data), ckpt_dir=f"{place}/trained"
        )
        _require_none(workflow.check_properties())


def _check_torchscript(folder: Path) -> None:
    network = _network(folder)
    side = network.image_size
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "model.ts"
        ckpt_export(
            net_id="network_def", filepath=str(path), ckpt_file=str(folder / WEIGHTS_FILE),
            **_files(folder),
        )  # fmt: skip
        exported = torch.jit.load(str(path))  # type: ignore[no-untyped-call]
        for images in (_images(3, side, side), _images(2, side + 38, side - 12)):
            with torch.no_grad():
                _require_equal(exported(images).numpy(), network(images).numpy())


def _check_onnx(folder: Path) -> None:
    missing = [name for name in ONNX_PARTS if find_spec(name) is None]
    if missing:
        raise _Skipped(f"install {', '.join(missing)}: pip install 'headclip-med[onnx]'")
    import onnxruntime

    network = _network(folder)
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "model.onnx"
        side = network.image_size
        # Without these two, MONAI leaves a file of the weights' size in the temporary folder.
        onnx_export(
            net_id="network_def", filepath=str(path), ckpt_file=str(folder / WEIGHTS_FILE),
            input_shape=[2, 3, side, side], use_trace=True,
            converter_kwargs={"dynamic_axes": {"images": {0: "batch"}}, "external_data": False},
            **_files(folder),
        )  # fmt: skip
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        images = _images(5, side, side)
        (exported,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
        _require_equal(exported, network(images).numpy())


def write_tiny_set(root: Path) -> Path:
    """Write a set of two healthy and two defective pictures in MVTec AD's layout."""
    random, mask = np.random.default_rng(1), np.zeros((32, 32), dtype=np.uint8)
    mask[8:20, 8:20] = 255
    for number in range(2):
        for kind in ("good", "dent"):
            grey = random.integers(90, 130, (32, 32), dtype=np.uint8)
            if kind == "good":
                _save(grey, root / f"part/train/good/{number:03}.png")
            else:
                grey = np.maximum(grey, mask)
                _save(mask, root / f"part/ground_truth/dent/{number:03}_mask.png")
            _save(grey, root / f"part/test/{kind}/{number:03}.png")
    return root


def _save(picture: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)


def _files(folder: Path) -> dict[str, Any]:
    return {
        "meta_file": str(folder / "configs/metadata.json"),
        "config_file": str(folder / "configs/inference.json"),
        "bundle_root": str(folder),
    }


def _workflow(folder: Path, config: Literal["inference", "train"], **override: Any) -> Any:
    kind = "infer" if config == "inference" else config
    return create_workflow(
        config_file=str(folder / f"configs/{config}.json"), workflow_type=kind,
        bundle_root=str(folder), logging_file=False, **override,
    )  # fmt: skip


def _network(folder: Path) -> ScreeningNetwork:
    network = _workflow(folder, "inference").network_def
    if not isinstance(network, ScreeningNetwork):
        raise HeadClipError(
            "network_def is no headclip_med.pipelines.bundle.ScreeningNetwork.",
            "Correct its _target_ in configs/inference.json.",
        )
    return network


def _images(count: int, rows: int, columns: int) -> torch.Tensor:
    return torch.rand(count, 3, rows, columns, generator=torch.Generator().manual_seed(1))


def _require_none(missing: list[str] | None) -> None:
    if missing:
        raise HeadClipError(
            f"Missing, or called otherwise: {', '.join(missing)}.", "See train.json."
        )


def _require_equal(exported: np.ndarray, own: np.ndarray) -> None:
    off = float(np.abs(exported - own).max())
    if not off <= TOLERANCE:
        raise HeadClipError(
            f"What was exported gives other values: off by {off:.2g}.",
            "Check the versions of the libraries that export.",
        )


def _first_line(error: Exception) -> str:
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    return (str(cause).splitlines() or [""])[0]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep MONAI's, torch's and ONNX's talk out of a list of checks."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            Path(os.devnull).open("w") as nowhere,
            redirect_stdout(nowhere),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
