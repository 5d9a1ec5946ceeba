"""What is done with a series: the first rule that suits it. Patterns only, never code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Annotated

from pydantic import Field

from headclip_med.pipelines.service.delivery.destinations import Name
from headclip_med.settings import Settings, Words, checked


@dataclass(frozen=True)
class SeriesFacts:
    """What rules ask about; of the first instance.

    Attributes:
        modality: (0008,0060).
        body_part: (0018,0015).
        description: (0008,103E) of the series.
        ae_title: Who sent it, or the name of the pull or folder it came by.
    """

    modality: str = ""
    body_part: str = ""
    description: str = ""
    ae_title: str = ""


@checked
class Condition(Settings):
    """The ``when`` of a rule: all that is named must hold; each is a list, of which one suffices.

    Patterns know ``*``, ``?`` and ``[...]``; capitals do not matter.
    """

    modality: tuple[Words, ...] | None = None
    """Such as ``["CT", "MR"]``."""
    body_part: tuple[Words, ...] | None = None
    """Such as ``["HEAD*", "BRAIN"]``."""
    description: tuple[Words, ...] | None = None
    """Of the series."""
    ae_title: tuple[Words, ...] | None = None
    """Of whoever sent it; of what was pulled or found, the name of the pull or folder."""

    def holds(self, facts: SeriesFacts) -> bool:
        """Tell whether it suits a series."""
        wanted = {name: getattr(self, name) for name in ("modality", "body_part", "description",
                                                         "ae_title")}  # fmt: skip
        return all(
            patterns is None or any(_suits(getattr(facts, name), one) for one in patterns)
            for name, patterns in wanted.items()
        )


@checked
class Rule(Settings):
    """One ``[[rule]]``: what is done with a series that ``when`` suits."""

    name: Name = "all"
    """It stands on the worklist."""
    when: Condition = Condition()
    """By default, always."""
    window: Words | None = None
    """A preset or ``centre,width``; else that of ``[screen]``."""
    method: Words | None = None
    """One that needs no training, or the model's own; else that of ``[model]``."""
    outputs: tuple[Words, ...] | None = None
    """Else those of ``[service]``."""
    destinations: tuple[Name, ...] | None = None
    """Else all."""
    priority: Annotated[int, Field(ge=-1_000_000, le=1_000_000)] = 0
    """Higher comes first."""
    skip: bool = False
    """Do nothing with it."""


def choose(rules: Sequence[Rule], facts: SeriesFacts) -> Rule | None:
    """Find the first rule that suits; None where none does."""
    return next((one for one in rules if one.when.holds(facts)), None)


def _suits(value: str, pattern: str) -> bool:
    return fnmatchcase(value.strip().casefold(), pattern.casefold())
