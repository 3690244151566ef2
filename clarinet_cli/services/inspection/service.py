"""``db inspect``: reading the catalogue, and writing the mapping into a settings file."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from secrets import token_hex
from typing import Any, Optional

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import Table

from clarinet_cli.database.mapped_check import INSPECT_HINT
from clarinet_cli.exceptions import (
    CONFIGURATION,
    CONFLICT,
    FAILURE,
    REFUSED,
    ConfigurationError,
)
from clarinet_cli.filesystem.ownership import describe_owner, open_file, os_error_reason
from clarinet_cli.filesystem.trust import require_settings_file
from clarinet_cli.mapping import parse_mapping
from clarinet_cli.repositories.catalogue import (
    CatalogueTable,
    read_any_id,
    read_catalogue,
    table_named,
)
from clarinet_cli.results import Inspection
from clarinet_cli.services.inspection import shapes
from clarinet_cli.services.inspection.builder import propose_mapping
from clarinet_cli.services.inspection.proposal import Proposal
from clarinet_cli.services.unit_of_work import UnitOfWork, require_fitting_tables
from clarinet_cli.settings import Settings
from clarinet_cli.utils.logger import logger

OWN = 'mapping = "clarinet"'
ANSWERS_HINT = "in scripts set CLARINET_SESSION_STRATEGY and CLARINET_SESSION_LIFETIME_SECONDS"
TABLE_HINT = "write the table [mapping] into settings.toml; the documentation lists its keys"
COMPLETE_HINT = (
    "complete the [mapping] that 'clarinet db inspect' prints, and write it into settings.toml; "
    "the documentation lists its keys"
)
KEY = "mapping"
NEW_MODE = 0o644


async def inspect_database(work: UnitOfWork) -> Proposal:
    """Return the mapping that the database's catalogue suggests.

    No row is read, but for one id on SQLite where its type does not show how it is stored.

    Args:
        work: A unit of work; ``session_strategy`` and ``session_lifetime_seconds`` of its
            settings are what the catalogue does not show.
    """
    tables = await read_catalogue(work.session)
    mapping = work.settings.table_mapping
    given = work.settings if mapping is None else mapping
    proposal = propose_mapping(tables)
    if work.session.get_bind().dialect.name == "sqlite":
        proposal = await _with_stored_ids(work, tables, proposal)
    return proposal.with_answers(given.session_strategy, given.session_lifetime_seconds)


async def _with_stored_ids(
    work: UnitOfWork, tables: Sequence[CatalogueTable], proposal: Proposal
) -> Proposal:
    """Return a proposal for SQLite, where the types of UUIDs have several forms."""
    values = proposal.values
    if values.get("id_form") == "uuid":
        stored = await read_any_id(work.session, values["users"], values["user_columns"]["id"])
        proposal = proposal.with_stored_id(stored)
    sessions = table_named(tables, None, values.get("tokens", ""))
    if sessions is None:
        return proposal
    owner = values["token_columns"]["user_id"]
    form = shapes.id_form(sessions.columns[owner])
    if form == "uuid":
        form = shapes.stored_form(await read_any_id(work.session, sessions.name, owner))
    return proposal.with_owner_form(form)


def describe(proposal: Proposal, result: str = "proposed") -> Inspection:
    """Return a proposal as it is shown."""
    values = proposal.values
    users, tokens = values.get("users"), values.get("tokens")
    prefix = f"{values['schema']}." if "schema" in values else ""
    return Inspection(
        result,
        users and f"{prefix}{users}",
        f"{prefix}{tokens}" if tokens else None,
        values.get("id_form"),
        values.get("roles", "none"),
        proposal.session_strategy,
        proposal.session_lifetime_seconds,
        proposal.found,
        proposal.uncertain,
        settings=mapping_text(proposal.keys) if values else OWN if proposal.own else None,
    )


async def write_proposal(settings: Settings, proposal: Proposal, *, force: bool) -> Inspection:
    """Put a mapping that fits the tables into the project's ``settings.toml``.

    Args:
        settings: The settings of the project.
        proposal: The mapping.
        force: Replace another mapping, also in a file of another user.

    Raises:
        RefusedError: A required value is unknown, or rows contradict the mapping; the message names
            it. Or the file belongs to another user.
        ConflictError: The file has another mapping.
        ClarinetError: The file cannot be written.
    """
    if proposal.unknown:
        is_asked = proposal.lacks_strategy or proposal.lacks_lifetime
        other_hint = COMPLETE_HINT if proposal.values else TABLE_HINT
        raise REFUSED.with_context(
            f"nothing was written, since values are unknown: {'; '.join(proposal.unknown)}",
            hint=ANSWERS_HINT if is_asked else other_hint,
        )
    if not proposal.own:
        await _require_fitting_rows(settings, proposal)
    path = settings.project_dir / "settings.toml"
    changed = write_mapping(path, None if proposal.own else proposal.keys, force=force)
    described = describe(proposal, "written" if changed else "unchanged")
    return replace(described, path=str(path))


async def _require_fitting_rows(settings: Settings, proposal: Proposal) -> None:
    """Refuse a mapping that the rows contradict, so that the next command would refuse it."""
    proposed = settings.model_copy(update={"mapping": parse_mapping(proposal.keys)})
    try:
        await require_fitting_tables(proposed)
    except ConfigurationError as error:
        logger.debug(error.message)
        raise REFUSED.with_context(
            f"nothing was written, since rows contradict it: {error.message}",
            hint=TABLE_HINT if error.hint == INSPECT_HINT else error.hint,
        ) from error


def mapping_text(values: dict[str, Any]) -> str:
    """Return the table as text, without a newline at its end.

    Args:
        values: Its keys.
    """
    document = tomlkit.document()
    document.append(KEY, _table(values))
    return tomlkit.dumps(document).rstrip("\n")


def write_mapping(path: Path, values: Optional[dict[str, Any]], *, force: bool) -> bool:
    """Write the table into a settings file, keeping other keys; return whether it changed.

    Args:
        path: The file; a missing one is created.
        values: The keys of the table; None: the default, so that there is no table.
        force: Replace another table, also in a file of another user.

    Raises:
        ConfigurationError: The file is not valid TOML.
        ConflictError: It has another mapping, and *force* is off.
        RefusedError: It belongs to another user, and *force* is off, or it is not trusted.
        ClarinetError: It cannot be written.
    """
    require_settings_file(path)
    try:
        before = path.read_text("utf-8") if path.exists() else ""
        document = tomlkit.parse(before)
    except (TOMLKitError, UnicodeDecodeError) as error:
        raise CONFIGURATION.with_context(f"{path}: not valid TOML: {error}") from error
    except OSError as error:
        raise FAILURE.with_context(f"{path}: {os_error_reason(error, path)}") from error
    if document.get(KEY) == values:
        return False
    if not force:
        if path.exists() and path.stat().st_uid != os.geteuid():
            raise REFUSED.with_context(
                f"{path} belongs to another user: {describe_owner(path)}", hint="--force writes it"
            )
        if KEY in document:
            raise CONFLICT.with_context(f"{path} has another mapping", hint="--force replaces it")
    document.pop(KEY, None)
    if values is not None:
        document.append(KEY, _table(values))
    _replace(path, tomlkit.dumps(document))
    return True


def _table(values: dict[str, Any]) -> Table:
    """Return a table with its plain keys before those that are tables."""
    table = tomlkit.table()
    for key, value in sorted(values.items(), key=lambda item: isinstance(item[1], dict)):
        table.append(key, _table(value) if isinstance(value, dict) else value)
    return table


def _replace(path: Path, text: str) -> None:
    """Replace a file atomically."""
    # A fixed name would be taken after a run that was killed.
    new = path.with_name(f".{path.name}.{token_hex(8)}.new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with open(open_file(new, flags, like=path, mode=NEW_MODE), "w", encoding="utf-8") as file:  # noqa: PTH123 - a descriptor
            if path.exists():
                os.fchmod(file.fileno(), path.stat().st_mode & 0o777)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise FAILURE.with_context(f"{path}: {os_error_reason(error, path)}") from error
