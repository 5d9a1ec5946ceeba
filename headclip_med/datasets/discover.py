"""Find the sets below a folder, all of them or those of a published protocol.

HeadCLIP section 4.1: train on VisA to test MVTec AD, and on MVTec AD to test all others. It is the
auxiliary set's *test* split that is trained on, since it holds the anomalies.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from headclip_med.datasets.known import KNOWN_SETS, find_set
from headclip_med.datasets.own.spec import SetSpec
from headclip_med.errors import InvalidSettings, UnreadableInput, nearest

DEPTH = 4
"""Sets lie near the top; below this many folders nothing is looked for."""

INDUSTRIAL = ("MVTecAD", "VisA", "MPDD", "BTAD", "SDD", "DAGM", "DTD-Synthetic")
"""The industrial sets of the evaluation, in the order of table 1."""

MEDICAL = (
    "ISIC", "CVC-ClinicDB", "CVC-ColonDB", "Kvasir", "EndoTect", "TN3K",
    "HeadCT", "BrainMRI", "Br35H", "COVID-19",
)  # fmt: skip
"""The medical sets of the evaluation: six with masks, then four with labels only."""


@dataclass(frozen=True)
class Protocol:
    """What is trained on and what is tested.

    Attributes:
        name: As given on the command line.
        train: Names of sets in ``KNOWN_SETS``.
        test: Names of sets; none of them is trained on.
    """

    name: str
    train: tuple[str, ...]
    test: tuple[str, ...]


PROTOCOLS = {
    one.name: one
    for one in (
        Protocol("visa-to-mvtec", ("VisA",), ("MVTecAD",)),
        Protocol("mvtec-to-all", ("MVTecAD",), (*INDUSTRIAL[1:], *MEDICAL)),
    )
}
"""The published protocols by name."""


def require_folders(specs: Sequence[str], root: Path | None = None) -> None:
    """Refuse at once what has no folder to work on; nothing is opened.

    Args:
        specs: Sets as ``LAYOUT:PATH``; those that are only named are looked for below the root.
        root: Where sets are looked for.

    Raises:
        InvalidSettings: A set's layout is unknown.
        UnreadableInput: The root is no folder, or none of the sets' folders is there.
    """
    if root is not None and not root.is_dir():
        raise UnreadableInput(
            "There is no folder in which to look for sets at the path given.",
            "Correct the path.",
            code="missing-folder",
        )
    named = [SetSpec.parse(spec) for spec in specs if ":" in spec]
    for one in named:
        find_set(one.layout)
    folders = [one.path for one in named]
    if folders and root is None and not any(folder.exists() for folder in folders):
        raise UnreadableInput(
            "None of the sets that were named has a folder at the path given.",
            "Correct the paths.",
            code="missing-folder",
        )


def discover(root: Path) -> list[str]:
    """List the sets below a folder as ``open_dataset`` takes them.

    A set is known by its folder's name, any of its names in ``KNOWN_SETS``, in any case of letters
    and with or without spaces and dashes; a folder of categories in MVTec AD's layout is known by
    its content.

    Args:
        root: Where sets are kept, in any arrangement of folders.

    Returns:
        One ``LAYOUT:FOLDER`` per set, ordered by path.

    Raises:
        UnreadableInput: There is no such folder, or it holds no known set.
    """
    found = [f"{layout}:{folder}" for layout, folder in _below(root)]
    if not found:
        raise UnreadableInput(
            "No known set lies below the folder given.",
            f"A set's folder is named {', '.join(KNOWN_SETS)}, or holds test/ and ground_truth/ "
            "as in MVTec AD.",
            code="no-datasets",
        )
    return found


def find_sets(root: Path) -> dict[str, Path]:
    """Find the public sets below a folder by their folders' names.

    Returns:
        Name in ``KNOWN_SETS`` and folder; of two copies the first by path. Empty where there is
        none.
    """
    found: dict[str, Path] = {}
    for layout, folder in _below(root):
        if layout in KNOWN_SETS:
            found.setdefault(layout, folder)
    return found


def protocol_sets(
    name: str, root: Path | None, part: Literal["train", "test"]
) -> tuple[list[str], list[str]]:
    """Find the sets that a published protocol trains on or tests; none is opened.

    Args:
        name: Of the protocol.
        root: Where sets are kept, each in a folder that bears one of its names.
        part: Which of its sets.

    Returns:
        Those that are there, as ``open_dataset`` takes them; the names of those that are absent.

    Raises:
        InvalidSettings: The protocol is unknown, or none of its sets is there.
    """
    if root is None:
        raise InvalidSettings(
            "--protocol needs --data-root.", "Name the folder of the sets with it."
        )
    if name not in PROTOCOLS:
        raise InvalidSettings(
            f"There is no protocol {name}.",
            f"{nearest(name, PROTOCOLS)}Name one of {', '.join(PROTOCOLS)}.",
            code="unknown-protocol",
        )
    wanted: tuple[str, ...] = getattr(PROTOCOLS[name], part)
    places = find_sets(root)
    found = [f"{one}:{places[one]}" for one in wanted if one in places]
    if not found:
        raise InvalidSettings(
            f"None of the sets of {name} is below the folder that was given.",
            f"It needs {', '.join(wanted)}.",
            code="protocol-absent",
        )
    return found, [one for one in wanted if one not in places]


def _below(root: Path) -> dict[tuple[str, Path], None]:
    found: dict[tuple[str, Path], None] = {}
    for place, folders, _ in os.walk(root):
        here = Path(place)
        folders.sort()
        layout = next((name for name, one in KNOWN_SETS.items() if one.is_called(here.name)), None)
        if layout:
            found[layout, here] = None
        elif {"test", "ground_truth"} <= set(folders):
            # Categories are evaluated together, unless it is one category that was pointed at.
            found["mvtec", here if here == root else here.parent] = None
            layout = "mvtec"
        if layout or len(here.relative_to(root).parts) >= DEPTH:
            folders.clear()  # nothing below belongs to another set
    return found
