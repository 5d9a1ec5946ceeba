"""What each stage found out, in a file of its own: a run that was stopped goes on behind it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headclip_med.errors import HeadClipError
from headclip_med.store import Entry

FACTS = "facts"

Facts = Mapping[str, Any]
"""Plain JSON values by name."""


@dataclass(frozen=True)
class StageFacts:
    """What a stage came to.

    Attributes:
        values: What it found out.
        seconds: How long that took, when it was done.
        is_new: Whether it was done in this run.
    """

    values: Facts
    seconds: float
    is_new: bool


@dataclass(frozen=True)
class FactFile:
    """Where a stage leaves its facts: a folder named by all that they depend on.

    Attributes:
        out: The folder of the whole reproduction.
        stage: Its name.
        identity: What the facts depend on, plain JSON values.
    """

    out: Path
    stage: str
    identity: Facts

    @property
    def entry(self) -> Entry:
        """Say where in the store it is."""
        identity = json.loads(json.dumps({"stage": self.stage, **self.identity}))
        return Entry.of(self.out / FACTS, self.stage, identity)

    def read(self) -> StageFacts | None:
        """Read the facts; None where the stage was not done, or with something else."""
        kept = self.entry.read()
        if kept is None:
            return None
        return StageFacts(kept.values["facts"], kept.values["seconds"], is_new=False)

    def settle(
        self, work: Callable[[], Facts], *, is_whole: Callable[[Facts], bool] = lambda facts: True
    ) -> StageFacts:
        """Give what is known, or do the stage and keep what it finds out.

        Args:
            work: Does the stage.
            is_whole: Tells whether known facts still hold; if not, the stage is done again.
        """
        known = self.read()
        if known is not None and is_whole(known.values):
            return known
        began = time.monotonic()
        facts = json.loads(json.dumps(dict(work())))
        seconds = time.monotonic() - began
        with self.entry.write() as new:
            new.values.update(facts=facts, seconds=seconds)
        return StageFacts(facts, seconds, is_new=True)


@dataclass(frozen=True)
class Objection:
    """What speaks against going on.

    Attributes:
        stage: Where it was found.
        code: A short stable name.
        reason: What was found.
        advice: What to do.
    """

    stage: str
    code: str
    reason: str
    advice: str = ""

    @classmethod
    def of(cls, stage: str, error: HeadClipError) -> Objection:
        """Take it from an error."""
        return cls(stage, error.code, error.reason, error.advice)

    def error(self) -> HeadClipError:
        """Give the error that stops a run, with the way past it."""
        advice = f"{self.advice} With --go-on the run goes on, and the report says so.".strip()
        return HeadClipError(self.reason, advice, code=self.code)
