"""A watched folder: its DICOM files are taken into the spool, and stay where they are."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from headclip_med.errors import UnreadableInput
from headclip_med.pipelines.service import audit
from headclip_med.pipelines.service.database.opening import Database
from headclip_med.pipelines.service.intake.instances import Instance
from headclip_med.pipelines.service.intake.settings import WatchSettings
from headclip_med.pipelines.service.intake.spool import Spool

MOST_BYTES = 4_000_000_000
_State = tuple[int, int]


@dataclass(eq=False)
class Watch:
    """Looks into one folder.

    Attributes:
        settings: Which.
        spool: Takes what is found.
        database: For the audit.
    """

    settings: WatchSettings
    spool: Spool
    database: Database
    _seen: dict[Path, _State] = field(default_factory=dict, init=False)
    _taken: dict[Path, _State] = field(default_factory=dict, init=False)

    def look(self) -> int:
        """Take every file that is as it was at the last look; give their number.

        Raises:
            UnwritableOutput: The spool takes nothing; the rest is taken at a later look.
        """
        count, seen = 0, dict[Path, _State]()
        for path in sorted(Path(self.settings.folder).rglob("*")):
            with suppress(OSError):
                if path.is_symlink() or not path.is_file():
                    continue
                state = path.stat().st_size, path.stat().st_mtime_ns
                seen[path] = state
                is_still = self._seen.get(path) == state and self._taken.get(path) != state
                if is_still and state[0] <= MOST_BYTES:
                    content = path.read_bytes()
                    count += self._take(content)
                    self._taken[path] = state
        self._seen = seen
        self._taken = {path: state for path, state in self._taken.items() if path in seen}
        return count

    def _take(self, content: bytes) -> bool:
        try:
            instance = Instance.of(content, source="folder", peer=self.settings.name)
        except UnreadableInput as error:
            with self.database.write() as session:
                audit.record(session, "refused", peer=self.settings.name, code=error.code)
            return False
        self.spool.keep(instance)
        return True
