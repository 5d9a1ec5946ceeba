"""ROC, precision-recall and per-region-overlap curves as one picture."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from headclip_med.atomic import write_file
from headclip_med.errors import InvalidSettings

Line = tuple[Float[np.ndarray, "points"], Float[np.ndarray, "points"]]
"""What lies along the horizontal axis, and the height there; fractions of 1."""

_AXES = {  # kind: title, horizontal axis, vertical axis, how far the horizontal axis goes
    "ROC": ("ROC", "false positive rate", "true positive rate", 1.0),
    "PR": ("Precision-recall", "recall", "precision", 1.0),
    "PRO": ("Per-region overlap", "false positive rate", "mean overlap with regions", 0.3),
}
_PANEL_INCHES, _DOTS_PER_INCH = 4.0, 120


def write_curves(
    path: Path, curves: Mapping[str, Mapping[str, Line]], *, title: str | None = None
) -> None:
    """Draw the curves of several judges, one panel for each kind; the file appears whole or not.

    Args:
        path: Of the PNG file.
        curves: For each judge, shown under its name: the lines of ``ROC``, ``PR`` and ``PRO`` that
            it has. PRO is shown up to a false positive rate of 0.3, as far as AUPRO integrates.
        title: Above all panels; by default none.

    Raises:
        InvalidSettings: There is no curve, or one of another kind.
    """
    used = {kind for lines in curves.values() for kind in lines}
    if not used or used - set(_AXES):
        raise InvalidSettings(
            f"Curves to draw must be of the kinds {', '.join(_AXES)}, at least one of them.",
            "Leave others out.",
        )
    kinds = [kind for kind in _AXES if kind in used]
    size = (_PANEL_INCHES * len(kinds), _PANEL_INCHES + 0.3)
    figure = Figure(figsize=size, dpi=_DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, kind in zip(figure.subplots(1, len(kinds), squeeze=False)[0], kinds, strict=True):
        _draw(axes, kind, {name: lines[kind] for name, lines in curves.items() if kind in lines})
    if title:
        figure.suptitle(title, parse_math=False)
    content = io.BytesIO()
    figure.savefig(content, format="png", metadata={"Software": None})
    write_file(path, content.getvalue())


def _draw(axes: Axes, kind: str, lines: Mapping[str, Line]) -> None:
    title, across, up, limit = _AXES[kind]
    for name, (x, y) in lines.items():
        # Matplotlib leaves out names that begin with an underscore.
        axes.plot(x, y, linewidth=1.5, label=f" {name}" if name.startswith("_") else name)
    if kind == "ROC":
        axes.plot([0, 1], [0, 1], color="0.7", linewidth=1, linestyle="--")
    axes.set(xlim=(0, limit), ylim=(0, 1.02), xlabel=across, ylabel=up, title=title)
    axes.grid(visible=True, color="0.9")
    for text in axes.legend(loc="best", fontsize=8).get_texts():
        text.set_parse_math(False)
