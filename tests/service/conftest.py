"""What all tests of the service stand on."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _sockets_end_with_their_test() -> Iterator[None]:
    """Collect what pynetdicom leaves to the garbage collector: sockets that were refused."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
