"""How a set is named: ``LAYOUT:PATH``, and what is said of it as ``?option=value&option=value``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from headclip_med.errors import InvalidSettings

MANY = ("normal",)
"""Options that may be given several times."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class SetOptions:
    """What a user says of a set, beside where it is.

    Attributes:
        normal: Class folders, or labels of a list, that mean normal.
        masks: The folder that holds the masks.
        mask_suffix: What a mask's name has after its image's: ``_gt``, or ``.mask.png``.
        images: The folder that holds the images, where they have no class folders.
        image: Of a table, the column of images.
        mask: The column of masks.
        category: The column that names the kind of thing shown.
        label: The column that says what is abnormal.
        split: The column that parts training from test.
        delimiter: What parts the columns; ``tab`` for a tabulator.
        root: The folder that a list's paths start from.
    """

    normal: tuple[str, ...] = ()
    masks: str = ""
    mask_suffix: str = ""
    images: str = ""
    image: str = ""
    mask: str = ""
    category: str = ""
    label: str = ""
    split: str = ""
    delimiter: str = ""
    root: str = ""

    @property
    def given(self) -> tuple[str, ...]:
        """Those that say anything."""
        return tuple(one.name for one in fields(self) if getattr(self, one.name))

    def require(self, allowed: Sequence[str], layout: str) -> None:
        """Refuse what a layout has no use for.

        Args:
            allowed: Names of options.
            layout: What takes only those.

        Raises:
            InvalidSettings: Another one is given.
        """
        for name in self.given:
            if name not in allowed:
                raise InvalidSettings(
                    f"The layout {layout} has no use for '{name}'{_by_option(name)}.",
                    f"It takes {', '.join(allowed)}."
                    if allowed
                    else "Leave it out, or name the set by folder: or csv:, which take options.",
                    code="unused-option",
                )


_BY_OPTION = {
    "normal": "--normal-class",
    "masks": "--mask-folder",
    "mask_suffix": "--mask-suffix",
    "images": "--image-folder",
}


def _by_option(name: str) -> str:
    return f" ({_BY_OPTION[name]})" if name in _BY_OPTION else ""


OPTIONS = tuple(one.name for one in fields(SetOptions))


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class SetSpec:
    """A set as a user names it.

    Attributes:
        layout: Its name, or how it lies on disk; empty where there is no path.
        path: Where it is: a folder, or a list of images.
        options: What else is said of it.
    """

    layout: str
    path: Path
    options: SetOptions = SetOptions()

    @classmethod
    def parse(cls, text: str) -> SetSpec:
        """Read ``LAYOUT:PATH?option=value&option=value``.

        A path that exists with all that follows the question mark is taken as it is. Without a path
        there is no layout either.

        Raises:
            InvalidSettings: An option is unknown, has no value, or is given twice.
        """
        layout, colon, rest = text.partition(":")
        path, mark, said = rest.rpartition("?")
        if not mark or Path(rest).exists():
            path, said = rest, ""
        return cls(layout if colon and path else "", Path(path), _options(said))


def _options(said: str) -> SetOptions:
    found: dict[str, Any] = {}
    for one in filter(None, said.split("&")):
        name, _, value = one.partition("=")
        if name not in OPTIONS or not value:
            problem = "has no value" if name in OPTIONS else "is not known"
            raise InvalidSettings(
                f"The option '{name}' of a set {problem}.",
                f"Write name=value, of {', '.join(OPTIONS)}.",
                code="unknown-option",
            )
        if name in MANY:
            found[name] = (*found.get(name, ()), value)
        elif name in found:
            raise InvalidSettings(f"The option '{name}' of a set is given twice.", "Give it once.")
        else:
            found[name] = value
    return SetOptions(**found)


def with_options(specs: Sequence[str], said: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Add options to every set that is named.

    Args:
        specs: As ``LAYOUT:PATH``.
        said: Values of each option; without any nothing is added.
    """
    text = "&".join(f"{name}={value}" for name, values in said.items() for value in values)
    if not text:
        return tuple(specs)
    if not specs:
        raise InvalidSettings(
            f"Nothing was named that {', '.join(said)} could be said of.",
            "Name a set as LAYOUT:FOLDER.",
            code="unused-option",
        )
    return tuple(f"{one}{'&' if SetSpec.parse(one).options.given else '?'}{text}" for one in specs)
