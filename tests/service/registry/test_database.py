"""The registry opens fast, migrates once, and keeps readers and writers apart."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, inspect, text
from sqlalchemy.exc import IntegrityError, OperationalError

from service.errors import FailedPrecondition, InvalidArgument
from service.registry import database
from service.registry.database import close, open_registry, reading
from service.registry.tables import Base, Blob, Checkpoint

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def blob(sha256: str) -> Blob:
    return Blob(tenant="t", sha256=sha256, size_bytes=1, created_at=NOW)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'registry.sqlite3'}"


@pytest.fixture
def migrated(tmp_path: Path) -> Iterator[Engine]:
    """A registry that came to HEAD by its migrations alone."""
    engine = create_engine(f"sqlite:///{tmp_path / 'migrated.sqlite3'}")
    with engine.begin() as connection:
        database.migrate(connection)
    yield engine
    engine.dispose()


def test_the_migrations_make_exactly_the_tables(migrated: Engine) -> None:
    with migrated.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_a_new_registry_is_what_the_migrations_make(url: str, migrated: Engine) -> None:
    sessions = open_registry(url)
    with reading(sessions) as session, migrated.connect() as connection:
        assert schema(session.connection()) == schema(connection)
        made_by = "SELECT version_num FROM alembic_version"
        assert session.scalar(text(made_by)) == connection.scalar(text(made_by)) == database.HEAD
    close(sessions)


def schema(connection: Connection) -> dict[str, list[str]]:
    """Everything that SQLite knows of each table, in words; the order of columns counts, that of the rest does not."""
    seen = inspect(connection)
    return {
        table: [
            *(f"{column['name']} {column['type']!r} {column['nullable']}" for column in seen.get_columns(table)),
            *sorted(str(key) for key in seen.get_foreign_keys(table)),
            *sorted(str(key) for key in seen.get_unique_constraints(table)),
            *sorted(str(index) for index in seen.get_indexes(table)),
            str(seen.get_pk_constraint(table)["constrained_columns"]),
        ]
        for table in seen.get_table_names()
    }


def test_an_old_registry_is_migrated(url: str, migrated: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
        connection.execute(text("INSERT INTO alembic_version VALUES ('0000')"))
    engine.dispose()
    asked = []
    monkeypatch.setattr(database, "migrate", lambda connection: asked.append(database._version(connection)))
    monkeypatch.setattr(database, "_known", lambda: {"0000", database.HEAD})
    close(open_registry(url))
    assert asked == ["0000"]


def test_the_constant_head_is_alembics_head() -> None:
    assert ScriptDirectory.from_config(database.alembic_config()).get_heads() == [database.HEAD]


def test_a_new_and_an_up_to_date_registry_open_without_importing_alembic(url: str) -> None:
    program = (
        "import sys; from service.registry.database import open_registry; "
        f"open_registry({url!r}); sys.exit('alembic' in sys.modules)"
    )
    for _ in range(2):
        assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_several_processes_may_open_a_fresh_file_at_once(url: str) -> None:
    program = f"from service.registry.database import open_registry; open_registry({url!r})"
    children = [
        subprocess.Popen([sys.executable, "-W", "error", "-c", program], stderr=subprocess.PIPE) for _ in range(3)
    ]
    for child in children:
        _, errors = child.communicate(timeout=60)
        assert (child.returncode, errors) == (0, b"")
    sessions = open_registry(url)
    with reading(sessions) as session:
        assert session.execute(text("SELECT count(*) FROM alembic_version")).scalar() == 1
        assert session.execute(text("PRAGMA journal_mode")).scalar() == "wal"
    close(sessions)


def test_a_registry_of_a_newer_version_is_refused_and_left_alone(url: str) -> None:
    sessions = open_registry(url)
    with sessions.begin() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    close(sessions)
    with pytest.raises(FailedPrecondition, match="written by a newer one"):
        open_registry(url)


def test_a_file_that_is_no_registry_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "registry.sqlite3"
    path.write_bytes(b"not a database, but long enough to be read as one" * 100)
    with pytest.raises(FailedPrecondition, match="cannot open the registry"):
        open_registry(f"sqlite:///{path}")


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "mysql://localhost/x"])
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(InvalidArgument, match="sqlite:///PATH"):
        open_registry(url)


def test_foreign_keys_hold(url: str) -> None:
    sessions = open_registry(url)
    orphan = Checkpoint(
        tenant="t", model_id=7, revision=1, format="onnx", digest="", files=[], inspection={}, created_at=NOW
    )
    with pytest.raises(IntegrityError), sessions.begin() as session:
        session.add(orphan)
    close(sessions)


def test_a_writer_holds_the_lock_from_its_first_read(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.05)
    first, second = open_registry(url), open_registry(url)
    with first.begin() as session:
        session.get(Blob, ("t", "a"))
        with pytest.raises(OperationalError, match="locked"), second.begin() as other:
            other.get(Blob, ("t", "a"))
    close(first)
    close(second)


def test_a_reader_neither_waits_nor_sees_half_of_a_write(url: str) -> None:
    sessions = open_registry(url)
    with sessions.begin() as writer:
        writer.add(blob("a"))
        writer.flush()
        with reading(sessions) as reader:
            assert reader.get(Blob, ("t", "a")) is None
    with reading(sessions) as reader:
        found = reader.get(Blob, ("t", "a"))
    assert found is not None
    assert found.created_at == NOW
    close(sessions)


def test_increments_of_many_threads_are_all_kept(url: str) -> None:
    sessions = open_registry(url)
    with sessions.begin() as session:
        session.add(blob("a"))

    def increment() -> None:
        for _ in range(20):
            with sessions.begin() as session:
                row = session.get_one(Blob, ("t", "a"))
                row.size_bytes = row.size_bytes + 1

    threads = [threading.Thread(target=increment) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with reading(sessions) as session:
        assert session.get_one(Blob, ("t", "a")).size_bytes == 81
    close(sessions)


@pytest.mark.parametrize("way", ["_create", "migrate"])
def test_what_fails_half_way_leaves_nothing_behind(url: str, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    real = getattr(database, way)

    def broken(connection: Connection) -> None:
        real(connection)
        raise FailedPrecondition("stopped in the middle")

    monkeypatch.setattr(database, "_create", broken)
    with pytest.raises(FailedPrecondition, match="in the middle"):
        open_registry(url)
    engine = create_engine(url)
    assert inspect(engine).get_table_names() == []
    engine.dispose()
