"""The settings that the server and this tool share: reading them, and the current ones.

Names, prefix and files are the server's own, so that both use one ``settings.toml``:
environment ``CLARINET_*`` over ``.env`` over ``settings.custom.toml`` over ``settings.toml``
over the defaults of the model. Other keys are ignored: a server's file has about a hundred more.

``from clarinet_cli.settings import settings`` builds the object on first use, so that an invalid
file cannot break ``--help``.
"""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Optional

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import SettingsError

from clarinet_cli.exceptions import CONFIGURATION
from clarinet_cli.filesystem.ownership import os_error_reason
from clarinet_cli.settings.model import (
    DEFAULT_EMAIL_DOMAIN,
    DEFAULT_MAPPING,
    ENV_PREFIX,
    ExplicitSettings,
    Settings,
    is_secret,
    problem_of,
)
from clarinet_cli.sources import find_origin

if TYPE_CHECKING:
    from sqlalchemy import URL

__all__ = [
    "DEFAULT_MAPPING",
    "ENV_PREFIX",
    "Settings",
    "current_project",
    "is_secret",
    "load_settings",
    "make_settings",
    "problem_of",
    "reachable_directory",
    "use_project",
    "username_to_email",
]


def make_settings(
    database_url: "str | URL",
    *,
    mapping: object = DEFAULT_MAPPING,
    session_strategy: Optional[Literal["database", "jwt", "redis"]] = None,
    session_lifetime_seconds: int | Literal["none"] | None = None,
    **values: Any,
) -> Settings:
    """Return settings from arguments only: no file and no variable is read.

    Args:
        database_url: A URL of PostgreSQL or SQLite, with any driver; a relative SQLite path starts
            at the current directory.
        mapping: ``clarinet``, ``fastapi-users``, a ``Mapping``, or a dictionary with the keys
            of ``[mapping]``.
        session_strategy: Where the application keeps its sessions.
        session_lifetime_seconds: The lifetime of the application's sessions; ``none``: they do
            not expire.
        **values: Further keys of ``settings.toml``, such as ``admin_require_strong_password``.

    Raises:
        ConfigurationError: A key is unknown or a value is invalid; the message names the key.
    """
    if unknown := sorted(values.keys() - Settings.model_fields.keys()):
        raise CONFIGURATION.with_context(f"settings: unknown key {', '.join(unknown)}")
    if not isinstance(database_url, str):
        host = database_url.host or ""
        if host.startswith("/"):  # the directory of a socket, which has no place in the text
            database_url = database_url.set(host="").update_query_dict({"host": host})
        database_url = database_url.render_as_string(hide_password=False)
    given: dict[str, Any] = {
        "project_dir": Path.cwd(),
        "database_url": database_url,
        "mapping": mapping,
        "session_strategy": session_strategy,
        "session_lifetime_seconds": session_lifetime_seconds,
    }
    try:
        return ExplicitSettings(**given | values)
    except ValidationError as error:
        texts = [
            f"settings: {item['loc'][0]}: {problem_of(item)}" if item["loc"] else problem_of(item)
            for item in error.errors()
        ]
        raise CONFIGURATION.with_context("; ".join(texts)) from None


def username_to_email(username: str) -> str:
    """Return the e-mail address for a user name on the command line.

    There is no user-name column: a name with an ``@`` is the address itself, any other name
    gets the server's domain.
    """
    return username if "@" in username else f"{username}@{DEFAULT_EMAIL_DOMAIN}"


def load_settings(project_dir: Path) -> Settings:
    """Read the settings of one project directory.

    Args:
        project_dir: The directory of the settings files, all of which are optional.

    Raises:
        ConfigurationError: A file cannot be read, or a value is invalid; the message names
            the file (or environment variable) and the key.
    """
    project = reachable_directory(project_dir)
    try:
        return Settings(project_dir=project)
    except ValidationError as error:
        texts = [_explain(detail, project) for detail in error.errors()]
        raise CONFIGURATION.with_context("; ".join(texts)) from None
    except SettingsError as error:
        key = re.search(r'field "(\w+)"', str(error))
        where = find_origin(Settings, key[1], project) if key else "the environment"
        raise CONFIGURATION.with_context(
            f"{where}: {key[1] if key else 'a value'} is not valid JSON",
            hint="lists and tables are written as JSON there, such as '[\"reader\"]'",
        ) from None


def reachable_directory(project_dir: Path) -> Path:
    """Return the absolute path of a project directory.

    Args:
        project_dir: The directory, which may be missing.

    Raises:
        ConfigurationError: The directory cannot be accessed.
    """
    try:
        project = project_dir.resolve()
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links
        reason = "the current directory no longer exists"
        if not isinstance(error, FileNotFoundError):
            reason = f"{project_dir}: the directory cannot be reached"
        raise CONFIGURATION.with_context(
            reason, hint="use '-C DIR' to choose another one"
        ) from error
    try:
        os.stat(f"{project}{os.sep}{os.curdir}")  # noqa: PTH116 - Path takes the dot away
    except (FileNotFoundError, NotADirectoryError):
        return project
    except OSError as error:
        raise CONFIGURATION.with_context(f"{project}: {os_error_reason(error, project)}") from error
    return project


def use_project(project_dir: Optional[Path]) -> None:
    """Set the project directory; the next use of ``settings`` reads its files.

    Args:
        project_dir: The directory of the settings files; None means ``CLARINET_PROJECT`` or,
            if that is not set, the current directory.
    """
    _current["project"] = project_dir
    _current.pop("settings", None)


def current_project() -> Path:
    """Return the project directory that ``settings`` are read from."""
    named = _current.get("project") or os.environ.get(f"{ENV_PREFIX}PROJECT") or "."
    return Path(named)


_current: dict[str, Any] = {}


def __getattr__(name: str) -> Any:
    if name != "settings":
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    if "settings" not in _current:
        _current["settings"] = load_settings(current_project())
    return _current["settings"]


def _explain(detail: ErrorDetails, project: Path) -> str:
    """Return the message for an invalid value; it contains no secret."""
    if not detail["loc"]:
        return problem_of(detail)
    key = str(detail["loc"][0])
    return f"{find_origin(Settings, key, project)}: {key}: {problem_of(detail)}"
