"""``clarinet session``: log-in sessions."""

from clarinet_cli.cli.commands import SessionIdCommand, command, group
from clarinet_cli.cli.session import cleanup, queries, revoke

app = group("session")

command(app)(queries.stats)
command(app, "list")(queries.list_all)
command(app)(queries.list_user)
command(app, cls=SessionIdCommand)(queries.show)
command(app, cls=SessionIdCommand)(revoke.revoke)
command(app)(revoke.revoke_user)
command(app)(revoke.revoke_all)
command(app)(cleanup.cleanup)
