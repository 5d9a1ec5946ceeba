"""Reference values of our own, a file for each method: written once, and held against since."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
from torch import Tensor

FOLDER = Path(__file__).parent / "golden"

Values = Callable[[str], dict[str, Tensor]]
"""What a method gives at a size, stage by stage."""


def write(methods: Mapping[str, Values], sizes: Iterable[str]) -> None:
    FOLDER.mkdir(exist_ok=True)
    for method, values in methods.items():
        found = {
            f"{size}/{k}": v.detach().numpy() for size in sizes for k, v in values(size).items()
        }
        np.savez_compressed(FOLDER / f"{method}.npz", **found)


def check(method: str, values: Values, size: str, *, share: float) -> None:
    """Hold every stage to a share of its largest stored value; no stage may come or go unseen."""
    stored, found = np.load(FOLDER / f"{method}.npz"), values(size)
    assert {f"{size}/{name}" for name in found} == {
        key for key in stored.files if key.startswith(f"{size}/")
    }
    for name, mine in found.items():
        theirs = stored[f"{size}/{name}"]
        bound = share * float(np.abs(theirs).max())
        np.testing.assert_allclose(
            mine.detach().numpy(), theirs, atol=bound, rtol=0, err_msg=f"{method}, {size}: {name}"
        )
