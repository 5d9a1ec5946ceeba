"""What MONAI's schema of 2024-07-25 asks of metadata.json, checked without fetching it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

REQUIRED = (
    "schema", "version", "monai_version", "pytorch_version", "numpy_version",
    "required_packages_version", "task", "description", "authors", "copyright",
    "network_data_format",
)  # fmt: skip
TENSOR = ("type", "format", "num_channels", "spatial_shape", "dtype", "value_range")
SIDE = re.compile(r"\*|\d+|(\d+\*)?n|2\*\*p(\*n)?|\d+\*2\*\*p(\*n)?")
"""What a spatial shape may say instead of a number."""


def metadata_problems(metadata: Mapping[str, Any]) -> list[str]:
    """List what is wrong with a bundle's metadata.

    Args:
        metadata: The content of metadata.json.

    Returns:
        A sentence for each problem; none where it is as MONAI wants it.
    """
    problems = [f"{key} is missing." for key in REQUIRED if key not in metadata]
    problems += [
        f"{key} is no version number."
        for key in ("version", "monai_version", "pytorch_version", "numpy_version")
        if not re.match(r"\d+\.\d+(\.\d+)?", str(metadata.get(key, "0.0")))
    ]
    if str(metadata.get("version")) not in metadata.get("changelog", {}):
        problems.append("The changelog does not name the version.")
    if not isinstance(metadata.get("required_packages_version", {}), Mapping):
        problems.append("required_packages_version is no object.")
    formats = metadata.get("network_data_format", {})
    for side in ("inputs", "outputs"):
        entries = formats.get(side)
        if not entries:
            problems.append(f"network_data_format has no {side}.")
        for name, entry in (entries or {}).items():
            problems += [f"{side}, {name}: {problem}" for problem in _tensor_problems(entry)]
    return problems


def _tensor_problems(entry: Any) -> Iterator[str]:
    if not isinstance(entry, Mapping):  # a plain argument of the network
        return
    yield from (f"{key} is missing." for key in TENSOR if key not in entry)
    if not isinstance(entry.get("num_channels", 1), int):
        yield "num_channels is no whole number."
    for side in entry.get("spatial_shape", []):
        if not SIDE.fullmatch(str(side).replace(" ", "")):
            yield f"the spatial shape cannot be {side}."
    values = entry.get("value_range", [])
    if not all(isinstance(value, (int, float)) for value in values):
        yield "value_range holds something else than numbers."
