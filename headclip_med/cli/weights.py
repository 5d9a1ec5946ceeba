"""``headclip weights``: backbones, where their weights are, and what others have trained."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from tyro.conf import Positional

from headclip_med.cli.groups import WeightsOptions
from headclip_med.cli.values import value_of
from headclip_med.errors import InvalidSettings
from headclip_med.settings import EMBEDDED_NAME


@dataclass(frozen=True, kw_only=True)
class Weights(WeightsOptions):
    """List backbones, show where their weights are, fetch them, or import a published checkpoint.

    Without a name it lists the models that can be used. With one it lists the pretrained weights
    that open_clip knows for it, and which are on this machine. Nothing is downloaded unless 'fetch'
    says so. 'import FILE' turns a .pth that a method's authors published into a checkpoint for
    --model; nothing but tensors is read of it.

    Examples:
      headclip weights
      headclip weights fetch ViT-L-14-336
      headclip weights import a.pth --method METHOD --backbone ViT-L-14-336 --out a.safetensors
    """

    common: ClassVar[tuple[str, ...]] = (
        "action", "name", "tag", "method", "backbone", "out", "json",
    )  # fmt: skip

    action: Positional[Literal["list", "fetch", "import"]] = "list"
    """What to do."""
    name: Positional[str | None] = None
    """A model, for example ViT-L-14-336; or the file to import."""
    tag: str = "openai"
    """Which weights to fetch."""
    method: str | None = None
    """To import: whose file it is."""
    backbone: str | None = None
    """To import: the model it was trained on, such as ViT-L-14-336."""
    out: Path | None = None
    """To import: the checkpoint to write, ending in .safetensors."""
    feature_layers: str | None = None
    """To import: layers that give maps, such as 24 or 6,12,18,24. By default as many, evenly
    spread, as the file has projections for; the last where it has none."""

    def run(self) -> int:
        """List, fetch or import."""
        if self.action == "import":
            return self._import()
        from headclip_med.models.clip import hub

        if self.action == "fetch":
            if not self.name:
                raise InvalidSettings(
                    "Name the model to fetch weights for.", "See 'headclip weights'."
                )
            path = hub.fetch_weights(self.name, self.tag)
            print(json.dumps({"path": str(path)}) if self.json else path)
            return 0
        if self.name:
            tags = {tag: hub.cached_weights(self.name, tag) for tag in hub.known_tags(self.name)}
            found = {tag: str(path) if path else None for tag, path in tags.items()}
            lines = [f"{tag}  {path or 'not on this machine'}" for tag, path in found.items()]
            print(json.dumps(found) if self.json else "\n".join(lines))
            return 0
        names = (EMBEDDED_NAME, *hub.known_models())
        print(json.dumps(names) if self.json else "\n".join(names))
        return 0

    def _import(self) -> int:
        if not self.name or not self.method or not self.backbone or not self.out:
            needed = {"FILE": self.name, "--method": self.method, "--backbone": self.backbone,
                      "--out": self.out}  # fmt: skip
            missing = next(option for option, value in needed.items() if not value)
            raise InvalidSettings(f"'headclip weights import' needs {missing} as well.", "Add it.")
        layers: Any = self.feature_layers and value_of(self.feature_layers, tuple[int, ...])
        if isinstance(layers, str):
            raise InvalidSettings(
                "--feature-layers does not name layers.", "Give some such as 24 or 6,12,18,24."
            )
        from headclip_med.models.imported import import_published

        backbone = self.load_backbone(self.backbone)
        path = import_published(
            Path(self.name), self.method, backbone, out=self.out, feature_layers=layers
        )
        print(json.dumps({"checkpoint": str(path)}) if self.json else path)
        return 0
