"""How far the two protocols lie apart when the same ranking comes on different scales.

python benchmarks/protocols.py [--predictions STORE/SET/MODEL]

One set of maps z is shown as it is and through p = sigmoid(k (z - c)), as a softmax over two
prompts at another temperature would, in float32: the order of the pixels stays, except where
float32 runs out of values. The maps are smooth noise, raised where a pixel is abnormal; or what a
model answered, as 'headclip evaluate --store' keeps it, its logits less their mean, over their
deviation.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from headclip_med.metrics import pixel_metrics

SCALES = (None, (1, 0), (2, 1), (5, 2), (5, 4), (10, 4), (20, 3), (20, 5), (40, 4))
EXACT = ("AUROC", "AP", "AUPRO", "F1-max", "IoU-max")
PAPER = ("AUPRO", "F1-max", "IoU-max")


def draw(count: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Smooth maps of mean 0 and deviation 1, higher by 2 in the regions of every second image."""
    random = np.random.default_rng(0)
    maps = np.stack(
        [gaussian_filter(random.normal(size=(size, size)), size / 64) for _ in range(count)]
    )
    masks = np.zeros(maps.shape, dtype=bool)
    for index in range(0, count, 2):
        for _ in range(2):
            row, column = random.integers(0, size * 3 // 4, 2)
            high, wide = random.integers(size // 32, size // 5, 2)
            masks[index, row : row + high, column : column + wide] = True
    return maps / maps.std() + 2.0 * masks, masks


def read(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Logits of a model, of mean 0 and deviation 1, and the masks of the set."""
    logits = np.load(folder / "logits.npy").astype(np.float64)
    return (logits - logits.mean()) / logits.std(), np.load(
        folder.parent / "ground_truth/masks.npy"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--maps", type=int, default=40)
    parser.add_argument("--size", type=int, default=256, help="rows and columns, in pixels")
    parser.add_argument("--predictions", type=Path, help="of a model, in a store")
    given = parser.parse_args()
    logits, masks = read(given.predictions) if given.predictions else draw(given.maps, given.size)
    headings = [f"{name} exact" for name in EXACT] + [f"{name} paper" for name in PAPER]
    lines = [f"| scores | {' | '.join(headings)} |", f"|---|{'---|' * len(headings)}"]
    for scale in SCALES:
        scores, name = logits, "logits z"
        if scale is not None:
            slope, centre = scale
            scores, name = (
                1 / (1 + np.exp(-slope * (logits - centre))),
                f"k = {slope}, c = {centre}",
            )
        maps = scores.astype(np.float32)
        exact, paper = pixel_metrics(maps, masks), pixel_metrics(maps, masks, "paper")
        cells = [exact[key] for key in EXACT] + [paper[key] for key in PAPER]
        lines.append(f"| {name} | {' | '.join(f'{100 * cell:.1f}' for cell in cells)} |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
