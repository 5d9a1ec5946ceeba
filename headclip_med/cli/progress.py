"""A progress bar on stderr, silent where nobody watches."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from headclip_med.ranks import torchrun_ranks

if TYPE_CHECKING:
    from tqdm import tqdm


@contextmanager
def progress(total: int | None, unit: str) -> Iterator[tqdm]:
    """Show a bar with the time left; only on a terminal, and of several processes the first's."""
    from tqdm import tqdm

    off = None if torchrun_ranks().first else True  # None: where there is no terminal
    with tqdm(total=total, unit=unit, file=sys.stderr, disable=off, leave=False) as bar:
        yield bar
