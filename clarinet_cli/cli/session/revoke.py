"""Commands that revoke log-in sessions."""

from typing import TYPE_CHECKING, Annotated, Optional

import typer

from clarinet_cli.cli.completion import complete_emails
from clarinet_cli.cli.options import (
    DryRun,
    FromNetworks,
    IdleFor,
    OlderThan,
    OnlyOfUser,
    Output,
    SessionArguments,
    States,
    UserArgument,
    WithAgent,
    Yes,
    session_filter,
)
from clarinet_cli.cli.presentation import Presentation
from clarinet_cli.cli.progress import progress
from clarinet_cli.cli.prompts import confirm
from clarinet_cli.cli.render import render, render_list
from clarinet_cli.cli.runtime import Runtime
from clarinet_cli.exceptions import INVALID
from clarinet_cli.textfmt import pluralize
from clarinet_cli.timefmt import iso_text, machine_now
from clarinet_cli.types import ANY_SESSION, UNCHANGED, SessionFilter

if TYPE_CHECKING:
    from clarinet_cli.results import SessionChange

REVOKED = "revoked"
KeepCurrent = Annotated[
    Optional[list[str]],
    typer.Option("--keep-current", metavar="ID", help="Keep the session with this id; repeatable."),
]


async def revoke(
    runtime: Runtime,
    sessions: SessionArguments = None,
    user: OnlyOfUser = None,
    state: States = None,
    ip: FromNetworks = None,
    agent: WithAgent = None,
    older_than: OlderThan = None,
    idle_for: IdleFor = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    output: Output = None,
) -> None:
    """Revoke sessions by their ids, or all that match a filter.

    By ids: all of them, or none if one is not found or does not match the filter. Without
    ids: every session that matches, after a confirmation. Many sessions are revoked in several
    transactions; if it is interrupted, run it again.

    A session that rows of other tables refer to is expired instead of deleted.

    Example: clarinet session revoke 8f3kQ2xZ --user ada@example.org

    Example: clarinet session revoke --ip 203.0.113.0/24 --older-than 7d --dry-run
    """
    from clarinet_cli.results import SessionChange
    from clarinet_cli.services.sessions.revoke import revoke_sessions
    from clarinet_cli.services.unit_of_work import Access, unit_of_work

    where = session_filter(state, ip, agent, older_than, idle_for)
    if sessions:
        async with unit_of_work(runtime.settings, access=Access.WRITE, dry_run=dry_run) as work:
            changes = await revoke_sessions(work, sessions, where, identifier=user)
    elif user is None and where == ANY_SESSION:
        raise INVALID.with_context(
            "no session ID and no filter given",
            hint="'clarinet session list' shows the ids; "
            "'clarinet session revoke-all' revokes all sessions",
        )
    else:
        changes = await _revoke_matching(runtime, where, user, yes=yes, dry_run=dry_run)
    presentation = Presentation(SessionChange, empty="no session matches", complete=True)
    render_list(runtime, changes, output, presentation, changed=not dry_run)
    if any(change.result == REVOKED for change in changes):
        runtime.note_stale_cache()


async def _revoke_matching(
    runtime: Runtime, where: SessionFilter, user: Optional[str], *, yes: bool, dry_run: bool
) -> "list[SessionChange]":
    """Revoke what matches a filter, after a prompt with the target and the counts."""
    from clarinet_cli.services.sessions.revoke import count_matching_sessions, revoke_matching
    from clarinet_cli.services.unit_of_work import open_database, unit_of_work

    async with open_database(runtime.settings) as database:
        if not (dry_run or yes):
            async with unit_of_work(database) as work:
                count, users = await count_matching_sessions(work, where, identifier=user)
            await database.disconnect()
            if count:
                matching = f"{pluralize(count, 'session')} of {pluralize(users, 'user')}"
                confirm(runtime, f"Revoke {matching}{_ages(where)} in {_target(runtime)}?")
        with progress(runtime, "revoking sessions") as update, runtime.stop_on_signal() as stop:
            changes = await revoke_matching(
                database,
                where,
                identifier=user,
                dry_run=dry_run,
                progress=update,
                stopped=lambda: stop.requested,
            )
    if changes:
        revoked = sum(change.result != UNCHANGED for change in changes)
        verb = "would be revoked" if dry_run else "revoked"
        runtime.writer.note(f"{pluralize(revoked, 'session')} {verb}")
    return changes


def _ages(where: SessionFilter) -> str:
    """Return the ages of a filter as timestamps, so that a wrong unit is seen in the prompt."""
    ages = (("created before", where.older_than), ("not used since", where.idle_for))
    said = [
        f", {words} {iso_text(machine_now() - age)[:19]}Z" for words, age in ages if age is not None
    ]
    return f"{''.join(said)}," if said else ""


async def revoke_user(
    runtime: Runtime,
    user: UserArgument,
    keep_current: KeepCurrent = None,
    keep_newest: Annotated[
        int, typer.Option("--keep-newest", metavar="N", min=0, help="Keep the newest N.")
    ] = 0,
    dry_run: DryRun = False,
    output: Output = None,
) -> None:
    """Revoke all sessions of a user.

    Sessions that rows of other tables refer to are expired instead of deleted.

    Example: clarinet session revoke-user ada@example.org --keep-newest 1
    """
    from clarinet_cli.services.sessions.revoke import revoke_for_user
    from clarinet_cli.services.unit_of_work import Access, unit_of_work

    async with unit_of_work(runtime.settings, access=Access.WRITE, dry_run=dry_run) as work:
        report = await revoke_for_user(
            work, user, keep_current=keep_current or (), keep_newest=keep_newest
        )
    render(runtime, report, output, changed=not dry_run)
    if report.result == REVOKED:
        runtime.note_stale_cache()


async def revoke_all(
    runtime: Runtime,
    excluded: Annotated[
        Optional[list[str]],
        typer.Option(
            "--except",
            metavar="USER",
            help="Keep the sessions of this user; repeatable.",
            autocompletion=complete_emails,
        ),
    ] = None,
    keep_current: KeepCurrent = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    output: Output = None,
) -> None:
    """Revoke the sessions of all users.

    Every session that exists at the start is revoked; sessions created during the run may
    remain. Many sessions are revoked in several transactions, so that log-ins need not wait;
    if it is interrupted, run it again. Sessions that rows of other tables refer to are
    expired instead of deleted.

    Example: clarinet session revoke-all --except ada@example.org --dry-run
    """
    from clarinet_cli.services.sessions import revoke_all as operation
    from clarinet_cli.services.unit_of_work import open_database, unit_of_work

    users, kept_ids = excluded or [], keep_current or []
    async with open_database(runtime.settings, writes=True) as database:
        if dry_run or not yes:
            async with unit_of_work(database) as work:
                report = await operation.count_to_revoke(work, users, keep_current=kept_ids)
        if not dry_run:
            if not yes:
                await database.disconnect()
                if report.result != UNCHANGED:
                    kept = f" and keep {report.sessions_kept}" if report.sessions_kept else ""
                    count = pluralize(report.sessions_revoked, "session")
                    confirm(runtime, f"Revoke {count}{kept} in {_target(runtime)}?")
            with progress(runtime, "revoking sessions") as update, runtime.stop_on_signal() as stop:
                report = await operation.revoke_all(
                    database,
                    users,
                    keep_current=kept_ids,
                    progress=update,
                    stopped=lambda: stop.requested,
                )
    render(runtime, report, output, changed=not dry_run)
    if report.result == REVOKED:
        runtime.note_stale_cache()


def _target(runtime: Runtime) -> str:
    """Return the redacted URL of the database."""
    from clarinet_cli.database.url import database_url, display_url

    return display_url(database_url(runtime.settings))
