"""The pictures of experiments: how r moves the joint score, and which heads were weighted how."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

_DOTS_PER_INCH = 120
_MOST_ACROSS = 4


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
        axes.grid(visible=True, color="0.9")
        for text in axes.legend(loc="best", fontsize=8).get_texts():
            text.set_parse_math(False)
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


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), dpi=_DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    return figure
