"""Figures of matplotlib: curves of metrics, the joint score over r, head weights, an overlay."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from headclip_med.atomic import write_file
from headclip_med.errors import InvalidSettings
from headclip_med.findings import Screening
from headclip_med.write.pictures.sheet import draw_overlay

Line = tuple[Float[np.ndarray, "points"], Float[np.ndarray, "points"]]
"""What lies along the horizontal axis, and the height there; fractions of 1."""

_AXES = {  # kind: title, horizontal axis, vertical axis, how far the horizontal axis goes
    "ROC": ("ROC", "false positive rate", "true positive rate", 1.0),
    "PR": ("Precision-recall", "recall", "precision", 1.0),
    "PRO": ("Per-region overlap", "false positive rate", "mean overlap with regions", 0.3),
}
_PANEL_INCHES, _DOTS_PER_INCH = 4.0, 120
_MOST_ACROSS = 4


def write_curves(
    path: Path, curves: Mapping[str, Mapping[str, Line]], *, title: str | None = None
) -> None:
    """Draw the curves of several judges, one panel for each kind; the file appears whole or not.

    Args:
        path: Of the PNG file.
        curves: For each model, shown under its name: the lines of ``ROC``, ``PR`` and ``PRO`` that
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
    figure = _figure(_PANEL_INCHES * len(kinds), _PANEL_INCHES + 0.3)
    for axes, kind in zip(figure.subplots(1, len(kinds), squeeze=False)[0], kinds, strict=True):
        _draw(axes, kind, {name: lines[kind] for name, lines in curves.items() if kind in lines})
    if title:
        figure.suptitle(title, parse_math=False)
    write_file(path, to_png(figure))


def overlay_figure(screening: Screening) -> Figure:
    """Show the most suspicious slices under the heatmap, as ``overlay.png`` does."""
    sheet = draw_overlay(screening)
    figure = Figure(figsize=(sheet.width / 100, sheet.height / 100), dpi=100)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(np.asarray(sheet), interpolation="none")
    axes.set_axis_off()
    return figure


def joint_weight_figure(
    weights: Sequence[float], panels: Mapping[str, Mapping[str, Sequence[float]]]
) -> Figure:
    """Draw an image metric over r, the class token's weight in the joint score (eq. 8).

    Args:
        weights: Values of r.
        panels: For each panel its lines by name: one value in percent for each of ``weights``.
    """
    figure = _figure(4.6 * len(panels), 3.8)
    for axes, (title, lines) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
    ):
        for name, values in lines.items():
            axes.plot(weights, values, marker="o", markersize=3, linewidth=1.5, label=name)
        axes.set(xlim=(0, 1), xlabel="r: weight of the global score", ylabel="mAD, %", title=title)
        low, high = axes.get_ylim()
        axes.set_ylim(max(low, -1), min(high, 101))  # a level line would get a far wider axis
        _explain(axes)
    return figure


def head_weights_figure(
    heads: Mapping[str, tuple[Sequence[int], Float[np.ndarray, "layers heads"]]],
) -> Figure:
    """Draw learned head weights as heat maps, layers from bottom to top; 1 is white.

    Args:
        heads: By title: one-based layers, and w of eq. 4 for each of their heads.
    """
    reach = max(max(float(np.abs(w - 1).max()) for _, w in heads.values()), 0.05)
    tallest = max(len(layers) for layers, _ in heads.values())
    across = min(len(heads), _MOST_ACROSS)
    down = -(-len(heads) // across)
    figure = _figure(4.2 * across, down * (1.3 + 0.2 * tallest))
    panels = list(figure.subplots(down, across, squeeze=False).flat)
    for spare in panels[len(heads) :]:
        spare.set_visible(False)
    for axes, (title, (layers, weights)) in zip(panels, heads.items(), strict=False):
        picture = axes.imshow(
            weights, origin="lower", aspect="auto", cmap="RdBu_r", vmin=1 - reach, vmax=1 + reach
        )
        axes.set_yticks(range(len(layers)), [str(layer) for layer in layers])
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set(xlabel="head", ylabel="layer")
        axes.set_title(title, fontsize=9, parse_math=False)
    figure.colorbar(picture, ax=panels, label="head weight", shrink=0.9)
    return figure


def to_png(figure: Figure) -> bytes:
    """Give the content of a PNG file, the same for the same figure."""
    content = io.BytesIO()
    figure.savefig(content, format="png", metadata={"Software": None})
    return content.getvalue()


def _draw(axes: Axes, kind: str, lines: Mapping[str, Line]) -> None:
    title, across, up, limit = _AXES[kind]
    for name, (x, y) in lines.items():
        # Matplotlib leaves out names that begin with an underscore.
        axes.plot(x, y, linewidth=1.5, label=f" {name}" if name.startswith("_") else name)
    if kind == "ROC":
        axes.plot([0, 1], [0, 1], color="0.7", linewidth=1, linestyle="--")
    axes.set(xlim=(0, limit), ylim=(0, 1.02), xlabel=across, ylabel=up, title=title)
    _explain(axes)


def _explain(axes: Axes) -> None:
    axes.grid(visible=True, color="0.9")
    for text in axes.legend(loc="best", fontsize=8).get_texts():
        text.set_parse_math(False)


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), dpi=_DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    return figure
