"""``headclip report``: the worklist of a folder, and what failed tried again."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from tyro.conf import Positional

from headclip_med.calibration import shown_p
from headclip_med.cli.options import Command, Takes
from headclip_med.cli.terminal.progress import Progress, progress
from headclip_med.cli.terminal.tables import Column, Row, Sheet, Tone, show
from headclip_med.errors import InvalidSettings
from headclip_med.pipelines.service.worklist.wanted import Wanted

if TYPE_CHECKING:
    from headclip_med.pipelines.service.database.opening import Database
    from headclip_med.pipelines.service.worklist.entries import WorkEntry
    from headclip_med.pipelines.service.worklist.queries import WorkPage

ALL = "all"
DATABASE_FILE = "worklist.sqlite"


@dataclass(frozen=True, kw_only=True)
class ShowWorklist(Command):
    """Show a folder's worklist; retry, resend.

    The most suspicious first: by p where there is one, else by score; then what failed, with the
    reason, and what waits. RESEARCH ONLY - not for clinical use.

    Examples:
      headclip report results
      headclip report results --state quarantined
      headclip report results --csv
      headclip report results --retry all
    """

    takes: ClassVar[tuple[Takes, ...]] = (
        Takes(Wanted, ("state", "judged", "delivery", "modality", "text", "sort", "page")),
    )
    common: ClassVar[tuple[str, ...]] = (
        "folder", "csv", "json", "html", "retry", "resend", "state", "sort", "page", "set",
    )  # fmt: skip

    folder: Positional[Path | None] = None
    """The folder of results."""
    database: str | None = None
    """Its database, where that is not in the folder, as postgresql+psycopg://USER@HOST/NAME."""
    csv: bool = False
    """Print all as CSV."""
    html: bool = False
    """Write index.html there anew, and more pages where there is much."""
    script: bool = True
    """Write that page without its script."""
    retry: str | None = None
    """Try failed jobs again: their numbers with commas, or 'all'."""
    resend: str | None = None
    """Send results again: their numbers with commas, or 'all' that were given up."""

    def run(self) -> int:
        """Do what was asked, then show."""
        wanted = self.settings(Wanted)
        out = self._folder()
        retried, resent = _numbers("retry", self.retry), _numbers("resend", self.resend)
        if self.csv + self.json + self.html > 1:
            raise InvalidSettings(
                "Only one of --csv, --json and --html can be given.", "Leave out the others."
            )
        if not self.script and not self.html:
            raise InvalidSettings("--no-script is of the page.", "Give --html as well.")
        from headclip_med.pipelines.service.database.opening import open_database

        database = open_database(self.database or out)
        try:
            if retried is not None or resent is not None:
                return _again(database, retried, resent)
            self._show(database, wanted, out)
        finally:
            database.close()
        return 0

    def _folder(self) -> Path:
        if self.folder is None:
            raise InvalidSettings(
                "There is no folder to report on.", "Name the one with the results."
            )
        if self.database is None and not (self.folder / DATABASE_FILE).is_file():
            raise InvalidSettings(
                "There is no worklist in this folder.",
                "Name the folder that 'headclip batch' or 'headclip serve' writes to.",
                code="no-worklist",
            )
        return self.folder

    def _show(self, database: Database, wanted: Wanted, out: Path) -> None:
        from headclip_med.pipelines.service.worklist import export, queries

        now = time.time()
        with database.read() as session:
            if self.html:
                unused = queries.unused_files(session)
                with progress(queries.find(session, wanted, now).total, "result") as bar:
                    entries = _counted(queries.every(session, wanted, now), bar)
                    page = export.to_pages(entries, unused, out, is_scripted=self.script)
                print(f"open {page}")
            elif self.csv or self.json:
                write = export.to_csv if self.csv else export.to_json
                for piece in write(queries.every(session, wanted, now)):
                    sys.stdout.write(piece)
            else:
                for pause, lasts in queries.pauses(session, now):
                    print(f"paused for {lasts}: {pause.reason} {pause.advice}")
                for stratum in queries.stale_strata(session):
                    print(f"calibration stale: {stratum}")
                _show_page(queries.find(session, wanted, now))


COLUMNS = (
    Column("rank", 4, is_number=True), Column("score", 24), Column("state"), Column("names"),
)  # fmt: skip


def _show_page(found: WorkPage) -> None:
    """Print a page of the worklist."""
    ranked = enumerate(found.entries, start=found.first_rank)
    show(Sheet(COLUMNS, [_row(rank, entry) for rank, entry in ranked], indent=" " * 6))
    more = f", page {found.page} of {found.pages}" if found.pages > 1 else ""
    print(f"{found.total} in all{more}")


def _row(rank: int, entry: WorkEntry) -> Row:
    """Make a row of what waits, failed or was judged, with what is to be known of it below."""
    from headclip_med.write.plain_text import visible

    below = [f"result {entry.result} to {one.destination}: {one.words}" for one in entry.deliveries]
    if entry.reason:
        below.insert(0, f"job {entry.job}: {entry.reason} {entry.advice or ''}".rstrip())
    cells = str(rank), _judged(entry), _where(entry), " ".join(entry.names)
    return Row(tuple(map(visible, cells)), tuple(map(visible, below)), _tone(entry))


def _tone(entry: WorkEntry) -> Tone:
    if entry.used is not None and entry.used.flagged:
        return "notable"
    return "bad" if entry.reason else "plain"


def _judged(entry: WorkEntry) -> str:
    used = entry.used
    if used is None:
        return "-"
    p_value = "" if used.p_value is None else f"  p {shown_p(used.p_value)}"
    return f"{entry.plain['score']:.3f}{p_value}{' flagged' if used.flagged else ''}"


def _where(entry: WorkEntry) -> str:
    return f"{entry.state} ({entry.words})"


def _counted(entries: Iterable[WorkEntry], bar: Progress) -> Iterator[WorkEntry]:
    for entry in entries:
        yield entry
        bar.add()


def _numbers(option: str, text: str | None) -> list[int] | str | None:
    """Read numbers with commas, or 'all'."""
    if text is None or text == ALL:
        return text
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise InvalidSettings(
            f"--{option} takes numbers with commas, or 'all'.",
            "'headclip report FOLDER' shows the numbers.",
        )
    return [int(part) for part in parts]


def _again(
    database: Database, retried: list[int] | str | None, resent: list[int] | str | None
) -> int:
    """Queue anew what was asked for, and say how many; 1 where some of it was not there."""
    from headclip_med.pipelines.service.worklist import again, queries

    user, is_whole = f"user {os.getuid()}", True
    for name, do, asked, usual in (
        ("tried", again.retry, retried, queries.quarantined),
        ("sent", again.resend, resent, queries.undelivered),
    ):
        if asked is None:
            continue
        with database.read() as session:
            numbers = usual(session) if isinstance(asked, str) else asked
        count = do(database, numbers, user)
        print(f"{count} {name} again")
        is_whole = is_whole and (isinstance(asked, str) or count >= len(numbers))
    if not is_whole:
        print("headclip: not all of these numbers stand where that is possible.", file=sys.stderr)
    return 0 if is_whole else 1
