"""The revision of a database compared with an environment, and Alembic's errors."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Optional

from alembic.runtime.migration import MigrationContext
from alembic.script import Script, ScriptDirectory
from alembic.script.revision import RevisionError
from alembic.util import CommandError
from sqlalchemy import Connection, inspect

from clarinet_cli.database.session import Database, as_database, get_connection
from clarinet_cli.exceptions import (
    FAILURE,
    NOT_FOUND,
    REFUSED,
    ClarinetError,
)
from clarinet_cli.models import TABLE_NAMES
from clarinet_cli.models.types import as_text
from clarinet_cli.results import MigrationStatus, RevisionRow
from clarinet_cli.services.schema.comparison import differences
from clarinet_cli.services.schema.environments import Environment, find_environment
from clarinet_cli.settings import Settings
from clarinet_cli.utils.logger import logger

FOREIGN = "another Alembic environment migrates this database"
HISTORY_HINT = "'clarinet migrate history' lists them"
# A revision or a prefix of one, with an optional branch and offset, or a bare offset.
REVISION = re.compile(r"(?:\w+@)?(?:\w+(?:[+-]\d+)?|[+-]\d+)")


async def migration_status(settings: Settings, *, compare: bool = False) -> MigrationStatus:
    """Compare the database's revision with the environment's.

    Args:
        settings: The database and the project directory.
        compare: Also compare the tables with the models, if there are any.
    """
    environment = find_environment(settings.project_dir)
    async with get_connection(settings) as connection:
        current = await connection.run_sync(current_heads)
        found: tuple[str, ...] = ()
        present = await connection.run_sync(present_tables) if compare else set[str]()
        if present:
            found = await connection.run_sync(differences)
    return replace(revision_status(environment, current), differences=found)


async def history(settings: Settings) -> list[RevisionRow]:
    """Return the environment's revisions, newest first, with the current one and head marked."""
    environment = find_environment(settings.project_dir)
    async with get_connection(settings) as connection:
        current = await connection.run_sync(current_heads)
    scripts = environment.scripts
    heads = scripts.get_heads()
    return [
        RevisionRow(
            revision=script.revision,
            down_revision=join_revisions(parent_revisions(script)),
            message=script.doc,
            current=script.revision in current,
            head=script.revision in heads,
        )
        for script in scripts.walk_revisions()
    ]


def present_tables(connection: Connection) -> set[str]:
    """Return which of the Clarinet tables exist."""
    return set(inspect(connection).get_table_names()) & set(TABLE_NAMES)


def current_heads(connection: Connection) -> tuple[str, ...]:
    """Return the revisions recorded in the database; empty if there are none."""
    heads = MigrationContext.configure(connection).get_current_heads()
    return tuple(map(as_text, heads))  # SQLite may store bytes or a number


def revision_status(environment: Environment, current: tuple[str, ...]) -> MigrationStatus:
    """Compare a database's current revisions with those of an environment."""
    scripts = environment.scripts
    known = {script.revision for script in scripts.walk_revisions()}
    unknown = tuple(revision for revision in current if revision not in known)
    heads = tuple(scripts.get_heads())
    pending = (
        () if unknown else tuple(step.revision for step in steps_up(scripts, current, "heads"))
    )
    return MigrationStatus(
        environment=str(environment.location),
        current=current,
        heads=heads,
        pending=pending,
        unknown=unknown,
        up_to_date=not unknown and not pending,
    )


def require_known_revisions(status: MigrationStatus) -> None:
    """Refuse to change a schema that another Alembic environment migrates.

    Raises:
        RefusedError: The database is at a revision that Clarinet's environment does not have.
    """
    if status.unknown:
        raise REFUSED.with_context(
            f"{FOREIGN} (revision {', '.join(status.unknown)}); its schema was not changed",
            hint="run the migrations of the server that owns it",
        )


def require_revision(text: str) -> None:
    """Refuse a text that cannot be a revision, which Alembic itself does not handle.

    Raises:
        NotFoundError: It is empty or contains characters that no revision has.
    """
    if not REVISION.fullmatch(text):
        raise NOT_FOUND.with_context(f"no revision {text!r}", hint=HISTORY_HINT)


def steps_up(scripts: ScriptDirectory, current: tuple[str, ...], target: str) -> list[Script]:
    """Return the revisions between the current ones and *target*, the next one first."""
    return list(reversed(list(scripts.iterate_revisions(target, current, implicit_base=True))))


def parent_revisions(script: Script) -> tuple[str, ...]:
    """Return the revisions that a revision follows."""
    down = script.down_revision
    return (down,) if isinstance(down, str) else tuple(down or ())


async def database_has_tables(source: Settings | Database) -> bool:
    """Return whether all of the Clarinet tables exist.

    Args:
        source: The settings, or a ``Database`` whose engine is used.
    """
    async with as_database(source) as database, database.connection() as connection:
        return await connection.run_sync(present_tables) == set(TABLE_NAMES)


def with_connection(
    environment: Environment, action: Callable[..., Any], *arguments: Any, **options: Any
) -> Callable[..., Any]:
    """Return a function that runs an Alembic command on a connection.

    The function raises ``RefusedError`` if the environment's files are not trusted.

    Args:
        environment: The environment to run it with.
        action: A function of ``alembic.command``.
        *arguments: Passed to *action* after the configuration.
        **options: Passed to *action*.
    """

    def run(connection: Connection) -> object:
        config = environment.config
        config.attributes["connection"] = connection
        return action(config, *arguments, **options)

    return run


@contextmanager
def alembic_errors(target: str) -> Iterator[None]:
    """Translate Alembic's errors inside the block.

    Args:
        target: The revision that the operator named.

    Raises:
        ClarinetError: The translated error.
    """
    try:
        yield
    except AssertionError as error:  # from Alembic, for a relative revision that does not exist
        logger.bind(reported=True).error(f"alembic: assertion failed for {target!r}")
        raise NOT_FOUND.with_context(f"no revision {target!r}", hint=HISTORY_HINT) from error
    except (CommandError, RevisionError) as error:
        logger.bind(reported=True).error(f"alembic: {error}")
        raise _translated(error, target) from error
    except ImportError as error:
        if not (error.name or "").startswith("clarinet_cli."):
            raise
        logger.bind(reported=True).error(f"alembic: {error}")
        raise FAILURE.with_context(
            "the project's env.py is from another version of clarinet-cli",
            hint="'clarinet migrate init --force' replaces it with the current one",
        ) from error


def _translated(error: Exception, target: str) -> ClarinetError:
    text = str(error)
    if "Multiple" in text or "more than one" in text.lower():
        return REFUSED.with_context(f"revision {target!r} is ambiguous: {text}")
    if (
        "locate" in text
        or "No such revision" in text
        or "No such branch" in text
        or "Relative revision" in text
        or "not a valid" in text
        or "not an ancestor" in text
        or "Walked too far" in text
    ):
        return NOT_FOUND.with_context(f"no revision {target!r}", hint=HISTORY_HINT)
    return FAILURE.with_context(text)


def join_revisions(revisions: Sequence[str]) -> Optional[str]:
    """Return revisions as one text, or None if there are none."""
    return ", ".join(revisions) or None
