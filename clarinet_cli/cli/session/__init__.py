"""``clarinet session``: log-in sessions."""

import typer

from clarinet_cli.cli.groups import HelpfulGroup, SessionIdCommand
from clarinet_cli.cli.session import cleanup, look, revoke

app = typer.Typer(cls=HelpfulGroup, help="Log-in sessions: count, show, end, clean up.")

app.command("stats")(look.stats)
app.command("list")(look.list_all)
app.command("list-user")(look.list_user)
app.command("show", cls=SessionIdCommand)(look.show)
app.command("revoke", cls=SessionIdCommand)(revoke.revoke)
app.command("revoke-user")(revoke.revoke_user)
app.command("revoke-all")(revoke.revoke_all)
app.command("cleanup")(cleanup.cleanup)
