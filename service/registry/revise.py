"""`python -m service.registry.revise "what changes"`: writes the next migration from what tables.py has more than HEAD.

Read what it wrote before committing it, and set `service.registry.database.HEAD` to the new number.
"""

import sys
import tempfile
from pathlib import Path

from alembic import command
from sqlalchemy import create_engine

from service.registry.database import HEAD, alembic_config, migrate


def main() -> None:
    """Compares an empty registry at HEAD with the tables and writes the difference below migrations/versions."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as scratch:
        engine = create_engine(f"sqlite:///{Path(scratch) / 'empty.sqlite3'}")
        with engine.begin() as connection:
            migrate(connection)
            config = alembic_config()
            config.attributes["connection"] = connection
            command.revision(config, message=sys.argv[1], autogenerate=True, rev_id=f"{int(HEAD) + 1:04d}")
        engine.dispose()


if __name__ == "__main__":
    main()
