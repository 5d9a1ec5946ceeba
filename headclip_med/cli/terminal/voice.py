"""Sentences for whoever waits, on standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass


def _print(text: str) -> None:
    print(text, file=sys.stderr)


@dataclass
class Voice:
    """Whether this run says what goes on, beside results and errors.

    Attributes:
        is_quiet: Whether it says nothing.
        write: Puts a line on standard error; above a bar, where one is shown.
    """

    is_quiet: bool = False
    write: Callable[[str], None] = _print

    def say(self, text: str) -> None:
        """Say it, unless nothing shall be said."""
        if not self.is_quiet:
            self.write(text)


VOICE = Voice()
