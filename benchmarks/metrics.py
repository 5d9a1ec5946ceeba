"""Time of five pixel metrics beside scikit-learn with scikit-image, torchmetrics, anomalib, adeval.

python benchmarks/metrics.py                  200 maps of 512 x 512, one core; a Markdown table
python benchmarks/metrics.py --stream 10000   that many maps one by one; time, memory, disk

All rows are measured in one run, on the same maps, by one thread. Seconds are of the processor.
Rows that claim exact values are checked against ours; the program fails where they differ. Peers
that are not installed are left out: pip install adeval anomalib torchmetrics
"""

from __future__ import annotations

import argparse
import importlib.util
import resource
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from scipy.ndimage import gaussian_filter

from headclip_med.metrics import PixelMetrics, pixel_metrics

NAMES = ("AUROC", "AUPRO", "AP", "F1-max", "IoU-max")
Found = dict[str, float]
Compute = Callable[[np.ndarray, np.ndarray], Found]


@dataclass(frozen=True)
class Contender:
    """One row: what it computes, and within what its values must equal ours (None: not exact)."""

    name: str
    compute: Compute
    tolerance: float | None
    repeats: int = 1
    needs: str | None = None


@dataclass(frozen=True)
class Timed:
    name: str
    seconds: float
    found: Found
    tolerance: float | None


def draw(count: int, size: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Smooth noise, somewhat higher where it is abnormal: two regions in every second image."""
    random = np.random.default_rng(seed)
    maps = np.empty((count, size, size), dtype=np.float32)
    masks = np.zeros(maps.shape, dtype=bool)
    for index in range(count):
        noise = random.random((size, size), dtype=np.float32)
        maps[index] = gaussian_filter(noise, size / 64)
        if index % 2 == 0:
            for _ in range(2):
                row, column = random.integers(0, size * 3 // 4, 2)
                high, wide = random.integers(size // 32, size // 5, 2)
                masks[index, row : row + high, column : column + wide] = True
    maps += masks * np.float32(0.02)
    maps -= maps.min()
    maps /= maps.max()
    return maps, masks


def by_sklearn(maps: np.ndarray, masks: np.ndarray) -> Found:
    from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

    labels, scores = masks.ravel(), maps.ravel()
    precision, recall, _ = precision_recall_curve(labels, scores)
    with np.errstate(invalid="ignore"):
        best = np.nanmax(2 * precision * recall / (precision + recall))
    return {
        "AUROC": roc_auc_score(labels, scores),
        "AP": average_precision_score(labels, scores),
        "F1-max": best,
    }


def by_threshold(maps: np.ndarray, masks: np.ndarray) -> Found:
    """Overlap with each region at 200 thresholds, F1 and IoU at 21.

    The loops of the published code: masks are float32 as its loaders give them, and regions are
    found anew at every threshold.
    """
    from skimage.measure import label, regionprops

    low, high = maps.min(), maps.max()
    called, truth = np.zeros(maps.shape, dtype=bool), masks.astype(np.float32)
    rates, overlaps = [], []
    for threshold in np.arange(low, high, (high - low) / 200):
        called[maps <= threshold], called[maps > threshold] = False, True
        found = [
            called[index][region.coords[:, 0], region.coords[:, 1]].mean()
            for index, mask in enumerate(truth)
            for region in regionprops(label(mask))
        ]
        normal = 1 - truth
        rates.append(np.logical_and(normal, called).sum() / normal.sum())
        overlaps.append(np.mean(found))
    kept = np.array(rates) < 0.3
    x, y = np.array(rates)[kept], np.array(overlaps)[kept]
    x = (x - x.min()) / (x.max() - x.min())
    scaled, f1, iou = (maps - low) / (high - low), 0.0, 0.0
    for threshold in np.arange(0, 1.001, 0.05):
        called = scaled > threshold
        both, either = (called & masks).sum(), (called | masks).sum()
        f1, iou = max(f1, 2 * both / (both + either + 1e-8)), max(iou, both / (either + 1e-8))
    return {
        "AUPRO": float(np.sum(-np.diff(x) * (y[1:] + y[:-1])) / 2), "F1-max": f1, "IoU-max": iou
    }  # fmt: skip


def by_torchmetrics(maps: np.ndarray, masks: np.ndarray) -> Found:
    import torch
    from torchmetrics.functional.classification import binary_auroc, binary_average_precision

    torch.set_num_threads(1)
    scores, labels = torch.from_numpy(maps).flatten(), torch.from_numpy(masks).flatten().long()
    return {
        "AUROC": float(binary_auroc(scores, labels)),
        "AP": float(binary_average_precision(scores, labels)),
    }


def by_anomalib(maps: np.ndarray, masks: np.ndarray) -> Found:
    import torch
    from anomalib.metrics.aupro import _AUPRO

    torch.set_num_threads(1)
    metric = _AUPRO()
    metric.update(torch.from_numpy(maps), torch.from_numpy(masks).int())
    return {"AUPRO": float(metric.compute())}


def by_adeval(maps: np.ndarray, masks: np.ndarray) -> Found:
    import cv2
    from adeval import EvalAccumulator

    cv2.setNumThreads(1)
    vars(np).setdefault("trapz", np.trapezoid)  # the old name, which it still calls
    accumulator = EvalAccumulator(float(maps.min()), float(maps.max()))
    accumulator.add_anomap_batch(maps, masks.astype(np.uint8))
    found = accumulator.summary()
    return {
        "AUROC": found["p_auroc"], "AUPRO": float(found["p_aupro"]), "AP": found["p_aupr"]
    }  # fmt: skip


CONTENDERS = (
    Contender("headclip_med, exact", pixel_metrics, 0.0, repeats=3),
    Contender("headclip_med, paper", lambda a, b: pixel_metrics(a, b, "paper"), None, repeats=3),
    Contender("adeval, 1000 bins", by_adeval, None, repeats=3, needs="adeval"),
    Contender("torchmetrics", by_torchmetrics, 1e-5, needs="torchmetrics"),
    Contender("anomalib AUPRO", by_anomalib, 1e-5, needs="anomalib"),
    Contender("scikit-learn", by_sklearn, 1e-6),
    Contender("200 and 21 thresholds, scikit-image", by_threshold, None),
)
PUBLISHED = ("scikit-learn", "200 and 21 thresholds, scikit-image")


def measure(maps: np.ndarray, masks: np.ndarray) -> Iterator[Timed]:
    for contender in CONTENDERS:
        if contender.needs and importlib.util.find_spec(contender.needs) is None:
            sys.stderr.write(f"{contender.needs} is not installed\n")
            continue
        best, found = float("inf"), {}
        if contender.repeats == 1:  # imports are not to be timed
            contender.compute(maps[:2], masks[:2])
        for _ in range(contender.repeats):
            started = time.process_time()
            found = contender.compute(maps, masks)
            best = min(best, time.process_time() - started)
        sys.stderr.write(f"{contender.name}: {best:.2f} s\n")
        yield Timed(contender.name, best, found, contender.tolerance)


def table(rows: list[Timed]) -> str:
    ours = rows[0]
    published = [row for row in rows if row.name in PUBLISHED]
    total = Timed(
        "published code in all", sum(row.seconds for row in published), {}, tolerance=None
    )
    lines = [
        f"| code | values | CPU seconds | times ours | {' | '.join(NAMES)} |",
        f"|---|---|---|---|{'---|' * len(NAMES)}",
    ]
    for row in [*rows, total]:
        exact = "" if not row.found else "approximate" if row.tolerance is None else "exact"
        cells = [f"{row.found[name]:.6f}" if name in row.found else "" for name in NAMES]
        ratio = row.seconds / ours.seconds
        lines.append(
            f"| {row.name} | {exact} | {row.seconds:.2f} | {ratio:.2f} | {' | '.join(cells)} |"
        )
    return "\n".join(lines) + "\n"


def disagreements(rows: list[Timed]) -> list[str]:
    ours = rows[0].found
    return [
        f"{row.name} has {name} {value:.8f}, ours is {ours[name]:.8f}"
        for row in rows
        if row.tolerance is not None
        for name, value in row.found.items()
        if abs(value - ours[name]) > row.tolerance
    ]


def stream(count: int, size: int) -> str:
    """Maps one by one, none kept; each is a drawn one with another gain and offset."""
    maps, masks = draw(16, size)
    random = np.random.default_rng(1)
    started = time.process_time()
    with TemporaryDirectory() as folder, PixelMetrics(spill_folder=Path(folder)) as pixels:
        for index in range(count):
            gain, offset = random.uniform([0.7, 0.0], [1.0, 0.2]).astype(np.float32)
            one = (maps[index % 16] * gain + offset)[None]
            pixels.update(one, masks[index % 16][None])
        found = pixels.compute()
        disk = sum(file.stat().st_size for file in Path(folder).rglob("*.npy"))
        paper = pixels.compute("paper")
    seconds = time.process_time() - started
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return (
        f"{count} maps of {size} x {size}: {seconds:.0f} CPU seconds, "
        f"{1000 * seconds / count:.1f} ms a map; peak memory {peak_gb:.2f} GB, "
        f"files {disk / 1e9:.2f} GB\nexact {found}\npaper {paper}\n"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--maps", type=int, default=200)
    parser.add_argument("--size", type=int, default=512, help="rows and columns, in pixels")
    parser.add_argument("--stream", type=int, help="maps to stream instead")
    given = parser.parse_args()
    if given.stream:
        sys.stdout.write(stream(given.stream, given.size))
        return 0
    warnings.simplefilter("ignore")  # of the peers
    maps, masks = draw(given.maps, given.size)
    rows = list(measure(maps, masks))
    wrong = disagreements(rows)
    share = 100 * masks.mean()
    sys.stdout.write(
        f"{given.maps} maps of {given.size} x {given.size}, {share:.1f} % abnormal, one thread, "
        f"numpy {np.__version__}\n\n{table(rows)}"
    )
    sys.stderr.writelines(f"NOT EQUAL: {line}\n" for line in wrong)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
