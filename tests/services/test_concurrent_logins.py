"""Sessions of log-ins that were under way when rights or a password changed.

The server has read the old row and inserts the session after the change has committed; the
tests do that in the place of the wait, so that no time passes.
"""

import functools
import json
import signal
from pathlib import Path

import pytest

from clarinet_cli.services.accounts import changes
from clarinet_cli.services.accounts.apply import ApplyPlan
from clarinet_cli.services.accounts.changes import AccountOperation
from clarinet_cli.services.accounts.file import read_accounts
from clarinet_cli.services.accounts.passwords import NewPassword
from clarinet_cli.services.sessions import concurrent_logins
from clarinet_cli.services.sessions.concurrent_logins import ConcurrentLogins
from tests import oracle
from tests.faults.processes import end_of, running
from tests.operations import (
    apply_accounts,
    change_account,
    create_superuser,
    ensure_superuser,
    reset_password,
    revoke_late_logins,
)
from tests.support import PASSWORD, Project

GRACE = "grace@example.org"
NEW_PASSWORD = NewPassword("staple battery horse")
RESET = ("admin", "reset-password", GRACE, "--password-stdin")


def grace(project: Project, *, superuser: bool = True) -> None:
    """Insert the account that is changed, without any session."""
    oracle.add_user(project, GRACE, superuser=superuser)


def log_in(project: Project) -> None:
    """Insert the session of a log-in that read the account before the change."""
    oracle.add_session(project, oracle.user_id_of(project, GRACE))


def logging_in(project: Project) -> ConcurrentLogins:
    """Return a wait during which a concurrent log-in creates its session."""

    async def wait(seconds: float) -> None:
        assert seconds == 7
        log_in(project)

    return ConcurrentLogins(7, wait=wait)


def unexpected() -> ConcurrentLogins:
    """Return what must not wait."""

    async def wait(seconds: float) -> None:
        pytest.fail("there is nothing to wait for")

    return ConcurrentLogins(7, wait=wait)


RULES: dict[str, AccountOperation] = {"demote": changes.demote, "deactivate": changes.deactivate}


@pytest.mark.parametrize("name", RULES)
async def test_less_rights_end_the_session_of_a_log_in_under_way(
    project: Project, name: str
) -> None:
    """It is revoked, and no other."""
    grace(project)
    other = oracle.add_session(project, oracle.user_id_of(project, "admin@clarinet.ru"))
    later = logging_in(project)
    await change_account(project.settings, GRACE, RULES[name], late=later)
    assert later.revoked == {}
    await revoke_late_logins(project.settings, later)
    assert later.revoked == {oracle.user_id_of(project, GRACE): 1}
    assert oracle.tokens(project) == {other}


async def test_a_new_password_ends_the_session_of_a_log_in_under_way(project: Project) -> None:
    """By each of the commands that set one for an account that exists."""
    grace(project)
    user = oracle.user_id_of(project, GRACE)
    later = logging_in(project)
    await reset_password(project.settings, GRACE, NEW_PASSWORD, late=later)
    await revoke_late_logins(project.settings, later)
    assert (later.revoked, oracle.tokens(project)) == ({user: 1}, set())
    later = logging_in(project)
    await create_superuser(project.settings, GRACE, NEW_PASSWORD, update=True, late=later)
    await revoke_late_logins(project.settings, later)
    assert (later.revoked, oracle.tokens(project)) == ({user: 1}, set())
    project.write_settings(f'admin_email = "{GRACE}"\n')
    oracle.rows(project, 'UPDATE "user" SET is_superuser = (1 = 0)')
    later = logging_in(project)
    await ensure_superuser(project.settings, NEW_PASSWORD, late=later)
    await revoke_late_logins(project.settings, later)
    assert (later.revoked, oracle.tokens(project)) == ({user: 1}, set())


@pytest.mark.parametrize("prune", [False, True])
async def test_a_file_ends_the_session_of_a_log_in_under_way(
    project: Project, *, prune: bool
) -> None:
    """Of accounts that lose rights by a row, or by not being in the file."""
    grace(project)
    rows: list[dict[str, object]] = [{"email": "admin@clarinet.ru"}]
    rows += [] if prune else [{"email": GRACE, "is_superuser": False}]
    declared, later = read_accounts(json.dumps(rows).encode(), "file"), logging_in(project)
    await apply_accounts(project.settings, declared, ApplyPlan(prune=prune), late=later)
    await revoke_late_logins(project.settings, later)
    assert later.revoked == {oracle.user_id_of(project, GRACE): 1}
    assert oracle.tokens(project) == set()


async def test_a_deleted_account_keeps_no_session_either(project: Project) -> None:
    """SQLite's servers enforce no foreign key; PostgreSQL refuses such a session itself."""
    grace(project)
    user = oracle.user_id_of(project, GRACE)

    async def wait(seconds: float) -> None:
        if project.server is None:
            oracle.add_session(project, user)

    later = ConcurrentLogins(1, wait=wait)
    await change_account(project.settings, GRACE, changes.delete, late=later)
    await revoke_late_logins(project.settings, later)
    assert oracle.tokens(project) == set()
    assert later.accounts == {user}


async def test_nothing_is_waited_for_without_need(project: Project) -> None:
    """Neither a dry run, nor more rights, nor kept sessions, nor what changed nothing."""
    grace(project)
    later = unexpected()
    settings = project.settings
    for operation in RULES.values():
        await change_account(settings, GRACE, operation, dry_run=True, late=later)
    await change_account(settings, GRACE, changes.promote, late=later)
    await reset_password(settings, GRACE, NEW_PASSWORD, keep_sessions=True, late=later)
    await reset_password(settings, GRACE, None, dry_run=True, late=later)
    await create_superuser(settings, "new@example.org", NEW_PASSWORD, late=later)
    await create_superuser(settings, GRACE, None, update=True, late=later)
    declared = read_accounts(json.dumps([{"email": GRACE}]).encode(), "file")
    await apply_accounts(settings, declared, ApplyPlan(), late=later)
    await revoke_late_logins(settings, later)
    await change_account(settings, GRACE, changes.demote)
    await change_account(settings, GRACE, changes.demote, late=later)
    await revoke_late_logins(settings, later)


def test_they_are_counted_in_report_and_record(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report counts all sessions that ended, the audit log has a record of the later ones."""
    grace(project)
    log_in(project)

    async def wait(seconds: float) -> None:
        assert seconds == 5
        log_in(project)

    monkeypatch.setattr(
        concurrent_logins, "ConcurrentLogins", functools.partial(ConcurrentLogins, wait=wait)
    )
    log = tmp_path / "audit.jsonl"
    words = ("--audit-log", str(log), *RESET, "--settle", "5s", "-o", "json")
    assert project.run(*words, stdin=PASSWORD).json["sessions_revoked"] == 2
    records = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(it["result"], it["sessions_revoked"]) for it in records] == [
        ("updated", 1),
        ("revoked", 1),
    ]
    assert oracle.tokens(project) == set()
    generated = project.run(*RESET[:-1], "--generate-password", "--settle", "5s")
    assert "revoked 1 session created during the change" in generated.stderr


@pytest.mark.parametrize("name", ["", "CLARINET_SETTLE", "--settle"])
def test_the_wait_can_be_chosen(
    project: Project, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A second by default; by option or variable another time, or none."""
    grace(project)
    waits: list[float] = []

    async def wait(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(
        concurrent_logins, "ConcurrentLogins", functools.partial(ConcurrentLogins, wait=wait)
    )
    for text in ("", "2m", "0"):
        option = ("--settle", text) if name == "--settle" and text else ()
        env = {"CLARINET_SETTLE": text if name == "CLARINET_SETTLE" else ""}
        assert project.run(*RESET, *option, stdin=PASSWORD, env=env).code == 0
    assert waits == ([1.0, 120.0] if name else [1.0, 1.0, 1.0])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_while_it_waits_the_change_is_reported(
    project: Project, number: signal.Signals
) -> None:
    """The change is committed and reported; a note says what may be left."""
    grace(project)
    words = ("-v", *RESET[:-1], "--generate-password", "--settle", "300s", "-o", "json")
    with running(project, *words) as process:
        assert process.stderr is not None
        while b"for concurrent log-ins" not in (line := process.stderr.readline()):
            assert line, end_of(process)
        process.send_signal(number)
        result = end_of(process)
    assert result.code == 128 + number, result
    assert (result.json["result"], len(result.json["password"])) == ("updated", 24)
    command = f"clarinet -C {project.directory} session revoke-user {GRACE}"
    assert f"interrupted: '{command}'" in result.stderr
