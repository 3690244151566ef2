"""``clarinet admin``: accounts."""

import typer

from clarinet_cli.cli.admin import look, passwords
from clarinet_cli.cli.groups import HelpfulGroup

app = typer.Typer(cls=HelpfulGroup, help="Administrator accounts and their passwords.")

app.command("create")(passwords.create)
app.command("reset-password")(passwords.reset_password)
app.command("list")(look.list_accounts)
app.command("ensure")(passwords.ensure)
