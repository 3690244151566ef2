"""What is wrong with the settings: files, keys and values that no other command may accept."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from shlex import quote
from typing import Optional

from pydantic import ValidationError

from clarinet_cli.database.url import database_url
from clarinet_cli.exceptions import ClarinetError
from clarinet_cli.filesystem.trust import readable_by_others, writable_by_others
from clarinet_cli.results import Finding
from clarinet_cli.services.accounts.passwords import NewPassword, require_acceptable
from clarinet_cli.services.configuration.values import SettingsFromValues, strongest, validated
from clarinet_cli.services.settings_warnings import (
    another_database,
    misspelled_keys,
    unused_parts,
)
from clarinet_cli.settings import Settings, is_secret, problem_of
from clarinet_cli.sources import GivenValue, given_values, readable_sources, settings_files

CHECKS = {
    "files": "every settings file that exists can be read",
    "keys": "no misspelled keys",
    "values": "every value can be used",
    "contradictions": "no value contradicts another one",
    "shadowed": "no value is overridden by a higher-precedence source",
    "permissions": "other users cannot change the files or read a secret in them",
}


def unreadable_files(project: Path) -> list[Finding]:
    """Return a finding for each settings file that cannot be read or is not to be trusted.

    Args:
        project: The directory of the settings files.
    """
    _, problems = readable_sources(Settings, project)
    return [_error("files", error.message, error.hint) for error in problems.values()]


def check_settings(project: Path) -> list[Finding]:
    """Return what is wrong with the settings of a project, and a line for each check without.

    Args:
        project: The directory of the settings files.
    """
    given = list(given_values(Settings, project))
    counting = strongest(given)
    found = [
        *unreadable_files(project),
        *_unknown_keys(project),
        *_unusable_values(counting.values(), project),
        *_contradictions(counting, project),
        *_shadowed(given),
        *_permissions(given, project),
    ]
    with_findings = {finding.check for finding in found}
    passed = [Finding(name, "ok", text) for name, text in CHECKS.items()]
    found += [finding for finding in passed if finding.check not in with_findings]
    order = list(CHECKS)
    return sorted(found, key=lambda finding: order.index(finding.check))


def _unknown_keys(project: Path) -> Iterator[Finding]:
    for where, written, meant in misspelled_keys(project):
        names = " or ".join(meant)
        yield _error("keys", f"{where}: unknown key {written} has no effect", f"write {names}")


def _unusable_values(given: Iterable[GivenValue], project: Path) -> Iterator[Finding]:
    for value in given:
        _, problem = validated(value, project)
        if problem:
            yield _error("values", f"{value.source}: {value.key}: {problem}", None)


def _contradictions(counting: dict[str, GivenValue], project: Path) -> Iterator[Finding]:
    """Yield what is wrong with values that are right each by itself."""
    usable = {
        key: given.value for key, given in counting.items() if validated(given, project)[1] is None
    }
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
    hint = "remove them, or set database_driver to postgresql"
    for text in unused_parts(settings):
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
                f"and the database itself a {main.get_backend_name()} one",
                "database_read_url names a replica of the same database",
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
    """Yield each value that has no effect, as a stronger source has another one."""
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
                "permissions", f"{path} can be written by {others}", f"chmod {option} {path}"
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
                f"{path} holds {', '.join(secrets)} and can be read by every user",
                f"chmod o-r {quote(str(path))}",
            )


def _error(check: str, detail: str, hint: Optional[str]) -> Finding:
    return Finding(check, "error", detail, hint)


def _warning(detail: str, hint: Optional[str] = None) -> Finding:
    return Finding("contradictions", "warning", detail, hint)
