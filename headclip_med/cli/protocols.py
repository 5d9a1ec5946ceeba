"""The options that name a published protocol, and the sets that it trains on or tests."""

from __future__ import annotations

import argparse
import sys
from typing import Literal


def add_protocol(parser: argparse.ArgumentParser, use: str) -> None:
    """Add ``--protocol``; the command has ``--data-root`` of its own."""
    parser.add_argument(
        "--protocol",
        help=f"{use} the sets of a published protocol: visa-to-mvtec or mvtec-to-all",
    )


def protocol_sets(arguments: argparse.Namespace, part: Literal["train", "test"]) -> list[str]:
    """Find the sets of the protocol that was named; those that are absent are said.

    Raises:
        InvalidSettings: The protocol is unknown, or none of its sets is there.
    """
    if not arguments.protocol:
        return []
    from headclip_med.datasets.discover import protocol_sets as find

    found, absent = find(arguments.protocol, arguments.data_root, part)
    if absent:
        print(f"absent, and left out: {', '.join(absent)}", file=sys.stderr)
    return found
