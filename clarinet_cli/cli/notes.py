"""What commands that change accounts report, and notes that several commands give."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Optional, TypeVar

from clarinet_cli.cli.groups import run
from clarinet_cli.cli.output import note, render
from clarinet_cli.exceptions import ClarinetError
from clarinet_cli.signals import SIGNALS

if TYPE_CHECKING:
    from clarinet_cli.results import AccountChange, AppliedAccount
    from clarinet_cli.services.sessions.settle import Settle
    from clarinet_cli.settings import Settings
    from clarinet_cli.types import OutputFormat

CHANGED = ("updated", "deleted")
ResultT = TypeVar("ResultT", "AccountChange", "AppliedAccount")


def cache_note(settings: "Settings") -> None:
    """Tell how long the server may go on accepting what was revoked."""
    seconds = settings.session_cache_ttl_seconds
    if seconds > 0:
        note(f"the server's cache may accept a revoked session for up to {seconds} s more")


def report_change(
    settings: "Settings",
    change: "AccountChange",
    output: "Optional[OutputFormat]",
    settle: "Settle",
    *,
    done: bool,
    shown: bool = False,
) -> None:
    """Report what became of one account, as ``report_changes`` does.

    Args:
        settings: See there.
        change: What was done.
        output: The format.
        settle: See there.
        done: No dry run.
        shown: It stands on standard output already.
    """

    def show(changes: "list[AccountChange]") -> None:
        if not shown:
            render(changes[0], output, done=done)

    report_changes(settings, [change], settle, show, shown=shown)


def report_changes(
    settings: "Settings",
    changes: "Sequence[ResultT]",
    settle: "Settle",
    show: "Callable[[list[ResultT]], None]",
    *,
    shown: bool = False,
) -> None:
    """Report what became of accounts: the place for all commands that change them.

    Sessions that began while the accounts were changed are ended first. Whatever happens to
    that, the change itself has been made, and is shown.

    Args:
        settings: Which database, and how long the server keeps what it read of an account.
        changes: What was done.
        settle: Whose sessions end once more.
        show: Writes the changes, the sessions that ended later counted in.
        shown: The changes stood on standard output before, without those.

    Raises:
        ClarinetError: The sessions that began meanwhile can't be ended.
    """
    users = [change.email for change in changes if change.id in settle.accounts]
    user = users[0] if len(users) == 1 else "USER"
    way_out = f"'clarinet session revoke-user {user}' ends the sessions that began meanwhile"
    complete = False
    try:
        if settle.is_due:
            SIGNALS.check_interrupted()
        run(settle.sweep(settings))
    except ClarinetError as error:
        complete = True
        message = f"the change is made, but: {error.message}"
        raise error.with_context(message, hint=way_out) from error
    else:
        complete = True
    finally:
        if settle.is_due:
            SIGNALS.mark_changed()
        show([_counted(change, settle) for change in changes])
        if shown and (later := sum(settle.ended.values())):
            note(f"sessions that began meanwhile and were revoked too: {later}")
        _rights_note(settings, [change.result for change in changes])
        if not complete:
            note(f"stopped early: {way_out}")


def _counted(change: ResultT, settle: "Settle") -> ResultT:
    later = 0 if change.id is None else settle.ended.get(change.id, 0)
    return replace(change, sessions_revoked=change.sessions_revoked + later) if later else change


def _rights_note(settings: "Settings", results: Sequence[str]) -> None:
    """Tell how long the server may go by what an account was; a new one is in no cache."""
    seconds = settings.session_cache_ttl_seconds
    if seconds > 0 and any(result in CHANGED for result in results):
        note(
            "the server's cache may go by the old rights, and accept a revoked session, "
            f"for up to {seconds} s more"
        )
