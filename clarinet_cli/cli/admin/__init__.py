"""``clarinet admin``: accounts."""

import typer

from clarinet_cli.cli.admin import changes, files, look, passwords
from clarinet_cli.cli.groups import HelpfulGroup

app = typer.Typer(cls=HelpfulGroup, help="Accounts: find, see, make, change and end them.")

app.command("list")(look.list_accounts)
app.command("show")(look.show)
app.command("create")(passwords.create)
app.command("ensure")(passwords.ensure)
app.command("reset-password")(passwords.reset_password)
app.command("promote")(changes.promote)
app.command("demote")(changes.demote)
app.command("activate")(changes.activate)
app.command("deactivate")(changes.deactivate)
app.command("delete")(changes.delete)
app.command("roles")(look.roles)
app.command("grant-role")(changes.grant_role)
app.command("revoke-role")(changes.revoke_role)
app.command("export")(files.export)
app.command("apply")(files.apply)
