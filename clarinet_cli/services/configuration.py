"""Show and check the settings: each value with its source, and problems.

All of it works with settings that no other command could use: a file that cannot be read and
a value that cannot be used are findings here.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from shlex import quote
from typing import Any, ClassVar, Optional

from pydantic import SecretStr, ValidationError

from clarinet_cli.database.url import MASK, database_url, masked_url
from clarinet_cli.exceptions import INVALID, ClarinetError
from clarinet_cli.filesystem.trust import readable_by_others, writable_by_others
from clarinet_cli.mapping import Mapping
from clarinet_cli.results import Finding, SettingRow, SettingsFile
from clarinet_cli.services.accounts.passwords import NewPassword, require_acceptable
from clarinet_cli.services.settings_warnings import (
    another_database,
    misspelled_keys,
    unused_server_settings,
)
from clarinet_cli.settings import ENV_PREFIX, Settings, is_secret, problem_of
from clarinet_cli.sources import GivenValue, given_values, readable_sources, settings_files
from clarinet_cli.spelling import find_misspellings

DEFAULT = "default"
URL_KEYS = ("database_url", "database_read_url")
KEYS = tuple(key for key in Settings.model_fields if key != "project_dir")
CHECKS = {
    "files": "every settings file that exists can be read",
    "keys": "no misspelled keys",
    "values": "every value can be used",
    "contradictions": "no values conflict with each other",
    "shadowed": "no value is overridden by a higher-precedence source",
    "permissions": "other users cannot change the files or read a secret in them",
}


class SettingsFromValues(Settings):
    """Settings made of values that were read before; ``origin`` names the sources of these."""

    reads_sources: ClassVar[bool] = False


def show_settings(
    project: Path, keys: Sequence[str] = (), *, changed: bool = False
) -> list[SettingRow]:
    """Return each setting with the source of its value.

    Args:
        project: The directory of the settings files.
        keys: Only these; names of variables are accepted too.
        changed: Only those that are not the default.

    Raises:
        InvalidInputError: A key is unknown.
    """
    wanted = [_known_key(key) for key in keys] or KEYS
    given = effective_values(given_values(Settings, project))
    rows: list[SettingRow] = []
    for key in wanted:
        default = Settings.model_fields[key].get_default(call_default_factory=True)
        value, problem, source = default, None, DEFAULT
        if key in given:
            (value, problem), source = validate_value(given[key], project), given[key].source
        if not changed or problem or value != default:
            rows += _rows(key, value, source, problem)
    return rows


def list_settings_files(project: Path) -> list[SettingsFile]:
    """Return the files that settings are read from, highest precedence first.

    Args:
        project: The directory of the settings files.
    """
    return [SettingsFile(str(path), path.exists()) for path in settings_files(project)]


def effective_values(given: Iterable[GivenValue]) -> dict[str, GivenValue]:
    """Return the effective value of each key.

    Args:
        given: The values of all sources, highest precedence first.
    """
    found: dict[str, GivenValue] = {}
    for value in given:
        found.setdefault(value.key, value)
    return found


def validate_value(given: GivenValue, project: Path) -> tuple[Any, Optional[str]]:
    """Return the converted value, or the written one with the problem.

    Args:
        given: The value of one key.
        project: The directory of the settings files.
    """
    if given.problem is not None:
        return given.value, given.problem
    values: dict[str, Any] = {given.key: given.value}
    try:
        made = SettingsFromValues(project_dir=project, **values)
    except ValidationError as error:
        about_it = [item for item in error.errors() if item["loc"][:1] == (given.key,)]
        # An error of no key is about several of them: see check_settings.
        return given.value, problem_of(about_it[0]) if about_it else None
    return getattr(made, given.key), None


def _known_key(name: str) -> str:
    key = name.lower().removeprefix(ENV_PREFIX.lower())
    if key in KEYS:
        return key
    meant = find_misspellings(key, KEYS)
    hint = f"did you mean {' or '.join(meant)}?" if meant else "'clarinet config show' lists all"
    raise INVALID.with_context(f"unknown key {name!r}", hint=hint)


def _rows(key: str, value: Any, source: str, problem: Optional[str]) -> Iterator[SettingRow]:
    """Yield a row for a value, and one for each key of a table."""
    value = value.as_settings() if isinstance(value, Mapping) else value
    if not isinstance(value, dict) or is_secret(key):
        yield SettingRow(key, _shown(key, value), source, problem)
    elif not value:
        yield SettingRow(key, None, source, problem)
    else:
        for inner, inner_value in value.items():
            shown = inner_value
            if isinstance(inner_value, dict):
                shown = json.dumps(inner_value, ensure_ascii=False, default=str)
            yield SettingRow(f"{key}.{inner}", shown, source, problem)


def _shown(key: str, value: Any) -> Any:
    """Return a value for display, with secrets masked."""
    if isinstance(value, Path):
        return str(value)
    if not is_secret(key) or value is None:
        return value
    text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
    return (masked_url(text) if key in URL_KEYS else None) or MASK


def unreadable_files(project: Path) -> list[Finding]:
    """Return a finding for each settings file that cannot be read or is not trusted.

    Args:
        project: The directory of the settings files.
    """
    _, problems = readable_sources(Settings, project)
    return [_error("files", error.message, error.hint) for error in problems.values()]


def check_settings(project: Path) -> list[Finding]:
    """Return the problems of the settings of a project, and an ``ok`` for each check without.

    Args:
        project: The directory of the settings files.
    """
    given = list(given_values(Settings, project))
    counting = effective_values(given).values()
    problems = {value.key: validate_value(value, project)[1] for value in counting}
    found = [
        *unreadable_files(project),
        *_unknown_keys(project),
        *(
            _error("values", f"{value.source}: {value.key}: {problem}", None)
            for value in counting
            if (problem := problems[value.key])
        ),
        *_contradictions(
            {value.key: value.value for value in counting if problems[value.key] is None}, project
        ),
        *_shadowed(given),
        *_permissions(given, project),
    ]
    with_findings = {finding.check for finding in found}
    passed = [Finding(name, "ok", text) for name, text in CHECKS.items()]
    found += [finding for finding in passed if finding.check not in with_findings]
    order = list(CHECKS)
    return sorted(found, key=lambda finding: order.index(finding.check))


def _unknown_keys(project: Path) -> Iterator[Finding]:
    for key in misspelled_keys(project):
        text = f"{key.source}: unknown key {key.written} has no effect"
        yield _error("keys", text, f"write {' or '.join(key.intended)}")


def _contradictions(usable: dict[str, Any], project: Path) -> Iterator[Finding]:
    """Yield the conflicts between values that are each valid."""
    try:
        settings = SettingsFromValues(project_dir=project, **usable)
    except ValidationError as error:
        yield from (_error("contradictions", problem_of(item), None) for item in error.errors())
        return
    yield from _contradictory_databases(settings)
    yield from _contradictory_accounts(settings)
    yield from _contradictory_limits(settings)


def _contradictory_databases(settings: Settings) -> Iterator[Finding]:
    for replica in (False, True):
        try:
            database_url(settings, replica=replica)
        except ClarinetError as error:
            yield _error("contradictions", error.message, error.hint)
            return
    hint = "set database_driver to postgresql, or remove what has no effect"
    for text in unused_server_settings(settings):
        if "database_driver" in settings.model_fields_set:
            yield _warning(text, hint)
        else:
            yield _error("contradictions", text, hint)
    for text in another_database(settings):
        yield _error("contradictions", text, "set the parts to the same database as database_url")
    if settings.database_read_url is not None:
        main, other = database_url(settings), database_url(settings, replica=True)
        if main.get_backend_name() != other.get_backend_name():
            yield _error(
                "contradictions",
                f"database_read_url is a {other.get_backend_name()} database, "
                f"but database_url is a {main.get_backend_name()} one",
                "set database_read_url to a replica of the same database",
            )


def _contradictory_accounts(settings: Settings) -> Iterator[Finding]:
    email, username = settings.admin_email, settings.admin_username
    if email and "@" in username and email.lower() != username.lower():
        text = f"admin_username {username} has no effect: admin_email is {email}"
        yield _error("contradictions", text, "remove one of them")
    if settings.admin_password is not None:
        password = NewPassword(settings.admin_password.get_secret_value())
        try:
            require_acceptable(password, settings.first_admin_email, settings)
        except ClarinetError as error:
            yield _error("contradictions", f"admin_password: {error.message}", error.hint)


def _contradictory_limits(settings: Settings) -> Iterator[Finding]:
    expire_days = settings.session_expire_hours / 24
    absolute_days = settings.session_absolute_timeout_days
    idle_minutes = settings.session_idle_timeout_minutes
    retention_days = settings.session_cleanup_retention_days
    if absolute_days and expire_days > absolute_days:
        yield _warning(
            f"session_expire_hours {settings.session_expire_hours} is longer than "
            f"session_absolute_timeout_days {absolute_days}, which ends a session first"
        )
    if idle_minutes > settings.session_expire_hours * 60:
        yield _warning(
            f"session_idle_timeout_minutes {idle_minutes} is longer than session_expire_hours "
            f"{settings.session_expire_hours}: a session expires before it is idle"
        )
    if retention_days and retention_days < max(expire_days, absolute_days):
        yield _warning(
            f"session_cleanup_retention_days {retention_days} is shorter than the "
            "session lifetime: the clean-up would delete sessions that are in use"
        )


def _shadowed(given: Iterable[GivenValue]) -> Iterator[Finding]:
    """Yield each value that a source with a higher precedence overrides."""
    stronger: dict[str, GivenValue] = {}
    for value in given:
        winner = stronger.setdefault(value.key, value)
        if winner is not value and winner.value != value.value:
            text = f"{value.source}: {value.key} has no effect: {winner.source} overrides it"
            yield Finding("shadowed", "warning", text)


def _permissions(given: Sequence[GivenValue], project: Path) -> Iterator[Finding]:
    for path in settings_files(project):
        if others := writable_by_others(path):
            option = "o-w" if others == "every user" else "g-w"
            yield _error(
                "permissions",
                f"{path} can be written by {others}",
                f"chmod {option} {quote(str(path))}",
            )
        secrets = sorted(
            value.key
            for value in given
            if is_secret(value.key) and value.source.rpartition(":")[0] == str(path)
        )
        if secrets and readable_by_others(path):
            yield Finding(
                "permissions",
                "warning",
                f"{path} contains {', '.join(secrets)} and can be read by every user",
                f"chmod o-r {quote(str(path))}",
            )


def _error(check: str, detail: str, hint: Optional[str]) -> Finding:
    return Finding(check, "error", detail, hint)


def _warning(detail: str, hint: Optional[str] = None) -> Finding:
    return Finding("contradictions", "warning", detail, hint)
