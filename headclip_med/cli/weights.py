"""``headclip weights``: backbones, where their weights are, and what others have trained."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from tyro.conf import Positional

from headclip_med.cli.groups import WeightsOptions
from headclip_med.cli.options import Command
from headclip_med.cli.terminal.progress import progress
from headclip_med.cli.terminal.tables import Column, Row, Sheet, show
from headclip_med.cli.terminal.voice import VOICE
from headclip_med.cli.values import value_of
from headclip_med.errors import InvalidSettings
from headclip_med.models.clip.hub import unused
from headclip_med.models.header import check_device
from headclip_med.settings import EMBEDDED_NAME

if TYPE_CHECKING:
    from headclip_med.models.verification.check import Verification


@dataclass(frozen=True, kw_only=True)
class Weights(WeightsOptions):
    """List, fetch and verify backbones' weights, or import a published checkpoint.

    Without a name it lists the models that can be used. With one it lists the pretrained weights
    that open_clip knows for it, and which are on this machine. Nothing is downloaded unless 'fetch'
    says so. 'import FILE' turns a .pth that a method's authors published into a checkpoint for
    --model; nothing but tensors is read of it. 'verify' compares a file's digest with those that
    open_clip states, and shows the towers drawn pictures, which right weights, rightly run, match
    with their sentences; it ends with status 1 where something speaks against them.

    Examples:
      headclip weights
      headclip weights fetch ViT-L-14-336
      headclip weights verify ViT-L-14-336 --weights FILE
      headclip weights import a.pth --method METHOD --backbone ViT-L-14-336 --out a.safetensors
    """

    common: ClassVar[tuple[str, ...]] = (
        "action", "name", "tag", "method", "backbone", "out", "json",
    )  # fmt: skip

    action: Positional[Literal["list", "fetch", "import", "verify"]] = "list"
    """What to do."""
    name: Positional[str | None] = None
    """A model, for example ViT-L-14-336; or the file to import. To verify, it may be left out for
    a file whose digest open_clip states."""
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

    save: Path | None = None
    """To verify: where the cosines of drawn pictures and sentences are written."""
    against: Path | None = None
    """To verify: cosines that were saved where the weights are known to be right."""

    def run(self) -> int:
        """List, fetch, import or verify."""
        self._refuse_unused()
        if self.action == "import":
            return self._import()
        if self.action == "verify":
            return self._verify()
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
            if self.json:
                print(json.dumps(found))
                return 0
            rows = [Row((tag, path or "not on this machine")) for tag, path in found.items()]
            show(Sheet((Column("weights"), Column("file")), rows))
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

    def _refuse_unused(self) -> None:
        """Refuse options that are another action's: they would change nothing."""
        own = USED[self.action]
        for one in fields(self):
            if one.name in ALWAYS or one.name in own or getattr(self, one.name) == one.default:
                continue
            raise unused(
                f"--{one.name.replace('_', '-')} is not used by 'headclip weights {self.action}'.",
                "Leave it out.",
            )

    def _verify(self) -> int:
        from headclip_med.models.verification.record import read_fingerprint, save_fingerprint

        check_device(self.device)
        saved = None if self.against is None else read_fingerprint(self.against)
        if self.name is not None:
            self.check_backbone(self.name)
        from headclip_med.models.verification.check import verify_weights

        with progress(None, "way to run") as bar:
            found = verify_weights(
                self.name, weights=self.weights, activation=self.activation, device=self.device,
                against=saved, seen=bar.seen,
            )  # fmt: skip
        if self.save is not None:
            save_fingerprint(self.save, found.fingerprint, found.model)
        against = found.objection
        if self.json:
            print(json.dumps(found.to_json()))
        else:
            tell(found)
        if against is not None:
            VOICE.say(f"headclip: {against}")
        return 0 if against is None else 1


FIT_COLUMNS = (
    Column("drawn pictures", 42), Column("strength", 8, is_number=True),
    Column("own sentence first", 18, is_number=True), Column("loss", 5, is_number=True),
)  # fmt: skip


def tell(found: Verification) -> None:
    """Print what was found."""
    print(f"{found.model}, run with {found.activation}")
    if found.file is not None:
        names = ", ".join(f"{one.model} {one.tag}" for one in found.file.published)
        names = names and f" ({names})"
        print(f"SHA-256 {found.file.sha256}: {STATUS[found.file.status]}{names}")
    if found.shipped:
        print("these are headclip-mini's weights as shipped")
    fits = [
        (fit.way, f"{fit.strength:.1f}", f"{fit.hits} of {len(fit.losses)} (chance {fit.chance})",
         f"{fit.loss:.2f}")
        for fit in found.fingerprint.fits
    ]  # fmt: skip
    drawn = Sheet(FIT_COLUMNS, [Row(fit) for fit in fits])
    head = Row(tuple(one.title for one in FIT_COLUMNS))
    lines = Sheet(FIT_COLUMNS, [head, *(Row((f"  {way}", *rest)) for way, *rest in fits)])
    show(drawn, lines.lines())
    print(VERDICT[found.fingerprint.verdict])
    if found.difference is not None:
        print(f"largest difference to the saved cosines: {found.difference:.4f}")


STATUS = {
    "known": "a published file's",
    "wrong": "not that of the published file of this name",
    "unknown": "none is stated for this file",
}
VERDICT = {
    "right": "the towers know the drawings, and no other way to run them fits clearly better",
    "otherwise": "the towers know the drawings better when they are run otherwise",
    "not-telling": "the towers do not know the drawings, which therefore tell nothing of them",
}
ALWAYS = ("action", "name", *(one.name for one in fields(Command)))
USED: Mapping[str, tuple[str, ...]] = {
    "list": (),
    "fetch": ("tag",),
    "import": ("method", "backbone", "out", "feature_layers", "weights", "activation"),
    "verify": ("weights", "activation", "device", "save", "against"),
}
"""The options of each action."""
