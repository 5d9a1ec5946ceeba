"""A Postgres of our own: on a free port of loopback, in a folder that goes when it stops."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import create_engine, text

from tests.service.programs import free_port, program, running

OWNER = "postgres"
"""As root may not run it."""


@dataclass(frozen=True)
class Server:
    """One that listens.

    Attributes:
        port: On loopback.
        programs: The folder of its programs.
        place: The folder of all that it keeps.
    """

    port: int
    programs: str
    place: Path

    def address(self, name: str = "postgres") -> str:
        return f"postgresql+psycopg://{OWNER}@127.0.0.1:{self.port}/{name}"

    def new_database(self) -> str:
        """Make an empty database, and give its address."""
        name = f"t{secrets.token_hex(6)}"
        self._execute(f"CREATE DATABASE {name}")
        return self.address(name)

    def end_connections(self) -> None:
        """End those of others, as a restart does."""
        self._execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )

    def stop(self) -> None:
        self.do("pg_ctl", "-D", str(self.place / "data"), "-m", "immediate", "stop")

    def do(self, name: str, *arguments: str) -> None:
        """Run one of its programs to its end."""
        command = _as_owner([f"{self.programs}/{name}", *arguments])
        subprocess.run(command, check=True, capture_output=True, cwd=self.place)

    def _execute(self, statement: str) -> None:
        engine = create_engine(self.address(), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(statement))
        engine.dispose()


def _programs() -> str:
    """Find the folder where Debian keeps them, which is beside the path."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return str(found[0]) if found else str(Path(program("initdb", "postgresql")).resolve().parent)


def _as_owner(command: list[str]) -> list[str]:
    return ["runuser", "-u", OWNER, "--", *command] if os.geteuid() == 0 else command


@contextmanager
def postgres() -> Iterator[Server]:
    """Run one until the end of the block; skips where there is none, and fails in CI."""
    programs, place = _programs(), Path(tempfile.mkdtemp(prefix="headclip-postgres-"))
    server = Server(free_port(), programs, place)
    try:
        if os.geteuid() == 0:
            shutil.chown(place, OWNER)
        data = str(place / "data")
        server.do("initdb", "-D", data, "-U", OWNER, "-A", "trust", "-N")
        options = ["-p", str(server.port), "-k", str(place), "-c", "fsync=off"]
        start = _as_owner([f"{programs}/postgres", "-D", data, *options])
        with running(["env", "-C", str(place), *start], server.port, place / "log") as process:
            yield server
            if process.poll() is None:
                server.stop()
    finally:
        shutil.rmtree(place, ignore_errors=True)
