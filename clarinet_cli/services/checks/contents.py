"""``db check``: check the whole contents of the database.

It does not block writers. In WAL mode and on PostgreSQL readers never do. With a rollback journal a
commit waits for readers: there the rows are read in short transactions, and the checks that SQLite
makes in one statement run on a copy, unless the file is small.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from dataclasses import replace
from shlex import quote
from typing import Final, Optional

from sqlalchemy.ext.asyncio import AsyncSession

from clarinet_cli.database.commits import transaction
from clarinet_cli.database.engine import Access
from clarinet_cli.database.session import open_pinned_session
from clarinet_cli.database.url import database_url, require_sqlite_file, sqlite_file
from clarinet_cli.exceptions import ClarinetError, RefusedError
from clarinet_cli.repositories.postgresql import CatalogueRepository
from clarinet_cli.repositories.row_flaws import ROWS_AT_ONCE, FlawedRows, RowFlaw, RowFlawRepository
from clarinet_cli.repositories.server import ServerRepository
from clarinet_cli.repositories.users import UserRepository
from clarinet_cli.results import Finding
from clarinet_cli.services.checks.rows import (
    duplicate_address_findings,
    flaw_findings,
    merge_flaws,
)
from clarinet_cli.services.checks.sqlite_file import (
    KEYS_OK,
    RESTORE_HINT,
    RowProgress,
    check_sqlite_file,
)
from clarinet_cli.services.mapped import stored_tables_of
from clarinet_cli.services.schema import check_migrations
from clarinet_cli.services.unit_of_work import require_fitting_tables, unit_of_work
from clarinet_cli.settings import Settings
from clarinet_cli.textfmt import pluralize
from clarinet_cli.types import ProgressCallback
from clarinet_cli.utils.logger import logger

STATEMENT_SECONDS: Final = 6 * 3600.0  # PostgreSQL reads a table in one statement
BEFORE_ALL_ROWS: Final = -(2**63)
AMCHECK_HINT = "'pg_amcheck' compares indexes with tables, if the extension amcheck is installed"


async def check_database(
    settings: Settings, *, progress: ProgressCallback = lambda done, total: None
) -> list[Finding]:
    """Return what is wrong with a database, and a line for each check that found nothing.

    Args:
        settings: The settings, which name the database.
        progress: Called with the number of rows that are checked, and of all.

    Raises:
        ClarinetError: The database cannot be read at all.
    """
    url = database_url(settings)
    require_sqlite_file(url, settings.project_dir)
    on_sqlite = sqlite_file(url) is not None
    if not on_sqlite:
        async with open_pinned_session(settings) as session, transaction(session, Access.READ):
            await ServerRepository(session).ping()
    await require_fitting_tables(settings)
    parts = RowProgress(progress)
    check_integrity = check_sqlite_file if on_sqlite else check_server
    integrity, schema, rows = await asyncio.gather(
        as_findings("integrity", check_integrity(settings, parts)),
        as_findings("schema", check_schema(settings)),
        as_findings("rows", check_rows(settings, parts)),
    )
    return [*integrity, *schema, *rows]


async def as_findings(check: str, running: Awaitable[list[Finding]]) -> list[Finding]:
    """Return the findings of a check, or one that says why it could not be made.

    Args:
        check: Its name.
        running: The check.
    """
    try:
        return await running
    except ClarinetError as error:
        logger.debug(f"{check}: {error.message}")
        return [Finding(check, "error", f"not checked: {error.message}", error.hint)]


async def check_server(settings: Settings, _: RowProgress) -> list[Finding]:
    """Return the damaged pages, invalid indexes and unvalidated keys that PostgreSQL reports.

    Args:
        settings: The settings, which name the database.
    """
    async with open_pinned_session(settings) as session, transaction(session, Access.READ):
        catalogue = CatalogueRepository(session)
        failures = await catalogue.checksum_failures()
        indexes = await catalogue.invalid_indexes()
        keys = await catalogue.unchecked_keys()
    found = [
        Finding(
            "integrity",
            "error",
            f"index {name} is invalid: queries scan whole tables, and duplicates are possible",
            f"clarinet db shell -c {quote(f'REINDEX INDEX {name}')}",
        )
        for name in indexes
    ]
    if failures:
        text = f"{pluralize(failures, 'checksum failure')} since the statistics were reset"
        found.append(Finding("integrity", "error", text, RESTORE_HINT))
    if not found:
        text = "no known checksum failure or invalid index; the contents of indexes are not checked"
        found.append(Finding("integrity", "ok", text, AMCHECK_HINT))
    unchecked = [
        Finding(
            "foreign-keys",
            "warning",
            f"foreign key {name} of {table} is not validated: older rows may violate it",
            f"clarinet db shell -c {quote(f'ALTER TABLE {table} VALIDATE CONSTRAINT {name}')}",
        )
        for table, name in keys
    ]
    return [*found, *(unchecked or [Finding("foreign-keys", "ok", KEYS_OK)])]


async def check_schema(settings: Settings) -> list[Finding]:
    """Return how the tables differ from the models; additions of the server are accepted.

    Args:
        settings: The database and the project directory.
    """
    if not settings.capabilities.own_schema:
        found = [Finding("schema", "ok", "tables, columns and types fit the mapping")]
        async with unit_of_work(settings) as work:
            try:
                await UserRepository(work.session).require_creatable()
            except RefusedError as error:
                logger.debug(error.message)
                text = f"no account can be created: {error.message}"
                found.append(Finding("schema", "warning", text, error.hint))
        return found
    models = [item for item in await check_migrations(settings) if item.check == "models"]
    async with open_pinned_session(settings) as session, transaction(session, Access.READ):
        required = await RowFlawRepository(session).required_additions()
    found = [replace(item, check="schema") for item in models if item.status == "error"]
    found += [
        Finding(
            "schema",
            "error",
            f"column {name} must have a value and has no default: no row can be added",
            "add a default in the migrations of the program that added it",
        )
        for name in required
    ]
    if found:
        return found
    additions = [item.detail.partition(",")[0] for item in models if item.status == "warning"]
    text = "tables, columns, keys and indexes match the models"
    more = f"; additions: {'; '.join(additions)}" if additions else ""
    return [Finding("schema", "ok", f"{text}{more}")]


async def check_rows(settings: Settings, progress: RowProgress) -> list[Finding]:
    """Return the rows with invalid values or dangling references.

    Args:
        settings: The settings, which name the database.
        progress: Gets the rows that were read.
    """
    found: list[FlawedRows] = []
    done, stored = 0, stored_tables_of(settings)
    async with open_pinned_session(settings, statement_timeout=STATEMENT_SECONDS) as session:
        repository = RowFlawRepository(session)
        async with transaction(session, Access.READ):
            flaws = await repository.flaws()
            counts = await ServerRepository(session).row_counts()
        progress.add("rows", sum(counts.values()))
        for table, of_table in flaws.items():
            before = done
            async for part, rows in _parts(session, table, of_table):
                found += part
                done = min(done + rows, before + counts[stored.fullname(table)])
                progress.update("rows", done)
            done = before + counts[stored.fullname(table)]
        async with transaction(session, Access.READ):
            same = await repository.same_addresses() if "user" in flaws else []
        form = repository.id_form
    progress.update("rows", done)
    kinds = {flaw.kind for of_table in flaws.values() for flaw in of_table}
    return [*flaw_findings(merge_flaws(found), kinds, form), *duplicate_address_findings(same)]


async def _parts(
    session: AsyncSession, table: str, flaws: Sequence[RowFlaw]
) -> AsyncIterator[tuple[list[FlawedRows], int]]:
    """Yield the flaws and the maximum number of rows of each part, read in one transaction."""
    repository = RowFlawRepository(session)
    async with transaction(session, Access.READ):
        in_parts = await repository.has_rowids(table)
        found = [] if in_parts else await repository.count(table, flaws)
    if not in_parts:
        yield found, 0
        return
    after: Optional[int] = BEFORE_ALL_ROWS
    while after is not None:
        async with transaction(session, Access.READ):
            end = await repository.end_of_part(table, after)
            found = [] if end is None else await repository.count(table, flaws, (after, end))
        yield found, ROWS_AT_ONCE
        after = end
