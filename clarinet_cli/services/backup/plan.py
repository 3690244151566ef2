"""The plan of a backup, and the name of its file."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Optional

from sqlalchemy import URL

from clarinet_cli.database.engine import BUSY_TIMEOUT_SECONDS
from clarinet_cli.database.sqlite import SIDE_SUFFIXES
from clarinet_cli.database.url import sqlite_file
from clarinet_cli.services.backup.files import remove_oldest, require_directory, resolve_target
from clarinet_cli.types import STDIO

STAMP = "%Y%m%dT%H%M%SZ"
STAMP_PATTERN = r"\d{8}T\d{6}Z"


@dataclass(frozen=True, slots=True)
class BackupPlan:
    """What to back up, and where to.

    Attributes:
        file: The target; None with a directory, ``-`` for standard output.
        directory: The directory of a new file of a series.
        keep: How many files of the series to keep; None: all.
        replace: Replace an existing file.
        accounts_only: Only the four Clarinet tables, as a portable copy.
        compress: PostgreSQL: method and level for ``pg_dump``.
        quick: SQLite: do not check that each index has each row.
        lock_timeout: Seconds to wait for locks of others.
    """

    file: Optional[Path] = None
    directory: Optional[Path] = None
    keep: Optional[int] = None
    replace: bool = False
    accounts_only: bool = False
    compress: Optional[str] = None
    quick: bool = False
    lock_timeout: float = BUSY_TIMEOUT_SECONDS


def backup_target(plan: BackupPlan, url: URL) -> Optional[Path]:
    """Return the file of the backup, or refuse it before anything is written.

    Args:
        plan: What to back up.
        url: The URL of the database.

    Returns:
        The file; None for standard output.

    Raises:
        ClarinetError: See ``resolve_target`` and ``require_directory``.
    """
    file = sqlite_file(url)
    if plan.directory is not None:
        require_directory(plan.directory)
        start = plan.directory.absolute() / _stem(plan)
        suffix = ".db" if plan.accounts_only or file else ".dump"
        moment = datetime.now(UTC)
        while (path := Path(f"{start}-{moment.strftime(STAMP)}{suffix}")).exists():
            moment += timedelta(seconds=1)  # to the next second that is free
        return path
    if plan.file is None or str(plan.file) == STDIO:
        return None
    own = (
        [file.with_name(f"{file.name}{suffix}") for suffix in ("", *SIDE_SUFFIXES)] if file else []
    )
    return resolve_target(plan.file, replace=plan.replace, protected=own)


def _stem(plan: BackupPlan) -> str:
    return "clarinet-accounts" if plan.accounts_only else "clarinet"


def remove_older(plan: BackupPlan, target: Path) -> Optional[tuple[str, ...]]:
    """Remove the files of a series beyond those to keep; return their names.

    Args:
        plan: How many files to keep; None is returned if all are kept.
        target: The newest file of the series.
    """
    if plan.keep is None:
        return None
    pattern = re.compile(rf"{_stem(plan)}-{STAMP_PATTERN}{re.escape(target.suffix)}")
    return tuple(str(path) for path in remove_oldest(target.parent, pattern, plan.keep))
