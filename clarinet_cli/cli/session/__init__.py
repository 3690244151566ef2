"""``clarinet session``: log-in sessions."""

from clarinet_cli.cli.commands import (
    RevokeUserCommand,
    SessionIdCommand,
    WatchCommand,
    command,
    group,
)
from clarinet_cli.cli.session import cleanup, queries, revoke, stats

app = group("session")

command(app, cls=WatchCommand)(stats.stats)
command(app, "list", cls=WatchCommand)(queries.list_all)
command(app)(queries.list_user)
command(app, cls=SessionIdCommand)(queries.show)
command(app, cls=SessionIdCommand)(revoke.revoke)
command(app, cls=RevokeUserCommand)(revoke.revoke_user)
command(app)(revoke.revoke_all)
command(app)(cleanup.cleanup)
