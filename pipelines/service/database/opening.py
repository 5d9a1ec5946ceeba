"""Open the database of a folder of results, or one that stands elsewhere.

SQLite keeps a write-ahead log and syncs every transaction (``synchronous=FULL``): what was written
is there after a power cut. A transaction that writes takes the lock at once (``BEGIN IMMEDIATE``),
so that two never find out at their end that one of them has to go.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, OperationalError
from sqlalchemy.orm import Session

from headclip_med.errors import HeadClipError, InvalidSettings, named_extras

FILE = "worklist.sqlite"
"""In a folder of results."""

HEAD = "0002"
"""The revision of the tables that this version reads and writes."""

WAIT_S = 60
"""For another process that writes; far longer than any transaction takes."""

WRITES = "headclip_writes"
MIGRATION_LOCK = 7_241_990
"""Any number, the same in every process: who holds it in Postgres brings tables up to date."""


class UnusableDatabase(HeadClipError):
    """A database that cannot be opened, read or written just now."""

    default_code = "unusable-database"


@dataclass(frozen=True)
class Database:
    """A database whose tables are those of this version."""

    engine: Engine

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Give a session whose changes are written together at its end, or not at all.

        Raises:
            UnusableDatabase: The disk is full, read-only or gone, or the server is.
        """
        writing = self.engine.execution_options(**{WRITES: True})
        with _translated(), Session(writing) as session, session.begin():
            yield session

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Give a session that sees one state of the database.

        Raises:
            UnusableDatabase: It cannot be read.
        """
        with _translated(), Session(self.engine) as session:
            yield session

    def compact(self) -> None:
        """Write a file anew without what was removed from it; a server does that by itself."""
        if self.engine.dialect.name == "sqlite":
            with _translated(), self.engine.connect() as connection:
                own = connection.connection.dbapi_connection
                assert own is not None  # noqa: S101 - it was just connected
                for statement in ("VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"):
                    own.cursor().execute(statement)

    def close(self) -> None:
        """Let go of its connections."""
        self.engine.dispose()


def open_database(place: Path | str) -> Database:
    """Open a database, make it where there is none, and bring its tables up to date.

    Args:
        place: A folder of results, or an address such as ``postgresql+psycopg://host/name``.

    Raises:
        InvalidSettings: It is no address.
        MissingExtra: The library that talks to such a server is not installed.
        UnusableDatabase: It cannot be opened, or a later version wrote it.
    """
    is_folder = isinstance(place, Path) or "://" not in place
    address = f"sqlite:///{Path(place).absolute() / FILE}" if is_folder else str(place)
    try:
        with named_extras():
            engine = create_engine(address, hide_parameters=True, **_options(address))
    except (ArgumentError, NoSuchModuleError):
        raise InvalidSettings(
            "The database's address is none that is known.",
            "Give a folder, or postgresql+psycopg://USER@HOST/NAME.",
            code="bad-database",
        ) from None
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare)
        event.listen(engine, "begin", _begin)
    try:
        with _translated():
            _bring_up_to_date(engine)
    except HeadClipError:
        engine.dispose()
        raise
    return Database(engine)


def _options(address: str) -> dict[str, Any]:
    if address.startswith("sqlite"):
        return {"connect_args": {"timeout": WAIT_S}}
    return {"pool_pre_ping": True}


def _prepare(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions begin where we say so
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get(WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _bring_up_to_date(engine: Engine) -> None:
    with engine.connect() as connection:
        if _revision(connection) == HEAD:
            return
    with engine.execution_options(**{WRITES: True}).begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"))
        found = _revision(connection)  # another process may have been first
        if found is not None and found > HEAD:
            raise UnusableDatabase(
                "A later version of this program wrote the database.",
                "Use that version, or another folder.",
                code="newer-database",
            )
        if found != HEAD:
            _migrate(connection)


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _migrate(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "headclip_med.pipelines.service.database:migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, HEAD)


@contextmanager
def _translated() -> Iterator[None]:
    """Say in a sentence what a driver says; its own text may quote what was to be written."""
    try:
        yield
    except OperationalError:
        raise UnusableDatabase(
            "The database cannot be used just now: its disk is full, read-only or gone, another "
            "process holds it, or its server does not answer.",
            "Make room or mend its place; what is finished is kept, and work goes on from there.",
        ) from None
