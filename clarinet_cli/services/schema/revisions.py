"""The revisions of an environment: listing them, writing a new one."""

from pathlib import Path

from alembic import command
from alembic.script import Script

from clarinet_cli.database.session import get_connection
from clarinet_cli.exceptions import CHECK_FAILED, INVALID, REFUSED
from clarinet_cli.filesystem.ownership import give_to_directory_owner
from clarinet_cli.results import FileChange, RevisionRow
from clarinet_cli.services.schema.comparison import differences
from clarinet_cli.services.schema.environments import (
    find_environment,
    foreign_environment,
    refused_foreign,
)
from clarinet_cli.services.schema.state import (
    alembic_errors,
    current_heads,
    joined,
    on,
    parents_of,
    require_ours,
    status_of,
)
from clarinet_cli.settings import Settings

CREATE_HINT = "'clarinet migrate init' puts one into the project directory"


async def history(settings: Settings) -> list[RevisionRow]:
    """Return the environment's revisions, newest first, with marks for current and head."""
    environment = find_environment(settings.project_dir)
    async with get_connection(settings) as connection:
        current = await connection.run_sync(current_heads)
    scripts = environment.scripts
    heads = scripts.get_heads()
    return [
        RevisionRow(
            revision=script.revision,
            down_revision=joined(parents_of(script)),
            message=script.doc,
            current=script.revision in current,
            head=script.revision in heads,
        )
        for script in scripts.walk_revisions()
    ]


async def create_revision(
    settings: Settings, message: str, *, empty: bool = False, dry_run: bool = False
) -> list[FileChange]:
    """Write a new revision into the project's environment.

    Args:
        settings: Which database to compare the models with, and which project directory.
        message: What the revision does; its slug becomes part of the file's name.
        empty: Write one without operations instead of comparing.
        dry_run: Write nothing, report what would be written.

    Returns:
        The file, or nothing when there is nothing to do.

    Raises:
        InvalidInputError: The message can't stand in a Python file.
        RefusedError: The project has no environment of its own.
        CheckFailedError: The database is not at head.
    """
    if not message.strip() or not message.isprintable() or set(message) & set('"\\'):
        raise INVALID.with_context(
            "--message: one line of text without quotation marks and backslashes"
        )
    environment = find_environment(settings.project_dir)
    if environment.packaged and (foreign := foreign_environment(settings.project_dir)):
        raise refused_foreign(foreign)
    if environment.packaged:
        raise REFUSED.with_context(
            "this project has no migration environment of its own", hint=CREATE_HINT
        )
    directory = environment.location / "versions"
    if empty and dry_run:
        return [FileChange(str(directory), "would_create")]
    if empty:
        config = environment.config
        with alembic_errors(message):
            return _files(command.revision(config, message))
    async with get_connection(settings) as connection, connection.begin():
        status = status_of(environment, await connection.run_sync(current_heads))
        require_ours(status)
        if not status.up_to_date:
            raise CHECK_FAILED.with_context(
                f"the database is not at head: pending {', '.join(status.pending)}",
                hint="'clarinet migrate upgrade' first",
            )
        if dry_run:
            found = await connection.run_sync(differences)
            return [FileChange(str(directory), "would_create")] if found else []
        with alembic_errors(message):
            return _files(
                await connection.run_sync(
                    on(environment, command.revision, message, autogenerate=True)
                )
            )


def _files(scripts: object) -> list[FileChange]:
    found = scripts if isinstance(scripts, list) else [scripts]
    made = [script.path for script in found if isinstance(script, Script)]
    for path in made:
        give_to_directory_owner(Path(path))
    return [FileChange(path, "created") for path in made]
