"""The options that name a published protocol, and the sets that it trains on or tests."""

from __future__ import annotations

import argparse
import sys
from typing import Literal

from headclip_med.errors import InvalidSettings


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
    if not arguments.data_root:
        raise InvalidSettings("--protocol needs --data-root, the folder that holds the sets.")
    from headclip_med.datasets.protocols import find_protocol, resolve_protocol

    resolved = resolve_protocol(find_protocol(arguments.protocol), arguments.data_root)
    wanted = getattr(resolved.protocol, part)
    found: tuple[str, ...] = getattr(resolved, part)
    absent = [name for name in resolved.absent if name in wanted]
    if not found:
        raise InvalidSettings(
            f"None of the sets of {arguments.protocol} is below the folder that was given.",
            f"It needs {', '.join(wanted)}.",
            code="protocol-absent",
        )
    if absent:
        print(f"absent, and left out: {', '.join(absent)}", file=sys.stderr)
    return list(found)
