"""Time and memory of ``predict`` on a backbone with random weights; prints JSON.

python benchmarks/predict.py --model ViT-L-14-336 --size 336 --precision bf16
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time

import torch

from headclip_med import load_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="ViT-L-14-336")
    parser.add_argument("--size", type=int, default=518, help="rows and columns, in pixels")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    weights = None if given.model == "headclip-mini" else "random"
    model = load_model(given.model, weights=weights, device=given.device, precision=given.precision)
    images = torch.rand(given.batch, 3, given.size, given.size)
    model.predict(images)
    seconds = []
    for _ in range(given.repeats):
        started = time.perf_counter()
        model.predict(images).map.cpu()
        seconds.append(time.perf_counter() - started)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    report = {
        **vars(given), "threads": torch.get_num_threads(),
        "seconds_per_image": round(min(seconds) / given.batch, 3), "peak_memory_mb": round(peak_mb),
    }  # fmt: skip
    sys.stdout.write(json.dumps(report) + "\n")


if __name__ == "__main__":
    main()
