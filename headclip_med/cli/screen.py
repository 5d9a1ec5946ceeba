"""Screen DICOM, NIfTI or images: heatmaps, overlays, DICOM-SEG and a sorted page.

For each series it writes OUT/<study>/<series>/{result.json, heatmap.nii.gz, overlay.png, slices/,
seg.dcm}, and OUT/{index.html, summary.csv, summary.json} sorted by score.
RESEARCH ONLY - not for clinical use.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from headclip_med.cli.models import add_model, model_from
from headclip_med.cli.options import add_settings, settings_from
from headclip_med.cli.progress import progress
from headclip_med.cli.tracking import add_tracking_uri
from headclip_med.errors import UnreadableInput
from headclip_med.settings import ScreenSettings
from headclip_med.write import ALL_OUTPUTS, check_outputs

if TYPE_CHECKING:
    from collections.abc import Callable

    from headclip_med.pipelines.batch import BatchReport

    Pipeline = Callable[..., BatchReport]
    """As ``screen_inputs``."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument(
        "input", nargs="+", type=Path, help="folders or files: DICOM, NIfTI, PNG, JPEG, TIFF"
    )
    parser.add_argument("--out", required=True, type=Path, help="folder for the results")
    parser.add_argument(
        "--outputs", type=check_outputs, default=ALL_OUTPUTS, metavar="NAME,...",
        help=f"what to write beside result.json; all of it by default: {','.join(ALL_OUTPUTS)}",
    )  # fmt: skip
    add_model(parser)
    add_tracking_uri(parser, "look models:/... up")
    add_settings(parser, ScreenSettings)


def run(arguments: argparse.Namespace) -> int:
    """Screen everything and say what was found."""
    return run_by(arguments, _pipeline)


def run_by(arguments: argparse.Namespace, load: Callable[[], Pipeline]) -> int:
    """Screen by a pipeline, which is loaded once the options have proved right."""
    settings = settings_from(arguments, ScreenSettings)
    from headclip_med.read import find_inputs

    inputs = find_inputs(arguments.input)
    if not inputs.readable and not any(failure.is_error for failure in inputs.failures):
        raise UnreadableInput(
            "No images were found there, so nothing was written.",
            "Name a folder or file with DICOM, NIfTI, PNG or JPEG images.",
            code="no-images",
        )
    pipeline = load()
    model = model_from(arguments)
    slices = sum(one.slices for one in inputs.readable)
    with progress(slices, "slice") as bar:
        batch = pipeline(
            inputs, model, out=arguments.out, settings=settings, outputs=arguments.outputs,
            report=bar.update,
        )  # fmt: skip
    show(batch, as_json=arguments.json)
    return batch.exit_code


def show(batch: BatchReport, *, as_json: bool) -> None:
    """Print the results, failures on stderr; names without what a terminal would obey."""
    from headclip_med.write.plain_text import visible

    if batch.left_alone:
        of = len(batch.rows)
        print(f"{batch.left_alone} of {of} were finished and left alone", file=sys.stderr)
    for failure in batch.failures:
        line = f"headclip: {failure.input}: {failure.reason} {failure.what_to_do}"
        print(visible(line.rstrip()), file=sys.stderr)
    if as_json:
        print(batch.outputs["json"].read_text())
        return
    for row in batch.rows:
        found = len(row.lesions)
        counted = f"{found} candidate{'' if found == 1 else 's'}"
        print(f"{row.score:.3f}  {counted:13}  {row.folder}  {row.name or ''}".rstrip())
    print(f"open {batch.outputs['page']}")


def _pipeline() -> Pipeline:
    from headclip_med.pipelines.batch import screen_inputs

    return screen_inputs
