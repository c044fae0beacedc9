"""Rows of uploads and of the blobs that they become."""

from collections.abc import Callable, Iterable, Set
from datetime import datetime

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session, sessionmaker

from service.errors import NotFound
from service.registry.database import reading
from service.registry.tables import Blob, Checkpoint, Dataset, Upload, Variant


class UploadRecords:
    """Short transactions on uploads and blobs. Thread-safe; what is returned is detached."""

    def __init__(self, sessions: sessionmaker[Session], clock: Callable[[], datetime]) -> None:
        self._sessions = sessions
        self._clock = clock

    def add(self, tenant: str, upload_id: str, sha256: str, size_bytes: int, *, complete: bool = False) -> Upload:
        """Announces a file. `complete` says that the tenant's blob is there already."""
        row = Upload(
            id=upload_id,
            tenant=tenant,
            sha256=sha256,
            size_bytes=size_bytes,
            complete=complete,
            created_at=self._clock(),
        )
        with self._sessions.begin() as session:
            session.add(row)
        return row

    def get(self, tenant: str, upload_id: str) -> Upload:
        """Raises NotFound for an id that this tenant does not have."""
        with reading(self._sessions) as session:
            row = session.scalar(select(Upload).where(Upload.tenant == tenant, Upload.id == upload_id))
        if row is None:
            raise NotFound("no such upload: it was never announced, or it has expired; announce the file again")
        return row

    def unfinished(self, tenant: str, sha256: str, size_bytes: int) -> list[Upload]:
        """The tenant's unfinished uploads of that very file, the newest first."""
        wanted = select(Upload).where(
            Upload.tenant == tenant, Upload.sha256 == sha256, Upload.size_bytes == size_bytes, ~Upload.complete
        )
        with reading(self._sessions) as session:
            return list(session.scalars(wanted.order_by(Upload.created_at.desc(), Upload.id)))

    def count_unfinished(self, tenant: str) -> int:
        """How many files the tenant has announced and not sent."""
        wanted = select(func.count()).select_from(Upload).where(Upload.tenant == tenant, ~Upload.complete)
        with reading(self._sessions) as session:
            return session.scalar(wanted) or 0

    def all(self) -> list[Upload]:
        """Uploads of every tenant, finished ones too, for the one who clears up."""
        with reading(self._sessions) as session:
            return list(session.scalars(select(Upload)))

    def finish(self, tenant: str, upload_id: str) -> Upload:
        """Commits that the upload's blob is stored. Harmless when repeated. Raises NotFound when it has expired."""
        with self._sessions.begin() as session:
            row = session.scalar(
                select(Upload).where(Upload.tenant == tenant, Upload.id == upload_id).with_for_update()
            )
            if row is None:
                raise NotFound("the upload expired while it was being finished; announce the file again")
            row.complete = True
            if session.get(Blob, (tenant, row.sha256)) is None:
                session.add(Blob(tenant=tenant, sha256=row.sha256, size_bytes=row.size_bytes, created_at=self._clock()))
        return row

    def forget(self, upload_id: str) -> None:
        """Removes an upload's row; its blob, if it has become one, stays."""
        with self._sessions.begin() as session:
            session.execute(delete(Upload).where(Upload.id == upload_id))

    def blobs(self, tenant: str, digests: Iterable[str]) -> dict[str, Blob]:
        """Which of these blobs the tenant has. Another tenant's blobs are as good as absent."""
        wanted = select(Blob).where(Blob.tenant == tenant, Blob.sha256.in_(list(digests)))
        with reading(self._sessions) as session:
            return {row.sha256: row for row in session.scalars(wanted)}

    def collect(self, choose: Callable[[Set[str]], Iterable[str]], remove: Callable[[str], None]) -> list[str]:
        """Removes blobs inside one writing transaction, so that nobody can begin to refer to them meanwhile.

        `choose` gets every digest that any row refers to, and says what goes; `remove` deletes one file.
        """
        with self._sessions.begin() as session:
            chosen = list(choose(_referenced(session)))
            for sha256 in chosen:
                session.execute(delete(Blob).where(Blob.sha256 == sha256))
                remove(sha256)
        return chosen


def _referenced(session: Session) -> set[str]:
    found = set(session.scalars(select(Upload.sha256)))
    for files in (*session.scalars(select(Checkpoint.files)), *session.scalars(select(Variant.files))):
        found.update(file["sha256"] for file in files)
    for splits in session.scalars(select(Dataset.files)):
        found.update(file["sha256"] for file in splits.values())
    return found
