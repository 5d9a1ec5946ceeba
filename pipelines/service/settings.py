"""How work is done, whatever is screened."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from headclip_med.settings import Positive, Settings, Words, checked, require

WorkerCount = Annotated[int, Field(ge=0, le=256)]


@checked
class WorkSettings(Settings):
    """Processes that screen, and what each may take."""

    workers: WorkerCount = 1
    """Processes, each with a model of its own; 0 screens in the one that was started."""
    of_version: bool = False
    """Make results of another version of this program anew, instead of leaving them as they are."""
    memory_limit_gb: Positive = 32.0
    """That a process may have in memory while it screens; one that has more is ended, and its study
    tried again."""
    time_limit_min: Positive = 240.0
    """That one series may take; likewise."""


@checked
class BatchWorkSettings(WorkSettings):
    """Where a batch does its work."""

    ray: Words | None = None
    """Work on this Ray cluster: HOST:PORT, auto or local."""

    def __post_init__(self) -> None:
        """Check what concerns two fields."""
        require(
            self.ray is None or self.workers > 0,
            "On a Ray cluster somebody must work.",
            "Give --workers of 1 or more.",
        )
