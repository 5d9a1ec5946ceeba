"""Peak memory of ``headclip evaluate`` on many large maps: writes a set, then evaluates it.

Pictures with masks are drawn into ``--folder`` (some 1 GB for 10,000), and the command itself is
run on them in this process, with all that it does by default: tracking, baselines, bootstrap.
The tower has two narrow layers and random weights, because a good one would take hours: what it
says of an image does not matter here, only that each answer is a map of full size.

    python benchmarks/memory.py --folder /tmp/many --maps 10000
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import resource
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from headclip_med.cli import main as headclip

TOWER = {
    "model_cfg": {
        "embed_dim": 64,
        "vision_cfg": {
            "layers": 2, "width": 64, "head_width": 32, "patch_size": 32, "image_size": 512,
        },
        "text_cfg": {
            "context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2,
        },
    }
}  # fmt: skip


def draw(folder: Path, count: int, size: int) -> None:
    """Smooth noise, and in every other picture a bright disc that the mask marks."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:size, :size]
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for number in range(count):
        coarse = Image.fromarray(random.integers(60, 180, (16, 16), dtype=np.uint8))
        pixels = np.array(coarse.resize((size, size), Image.Resampling.BICUBIC))
        mask = np.zeros((size, size), dtype=np.uint8)
        if number % 2:
            row, column = random.integers(size // 8, size - size // 8, 2)
            radius = random.integers(size // 40, size // 8)
            mask[(rows - row) ** 2 + (columns - column) ** 2 < radius**2] = 255
            pixels[mask > 0] += 50
        Image.fromarray(pixels).save(folder / f"images/{number:05}.png", compress_level=1)
        Image.fromarray(mask).save(folder / f"masks/{number:05}.png", compress_level=1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="where the set is written")
    parser.add_argument("--maps", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=512, help="rows and columns, in pixels")
    given, more = parser.parse_known_args()
    if not (given.folder / "images").exists():
        draw(given.folder, given.maps, given.size)
    tower = given.folder / "tower"
    tower.mkdir(exist_ok=True)
    (tower / "open_clip_config.json").write_text(json.dumps(TOWER))
    before_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    started, used = time.monotonic(), time.process_time()
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        code = headclip(
            ["evaluate", f"folder:{given.folder}", "--method", "headclip", "--model", str(tower),
             "--weights", "random", "--set", f"image_size={given.size}",
             "--tracking-uri", f"sqlite:///{given.folder}/mlflow.db", *more]
        )  # fmt: skip
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    sys.stdout.write(
        f"{shown.getvalue()}\n{given.maps} maps of {given.size} x {given.size}: peak memory "
        f"{peak_gb:.2f} GB ({before_gb:.2f} before), {time.process_time() - used:.0f} CPU seconds, "
        f"{time.monotonic() - started:.0f} s\n"
    )
    return code


if __name__ == "__main__":
    sys.exit(main())
