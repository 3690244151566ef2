"""Read an archive of ``pg_dump``: its table of contents, and the rows of its tables."""

import asyncio
import re
from asyncio.subprocess import PIPE
from collections import Counter
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, Optional

from clarinet_cli.exceptions import CHECK_FAILED, FAILURE, ClarinetError
from clarinet_cli.models import VERSION_TABLE
from clarinet_cli.models.stored_tables import StoredTables
from clarinet_cli.services.backup.postgresql import (
    Program,
    package_hint,
    program_error,
    start_program,
)

CHUNK_BYTES = 1 << 20
CREATED = re.compile(r"^; Archive created at (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)", re.MULTILINE)
ENTRY = re.compile(r"^\d+; \d+ \d+ ([A-Z][A-Z ]*[A-Z]) (\S+) (.*) (\S+)$", re.MULTILINE)
NAME = rb'(?:(?:"([^"]+)"|(\w+))\.)?(?:"([^"]+)"|(\w+))'
CREATE = re.compile(rb"^CREATE (?:UNLOGGED |FOREIGN )?TABLE " + NAME + rb" \(")
INHERITS = re.compile(rb"^INHERITS \((.*)\)")
ATTACH = re.compile(rb"^ALTER TABLE (?:ONLY )?" + NAME + rb" ATTACH PARTITION " + NAME + rb" ")
COPY = re.compile(rb"^COPY " + NAME + rb" \((.*)\) FROM stdin;$")
END_OF_ROWS = rb"\."
NULL = r"\N"
ESCAPES = re.compile(r"\\(.)", re.DOTALL)
CONTROLS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
INHERITED = b"cannot drop inherited"
PARTITIONS_HINT = (
    "pg_restore cannot drop partitions: set another database_name, and --create restores into a "
    "new database"
)
NEWER = b"unsupported version"
HEADER_BYTES = 4096
# After the name of the database, each as 0, its length in four bytes, and its text: the
# versions of the server and of pg_dump.
VERSIONS = re.compile(rb"\0.\0{3}[^\0]+\0.\0{3}\d[^\0]*\0.\0{3}(\d+(?:\.\d+)?)", re.DOTALL)


TableKey = tuple[Optional[str], str]  # schema and table


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
        children: The partitions of a table, and those that inherit from it, likewise.
    """

    by_table: Counter[TableKey]
    children: dict[TableKey, set[TableKey]] = field(default_factory=dict)

    def of(self, tables: StoredTables, table: str) -> int:
        """Return the rows of a table and its parts, in any schema unless the tables name one.

        Args:
            tables: The tables of accounts, roles and sessions.
            table: The name of the Clarinet table.
        """
        return sum(self.by_table[part] for part in self.parts(tables, table))

    def parts(self, tables: StoredTables, table: str) -> set[TableKey]:
        """Return the tables with the rows of a table: itself, its partitions, and theirs.

        Args:
            tables: The tables of accounts, roles and sessions.
            table: The name of the Clarinet table.
        """
        found: set[TableKey] = set()
        following = [
            (schema, name)
            for schema, name in {*self.by_table, *self.children}
            if name == tables.names[table] and tables.schema in (None, schema)
        ]
        while following:
            part = following.pop()
            if part not in found:
                found.add(part)
                following += self.children.get(part, ())
        return found


@dataclass(frozen=True, slots=True)
class Contents:
    """The table of contents of an archive.

    Attributes:
        made_at: When it was created.
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
        own = (*tables.names.values(), VERSION_TABLE)
        return sum(kind == "TABLE" and name not in own for kind, name in self.entries)

    def without_sessions(self, tables: StoredTables, parts: Collection[TableKey]) -> str:
        """Return the listing without the rows of sessions, as ``--use-list`` takes it.

        Args:
            tables: The tables of accounts, roles and sessions.
            parts: The tables that the rows are in.
        """

        def is_of_sessions(line: str) -> bool:
            match = ENTRY.match(line)
            if match is None or match[1] != "TABLE DATA":
                return False
            is_table = match[3] == tables.sessions and tables.schema in (None, match[2])
            return is_table or (match[2], match[3]) in parts

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
    program: Program,
    path: Path,
    *,
    only: Collection[str] = (),
    children: Optional[dict[TableKey, set[TableKey]]] = None,
) -> AsyncIterator[Rows]:
    """Read an archive to its end, and yield the rows of all tables in it.

    Args:
        program: A ``pg_restore``.
        path: The archive.
        only: Read the rows of the tables of these names, and nothing else.
        children: Gets the partitions and inheriting tables of each table, unless *only* is given.

    Raises:
        CheckFailedError: The archive is damaged.
        ClarinetError: A newer ``pg_dump`` wrote it.
    """
    wanted = ["--data-only", *(f"--table={name}" for name in only)] if only else []
    arguments = [*wanted, "--file=-", str(path)]
    parser = _Parser({} if children is None else children)
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
    counts: Counter[TableKey] = Counter()
    children: dict[TableKey, set[TableKey]] = {}
    revisions: list[str] = []
    async for rows in read_rows(program, path, children=children):
        counts[rows.schema, rows.table] += len(rows.lines)
        if rows.table == VERSION_TABLE:
            revisions += [str(value) for line in rows.lines for value in parse_copy_row(line)]
    return RowCounts(counts, children), ", ".join(sorted(revisions)) or None


def parse_copy_row(line: bytes) -> list[Optional[str]]:
    """Return the values of a row as PostgreSQL's COPY writes it, as text."""

    def unescape(escaped: re.Match[str]) -> str:
        return CONTROLS.get(escaped[1], escaped[1])

    texts = line.decode("utf-8", "replace").split("\t")
    return [None if text == NULL else ESCAPES.sub(unescape, text) for text in texts]


@dataclass(slots=True)
class _Parser:
    """Finds rows in the script of an archive, and the partitions of its tables."""

    children: dict[TableKey, set[TableKey]]
    _rest: bytes = b""
    _schema: Optional[str] = None
    _table: Optional[str] = None
    _columns: list[str] = field(default_factory=list)
    _created: TableKey = (None, "")

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
            self._schema, self._table = _table_key(match)
            self._columns = [name.strip('"') for name in match[5].decode().split(", ")]
            found.append(Rows(self._schema, self._table, self._columns, []))
        elif match := CREATE.match(line):
            self._created = _table_key(match)
        elif match := INHERITS.match(line):
            for parent in re.finditer(NAME, match[1]):
                self.children.setdefault(_table_key(parent), set()).add(self._created)
        elif match := ATTACH.match(line):
            child = _decoded(match[5] or match[6], match[7] or match[8])
            self.children.setdefault(_table_key(match), set()).add(child)


def _table_key(match: re.Match[bytes]) -> TableKey:
    return _decoded(match[1] or match[2], match[3] or match[4])


def _decoded(schema: Optional[bytes], table: bytes) -> TableKey:
    return schema.decode() if schema else None, table.decode()


def _damaged(program: Program, code: int, stderr: bytes, path: Path) -> ClarinetError:
    error = restore_error(program, code, stderr, str(path), path)
    if NEWER in stderr:
        return error
    return CHECK_FAILED.with_context(f"{path.name} is truncated or damaged: {error.message}")


def restore_error(
    program: Program, code: int, stderr: bytes, target: str, path: Path
) -> ClarinetError:
    """Return the error of a ``pg_restore``: see ``program_error``.

    Args:
        program: The ``pg_restore``.
        code: Its exit code.
        stderr: Its standard error.
        target: The redacted URL of the database, or a file.
        path: The archive; when a newer ``pg_dump`` made it, both versions are named.
    """
    error = program_error(program, code, stderr, target)
    if INHERITED in stderr:
        return error.with_context(error.message, hint=PARTITIONS_HINT)
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
