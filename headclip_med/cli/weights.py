"""List backbones, show where their weights are, or fetch them.

Without a name it lists the models that can be used. With one it lists the pretrained weights that
open_clip knows for it, and which are on this machine. Nothing is downloaded unless 'fetch' says so.
"""

from __future__ import annotations

import argparse
import json

from headclip_med.errors import InvalidSettings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("action", nargs="?", choices=("list", "fetch"), default="list")
    parser.add_argument("name", nargs="?", help="a model, for example ViT-L-14-336")
    parser.add_argument("--tag", default="openai", help="which weights to fetch (default: openai)")


def run(arguments: argparse.Namespace) -> int:
    """List, or fetch."""
    from headclip_med.models import registry
    from headclip_med.models.backbones import EMBEDDED_NAME

    if arguments.action == "fetch":
        if not arguments.name:
            raise InvalidSettings("Name the model to fetch weights for; see 'headclip weights'.")
        path = registry.fetch_weights(arguments.name, arguments.tag)
        print(json.dumps({"path": str(path)}) if arguments.json else path)
        return 0
    if arguments.name:
        tags = {
            tag: registry.cached_weights(arguments.name, tag)
            for tag in registry.known_tags(arguments.name)
        }
        found = {tag: str(path) if path else None for tag, path in tags.items()}
        lines = [f"{tag}  {path or 'not on this machine'}" for tag, path in found.items()]
        print(json.dumps(found) if arguments.json else "\n".join(lines))
        return 0
    names = (EMBEDDED_NAME, *registry.known_models())
    print(json.dumps(names) if arguments.json else "\n".join(names))
    return 0
