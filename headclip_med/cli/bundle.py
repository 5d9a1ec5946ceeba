"""``headclip bundle``: a working copy of the MONAI bundle, whether it is sound, and its archive."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar, Literal

from tyro.conf import Positional

from headclip_med.cli.options import Command
from headclip_med.errors import UnreadableInput, named_extras


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

        checks = []
        for check in verify_bundle(self.folder, schema=self.schema):
            checks.append(check)
            if not self.json:
                print(f"{check.state:8} {check.name}", flush=True)
                if check.what_to_do:
                    print(f"         {check.what_to_do}")
        if self.json:
            print(json.dumps([asdict(check) for check in checks]))
        return 1 if any(check.state == "failed" for check in checks) else 0

    def _name(self, kind: str, path: Path) -> int:
        print(json.dumps({kind: str(path)}) if self.json else path)
        return 0
