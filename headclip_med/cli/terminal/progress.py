"""How far a command is: a bar on a terminal, and a line now and then where there is none."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from headclip_med.cli.terminal.voice import VOICE
from headclip_med.ranks import torchrun_ranks

if TYPE_CHECKING:
    from tqdm import tqdm

FIRST_AFTER_S = 10.0
"""Before the first line, where no terminal shows a bar: what is over by then needs none."""

LINE_EVERY_S = 60.0
"""Between two lines."""


@dataclass
class _Count:
    """What is counted, and since when."""

    unit: str
    total: int | None
    done: int = 0
    began_s: float | None = None
    skipped: int = 0
    """Done when the clock began: it tells nothing of how long the rest takes."""

    def words(self, facts: Mapping[str, str], now_s: float) -> str:
        """Say how far it is."""
        from headclip_med.write.plain_text import duration

        of = "" if self.total is None else f" of {self.total}"
        about = f" ({', '.join(f'{name} {value}' for name, value in facts.items())})"
        left_s = self._left_s(now_s)
        left = "" if left_s is None else f", about {duration(left_s)} left"
        return f"headclip: {self.done}{of} {self.unit}s{about if facts else ''}{left}"

    def _left_s(self, now_s: float) -> float | None:
        counted = self.done - self.skipped
        if self.began_s is None or self.total is None or counted <= 0:
            return None
        return (now_s - self.began_s) / counted * max(0, self.total - self.done)


@dataclass
class Progress:
    """Counts what is done, one kind of work after the other.

    Attributes:
        bar: Shown on a terminal; disabled elsewhere.
        tells: Whether lines are told where there is no bar.
    """

    bar: tqdm
    tells: bool
    _count: _Count
    _facts: dict[str, str] = field(default_factory=dict)
    _next_s: float = field(default_factory=lambda: time.monotonic() + FIRST_AFTER_S)

    @property
    def done(self) -> int:
        """How many were done, those before this run included."""
        return self._count.done

    def begin(self, total: int | None, unit: str) -> None:
        """Count another kind of work from nothing.

        Args:
            total: How many there will be; None where nobody knows.
            unit: What one of them is, in the singular.
        """
        self._count, self._facts = _Count(unit, total), {}
        self.bar.set_postfix(refresh=False)
        self.bar.unit, self.bar.total = unit, total
        self.bar.reset()

    def add(self, more: int = 1) -> None:
        """Count on.

        Args:
            more: How many were done since the last call.
        """
        count, now_s = self._count, time.monotonic()
        count.done += more
        if count.began_s is None:
            # What came before the first (loading, compiling) comes only once.
            count.began_s, count.skipped = now_s, count.done
        self.bar.update(more)
        if self.tells and now_s >= self._next_s:
            self._next_s = now_s + LINE_EVERY_S
            VOICE.say(count.words(self._facts, now_s))

    def seen(self, more: int, total: int) -> None:
        """Count on where the total shows on the way.

        Args:
            more: How many were done since the last call.
            total: How many there will be.
        """
        self._count.total = self.bar.total = total
        self.add(more)

    def skip(self, done: int) -> None:
        """Begin behind what an earlier run has done.

        Args:
            done: How many that are.
        """
        self._count.done = self._count.skipped = self.bar.n = self.bar.initial = done

    def note(self, **facts: str) -> None:
        """Show facts beside the count, such as the loss.

        Args:
            facts: By name, as they are shown.
        """
        self._facts = facts
        self.bar.set_postfix(facts, refresh=False)


@contextmanager
def progress(total: int | None, unit: str) -> Iterator[Progress]:
    """Show how far it is, with the time left; nothing where quiet, of several processes the first.

    On a terminal that is a bar; elsewhere a line after ``FIRST_AFTER_S`` seconds, and then one
    every ``LINE_EVERY_S``. What is said meanwhile stands above the bar.

    Args:
        total: How many there will be; None where nobody knows yet.
        unit: What is counted, in the singular.
    """
    from tqdm import tqdm

    is_shown = torchrun_ranks().first and not VOICE.is_quiet
    disable = None if is_shown else True  # None: where there is no terminal
    with tqdm(total=total, unit=unit, file=sys.stderr, disable=disable, leave=False) as bar:
        before, VOICE.write = VOICE.write, lambda text: bar.write(text, file=sys.stderr)
        try:
            yield Progress(bar, is_shown and bar.disable, _Count(unit, total))
        finally:
            VOICE.write = before
