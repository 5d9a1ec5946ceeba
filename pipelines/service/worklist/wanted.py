"""Which entries of a worklist are wanted, in which order, and which page of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, get_args, get_type_hints
from urllib.parse import urlencode

from pydantic import Field

from headclip_med.errors import InvalidSettings
from headclip_med.settings import Count, Settings, checked

State = Literal[
    "current", "queued", "running", "screened", "quarantined", "superseded", "skipped", "all"
]
Sort = Literal["suspicion", "score", "p", "received", "screened", "state", "modality"]
Text = Annotated[str, Field(max_length=200)]

NUMBERS = "page", "per_page"


@checked
class Wanted(Settings):
    """What is shown of a worklist."""

    state: State = "current"
    """``current`` is all but what a later revision superseded and what a rule skipped."""
    judged: Literal["any", "flagged", "not-flagged", "uncalibrated"] = "any"
    """By the p-value: at most alpha, above it, or none."""
    delivery: Literal["any", "queued", "sending", "sent", "verified", "dead"] = "any"
    """With a delivery in this state."""
    modality: Text = ""
    """DICOM modality; empty for any."""
    text: Text = ""
    """Part of a name, an identifier, a folder, or the code of a failure."""
    sort: Sort = "suspicion"
    """``suspicion`` puts what is flagged first, by p; then what has no p-value, by score; then what
    is not flagged, by p; last what has no result. Times sort from the latest."""
    is_reversed: bool = False
    """The other way round."""
    page: Count = 1
    """From 1."""
    per_page: Annotated[int, Field(ge=1, le=200)] = 50
    """Entries on a page."""

    @classmethod
    def of_address(cls, given: Mapping[str, str]) -> Wanted:
        """Build it from the query of a page's address; what is empty is as usual.

        Raises:
            InvalidSettings: A name or a value is unknown.
        """
        values: dict[str, object] = {name: text for name, text in given.items() if text}
        for name in NUMBERS:
            if name in values:
                values[name] = _number(given[name])
        if "is_reversed" in values:
            values["is_reversed"] = given["is_reversed"] == "yes"
        return cls(**values)  # type: ignore[arg-type]  # checked

    def to_address(self, **changes: object) -> str:
        """Give the query of the address that shows it, with changes; what is usual is left out."""
        values, usual = {**self.to_json(), **changes}, Wanted().to_json()
        said = {name: value for name, value in values.items() if value != usual[name]}
        return "?" + urlencode({k: "yes" if v is True else str(v) for k, v in said.items()})

    @classmethod
    def choices(cls, name: str) -> tuple[str, ...]:
        """List what a field accepts."""
        return get_args(get_type_hints(cls)[name])


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise InvalidSettings("A page's number is no number.", "Go back to the first.") from error
