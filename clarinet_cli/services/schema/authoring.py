"""Write a new migration environment, or a new revision."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from alembic import command
from alembic.script import Script

from clarinet_cli.database.session import database_exists, get_connection
from clarinet_cli.exceptions import CHECK_FAILED, CONFLICT, FAILURE, INVALID, REFUSED, RefusedError
from clarinet_cli.filesystem.ownership import (
    give_to_directory_owner,
    make_directory,
    open_file,
    os_error_reason,
)
from clarinet_cli.filesystem.trust import require_project_location
from clarinet_cli.results import FileChange
from clarinet_cli.services.schema.comparison import differences
from clarinet_cli.services.schema.environments import (
    INI_FILE,
    INI_TEXT,
    SCRIPT_DIRECTORY,
    find_environment,
    foreign_environment,
    ini_text,
    packaged_location,
    project_config,
    read_optional_text,
    script_location,
)
from clarinet_cli.services.schema.state import (
    alembic_errors,
    current_heads,
    require_known_revisions,
    revision_status,
    with_connection,
)
from clarinet_cli.settings import Settings
from clarinet_cli.utils.logger import logger

FILE_MODE = 0o644


def init_environment(project: Path, *, force: bool, dry_run: bool = False) -> list[FileChange]:
    """Write a migration environment of its own into a project directory.

    Args:
        project: The project directory.
        force: Overwrite files that differ.
        dry_run: Only report what would be done.

    Raises:
        RefusedError: The project has an environment that is not Clarinet's.
        ConflictError: A file already exists with other content, and *force* is off; nothing
            was written.
    """
    own = project_config(project)
    location = script_location(own, project) if own is not None else None
    target = location or project / SCRIPT_DIRECTORY
    in_use = own is not None or any((target / "versions").glob("*.py"))
    if ":" in target.name or (in_use and target == foreign_environment(project)):
        raise _foreign_environment_error(target)  # with a colon it names a package
    wanted = dict(_new_environment(project))
    differing = [
        path for path, text in wanted.items() if read_optional_text(path) not in (None, text)
    ]
    if differing and not force:
        raise CONFLICT.with_context(
            "already exists with other content: " + ", ".join(map(str, differing)),
            hint="--force overwrites it",
        )
    require_project_location(wanted, project)
    changes = []
    for path, text in wanted.items():
        before = read_optional_text(path)
        result = "unchanged" if before == text else "created" if before is None else "updated"
        if result != "unchanged" and not dry_run:
            _write(path, text)
        verb = result.removesuffix("d")
        changes.append(
            FileChange(str(path), f"would_{verb}" if dry_run and result != "unchanged" else result)
        )
    return changes


async def create_revision(
    settings: Settings, message: str, *, empty: bool = False, dry_run: bool = False
) -> list[FileChange]:
    """Write a new revision into the project's environment.

    Args:
        settings: The database to compare the models with, and the project directory.
        message: A short description; its slug becomes part of the file's name.
        empty: Write a revision without operations instead of comparing.
        dry_run: Only report what would be written.

    Returns:
        The file, or an empty list if the tables are those of the models.

    Raises:
        InvalidInputError: The message cannot be part of a Python file.
        RefusedError: The project has no environment of its own.
        CheckFailedError: The database is not at head.
    """
    if not message.strip() or not message.isprintable() or set(message) & set('"\\'):
        raise INVALID.with_context(
            "--message must be one line of text without quotation marks and backslashes"
        )
    environment = find_environment(settings.project_dir)
    if environment.packaged and (foreign := foreign_environment(settings.project_dir)):
        raise _foreign_environment_error(foreign)
    if environment.packaged:
        if await database_exists(settings):  # an environment would not help with another program's
            async with get_connection(settings) as connection:
                heads = await connection.run_sync(current_heads)
            require_known_revisions(revision_status(environment, heads))
        raise REFUSED.with_context(
            "this project has no migration environment of its own",
            hint="'clarinet migrate init' creates one in the project directory",
        )
    directory = environment.location / "versions"
    if empty and dry_run:
        return [FileChange(str(directory), "would_create")]
    if empty:
        config = environment.config
        with alembic_errors(message):
            return _created_files(command.revision(config, message))
    async with get_connection(settings) as connection, connection.begin():
        status = revision_status(environment, await connection.run_sync(current_heads))
        require_known_revisions(status)
        if not status.up_to_date:
            raise CHECK_FAILED.with_context(
                f"the database is not at head: pending {', '.join(status.pending)}",
                hint="run 'clarinet migrate upgrade' first",
            )
        if dry_run:
            found = await connection.run_sync(differences)
            return [FileChange(str(directory), "would_create")] if found else []
        with alembic_errors(message):
            return _created_files(
                await connection.run_sync(
                    with_connection(environment, command.revision, message, autogenerate=True)
                )
            )


def _created_files(scripts: object) -> list[FileChange]:
    found = scripts if isinstance(scripts, list) else [scripts]
    made = [script.path for script in found if isinstance(script, Script)]
    for path in made:
        give_to_directory_owner(Path(path))
    return [FileChange(path, "created") for path in made]


def _foreign_environment_error(location: Path) -> RefusedError:
    """Return the error for an environment that belongs to another program."""
    return REFUSED.with_context(
        f"{location} is the migration environment of another program, and was not changed",
        hint="write its revisions with 'alembic revision' "
        "and apply them with 'alembic upgrade head'",
    )


def _new_environment(project: Path) -> Iterator[tuple[Path, str]]:
    """Yield the files of a new environment in the location that the project configures."""
    source = packaged_location()
    config = project_config(project)
    target = script_location(config, project) if config is not None else None
    if target is None or read_optional_text(project / INI_FILE) in {INI_TEXT, ini_text(project)}:
        yield project / INI_FILE, ini_text(project)
    scripts = (source / "env.py", source / "script.py.mako", *sorted(source.glob("versions/*.py")))
    for file in scripts:
        directory = target or project / SCRIPT_DIRECTORY
        yield directory / file.relative_to(source), file.read_text("utf-8")


def _write(path: Path, text: str) -> None:
    """Write a file atomically; its owner is that of its directory."""
    new = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        _write_new(new, text.encode())
        new.replace(path)
    except OSError as error:
        logger.bind(reported=True).error(f"writing {path}: {error}")
        with suppress(OSError):
            new.unlink(missing_ok=True)
        raise FAILURE.with_context(f"{path}: {os_error_reason(error, path)}") from error


def _write_new(path: Path, content: bytes) -> None:
    make_directory(path.parent)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with os.fdopen(open_file(path, flags, mode=FILE_MODE), "wb") as file:
        file.write(content)
