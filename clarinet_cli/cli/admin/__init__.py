"""``clarinet admin``: accounts."""

from clarinet_cli.cli.admin import changes, create, files, queries, reset_password
from clarinet_cli.cli.commands import command, group

app = group("admin")

command(app, "list")(queries.list_accounts)
command(app)(queries.show)
command(app)(create.create)
command(app)(create.ensure)
command(app)(reset_password.reset_password)
command(app)(changes.promote)
command(app)(changes.demote)
command(app)(changes.activate)
command(app)(changes.deactivate)
command(app, "set-email")(changes.set_email)
command(app)(changes.verify)
command(app)(changes.unverify)
command(app)(changes.delete)
command(app)(queries.roles)
command(app)(changes.grant_role)
command(app)(changes.revoke_role)
command(app)(files.export)
command(app)(files.apply)
