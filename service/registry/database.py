"""Opens the registry: how its transactions begin, and how its schema comes up to date.

A transaction takes the write lock when it begins (BEGIN IMMEDIATE), so that what it has read is still true when it
writes: leases and generations depend on it. `reading` begins one that only reads and never waits for a writer.
"""

import fcntl
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import Session, sessionmaker

from service.errors import FailedPrecondition, InvalidArgument
from service.registry.tables import Base

# The newest migration. Named here so that a new or up-to-date registry opens without Alembic, whose import takes half
# a second.
HEAD = "0002"

MIGRATIONS = Path(__file__).parent / "migrations"

# How long a writer waits for another one before it gives up with "database is locked".
BUSY_SECONDS = 10.0

_READ_ONLY = "stillroom_read_only"


def open_registry(url: str) -> sessionmaker[Session]:
    """Sessions on the registry at `url`, which is created or migrated first if it must be.

    Safe when several processes do it at once. `sessions.begin()` is one writing transaction; objects stay readable
    after its commit. Raises InvalidArgument for another kind of URL, FailedPrecondition for a file that is not ours.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database or parsed.database == ":memory:":
        raise InvalidArgument("the registry's URL must be sqlite:///PATH")
    engine = _sqlite_engine(parsed)
    try:
        if not _is_current(engine):
            with _exclusive(Path(f"{parsed.database}.lock")):
                _make_current(engine)
    except DatabaseError as error:
        engine.dispose()
        raise FailedPrecondition(f"cannot open the registry {parsed.database}: {error.orig}") from error
    except FailedPrecondition:
        engine.dispose()
        raise
    return sessionmaker(engine, expire_on_commit=False)


@contextmanager
def reading(sessions: sessionmaker[Session]) -> Iterator[Session]:
    """One transaction that sees a single snapshot, must not write, and never waits for a writer."""
    with sessions.begin() as session:
        session.connection(execution_options={_READ_ONLY: True})
        yield session


def close(sessions: sessionmaker[Session]) -> None:
    """Closes the pooled connections. Sessions that are still open must not be used afterwards."""
    bind: Engine = sessions.kw["bind"]
    bind.dispose()


def migrate(connection: Connection, revision: str = "head") -> None:
    """Runs the migrations up to `revision` inside the connection's present transaction."""
    # Before the import, which logs already.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # Here, not above: see HEAD.
    from alembic import command

    config = alembic_config()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def alembic_config() -> Any:
    """Alembic's configuration, made here so that no .ini file has to be installed."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config


def _sqlite_engine(url: URL) -> Engine:
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        # The driver must not begin transactions by itself; `begin` below does.
        connection.isolation_level = None
        connection.execute("PRAGMA foreign_keys = ON")
        # What was acknowledged survives a loss of power too.
        connection.execute("PRAGMA synchronous = FULL")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        read_only = connection.get_execution_options().get(_READ_ONLY, False)
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    return engine


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _is_current(engine: Engine) -> bool:
    with engine.connect().execution_options(**{_READ_ONLY: True}) as connection:
        return _version(connection) == HEAD


def _make_current(engine: Engine) -> None:
    # The journal's mode is a property of the file. It cannot change inside a transaction.
    raw = engine.raw_connection()
    try:
        raw.cursor().execute("PRAGMA journal_mode = WAL")
    finally:
        raw.close()
    with engine.begin() as connection:
        version = _version(connection)
        if version == HEAD:
            return
        if version is not None and version not in _known():
            raise FailedPrecondition(
                f"the registry has schema {version}, which this version does not know: it was written by a newer one"
            )
        if version is None:
            _create(connection)
        else:
            migrate(connection)


def _known() -> set[str]:
    return {path.name.split("_")[0] for path in (MIGRATIONS / "versions").glob("*.py")}


def _create(connection: Connection) -> None:
    """A new registry gets at once what all migrations together would make: a test holds the two equal."""
    Base.metadata.create_all(connection)
    connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
    connection.execute(text("INSERT INTO alembic_version VALUES (:head)"), {"head": HEAD})


@contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
