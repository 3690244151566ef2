"""What is in an archive of ``pg_dump``: its table of contents, and the rows of its tables."""

import asyncio
import re
from asyncio.subprocess import PIPE
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, Optional

from clarinet_cli.exceptions import CHECK_FAILED, FAILURE, ClarinetError
from clarinet_cli.models import TABLE_NAMES, VERSION_TABLE
from clarinet_cli.models.mapped import StoredTables
from clarinet_cli.services.backup.postgresql import (
    Program,
    package_hint,
    program_error,
    start_program,
)

CHUNK_BYTES = 1 << 20
CREATED = re.compile(r"^; Archive created at (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)", re.MULTILINE)
ENTRY = re.compile(r"^\d+; \d+ \d+ ([A-Z][A-Z ]*[A-Z]) (\S+) (.*) (\S+)$", re.MULTILINE)
COPY = re.compile(rb'^COPY (?:(?:"([^"]+)"|(\w+))\.)?(?:"([^"]+)"|(\w+)) \((.*)\) FROM stdin;$')
END_OF_ROWS = rb"\."
NULL = r"\N"
ESCAPES = re.compile(r"\\(.)", re.DOTALL)
CONTROLS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
TABLE_DATA = "TABLE DATA"
NEWER = b"unsupported version"
HEADER_BYTES = 4096
# Behind the name of the database, each as 0, its length in four bytes, and its text: the
# versions of the server and of pg_dump.
VERSIONS = re.compile(rb"\0.\0{3}[^\0]+\0.\0{3}\d[^\0]*\0.\0{3}(\d+(?:\.\d+)?)", re.DOTALL)


class Rows(NamedTuple):
    """Some rows of a table, as the archive has them."""

    schema: Optional[str]
    table: str
    columns: list[str]
    lines: list[bytes]


@dataclass(frozen=True, slots=True)
class RowCounts:
    """The numbers of rows in an archive.

    Attributes:
        by_table: By schema and table.
    """

    by_table: Counter[tuple[Optional[str], str]]

    def of(self, tables: StoredTables, table: str) -> int:
        """Return the rows of a table, in any schema unless the tables name one.

        Args:
            tables: The tables of accounts, roles and sessions.
            table: The name of the Clarinet table.
        """
        return sum(
            count
            for (schema, name), count in self.by_table.items()
            if name == tables.names[table] and tables.schema in (None, schema)
        )


@dataclass(frozen=True, slots=True)
class Contents:
    """The table of contents of an archive.

    Attributes:
        made_at: When it was made.
        entries: Kind and name of each entry.
        owners: The roles that own them.
        listing: All of it, as ``pg_restore`` wrote it.
    """

    made_at: datetime
    entries: tuple[tuple[str, str], ...]
    owners: frozenset[str]
    listing: str = field(repr=False)

    def other_tables(self, tables: StoredTables) -> int:
        """Return how many tables are neither of accounts, roles nor sessions."""
        ours = (*tables.names.values(), VERSION_TABLE)
        return sum(kind == "TABLE" and name not in ours for kind, name in self.entries)

    def without_sessions(self, tables: StoredTables) -> str:
        """Return the listing without the rows of sessions, as ``--use-list`` takes it."""

        def is_of_sessions(line: str) -> bool:
            match = ENTRY.match(line)
            if match is None or match[1] != TABLE_DATA or match[3] != tables.sessions:
                return False
            return tables.schema in (None, match[2])

        lines = self.listing.splitlines(keepends=True)
        return "".join(line for line in lines if not is_of_sessions(line))


async def read_contents(program: Program, path: Path) -> Contents:
    """Read the table of contents of an archive.

    Args:
        program: A ``pg_restore``.
        path: The archive.

    Raises:
        CheckFailedError: The archive is damaged.
        ClarinetError: A newer ``pg_dump`` wrote it.
    """
    async with start_program(program, ["--list", str(path)], {"TZ": "UTC"}, stdout=PIPE) as process:
        stdout, stderr = await process.communicate()
    if process.returncode:
        raise _damaged(program, process.returncode, stderr, path)
    text = stdout.decode("utf-8", "replace")
    made = CREATED.search(text)
    found = ENTRY.findall(text)
    return Contents(
        made_at=datetime.fromisoformat(made[1]).replace(tzinfo=UTC) if made else _modified_at(path),
        entries=tuple((kind, name) for kind, _, name, _ in found),
        owners=frozenset(owner for *_, owner in found),
        listing=text,
    )


async def read_rows(
    program: Program, path: Path, *, clarinet_only: bool = False
) -> AsyncIterator[Rows]:
    """Read an archive to its end, and yield the rows of all tables in it.

    Args:
        program: A ``pg_restore``.
        path: The archive.
        clarinet_only: Read the four Clarinet tables and nothing else.

    Raises:
        CheckFailedError: The archive is damaged.
        ClarinetError: A newer ``pg_dump`` wrote it.
    """
    wanted = ["--data-only", *(f"--table={name}" for name in TABLE_NAMES)] if clarinet_only else []
    arguments = [*wanted, "--file=-", str(path)]
    parser = _Parser()
    async with start_program(program, arguments, {}, stdout=PIPE) as process:
        assert process.stdout is not None  # noqa: S101 - for the type checker
        assert process.stderr is not None  # noqa: S101 - for the type checker
        said = asyncio.ensure_future(process.stderr.read())
        while chunk := await process.stdout.read(CHUNK_BYTES):
            for rows in parser.feed(chunk):
                yield rows
        code, stderr = await process.wait(), await said
    if code:
        raise _damaged(program, code, stderr, path)


async def count_rows(program: Program, path: Path) -> tuple["RowCounts", Optional[str]]:
    """Read an archive to its end, count the rows of each table, and find the revision.

    Raises:
        CheckFailedError: The archive is damaged.
        ClarinetError: A newer ``pg_dump`` wrote it.
    """
    counts: Counter[tuple[Optional[str], str]] = Counter()
    revisions: list[str] = []
    async for rows in read_rows(program, path):
        counts[rows.schema, rows.table] += len(rows.lines)
        if rows.table == VERSION_TABLE:
            revisions += [str(value) for line in rows.lines for value in parse_copy_row(line)]
    return RowCounts(counts), ", ".join(sorted(revisions)) or None


def parse_copy_row(line: bytes) -> list[Optional[str]]:
    """Return the values of a row as PostgreSQL's COPY writes it, as text."""
    texts = line.decode("utf-8", "replace").split("\t")
    return [None if text == NULL else ESCAPES.sub(_unescape, text) for text in texts]


def _unescape(escaped: re.Match[str]) -> str:
    return CONTROLS.get(escaped[1], escaped[1])


@dataclass(slots=True)
class _Parser:
    """Finds rows in the script of an archive."""

    _rest: bytes = b""
    _schema: Optional[str] = None
    _table: Optional[str] = None
    _columns: list[str] = field(default_factory=list)

    def feed(self, chunk: bytes) -> list[Rows]:
        """Return the rows that end in a piece of the script."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        found: list[Rows] = []
        for line in lines:
            if self._table is None:
                self._begin(line, found)
            elif line == END_OF_ROWS:
                self._table = None
            else:
                if not found or found[-1].table != self._table:
                    found.append(Rows(self._schema, self._table, self._columns, []))
                found[-1].lines.append(line)
        return found

    def _begin(self, line: bytes, found: list[Rows]) -> None:
        if match := COPY.match(line):
            schema, table = (match[1] or match[2]), (match[3] or match[4])
            self._schema = schema.decode() if schema else None
            self._table = table.decode()
            self._columns = [name.strip('"') for name in match[5].decode().split(", ")]
            found.append(Rows(self._schema, self._table, self._columns, []))


def _damaged(program: Program, code: int, stderr: bytes, path: Path) -> ClarinetError:
    error = restore_error(program, code, stderr, str(path), path)
    if NEWER in stderr:
        return error
    return CHECK_FAILED.with_context(f"{path.name} can't be read whole: {error.message}")


def restore_error(
    program: Program, code: int, stderr: bytes, target: str, path: Path
) -> ClarinetError:
    """Return the error of a ``pg_restore``: see ``program_error``.

    Args:
        program: See there.
        code: See there.
        stderr: See there.
        target: See there.
        path: The archive; when a newer ``pg_dump`` made it, both versions are named.
    """
    error = program_error(program, code, stderr, target)
    if NEWER not in stderr:
        return error
    with path.open("rb") as file:
        found = VERSIONS.search(file.read(HEADER_BYTES))
    version = found[1].decode() if found else ""
    return FAILURE.with_context(
        f"{program.name} ({program.path}) is older than pg_dump {version or 'of a newer version'}, "
        f"which wrote {path}",
        hint=package_hint(int(version.partition(".")[0])) if version else None,
    )


def _modified_at(path: Path) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)
