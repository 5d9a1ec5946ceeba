"""List backbones, show where their weights are, fetch them, or import a published checkpoint.

Without a name it lists the models that can be used. With one it lists the pretrained weights that
open_clip knows for it, and which are on this machine. Nothing is downloaded unless 'fetch' says so.
'import FILE' turns a .pth that the authors of AnomalyCLIP or AdaCLIP published into a checkpoint
for --model; nothing but tensors is read of it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from headclip_med.cli.models import add_weights
from headclip_med.cli.options import layers
from headclip_med.errors import InvalidSettings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("action", nargs="?", choices=("list", "fetch", "import"), default="list")
    parser.add_argument(
        "name", nargs="?", help="a model, for example ViT-L-14-336; or the file to import"
    )
    parser.add_argument("--tag", default="openai", help="which weights to fetch (default: openai)")
    group = parser.add_argument_group("import")
    group.add_argument("--method", help="whose file it is: anomalyclip or adaclip")
    group.add_argument("--backbone", help="the model it was trained on, such as ViT-L-14-336")
    group.add_argument("--out", type=Path, help="the checkpoint to write, ending in .safetensors")
    group.add_argument(
        "--feature-layers", type=layers,
        help="layers that give maps, such as 24 or 6,12,18,24 (default: four, evenly spread)",
    )  # fmt: skip
    add_weights(group)


def run(arguments: argparse.Namespace) -> int:
    """List, or fetch."""
    from headclip_med.models.clip import hub
    from headclip_med.settings import EMBEDDED_NAME

    if arguments.action == "import":
        return _import(arguments)
    if arguments.action == "fetch":
        if not arguments.name:
            raise InvalidSettings("Name the model to fetch weights for.", "See 'headclip weights'.")
        path = hub.fetch_weights(arguments.name, arguments.tag)
        print(json.dumps({"path": str(path)}) if arguments.json else path)
        return 0
    if arguments.name:
        tags = {
            tag: hub.cached_weights(arguments.name, tag) for tag in hub.known_tags(arguments.name)
        }
        found = {tag: str(path) if path else None for tag, path in tags.items()}
        lines = [f"{tag}  {path or 'not on this machine'}" for tag, path in found.items()]
        print(json.dumps(found) if arguments.json else "\n".join(lines))
        return 0
    names = (EMBEDDED_NAME, *hub.known_models())
    print(json.dumps(names) if arguments.json else "\n".join(names))
    return 0


def _import(arguments: argparse.Namespace) -> int:
    for value, option in (
        (arguments.name, "FILE"), (arguments.method, "--method"),
        (arguments.backbone, "--backbone"), (arguments.out, "--out"),
    ):  # fmt: skip
        if not value:
            raise InvalidSettings(f"'headclip weights import' needs {option} as well.")
    from headclip_med.models.clip.loading import load_backbone
    from headclip_med.models.imported import import_published

    backbone = load_backbone(
        arguments.backbone, weights=arguments.weights, activation=arguments.activation
    )
    path = import_published(
        Path(arguments.name), arguments.method, backbone, out=arguments.out,
        feature_layers=arguments.feature_layers,
    )  # fmt: skip
    print(json.dumps({"checkpoint": str(path)}) if arguments.json else path)
    return 0
