"""Write a working copy of the MONAI bundle, or check one as MONAI's model zoo does.

'init DIR' writes the bundle with its configurations, documentation and headclip-mini, ready for
'python -m monai.bundle run'. 'verify DIR' runs every check, offline, and says what to do about each
that fails.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from headclip_med.errors import UnreadableInput


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("action", choices=("init", "verify"))
    parser.add_argument("folder", type=Path, help="the bundle's folder")
    parser.add_argument(
        "--schema", type=Path, help="MONAI's published schema of metadata.json, for 'verify'"
    )


def run(arguments: argparse.Namespace) -> int:
    """Write, or check."""
    if arguments.action == "init":
        from headclip_med.pipelines.bundle.folder import write_bundle

        folder = write_bundle(arguments.folder)
        print(json.dumps({"bundle": str(folder)}) if arguments.json else folder)
        return 0
    if not arguments.folder.is_dir():
        raise UnreadableInput(
            "There is no such folder.",
            "Name a bundle's, or write one with 'headclip bundle init'.",
            code="missing-path",
        )
    from headclip_med.pipelines.bundle.verify import verify_bundle

    checks = []
    for check in verify_bundle(arguments.folder, schema=arguments.schema):
        checks.append(check)
        if not arguments.json:
            print(f"{check.state:8} {check.name}", flush=True)
            if check.what_to_do:
                print(f"         {check.what_to_do}")
    if arguments.json:
        print(json.dumps([asdict(check) for check in checks]))
    return 1 if any(check.state == "failed" for check in checks) else 0
