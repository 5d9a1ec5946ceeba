"""``headclip bundle``: a working copy of the MONAI bundle, whether it is sound, and its archive."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from tyro.conf import Positional

from headclip_med.cli.options import Command
from headclip_med.cli.terminal.progress import progress
from headclip_med.cli.terminal.tables import Column, Row, Sheet, Tone, is_drawn, show
from headclip_med.errors import UnreadableInput, named_extras

if TYPE_CHECKING:
    from headclip_med.pipelines.bundle.verify import Check

TONES: Mapping[str, Tone] = {"ok": "good", "failed": "bad", "skipped": "notable"}


@dataclass(frozen=True, kw_only=True)
class Bundle(Command):
    """Write a working copy of the MONAI bundle, check one as MONAI's model zoo does, or pack it.

    'init DIR' writes the bundle with its configurations, documentation and headclip-mini, ready for
    'python -m monai.bundle run'. 'verify DIR' runs every check, offline, and says what to do about
    each that fails. 'zip DIR' packs it as the zoo hands bundles out, DIR_vVERSION.zip beside it.

    Examples:
      headclip bundle init headclip_lesion_segmentation
      headclip bundle verify headclip_lesion_segmentation
      headclip bundle zip headclip_lesion_segmentation
    """

    common: ClassVar[tuple[str, ...]] = ("action", "folder", "schema", "json")

    action: Positional[Literal["init", "verify", "zip"]]
    """What to do."""
    folder: Positional[Path]
    """The bundle's folder."""
    schema: Path | None = None
    """MONAI's published schema of metadata.json, for 'verify'."""

    def run(self) -> int:
        """Write, check or pack."""
        if self.action == "init":
            with named_extras("bundle"):
                from headclip_med.pipelines.bundle.folder import write_bundle

            return self._name("bundle", write_bundle(self.folder))
        if not self.folder.is_dir():
            raise UnreadableInput(
                "There is no such folder.",
                "Name a bundle's, or write one with 'headclip bundle init'.",
                code="missing-path",
            )
        if self.action == "zip":
            with named_extras("bundle"):
                from headclip_med.pipelines.bundle.folder import zip_bundle

            return self._name("archive", zip_bundle(self.folder))
        with named_extras("bundle"):
            from headclip_med.pipelines.bundle.verify import verify_bundle

        checks, waits = [], self.json or is_drawn()
        with progress(None, "check") as bar:
            for check in verify_bundle(self.folder, schema=self.schema, seen=bar.seen):
                checks.append(check)
                if not waits:  # a line as each is done
                    print(*_listed([check]).lines(), sep="\n", flush=True)
        if self.json:
            print(json.dumps([asdict(check) for check in checks]))
        elif waits:
            show(_listed(checks))
        return 1 if any(check.state == "failed" for check in checks) else 0

    def _name(self, kind: str, path: Path) -> int:
        print(json.dumps({kind: str(path)}) if self.json else path)
        return 0


def _listed(checks: Sequence[Check]) -> Sheet:
    rows = [
        Row((one.state, one.name), (one.what_to_do,) if one.what_to_do else (), TONES[one.state])
        for one in checks
    ]
    return Sheet((Column("state", 8), Column("check")), rows, gap=" ", indent=" " * 9)
