"""``clarinet db``: the database as a whole."""

from clarinet_cli.cli.commands import WatchCommand, command, group
from clarinet_cli.cli.db import backup, maintenance, queries

app = group("db")

command(app)(maintenance.init)
command(app, cls=WatchCommand)(queries.status)
command(app)(queries.wait)
command(app)(queries.check)
command(app)(backup.backup)
command(app)(backup.restore)
command(app)(maintenance.vacuum)
command(app)(maintenance.shell)
command(app)(maintenance.reset)
command(app)(queries.inspect)
