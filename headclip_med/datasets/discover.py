"""Find the sets below a folder, so that all of them can be evaluated in one go."""

from __future__ import annotations

import os
from pathlib import Path

from headclip_med.datasets.known import KNOWN_SETS
from headclip_med.errors import UnreadableInput

DEPTH = 4
"""Sets lie near the top; below this many folders nothing is looked for."""


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
