"""Screen much, in a run that can be stopped: what is finished is left alone.

Writes what 'headclip screen' writes, with the same options. Given again after it was stopped, or
with more inputs, it screens what has no result yet, or one of other voxels, another model, other
settings or another version of this program. While one volume is judged, another process reads the
next. RESEARCH ONLY - not for clinical use.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from headclip_med.cli import screen

if TYPE_CHECKING:
    from headclip_med.cli.screen import Pipeline


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command: those of ``screen``."""
    screen.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Screen what is not finished, and say what was found."""
    return screen.run_by(arguments, _pipeline)


def _pipeline() -> Pipeline:
    from headclip_med.pipelines.batch import screen_batch

    return screen_batch
