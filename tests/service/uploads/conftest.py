"""A receiver on a fresh home, with a real registry and a real store."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy.orm import Session, sessionmaker

from optimizer.artifact.store import DirectoryStore
from service.home import Home
from service.registry.database import close, open_registry
from service.registry.uploads import UploadRecords
from service.uploads.receiver import Receiver


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.create()
    return home


@pytest.fixture
def sessions(home: Home) -> Iterator[sessionmaker[Session]]:
    sessions = open_registry(home.registry_url)
    yield sessions
    close(sessions)


@pytest.fixture
def records(sessions: sessionmaker[Session]) -> UploadRecords:
    return UploadRecords(sessions, lambda: datetime.now(UTC))


@pytest.fixture
def store(home: Home) -> DirectoryStore:
    return DirectoryStore(home.blobs)


@pytest.fixture
def receiver(home: Home, records: UploadRecords, store: DirectoryStore) -> Receiver:
    return Receiver(home.uploads, store, records, max_upload_bytes=1 << 20)
