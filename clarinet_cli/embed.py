"""The commands on accounts and sessions in the command of another program.

``admin_app`` and ``session_app`` are Typer applications to add to the program's own. The
settings are the object of Typer's context, so that nothing is global::

    settings = make_settings(
        "sqlite:///test.db",
        mapping="fastapi-users",
        session_strategy="database",
        session_lifetime_seconds=3600,
    )
    app.add_typer(admin_app, name="users", context_settings={"obj": settings})

A callback of the program may set ``ctx.obj`` instead.
"""

from clarinet_cli.cli.mounted import admin_app, session_app
from clarinet_cli.settings import Settings, load_settings, make_settings

__all__ = ["Settings", "admin_app", "load_settings", "make_settings", "session_app"]
