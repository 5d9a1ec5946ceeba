"""A progress bar on stderr, silent where nobody watches."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tqdm import tqdm


@contextmanager
def progress(total: int | None, unit: str) -> Iterator[tqdm]:
    """Show a bar with the time left; only on a terminal."""
    from tqdm import tqdm

    with tqdm(total=total, unit=unit, file=sys.stderr, disable=None, leave=False) as bar:
        yield bar
