"""Screen a synthetic head with a known lesion and a real CT series, offline.

The head is written as a real DICOM series; the CT is the one that pydicom's package carries. Both
go through the same code as any study. RESEARCH ONLY - not for clinical use.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from headclip_med.cli.models import add_model, model_from
from headclip_med.cli.progress import progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("--out", type=Path, default=Path("out/demo"), help="folder for the results")
    add_model(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run it, and say where to look and how well the lesion was hit."""
    from headclip_med.pipelines.demo import demonstrate

    model = model_from(arguments)
    with progress(None, "slice") as bar:
        demo = demonstrate(model, arguments.out, report=bar.update)
    folder = arguments.out / "results" / demo.phantom.folder
    lesion = demo.lesion
    places = {
        "page": str(demo.batch.outputs["page"]),
        "overlay": str(folder / demo.phantom.outputs["overlay"]),
        "segmentation": str(folder / "seg.dcm") if "seg" in demo.phantom.outputs else None,
    }
    if arguments.json:
        print(json.dumps({**places, "known_lesion": asdict(lesion)}))
        return demo.batch.exit_code
    print(f"overlay        {places['overlay']}")
    print(f"DICOM-SEG      {places['segmentation'] or 'none: nothing passed the threshold'}")
    print(f"page           {places['page']}")
    print(
        f"known lesion   {lesion.volume_mm3 / 1000:.1f} ml: voxel AUROC {lesion.auroc:.3f}, Dice "
        f"{lesion.dice:.2f}; {lesion.candidates_on_it} of {lesion.candidates} candidates lie on it"
    )
    if lesion.first_distance_mm is not None:
        print(
            f"               the first candidate lies {lesion.first_distance_mm:.0f} mm from its "
            "centre"
        )
    return demo.batch.exit_code
