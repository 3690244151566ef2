"""A program of another project that mounts both groups, as a test runs it."""

import sys
from typing import Any

import typer
from typer.testing import CliRunner

from clarinet_cli.database.url import database_url
from clarinet_cli.embed import Settings, admin_app, make_settings, session_app
from tests.mapping.documented import LIFETIME_SECONDS
from tests.support import Project, Result, replaced_environment

CHEAP_ARGON2 = {"argon2_time_cost": 5, "argon2_memory_cost": 7168, "argon2_parallelism": 1}
PROGRAM = "myapp"


def settings_of(project: Project, **values: Any) -> Settings:
    """Return the settings that the documented application hands over: its URL and its mapping."""
    given: dict[str, Any] = {
        "mapping": "fastapi-users",
        "session_strategy": "database",
        "session_lifetime_seconds": LIFETIME_SECONDS,
    }
    url = database_url(project.settings)
    return make_settings(url, **CHEAP_ARGON2 | given | values)


def host_of(settings: object) -> typer.Typer:
    """Return a command line with a command of its own and both groups."""
    app = typer.Typer()
    app.add_typer(admin_app, name="users", context_settings={"obj": settings})
    app.add_typer(session_app, name="logins", context_settings={"obj": settings})
    app.command()(serve)
    return app


def serve() -> None:
    """Run the server."""
    typer.echo("serving")


def run(app: typer.Typer, *words: str, stdin: str = "", **options: Any) -> Result:
    """Run a command line of the program as its operator does, standard input not a terminal."""
    with replaced_environment({}):
        done = CliRunner().invoke(app, words, input=stdin, prog_name=PROGRAM, **options)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return Result(done.exit_code, done.stdout, done.stderr)


def write_program(project: Project) -> list[str]:
    """Write the program to a file and return the words that run it in a process of its own."""
    secret = settings_of(project).database_url
    url = "" if secret is None else secret.get_secret_value()
    file = project.directory / "myapp.py"
    file.write_text(
        "import typer\n"
        "from clarinet_cli.embed import admin_app, make_settings, session_app\n"
        f"settings = make_settings({url!r}, mapping='fastapi-users',"
        " session_strategy='database', session_lifetime_seconds=3600)\n"
        "app = typer.Typer()\n"
        "app.add_typer(admin_app, name='users', context_settings={'obj': settings})\n"
        "app.add_typer(session_app, name='logins', context_settings={'obj': settings})\n"
        "@app.command()\n"
        "def serve() -> None: print('serving')\n"
        "app(prog_name='myapp')\n",
        "utf-8",
    )
    return [sys.executable, str(file)]
