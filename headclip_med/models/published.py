"""What methods share that read a file which their authors published: names, shapes and counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from headclip_med.errors import UnusableWeights
from headclip_med.models.model import TrainedModel


def copy_learned(model: TrainedModel, learned: Mapping[str, Tensor]) -> None:
    """Put tensors of a published file, named as the model's, into it."""
    with torch.no_grad():
        for key, value in model.learned_state().items():
            value.copy_(learned[key])


def compare(
    state: Mapping[str, Any],
    expected: Mapping[str, tuple[int, ...]],
    *,
    optional: tuple[str, ...] = (),
) -> None:
    """Say which names are missing or unknown, and which shapes differ.

    Args:
        state: Of the file.
        expected: Shapes by name.
        optional: What names may begin with that are not needed.

    Raises:
        UnusableWeights: Any does; the message says which.
    """
    missing = [name for name in expected if not isinstance(state.get(name), Tensor)]
    unknown = [
        str(k) for k in state if k not in expected and not str(k).startswith(optional or " ")
    ]
    wrong = [
        f"{name} {tuple(state[name].shape)} instead of {shape}"
        for name, shape in expected.items()
        if name not in missing and tuple(state[name].shape) != shape
    ]
    problems = [
        f"{what} {few(names)}"
        for what, names in (
            ("missing", missing), ("not part of it", unknown), ("of another shape", wrong),
        )
        if names
    ]  # fmt: skip
    if problems:
        raise UnusableWeights(
            "The file is not laid out as published for this method and backbone: "
            f"{'; '.join(problems)}.",
            "Give the authors' file, and the backbone it was trained on.",
            code="weights-mismatch",
        )


def count_of(state: Mapping[str, Any], stem: str) -> int:
    """Count the numbered entries behind a name."""
    tails = (str(key).removeprefix(f"{stem}.") for key in state if str(key).startswith(f"{stem}."))
    numbers = {int(number) for tail in tails if (number := tail.partition(".")[0]).isdigit()}
    return max(numbers, default=-1) + 1


def length_of(value: object, axis: int) -> int | None:
    """Measure a tensor along an axis, where there is one."""
    return value.shape[axis] if isinstance(value, Tensor) and value.ndim > abs(axis) else None


def few(names: Sequence[str], count: int = 4) -> str:
    """List the first few names."""
    rest = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + rest
